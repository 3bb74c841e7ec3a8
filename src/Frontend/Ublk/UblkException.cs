using Ublk.Uring.Native;

namespace Ublk.Frontend.Ublk;

/// <summary>What went wrong with a device, for exit codes and advice.</summary>
public enum UblkError
{
    /// <summary>Another failure; the message has the kernel's words.</summary>
    Failed,
    /// <summary>No ublk in this kernel, or the module is not loaded.</summary>
    NoDriver,
    /// <summary>The caller may not.</summary>
    NoPermission,
    /// <summary>The kernel lacks a feature that is needed.</summary>
    KernelTooOld,
    /// <summary>The number is in use.</summary>
    IdTaken,
    /// <summary>No such device.</summary>
    NoSuchDevice,
    /// <summary>The device is mounted or open, or its server is alive.</summary>
    Busy,
    /// <summary>The device is not ours.</summary>
    Foreign,
    /// <summary>The device and the image do not fit together.</summary>
    Mismatch,
    /// <summary>The driver did not answer in time.</summary>
    TimedOut,
}

/// <summary>A device cannot be made, changed or removed; the message says why and what mends it.</summary>
/// <param name="error">Kind.</param>
/// <param name="message">For people.</param>
public sealed class UblkException(UblkError error, string message) : IOException(message)
{
    /// <summary>Kind.</summary>
    public UblkError Error { get; } = error;

    /// <summary>The control device could not be opened.</summary>
    /// <param name="result">−errno.</param>
    public static UblkException ForOpen(int result) => -result switch
    {
        Errno.ENOENT => new(UblkError.NoDriver,
            "this kernel offers no ublk: /dev/ublk-control does not exist; load it with " +
            "'modprobe ublk_drv' (Linux 6.5 or later with CONFIG_BLK_DEV_UBLK)"),
        Errno.EACCES or Errno.EPERM => new(UblkError.NoPermission,
            "no permission to open /dev/ublk-control; run as root"),
        _ => new(UblkError.Failed, $"cannot open /dev/ublk-control: {Errno.Describe(result)}"),
    };

    /// <summary>A control command was refused.</summary>
    /// <param name="what">What was tried, with the device: "start device 3".</param>
    /// <param name="result">−errno.</param>
    public static UblkException ForCommand(string what, int result) => -result switch
    {
        Errno.EPERM or Errno.EACCES => new(UblkError.NoPermission,
            $"cannot {what}: the kernel wants CAP_SYS_ADMIN in the initial user namespace; run as " +
            "root outside of a user namespace"),
        Errno.ENODEV => new(UblkError.NoSuchDevice, $"cannot {what}: no such device"),
        Errno.EEXIST => new(UblkError.IdTaken,
            $"cannot {what}: the number is taken; see 'qublk local list', or let the kernel choose"),
        Errno.EBUSY => new(UblkError.Busy, $"cannot {what}: it is in use"),
        Errno.ETIME => new(UblkError.TimedOut,
            $"cannot {what}: the driver did not answer in time; see 'dmesg' for stuck tasks"),
        Errno.EOPNOTSUPP => new(UblkError.KernelTooOld, $"cannot {what}: this kernel's driver cannot"),
        _ => new(UblkError.Failed, $"cannot {what}: {Errno.Describe(result)}"),
    };
}
