namespace Ublk.Wire.Blocks;

/// <summary>
/// What a frontend (ublk, NBD) stands in front of: a raw image, a replicated volume, memory. A target
/// belongs to one loop; every member is called on its thread, and completions arrive there.
/// </summary>
public interface IBlockTarget : IDisposable
{
    /// <summary>What the target is and can do; fixed for its life, except for the size.</summary>
    BlockLimits Limits { get; }

    /// <summary>Size in bytes now; grows when the image was grown.</summary>
    long SizeBytes { get; }

    /// <summary>
    /// Starts a request. The completion may come before this returns. A target takes at most
    /// <see cref="BlockLimits.MaxRequests"/> at once.
    /// </summary>
    /// <param name="request">In range and aligned; the caller has checked.</param>
    /// <param name="completion">Hears of the end.</param>
    void Submit(in BlockRequest request, IBlockCompletion completion);

    /// <summary>Looks at the size anew, for a request beyond the known end.</summary>
    /// <returns>The size in bytes.</returns>
    long RefreshSize();
}

/// <summary>What a target is and can do.</summary>
public sealed record BlockLimits
{
    /// <summary>Smallest addressable unit in bytes: 512 to 4096, a power of two.</summary>
    public int LogicalBlockBytes { get; init; } = 512;

    /// <summary>Smallest unit written without a read before it; at least the logical block.</summary>
    public int PhysicalBlockBytes { get; init; } = 4096;

    /// <summary>Preferred size of a transfer in bytes, a power of two.</summary>
    public int OptimalIoBytes { get; init; } = 4096;

    /// <summary>Alignment of request memory that registered buffers need; 1 for any.</summary>
    public int MemoryAlignBytes { get; init; } = 1;

    /// <summary>Requests taken at once.</summary>
    public int MaxRequests { get; init; } = 128;

    /// <summary>
    /// Writes may be lost by a power cut until a flush; without it every completed write is durable.
    /// </summary>
    public bool HasVolatileCache { get; init; }

    /// <summary>Durable single writes are cheaper than write and flush.</summary>
    public bool CanForceUnitAccess { get; init; }

    /// <summary>Takes no writes.</summary>
    public bool IsReadOnly { get; init; }

    /// <summary>Unit of discards in bytes; 0 where discards are not supported.</summary>
    public int DiscardGranularityBytes { get; init; }

    /// <summary>Longest discard in bytes.</summary>
    public long MaxDiscardBytes { get; init; }

    /// <summary>Longest write-zeroes in bytes; 0 where not supported.</summary>
    public long MaxWriteZeroesBytes { get; init; }

    /// <summary>
    /// Reads can go straight into a registered buffer of the loop, without our memory; one that cannot is
    /// answered <see cref="BlockStatus.NeedsMemory"/>.
    /// </summary>
    public bool ReadsIntoRegistered { get; init; }

    /// <summary>Writes can come straight from a registered buffer of the loop.</summary>
    public bool WritesFromRegistered { get; init; }

    /// <summary>Whether a range lies in the volume and on its blocks.</summary>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="lengthBytes">Length, above 0.</param>
    /// <param name="sizeBytes">Size of the volume.</param>
    public bool Contains(long offsetBytes, long lengthBytes, long sizeBytes) =>
        lengthBytes > 0 && offsetBytes >= 0 && lengthBytes <= sizeBytes &&
        offsetBytes <= sizeBytes - lengthBytes &&
        ((offsetBytes | lengthBytes) & (LogicalBlockBytes - 1)) == 0;
}
