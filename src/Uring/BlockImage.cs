using Ublk.Uring.Native;

namespace Ublk.Uring;

/// <summary>Whether an image is read and written past the page cache.</summary>
public enum DirectMode
{
    /// <summary>Direct where the filesystem can, otherwise through the page cache.</summary>
    Auto,
    /// <summary>Direct, or refuse.</summary>
    On,
    /// <summary>Through the page cache.</summary>
    Off,
}

/// <summary>
/// An opened and locked raw image, a regular file or a block device, with what the system says about it.
/// The lock belongs to the open file: when a process is killed it is freed only after the kernel has
/// finished the requests that were under way, so the next owner never races them.
/// </summary>
public sealed partial class BlockImage : IDisposable
{
    private const int LockExclusive = 2;
    private const int LockNonBlocking = 4;
    private const int SectorBytes = 512;
    private const nuint BlkGetSize64 = 0x80081272;
    private const nuint BlkSectorSize = 0x1268;
    private const nuint BlkPhysicalSectorSize = 0x127B;
    private const nuint BlkReadOnly = 0x125E;

    private BlockImage(string path, FileHandle file)
    {
        Path = path;
        File = file;
    }

    /// <summary>Path as given.</summary>
    public string Path { get; }

    /// <summary>Size in bytes, as last read; see <see cref="RefreshSize"/>.</summary>
    public long SizeBytes { get; private set; }

    /// <summary>A block device, not a file.</summary>
    public bool IsBlockDevice { get; private set; }

    /// <summary>Opened past the page cache.</summary>
    public bool IsDirect { get; private set; }

    /// <summary>Opened for reading only.</summary>
    public bool IsReadOnly { get; private set; }

    /// <summary>
    /// Offsets and lengths must be multiples of this, a power of two; 1 through the page cache.
    /// </summary>
    public int DirectAlignBytes { get; private set; } = 1;

    /// <summary>Memory addresses must be multiples of this.</summary>
    public int MemoryAlignBytes { get; private set; } = 1;

    /// <summary>Smallest unit the medium writes without reading first, in bytes.</summary>
    public int PhysicalBlockBytes { get; private set; } = 4096;

    /// <summary>Whether ranges can be turned into holes that read as zeros.</summary>
    public bool CanPunchHole { get; private set; }

    internal FileHandle File { get; }

    /// <summary>Opens and locks an image.</summary>
    /// <param name="path">Regular file or block device.</param>
    /// <param name="readOnly">Whether writing is refused.</param>
    /// <param name="direct">Whether to go past the page cache.</param>
    /// <exception cref="BlockImageException">With what is wrong and what mends it.</exception>
    public static BlockImage Open(string path, bool readOnly, DirectMode direct)
    {
        FileStatus status = StatusOf(path);
        int type = status.Mode & FileStatus.TypeMask;
        bool isDevice = type == FileStatus.TypeBlockDevice;
        if (!isDevice && type != FileStatus.TypeRegular)
        {
            throw new BlockImageException(BlockImageError.WrongType,
                $"{path} is neither a regular file nor a block device");
        }

        direct = Possible(path, direct, status, isDevice);
        FileHandle file = OpenFile(path, readOnly, direct, isDevice, out bool isDirect);
        var image = new BlockImage(path, file)
        {
            IsBlockDevice = isDevice,
            IsDirect = isDirect,
            IsReadOnly = readOnly,
        };
        try
        {
            image.Lock();
            image.RefreshSize();
            image.ReadProperties(status);
            return image;
        }
        catch
        {
            image.Dispose();
            throw;
        }
    }

    /// <summary>Reads the size anew: the image may have been grown from outside.</summary>
    /// <exception cref="BlockImageException">When the system does not tell.</exception>
    public unsafe long RefreshSize()
    {
        if (IsBlockDevice)
        {
            ulong size = 0;
            int result = Libc.Result(Libc.Ioctl(File.Fd, BlkGetSize64, &size));
            ThrowIfFailed(result, "ask the size of");
            SizeBytes = (long)size;
        }
        else
        {
            FileStatus status = default;
            byte empty = 0;
            int result = Libc.Result(Libc.Statx(
                File.Fd, &empty, FileStatus.EmptyPath, FileStatus.MaskBasic, &status));
            ThrowIfFailed(result, "ask the size of");
            SizeBytes = (long)status.Size;
        }

        return SizeBytes;
    }

