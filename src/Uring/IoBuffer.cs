using System.Runtime.CompilerServices;

namespace Ublk.Uring;

/// <summary>
/// Where the bytes of one operation lie: plain memory, memory that is also registered in the loop's
/// buffer table, or only a registered buffer (a ublk request's own pages, which have no address here).
/// 16 bytes, passed by value. It owns nothing: who allocated the memory keeps it alive.
/// </summary>
public readonly unsafe struct IoBuffer
{
    private const int NoIndex = -1;

    private readonly ulong _address;
    private readonly int _length;
    private readonly short _kind;
    private readonly ushort _index;

    private IoBuffer(ulong address, int length, short kind, ushort index)
    {
        _address = address;
        _length = length;
        _kind = kind;
        _index = index;
    }

    private const short Plain = 0;
    private const short RegisteredMemory = 1;
    private const short RegisteredOnly = 2;

    /// <summary>Length in bytes.</summary>
    public int LengthBytes => _length;

    /// <summary>Whether the process can see the bytes (not so for a ublk request's own pages).</summary>
    public bool IsMemory => _kind != RegisteredOnly;

    /// <summary>Index in the loop's buffer table, or −1.</summary>
    public int TableIndex => _kind == Plain ? NoIndex : _index;

    /// <summary>The bytes.</summary>
    /// <exception cref="InvalidOperationException">When they are not memory of this process.</exception>
    public Span<byte> Span => IsMemory
        ? new Span<byte>((void*)_address, _length)
        : throw new InvalidOperationException("a registered request buffer has no address here");

    /// <summary>Address, or byte offset inside a registered-only buffer: what an entry carries.</summary>
    internal ulong Address => _address;

    /// <summary>A buffer that only the kernel can reach, through the loop's table.</summary>
    /// <param name="tableIndex">Index in the table.</param>
    /// <param name="lengthBytes">Usable length in bytes, from offset 0.</param>
    public static IoBuffer Registered(ushort tableIndex, int lengthBytes) =>
        new(0, lengthBytes, RegisteredOnly, tableIndex);

    /// <summary>The same memory, known to the loop's table under an index.</summary>
    /// <param name="tableIndex">Index under which the enclosing mapping is registered.</param>
    /// <exception cref="InvalidOperationException">It is no memory of this process.</exception>
    public IoBuffer WithTableIndex(ushort tableIndex) => IsMemory
        ? new(_address, _length, RegisteredMemory, tableIndex)
        : throw new InvalidOperationException("a registered request buffer has a place already");

    /// <summary>A part of the buffer.</summary>
    /// <param name="offsetBytes">Start of the part.</param>
    /// <param name="lengthBytes">Length of the part.</param>
    public IoBuffer Slice(int offsetBytes, int lengthBytes)
    {
        if ((uint)offsetBytes > (uint)_length || (uint)lengthBytes > (uint)(_length - offsetBytes))
        {
            throw new ArgumentOutOfRangeException(nameof(offsetBytes));
        }

        return new IoBuffer(_address + (uint)offsetBytes, lengthBytes, _kind, _index);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static IoBuffer OfMemory(byte* pointer, int lengthBytes) =>
        new((ulong)pointer, lengthBytes, Plain, 0);
}
