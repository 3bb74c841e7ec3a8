using Ublk.Uring.Native;

namespace Ublk.Wire.Blocks;

/// <summary>Outcome of a block request.</summary>
public enum BlockStatus : byte
{
    /// <summary>Done, completely.</summary>
    Ok,
    /// <summary>The medium or a replica failed; for a write the result is unknown.</summary>
    IoError,
    /// <summary>No space left behind a thin image.</summary>
    NoSpace,
    /// <summary>The range or its alignment is not the volume's.</summary>
    InvalidRange,
    /// <summary>The target cannot do this operation.</summary>
    NotSupported,
    /// <summary>The target takes no writes.</summary>
    ReadOnly,
    /// <summary>No answer within the request's time.</summary>
    TimedOut,
    /// <summary>The target is gone.</summary>
    Gone,
    /// <summary>
    /// Nothing was done: the bytes of this read have to come through memory of the process, and its buffer
    /// is registered only. Who asked asks again with memory; never an outcome for the client.
    /// </summary>
    NeedsMemory,
}

/// <summary>The one place where outcomes meet the numbers of the kernel.</summary>
public static class BlockStatusMap
{
    /// <summary>Negative errno for a block driver, only such as reach the client unchanged.</summary>
    /// <param name="status">Outcome other than Ok.</param>
    public static int ToErrno(BlockStatus status) => status switch
    {
        BlockStatus.Ok => 0,
        BlockStatus.NoSpace => -Errno.ENOSPC,
        BlockStatus.InvalidRange => -Errno.EINVAL,
        BlockStatus.NotSupported => -Errno.EOPNOTSUPP,
        BlockStatus.TimedOut => -Errno.ETIMEDOUT,
        BlockStatus.Gone => -Errno.ENODEV,
        // The block layer has no code for read-only; it turns EROFS into EIO itself.
        BlockStatus.ReadOnly or BlockStatus.IoError => -Errno.EIO,
        _ => -Errno.EIO,
    };

    /// <summary>Outcome for a result of a file operation, 0 or −errno.</summary>
    /// <param name="result">The result.</param>
    public static BlockStatus FromResult(int result) => result switch
    {
        0 => BlockStatus.Ok,
        -Errno.ENOSPC or -Errno.EDQUOT => BlockStatus.NoSpace,
        -Errno.EOPNOTSUPP => BlockStatus.NotSupported,
        -Errno.EROFS => BlockStatus.ReadOnly,
        -Errno.ETIMEDOUT => BlockStatus.TimedOut,
        _ => BlockStatus.IoError,
    };
}
