using Ublk.Uring;
using Ublk.Uring.Abi;
using Ublk.Uring.Native;
using Ublk.Wire.Blocks;

namespace Ublk.Frontend.Targets;

/// <summary>
/// Forgets what is written and reads as zeros: measures everything but storage. Reads are real: the
/// request's pages are filled from /dev/zero through the ring, because pages left as they are would show
/// the client stale kernel memory.
/// </summary>
public sealed class NullTarget : IBlockTarget, IRingCompletion
{
    private readonly Loop _loop;
    private readonly FileHandle _zero;
    private readonly RingFile _ringFile;
    private readonly (IBlockCompletion? Completion, ulong Token, IoBuffer Left)[] _slots;
    private readonly Stack<int> _free;

    /// <summary>Makes a target.</summary>
    /// <param name="loop">The loop; the caller is its thread.</param>
    /// <param name="sizeBytes">Size the device shows.</param>
    /// <param name="maxRequests">Requests at once.</param>
    public NullTarget(Loop loop, long sizeBytes, int maxRequests)
    {
        loop.Reserve(maxRequests);
        _loop = loop;
        SizeBytes = sizeBytes;
        _zero = FileHandle.Open("/dev/zero", FileAccess.Read);
        _ringFile = loop.Files.Register(_zero);
        _slots = new (IBlockCompletion?, ulong, IoBuffer)[maxRequests];
        _free = new Stack<int>(Enumerable.Range(0, maxRequests));
        Limits = new BlockLimits
        {
            MaxRequests = maxRequests,
            ReadsIntoRegistered = true,
            WritesFromRegistered = true,
            DiscardGranularityBytes = 4096,
            MaxDiscardBytes = 1L << 30,
            MaxWriteZeroesBytes = 1L << 30,
        };
    }

    /// <inheritdoc/>
    public BlockLimits Limits { get; }

    /// <inheritdoc/>
    public long SizeBytes { get; }

    /// <inheritdoc/>
    public long RefreshSize() => SizeBytes;

    /// <inheritdoc/>
    public void Submit(in BlockRequest request, IBlockCompletion completion)
    {
        if (request.Operation != BlockOperation.Read)
        {
            completion.OnBlockCompleted(request.Token, BlockStatus.Ok);
            return;
        }

        int slot = _free.Pop();
        _slots[slot] = (completion, request.Token, request.Buffer);
        _loop.Submit(Entries.Read(_ringFile, request.Buffer, 0), this, (ulong)slot);
    }

    /// <inheritdoc/>
    void IRingCompletion.OnCompletion(ulong token, int result, CompletionFlags flags)
    {
        (IBlockCompletion? completion, ulong callerToken, IoBuffer left) = _slots[(int)token];
        if (result > 0 && result < left.LengthBytes)
        {
            // The device stops early when another task wants the processor.
            left = left.Slice(result, left.LengthBytes - result);
            _slots[(int)token].Left = left;
            _loop.Submit(Entries.Read(_ringFile, left, 0), this, token);
            return;
        }

        _slots[(int)token] = default;
        _free.Push((int)token);
        completion!.OnBlockCompleted(
            callerToken, result == left.LengthBytes ? BlockStatus.Ok : BlockStatus.IoError);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_zero.IsClosed)
        {
            return;
        }

        _loop.Files.Unregister(_ringFile);
        _loop.Unreserve(_slots.Length);
        _zero.Dispose();
    }
}
