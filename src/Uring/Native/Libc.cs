using System.Runtime.InteropServices;

namespace Ublk.Uring.Native;

/// <summary>
/// Every system call of the product. Nothing is marked SuppressGCTransition: a call that blocks in that
/// mode would stop a garbage collection, and the gain is not measurable.
/// </summary>
internal static unsafe partial class Libc
{
    private const long SysIoUringSetup = 425;
    private const long SysIoUringEnter = 426;
    private const long SysIoUringRegister = 427;

    public const int ReadOnly = 0;
    public const int ReadWrite = 2;
    public const int Exclusive = 0x80;
    public const int Direct = 0x4000;
    public const int CloseOnExec = 0x80000;
    public const int NonBlocking = 0x800;

    /// <summary>F_GETFL and F_SETFL of fcntl(2).</summary>
    public const int GetFlags = 3;
    public const int SetFlags = 4;

    /// <summary>AT_FDCWD: relative paths start at the working directory.</summary>
    public const int CurrentDirectory = -100;

    /// <summary>SEEK_DATA and SEEK_HOLE of lseek(2).</summary>
    public const int SeekData = 3;
    public const int SeekHole = 4;

    public const int ProtectRead = 1;
    public const int ProtectWrite = 2;
    public const int MapShared = 1;
    public const int MapPrivate = 2;
    public const int MapAnonymous = 0x20;
    public const int MapPopulate = 0x8000;

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial long SystemCall(long number, long a, long b, long c, long d, long e, long f);

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true)]
    private static partial int OpenRaw(byte* path, int flags, uint mode);

    [LibraryImport("libc", EntryPoint = "close")]
    public static partial int Close(int fd);

    [LibraryImport("libc", EntryPoint = "mmap64", SetLastError = true)]
    public static partial nint Map(
        nint address, nuint length, int protection, int flags, int fd, long offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    public static partial int Unmap(nint address, nuint length);

    [LibraryImport("libc", EntryPoint = "madvise", SetLastError = true)]
    public static partial int Advise(nint address, nuint length, int advice);

    [LibraryImport("libc", EntryPoint = "mlock", SetLastError = true)]
    public static partial int Lock(nint address, nuint length);

    [LibraryImport("libc", EntryPoint = "mlockall", SetLastError = true)]
    public static partial int LockAll(int flags);

    [LibraryImport("libc", EntryPoint = "pread64", SetLastError = true)]
    public static partial nint PRead(int fd, void* buffer, nuint length, long offset);

    [LibraryImport("libc", EntryPoint = "pwrite64", SetLastError = true)]
    public static partial nint PWrite(int fd, void* buffer, nuint length, long offset);

    [LibraryImport("libc", EntryPoint = "lseek64", SetLastError = true)]
    public static partial long Seek(int fd, long offset, int whence);

    [LibraryImport("libc", EntryPoint = "eventfd", SetLastError = true)]
    public static partial int EventFd(uint initial, int flags);

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    public static partial nint Write(int fd, void* buffer, nuint length);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    public static partial int Ioctl(int fd, nuint request, void* argument);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    public static partial int FileControl(int fd, int command, nint argument);

    [LibraryImport("libc", EntryPoint = "flock", SetLastError = true)]
    public static partial int FileLock(int fd, int operation);

    [LibraryImport("libc", EntryPoint = "fallocate64", SetLastError = true)]
    public static partial int Fallocate(int fd, int mode, long offset, long length);

    [LibraryImport("libc", EntryPoint = "ftruncate64", SetLastError = true)]
    public static partial int Truncate(int fd, long length);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    public static partial int Sync(int fd);

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true)]
    public static partial int Statx(int fd, byte* path, int flags, uint mask, FileStatus* status);

    [LibraryImport("libc", EntryPoint = "prctl", SetLastError = true)]
    public static partial int ProcessControl(int option, nuint a, nuint b, nuint c, nuint d);

    [LibraryImport("libc", EntryPoint = "sched_setaffinity", SetLastError = true)]
    public static partial int SetAffinity(int thread, nuint size, ulong* mask);

    [LibraryImport("libc", EntryPoint = "execve", SetLastError = true)]
    public static partial int Execute(byte* path, byte** arguments, byte** environment);

    [LibraryImport("libc", EntryPoint = "setsid", SetLastError = true)]
    public static partial int NewSession();

    [LibraryImport("libc", EntryPoint = "geteuid")]
    public static partial uint EffectiveUser();

    public static int LastError => -Marshal.GetLastPInvokeError();

    /// <summary>Result of a call that answers −1 with errno: the value, or −errno.</summary>
    public static int Result(int value) => value == -1 ? LastError : value;

    /// <summary>The value of a call, or an exception with what was tried.</summary>
    public static int Check(string what, int value) =>
        value == -1 ? throw new SystemCallException(what, LastError) : value;

    public static int RingSetup(uint entries, void* parameters) =>
        (int)Checked(SystemCall(SysIoUringSetup, entries, (long)parameters, 0, 0, 0, 0));

    public static int RingEnter(int fd, uint submit, uint wait, uint flags, void* argument, nuint size) =>
        (int)Checked(SystemCall(
            SysIoUringEnter, fd, submit, wait, flags, (long)argument, (long)size));

    public static int RingRegister(int fd, uint opcode, void* argument, uint count) =>
        (int)Checked(SystemCall(SysIoUringRegister, fd, opcode, (long)argument, count, 0, 0));

    public static int Open(string path, int flags, uint mode = 0)
    {
        nint text = Marshal.StringToCoTaskMemUTF8(path);
        try
        {
            return Result(OpenRaw((byte*)text, flags | CloseOnExec, mode));
        }
        finally
        {
            Marshal.FreeCoTaskMem(text);
        }
    }

    private static long Checked(long value) => value == -1 ? LastError : value;
}

/// <summary><c>struct statx</c>, 256 bytes; the members in use.</summary>
[StructLayout(LayoutKind.Explicit, Size = 256)]
internal struct FileStatus
{
    public const uint MaskBasic = 0x7FF;
    public const uint MaskDirectAlign = 0x2000;
    public const int EmptyPath = 0x1000;
    public const ushort TypeMask = 0xF000;
    public const ushort TypeBlockDevice = 0x6000;
    public const ushort TypeRegular = 0x8000;

    [FieldOffset(0)] public uint Mask;
    [FieldOffset(28)] public ushort Mode;
    [FieldOffset(40)] public ulong Size;
    [FieldOffset(48)] public ulong Blocks;
    [FieldOffset(128)] public uint DeviceMajorOfNode;
    [FieldOffset(132)] public uint DeviceMinorOfNode;
    [FieldOffset(136)] public uint DeviceMajor;
    [FieldOffset(140)] public uint DeviceMinor;
    [FieldOffset(152)] public uint DirectMemoryAlign;
    [FieldOffset(156)] public uint DirectOffsetAlign;
}
