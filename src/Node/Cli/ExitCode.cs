using Ublk.Frontend.Ublk;
using Ublk.Node.Capture;
using Ublk.Replication.Runtime;
using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Uring.Native;

namespace Ublk.Node.Cli;

/// <summary>What the program's exit codes mean; scripts may rely on them.</summary>
internal enum ExitCode
{
    /// <summary>Done.</summary>
    Success = 0,
    /// <summary>Failed for another reason; the message tells.</summary>
    Failure = 1,
    /// <summary>Wrong use: unknown verb, option or value.</summary>
    Usage = 2,
    /// <summary>The kernel cannot: no ublk, or a feature is missing.</summary>
    Unsupported = 3,
    /// <summary>Not allowed.</summary>
    NoPermission = 4,
    /// <summary>No such device, image or file.</summary>
    NotFound = 5,
    /// <summary>In use, or the number is taken.</summary>
    Busy = 6,
    /// <summary>
    /// The image, the metadata of a replica, or a captured stream is unusable: wrong type, size or alignment,
    /// damaged, or not what was asked for.
    /// </summary>
    BadImage = 7,
    /// <summary>The driver, or the process that serves, did not answer in time.</summary>
    TimedOut = 8,
}

/// <summary>A command fails with a message for people and a code for scripts.</summary>
/// <param name="code">Exit code.</param>
/// <param name="message">What is wrong, where, and what mends it.</param>
internal sealed class CommandException(ExitCode code, string message) : Exception(message)
{
    public ExitCode Code { get; } = code;
}

/// <summary>The one place where exceptions become exit codes.</summary>
internal static class ExitCodes
{
    /// <summary>The code for an exception; null for one that is a bug.</summary>
    public static ExitCode? Of(Exception exception) => exception switch
    {
        CommandException command => command.Code,
        UblkException ublk => Of(ublk.Error),
        ReplicaStoreException replica => Of(replica.Error),
        BlockImageException image => Of(image.Error),
        VolumeGrowthException growth => Of(growth.Error),
        CaptureException => ExitCode.BadImage,
        SystemCallException { Number: Errno.ENOSYS } => ExitCode.Unsupported,
        SystemCallException { Number: Errno.EPERM or Errno.EACCES } => ExitCode.NoPermission,
        UnauthorizedAccessException => ExitCode.NoPermission,
        LoopFullException or IOException => ExitCode.Failure,
        _ => null,
    };

    private static ExitCode Of(UblkError error) => error switch
    {
        UblkError.NoDriver or UblkError.KernelTooOld => ExitCode.Unsupported,
        UblkError.NoPermission => ExitCode.NoPermission,
        UblkError.NoSuchDevice => ExitCode.NotFound,
        UblkError.IdTaken or UblkError.Busy => ExitCode.Busy,
        UblkError.Mismatch => ExitCode.BadImage,
        UblkError.TimedOut => ExitCode.TimedOut,
        _ => ExitCode.Failure,
    };

    private static ExitCode Of(ReplicaStoreError error) => error switch
    {
        ReplicaStoreError.Missing => ExitCode.NotFound,
        ReplicaStoreError.Busy => ExitCode.Busy,
        ReplicaStoreError.Failed or ReplicaStoreError.NoSpace => ExitCode.Failure,
        _ => ExitCode.BadImage,
    };

    private static ExitCode Of(VolumeGrowthError error) => error switch
    {
        VolumeGrowthError.WrongSize => ExitCode.Usage,
        VolumeGrowthError.Busy => ExitCode.Busy,
        _ => ExitCode.Failure,
    };

    private static ExitCode Of(BlockImageError error) => error switch
    {
        BlockImageError.Missing => ExitCode.NotFound,
        BlockImageError.NoPermission => ExitCode.NoPermission,
        BlockImageError.Busy => ExitCode.Busy,
        BlockImageError.WrongType or BlockImageError.WrongSize or BlockImageError.NotDirect =>
            ExitCode.BadImage,
        _ => ExitCode.Failure,
    };
}
