using Ublk.Uring.Native;

namespace Ublk.Testing;

/// <summary>
/// Negative error numbers as the fakes answer them, with the block layer's filter.
/// </summary>
public static class FakeErrno
{
    /// <summary>−EINVAL.</summary>
    public const int Invalid = -Errno.EINVAL;
    /// <summary>−EBUSY.</summary>
    public const int Busy = -Errno.EBUSY;
    /// <summary>−ENODEV.</summary>
    public const int NoDevice = -Errno.ENODEV;
    /// <summary>−EIO.</summary>
    public const int Io = -Errno.EIO;
    /// <summary>−ETIME: the command was given up.</summary>
    public const int Time = -Errno.ETIME;
    /// <summary>−EOPNOTSUPP.</summary>
    public const int NotSupported = -Errno.EOPNOTSUPP;
    /// <summary>−EACCES.</summary>
    public const int Access = -Errno.EACCES;
    /// <summary>−EFAULT.</summary>
    public const int Fault = -Errno.EFAULT;

    private const int ENOLINK = 67;
    private const int EREMOTEIO = 121;
    private const int EBADE = 52;
    private const int ENODATA = 61;
    private const int EILSEQ = 84;

    /// <summary>
    /// What a client gets for a committed error: some pass, all others become EIO.
    /// </summary>
    /// <param name="result">−errno.</param>
    public static int ToClient(int result) => -result switch
    {
        Errno.EIO or Errno.ENOSPC or Errno.EAGAIN or Errno.EBUSY or Errno.ENOMEM or Errno.EINVAL or
            Errno.EOPNOTSUPP or Errno.ETIMEDOUT or Errno.ENODEV or ENOLINK or EREMOTEIO or EBADE or
            ENODATA or EILSEQ => result,
        _ => Io,
    };
}
