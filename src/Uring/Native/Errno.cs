namespace Ublk.Uring.Native;

/// <summary>
/// Error numbers as Linux defines them on x86-64 and arm64 (<c>asm-generic/errno*.h</c>), positive.
/// Calls and completions carry them negated.
/// </summary>
public static class Errno
{
    /// <summary>Operation not permitted.</summary>
    public const int EPERM = 1;
    /// <summary>No such file or directory.</summary>
    public const int ENOENT = 2;
    /// <summary>Interrupted system call.</summary>
    public const int EINTR = 4;
    /// <summary>Input/output error.</summary>
    public const int EIO = 5;
    /// <summary>No such device or address.</summary>
    public const int ENXIO = 6;
    /// <summary>Bad file descriptor.</summary>
    public const int EBADF = 9;
    /// <summary>Resource temporarily unavailable.</summary>
    public const int EAGAIN = 11;
    /// <summary>Cannot allocate memory.</summary>
    public const int ENOMEM = 12;
    /// <summary>Permission denied.</summary>
    public const int EACCES = 13;
    /// <summary>Bad address.</summary>
    public const int EFAULT = 14;
    /// <summary>Device or resource busy.</summary>
    public const int EBUSY = 16;
    /// <summary>File exists.</summary>
    public const int EEXIST = 17;
    /// <summary>No such device; the end of a ublk tag (UBLK_IO_RES_ABORT).</summary>
    public const int ENODEV = 19;
    /// <summary>Is a directory.</summary>
    public const int EISDIR = 21;
    /// <summary>Invalid argument.</summary>
    public const int EINVAL = 22;
    /// <summary>No space left on device.</summary>
    public const int ENOSPC = 28;
    /// <summary>Read-only file system.</summary>
    public const int EROFS = 30;
    /// <summary>Broken pipe: the peer takes no more.</summary>
    public const int EPIPE = 32;
    /// <summary>Function not implemented.</summary>
    public const int ENOSYS = 38;
    /// <summary>Timer expired.</summary>
    public const int ETIME = 62;
    /// <summary>Illegal byte sequence: what is there is not what was written.</summary>
    public const int EILSEQ = 84;
    /// <summary>Operation not supported.</summary>
    public const int EOPNOTSUPP = 95;
    /// <summary>Connection reset by peer.</summary>
    public const int ECONNRESET = 104;
    /// <summary>No buffer space available.</summary>
    public const int ENOBUFS = 105;
    /// <summary>Connection timed out.</summary>
    public const int ETIMEDOUT = 110;
    /// <summary>Connection refused.</summary>
    public const int ECONNREFUSED = 111;
    /// <summary>Operation canceled.</summary>
    public const int ECANCELED = 125;
    /// <summary>Disk quota exceeded.</summary>
    public const int EDQUOT = 122;

    /// <summary>The system's text with the number, for messages to people.</summary>
    /// <param name="result">A negative result or a positive error number.</param>
    public static string Describe(int result)
    {
        int number = Math.Abs(result);
        string text = System.Runtime.InteropServices.Marshal.GetPInvokeErrorMessage(number);
        return $"{text} (errno {number})";
    }
}

/// <summary>A system call failed; carries what was tried and the error number.</summary>
public sealed class SystemCallException : IOException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="what">What was tried, as a phrase: "open /dev/x".</param>
    /// <param name="result">Negative result or positive error number.</param>
    public SystemCallException(string what, int result)
        : base($"{what}: {Errno.Describe(result)}") => Number = Math.Abs(result);

    /// <summary>Positive error number, one of <see cref="Errno"/> or another of the kernel's.</summary>
    public int Number { get; }
}
