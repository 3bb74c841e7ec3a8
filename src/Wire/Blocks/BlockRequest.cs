using Ublk.Uring;

namespace Ublk.Wire.Blocks;

/// <summary>What a request does.</summary>
public enum BlockOperation : byte
{
    /// <summary>Fill the buffer from the volume.</summary>
    Read,
    /// <summary>Store the buffer in the volume.</summary>
    Write,
    /// <summary>Bring every completed write to stable media.</summary>
    Flush,
    /// <summary>The range is no longer needed; afterwards it reads as zeros.</summary>
    Discard,
    /// <summary>The range reads as zeros afterwards.</summary>
    WriteZeroes,
}

/// <summary>How a request is done.</summary>
[Flags]
public enum BlockRequestFlags : byte
{
    /// <summary>Nothing special.</summary>
    None = 0,
    /// <summary>FUA: complete only when this write is on stable media.</summary>
    ForceUnitAccess = 1,
    /// <summary>Write zeroes must keep the range's space allocated.</summary>
    NoUnmap = 2,
}

/// <summary>
/// One request to a volume. For reads and writes the buffer's length is the length; the buffer belongs to
/// who asks and stays valid until the completion. A write's buffer is a block of the loop's payload pool
/// unless the target takes writes from registered buffers: a target that needs its bytes for longer shares
/// the block (<see cref="PayloadPool.Share"/>), and who asks changes them no more once it was submitted.
/// </summary>
/// <param name="Operation">What to do.</param>
/// <param name="Flags">How.</param>
/// <param name="OffsetBytes">Start, a multiple of the logical block size; 0 for flush.</param>
/// <param name="LengthBytes">Length, a multiple of the logical block size; 0 for flush.</param>
/// <param name="Buffer">Payload of a read or write.</param>
/// <param name="Token">Handed back with the completion.</param>
public readonly record struct BlockRequest(
    BlockOperation Operation,
    BlockRequestFlags Flags,
    long OffsetBytes,
    long LengthBytes,
    IoBuffer Buffer,
    ulong Token);

/// <summary>Hears of the end of requests, on the loop's thread; exactly once for each.</summary>
public interface IBlockCompletion
{
    /// <summary>A request ended.</summary>
    /// <param name="token">From the request.</param>
    /// <param name="status">Outcome; a read with Ok has filled the whole buffer.</param>
    void OnBlockCompleted(ulong token, BlockStatus status);
}