    /// <summary>
    /// A number that changes when the disk behind an image is another one, or was taken away and has come
    /// back: its sequence number in the kernel. 0 where the system tells none (network and some virtual
    /// filesystems).
    /// </summary>
    /// <param name="path">Path of the image.</param>
    /// <exception cref="BlockImageException">Nothing is there.</exception>
    public static ulong BackingInstanceOf(string path)
    {
        FileStatus status = StatusOf(path);
        bool isDevice = (status.Mode & FileStatus.TypeMask) == FileStatus.TypeBlockDevice;
        string node = isDevice
            ? $"/sys/dev/block/{status.DeviceMajorOfNode}:{status.DeviceMinorOfNode}"
            : $"/sys/dev/block/{status.DeviceMajor}:{status.DeviceMinor}";
        Span<byte> text = stackalloc byte[32];

        // A partition has the number of its disk, one directory up.
        foreach (string name in (ReadOnlySpan<string>)["/diskseq", "/../diskseq"])
        {
            _ = FileHandle.TryOpen(node + name, FileAccess.Read, OpenOptions.None, out FileHandle? file);
            using (file)
            {
                int length = file?.ReadAt(text, 0) ?? 0;
                if (length > 0 && ulong.TryParse(text[..length].TrimEnd((byte)'\n'), out ulong number))
                {
                    return number;
                }
            }
        }

        return 0;
    }

    /// <summary>Sets the size of a regular file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="sizeBytes">New size; growing adds a hole.</param>
    /// <exception cref="BlockImageException">When the system refuses.</exception>
    public static void Resize(string path, long sizeBytes)
    {
        using FileHandle file = Opened(path, FileAccess.ReadWrite, OpenOptions.None);
        int result = Libc.Result(Libc.Truncate(file.Fd, sizeBytes));
        if (result < 0)
        {
            throw Failure(path, result, "resize");
        }
    }

    /// <summary>Whether a path names a regular file, which can be resized.</summary>
    /// <param name="path">The path.</param>
    /// <exception cref="BlockImageException">Nothing is there.</exception>
    public static bool IsRegularFile(string path) =>
        (StatusOf(path).Mode & FileStatus.TypeMask) == FileStatus.TypeRegular;

    /// <inheritdoc/>
    public void Dispose() => File.Dispose();

    private static FileHandle OpenFile(
        string path, bool readOnly, DirectMode direct, bool isDevice, out bool isDirect)
    {
        FileAccess access = readOnly ? FileAccess.Read : FileAccess.ReadWrite;
        OpenOptions options = isDevice ? OpenOptions.Exclusive : OpenOptions.None;
        isDirect = direct != DirectMode.Off;
        if (!isDirect)
        {
            return Opened(path, access, options);
        }

        int result = FileHandle.TryOpen(path, access, options | OpenOptions.Direct, out FileHandle? file);
        if (file is not null)
        {
            return file;
        }

        if (result != -Errno.EINVAL)
        {
            throw Failure(path, result, "open");
        }

        if (direct == DirectMode.On)
        {
            throw NotDirect(path);
        }

        isDirect = false;
        return Opened(path, access, options);
    }

    // A filesystem may take O_DIRECT and still tell, by an alignment of 0, that this file cannot do it.
    private static DirectMode Possible(
        string path, DirectMode wanted, in FileStatus status, bool isDevice)
    {
        bool isImpossible = !isDevice && (status.Mask & FileStatus.MaskDirectAlign) != 0 &&
            status.DirectOffsetAlign == 0;
        if (!isImpossible || wanted == DirectMode.Off)
        {
            return wanted;
        }

        return wanted == DirectMode.Auto ? DirectMode.Off : throw NotDirect(path);
    }

    private static BlockImageException NotDirect(string path) => new(BlockImageError.NotDirect,
        $"{path}: this filesystem cannot bypass the page cache (O_DIRECT); " +
        "use --direct off or another filesystem");

    private static FileHandle Opened(string path, FileAccess access, OpenOptions options)
    {
        int result = FileHandle.TryOpen(path, access, options, out FileHandle? file);
        return file ?? throw Failure(path, result, "open");
    }

    private static unsafe FileStatus StatusOf(string path)
    {
        FileStatus status = default;
        byte[] name = System.Text.Encoding.UTF8.GetBytes(path + '\0');
        int result;
        fixed (byte* pointer = name)
        {
            result = Libc.Result(Libc.Statx(Libc.CurrentDirectory, pointer, 0,
                FileStatus.MaskBasic | FileStatus.MaskDirectAlign, &status));
        }

        return result < 0 ? throw Failure(path, result, "open") : status;
    }

