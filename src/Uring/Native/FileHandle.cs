using Microsoft.Win32.SafeHandles;

namespace Ublk.Uring.Native;

/// <summary>
/// Owner of one open descriptor. The number never leaves this assembly; others hold the handle and pass
/// it to rings. Opened close-on-exec, because a child that inherits a ublk descriptor blocks recovery.
/// </summary>
public sealed class FileHandle : SafeHandleZeroOrMinusOneIsInvalid
{
    internal FileHandle(int fd) : base(ownsHandle: true) => SetHandle(fd);

    /// <summary>The number; never that of a closed handle, which may name another file by now.</summary>
    internal int Fd
    {
        get
        {
            ObjectDisposedException.ThrowIf(IsClosed, this);
            return (int)handle;
        }
    }

    /// <summary>Opens a file or device.</summary>
    /// <param name="path">Path.</param>
    /// <param name="access">Read only, or read and write.</param>
    /// <param name="options">Open options.</param>
    /// <exception cref="SystemCallException">With the kernel's error number.</exception>
    public static FileHandle Open(string path, FileAccess access, OpenOptions options = OpenOptions.None)
    {
        int result = TryOpen(path, access, options, out FileHandle? file);
        return file ?? throw new SystemCallException($"open {path}", result);
    }

    /// <summary>Opens a file or device; answers 0 or −errno.</summary>
    /// <param name="path">Path.</param>
    /// <param name="access">Read only, or read and write.</param>
    /// <param name="options">Open options.</param>
    /// <param name="file">The open file, null on failure.</param>
    public static int TryOpen(
        string path, FileAccess access, OpenOptions options, out FileHandle? file)
    {
        int flags = access == FileAccess.Read ? Libc.ReadOnly : Libc.ReadWrite;
        flags |= options.HasFlag(OpenOptions.Direct) ? Libc.Direct : 0;
        flags |= options.HasFlag(OpenOptions.Exclusive) ? Libc.Exclusive : 0;
        int fd = Libc.Open(path, flags);
        file = fd >= 0 ? new FileHandle(fd) : null;
        return Math.Min(fd, 0);
    }

    /// <summary>Reads at an offset into memory; answers bytes or −errno, may be short.</summary>
    /// <param name="destination">Where the bytes go.</param>
    /// <param name="offsetBytes">Offset in the file.</param>
    public unsafe int ReadAt(Span<byte> destination, long offsetBytes)
    {
        fixed (byte* pointer = destination)
        {
            nint count;
            do
            {
                count = Libc.PRead(Fd, pointer, (nuint)destination.Length, offsetBytes);
            }
            while (count < 0 && Libc.LastError == -Errno.EINTR);
            return count < 0 ? Libc.LastError : (int)count;
        }
    }

    /// <summary>Writes at an offset from memory; answers bytes or −errno, may be short.</summary>
    /// <param name="source">The bytes.</param>
    /// <param name="offsetBytes">Offset in the file.</param>
    public unsafe int WriteAt(ReadOnlySpan<byte> source, long offsetBytes)
    {
        fixed (byte* pointer = source)
        {
            nint count;
            do
            {
                count = Libc.PWrite(Fd, pointer, (nuint)source.Length, offsetBytes);
            }
            while (count < 0 && Libc.LastError == -Errno.EINTR);
            return count < 0 ? Libc.LastError : (int)count;
        }
    }

    /// <summary>
    /// Brings the file to stable media; of a directory, the names in it. Answers 0 or −errno.
    /// </summary>
    public int Sync() => Libc.Result(Libc.Sync(Fd));

    /// <summary>
    /// Gives a range of a file its space, and extends the file where it ends before. Answers 0 or −errno.
    /// </summary>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="lengthBytes">Length.</param>
    public int Reserve(long offsetBytes, long lengthBytes) =>
        Libc.Result(Libc.Fallocate(Fd, 0, offsetBytes, lengthBytes));

    /// <summary>Cuts or extends the file. Answers 0 or −errno.</summary>
    /// <param name="lengthBytes">New length.</param>
    public int Truncate(long lengthBytes) => Libc.Result(Libc.Truncate(Fd, lengthBytes));

    /// <summary>
    /// Makes a range of a block device read as zeros; where the device cannot do that by itself, the kernel
    /// writes them, which takes as long as it does. Answers 0 or −errno.
    /// </summary>
    /// <param name="offsetBytes">Start; a multiple of the device's block.</param>
    /// <param name="lengthBytes">Length; likewise.</param>
    public int Zero(long offsetBytes, long lengthBytes)
    {
        const int Punch = (int)(FallocateModes.PunchHole | FallocateModes.KeepSize);
        const int Zeros = (int)(FallocateModes.ZeroRange | FallocateModes.KeepSize);
        int result = Libc.Result(Libc.Fallocate(Fd, Punch, offsetBytes, lengthBytes));
        return result == -Errno.EOPNOTSUPP
            ? Libc.Result(Libc.Fallocate(Fd, Zeros, offsetBytes, lengthBytes)) : result;
    }

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => Libc.Close((int)handle) == 0;
}

/// <summary>How a file is opened.</summary>
[Flags]
public enum OpenOptions
{
    /// <summary>Through the page cache, shared.</summary>
    None = 0,
    /// <summary>O_DIRECT: past the page cache.</summary>
    Direct = 1,
    /// <summary>O_EXCL on a block device: refused while it is mounted or held exclusively.</summary>
    Exclusive = 2,
}
