using System.Runtime.InteropServices;

namespace Ublk.Uring.Native;

/// <summary>
/// Owner of one mapping: anonymous page-aligned memory, or a window on a file or device. The address is
/// stable for the mapping's life, so the kernel may hold it while operations are in flight; the owner of
/// those operations keeps the mapping alive.
/// </summary>
public sealed unsafe class MemoryMapping : SafeHandle
{
    private const int AdviceDontFork = 10;

    private MemoryMapping(nint address, nuint length) : base(nint.Zero, ownsHandle: true)
    {
        SetHandle(address);
        LengthBytes = checked((long)length);
    }

    /// <summary>Length of the mapping in bytes.</summary>
    public long LengthBytes { get; }

    /// <inheritdoc/>
    public override bool IsInvalid => handle == nint.Zero;

    internal byte* Pointer
    {
        get
        {
            ObjectDisposedException.ThrowIf(IsClosed, this);
            return (byte*)handle;
        }
    }

    /// <summary>Private zeroed memory, page aligned, kept out of forked children.</summary>
    /// <param name="lengthBytes">Length, rounded up to a page by the kernel.</param>
    /// <param name="populate">Fault every page in now, so that no request pays for it.</param>
    /// <exception cref="SystemCallException">When the kernel refuses.</exception>
    public static MemoryMapping Allocate(long lengthBytes, bool populate = false)
    {
        int flags = Libc.MapPrivate | Libc.MapAnonymous | (populate ? Libc.MapPopulate : 0);
        MemoryMapping mapping = Create(
            lengthBytes, Libc.ProtectRead | Libc.ProtectWrite, flags, -1, 0, "memory");
        _ = Libc.Advise(mapping.handle, (nuint)lengthBytes, AdviceDontFork);
        return mapping;
    }

    /// <summary>A shared window on a file or device.</summary>
    /// <param name="file">The open file.</param>
    /// <param name="offsetBytes">Offset, a multiple of the page size.</param>
    /// <param name="lengthBytes">Length in bytes.</param>
    /// <param name="writable">Whether stores through the mapping are wanted.</param>
    /// <exception cref="SystemCallException">When the kernel refuses.</exception>
    public static MemoryMapping Open(
        FileHandle file, long offsetBytes, long lengthBytes, bool writable)
    {
        int protection = Libc.ProtectRead | (writable ? Libc.ProtectWrite : 0);
        return Create(
            lengthBytes, protection, Libc.MapShared | Libc.MapPopulate, file.Fd, offsetBytes, "file");
    }

    /// <summary>Maps part of a ring.</summary>
    internal static MemoryMapping OpenRing(int ringFd, long offsetBytes, long lengthBytes) =>
        Create(lengthBytes, Libc.ProtectRead | Libc.ProtectWrite, Libc.MapShared | Libc.MapPopulate,
            ringFd, offsetBytes, "ring");

    /// <summary>The whole mapping; for mappings below 2 GiB.</summary>
    public Span<byte> Bytes => new(Pointer, checked((int)LengthBytes));

    /// <summary>A reference to a structure inside the mapping, bounds checked.</summary>
    /// <typeparam name="T">Blittable type.</typeparam>
    /// <param name="offsetBytes">Offset of the structure.</param>
    public ref T At<T>(long offsetBytes) where T : unmanaged
    {
        if (offsetBytes < 0 || offsetBytes > LengthBytes - sizeof(T))
        {
            throw new ArgumentOutOfRangeException(nameof(offsetBytes));
        }

        return ref *(T*)(Pointer + offsetBytes);
    }

    /// <summary>A part of the mapping as an I/O buffer of plain memory.</summary>
    /// <param name="offsetBytes">Offset of the part.</param>
    /// <param name="lengthBytes">Length of the part.</param>
    public IoBuffer Slice(long offsetBytes, int lengthBytes)
    {
        if (offsetBytes < 0 || lengthBytes < 0 || offsetBytes > LengthBytes - lengthBytes)
        {
            throw new ArgumentOutOfRangeException(nameof(offsetBytes));
        }

        return IoBuffer.OfMemory(Pointer + offsetBytes, lengthBytes);
    }

    /// <summary>Keeps the pages in memory; answers 0 or −errno (ENOMEM: RLIMIT_MEMLOCK).</summary>
    public int Lock() =>
        Libc.Result(Libc.Lock((nint)Pointer, (nuint)LengthBytes));

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => Libc.Unmap(handle, (nuint)LengthBytes) == 0;

    private static MemoryMapping Create(
        long lengthBytes, int protection, int flags, int fd, long offset, string what)
    {
        nint address = Libc.Map(0, (nuint)lengthBytes, protection, flags, fd, offset);
        return address == -1
            ? throw new SystemCallException($"map {lengthBytes} bytes of {what}", Libc.LastError)
            : new MemoryMapping(address, (nuint)lengthBytes);
    }
}