    private static BlockImageException Failure(string path, int result, string verb)
    {
        string cause = $"cannot {verb} {path}: {Errno.Describe(result)}";
        return -result switch
        {
            Errno.ENOENT => new(BlockImageError.Missing,
                $"{path} does not exist; create it first, for example: truncate -s 10G {path}"),
            Errno.EACCES or Errno.EPERM => new(BlockImageError.NoPermission, cause),
            Errno.EROFS => new(BlockImageError.NoPermission, $"{cause}; use --read-only"),
            Errno.EBUSY => new(BlockImageError.Busy, $"{path} is in use (mounted or held exclusively)"),
            Errno.ENOSPC or Errno.EDQUOT => new(BlockImageError.NoSpace, cause),
            _ => new(BlockImageError.Failed, cause),
        };
    }

    private void ThrowIfFailed(int result, string verb)
    {
        if (result < 0)
        {
            throw Failure(Path, result, verb);
        }
    }

    private void Lock()
    {
        int result = Libc.Result(Libc.FileLock(File.Fd, LockExclusive | LockNonBlocking));
        if (result == -Errno.EAGAIN)
        {
            throw new BlockImageException(BlockImageError.Busy,
                $"{Path} is locked by another process (is it attached already? see: qublk local list)");
        }

        ThrowIfFailed(result, "lock");
    }

    private unsafe void ReadProperties(in FileStatus status)
    {
        if (IsBlockDevice)
        {
            int sector = 0, physical = 0, readOnly = 0;
            ThrowIfFailed(Libc.Result(Libc.Ioctl(File.Fd, BlkSectorSize, &sector)), "inspect");
            ThrowIfFailed(Libc.Result(Libc.Ioctl(File.Fd, BlkPhysicalSectorSize, &physical)), "inspect");
            ThrowIfFailed(Libc.Result(Libc.Ioctl(File.Fd, BlkReadOnly, &readOnly)), "inspect");
            PhysicalBlockBytes = Math.Max(physical, sector);
            DirectAlignBytes = IsDirect ? sector : 1;
            MemoryAlignBytes = IsDirect ? SectorBytes : 1;
            if (readOnly != 0 && !IsReadOnly)
            {
                throw new BlockImageException(
                    BlockImageError.NoPermission, $"{Path} is read-only; use --read-only");
            }
        }
        else if (IsDirect)
        {
            // A filesystem that tells no alignment (before 6.1) works with its logical sectors.
            bool isTold = (status.Mask & FileStatus.MaskDirectAlign) != 0;
            DirectAlignBytes = isTold ? (int)status.DirectOffsetAlign : SectorBytes;
            MemoryAlignBytes = isTold ? (int)status.DirectMemoryAlign : SectorBytes;
            PhysicalBlockBytes = Math.Max(PhysicalBlockBytes, DirectAlignBytes);
        }

        CanPunchHole = !IsReadOnly && ProbePunchHole();
    }

    // Behind the end of a file there is nothing to punch, so the question changes nothing. A block
    // device has no such place; sysfs tells there.
    private bool ProbePunchHole()
    {
        if (!IsBlockDevice)
        {
            const long Page = 4096;
            long end = (SizeBytes + Page - 1) / Page * Page;
            return Libc.Fallocate(File.Fd,
                (int)(FallocateModes.PunchHole | FallocateModes.KeepSize), end, Page) == 0;
        }

        FileStatus status = StatusOf(Path);
        string queue =
            $"/sys/dev/block/{status.DeviceMajorOfNode}:{status.DeviceMinorOfNode}/queue";
        try
        {
            string text = System.IO.File.ReadAllText($"{queue}/write_zeroes_max_bytes");
            return long.TryParse(text.Trim(), out long bytes) && bytes > 0;
        }
        catch (IOException)
        {
            return false; // A partition has no queue directory of its own; it goes without discard.
        }
    }
}

/// <summary>Why an image cannot be used.</summary>
public enum BlockImageError
{
    /// <summary>Another failure; the message has the system's words.</summary>
    Failed,
    /// <summary>No such file.</summary>
    Missing,
    /// <summary>Not a file or block device.</summary>
    WrongType,
    /// <summary>No permission, or read-only.</summary>
    NoPermission,
    /// <summary>Locked, mounted or held by another.</summary>
    Busy,
    /// <summary>O_DIRECT is not possible.</summary>
    NotDirect,
    /// <summary>No space.</summary>
    NoSpace,
    /// <summary>The size is no whole number of blocks, or zero.</summary>
    WrongSize,
}

/// <summary>An image cannot be used; the message says why and what mends it.</summary>
/// <param name="error">Kind.</param>
/// <param name="message">For people.</param>
public sealed class BlockImageException(BlockImageError error, string message) : IOException(message)
{
    /// <summary>Kind.</summary>
    public BlockImageError Error { get; } = error;
}
