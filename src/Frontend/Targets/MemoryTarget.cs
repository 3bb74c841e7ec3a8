using Ublk.Uring.Native;
using Ublk.Wire.Blocks;

namespace Ublk.Frontend.Targets;

/// <summary>
/// A disk in this process's memory: gone when the process ends, so it has no cache to flush and a
/// recovery finds it empty. For scratch space and tests.
/// </summary>
public sealed class MemoryTarget : IBlockTarget
{
    private readonly MemoryMapping _memory;

    /// <summary>Makes a disk of zeros.</summary>
    /// <param name="sizeBytes">Size, a multiple of 4096.</param>
    /// <param name="maxRequests">Requests at once.</param>
    public MemoryTarget(long sizeBytes, int maxRequests)
    {
        const int BlockBytes = 512;
        _memory = MemoryMapping.Allocate(sizeBytes);
        Limits = new BlockLimits
        {
            LogicalBlockBytes = BlockBytes,
            MaxRequests = maxRequests,
            DiscardGranularityBytes = BlockBytes,
            MaxDiscardBytes = 1L << 30,
            MaxWriteZeroesBytes = 1L << 30,
        };
    }

    /// <inheritdoc/>
    public BlockLimits Limits { get; }

    /// <inheritdoc/>
    public long SizeBytes => _memory.LengthBytes;

    /// <inheritdoc/>
    public long RefreshSize() => SizeBytes;

    /// <inheritdoc/>
    public void Submit(in BlockRequest request, IBlockCompletion completion)
    {
        BlockStatus status = BlockStatus.Ok;
        if (request.Operation != BlockOperation.Flush)
        {
            Span<byte> range =
                _memory.Slice(request.OffsetBytes, checked((int)request.LengthBytes)).Span;
            switch (request.Operation)
            {
                case BlockOperation.Read:
                    range.CopyTo(request.Buffer.Span);
                    break;
                case BlockOperation.Write:
                    request.Buffer.Span.CopyTo(range);
                    break;
                case BlockOperation.Discard or BlockOperation.WriteZeroes:
                    range.Clear();
                    break;
                default:
                    status = BlockStatus.NotSupported;
                    break;
            }
        }

        completion.OnBlockCompleted(request.Token, status);
    }

    /// <inheritdoc/>
    public void Dispose() => _memory.Dispose();
}
