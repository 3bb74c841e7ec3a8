using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Blocks;

namespace Ublk.Frontend.Targets;

/// <summary>
/// Forgets what is written and reads as zeros: measures everything but storage. Reads are real: the
/// request's pages are filled from /dev/zero through the ring, because pages left as they are would show
/// the client stale kernel memory. That device stops early when another task wants the processor; such
/// reads are carried on like those of an image.
/// </summary>
public sealed class NullTarget : IBlockTarget
{
    private readonly BlockFile<TargetRequest> _zero;

    /// <summary>Makes a target.</summary>
    /// <param name="loop">The loop; the caller is its thread.</param>
    /// <param name="sizeBytes">Size the device shows.</param>
    /// <param name="maxRequests">Requests at once.</param>
    /// <exception cref="LoopFullException">The loop has no room.</exception>
    public NullTarget(Loop loop, long sizeBytes, int maxRequests)
    {
        SizeBytes = sizeBytes;
        FileHandle zero = FileHandle.Open("/dev/zero", FileAccess.Read);
        try
        {
            _zero = new BlockFile<TargetRequest>(zero, loop, maxRequests);
        }
        catch
        {
            zero.Dispose();
            throw;
        }

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
        if (request.Operation == BlockOperation.Read)
        {
            _zero.Read(request.Buffer, 0, new TargetRequest(completion, request.Token));
        }
        else
        {
            completion.OnBlockCompleted(request.Token, BlockStatus.Ok);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _zero.Dispose();
}
