using System.Buffers;
using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Ublk.Wire;

/// <summary>
/// CRC32C (Castagnoli) of payloads, as in iSCSI, SCTP and ext4: reflected polynomial 0x82f63b78, begins and
/// ends inverted. At the speed of memory: the processor's instruction has to wait for its own result, so
/// three stretches are computed at once and put together.
/// </summary>
public static class Crc32C
{
    // Length of one of three stretches: three make up all but 64 bytes of a 4 KiB block, and so also the part
    // of a record of metadata that lies behind its own checksum.
    internal const int StretchBytes = 1344;

    // x to the power of (8 × bytes − 33) modulo the polynomial: moves a checksum over that many bytes.
    internal const uint OverOneStretch = 0xc9c8b782, OverTwoStretches = 0x889774e1;

    /// <summary>The checksum.</summary>
    /// <param name="bytes">The payload; 0 comes out of none.</param>
    public static uint Compute(ReadOnlySpan<byte> bytes) => Append(0, bytes);

    /// <summary>The checksum of bytes that lie in pieces.</summary>
    /// <param name="bytes">The payload.</param>
    public static uint Compute(in ReadOnlySequence<byte> bytes)
    {
        uint checksum = 0;
        foreach (ReadOnlyMemory<byte> piece in bytes)
        {
            checksum = Append(checksum, piece.Span);
        }

        return checksum;
    }

    /// <summary>The checksum of what was before and more bytes.</summary>
    /// <param name="checksum">Checksum of what was before; 0 at the beginning.</param>
    /// <param name="bytes">More.</param>
    public static uint Append(uint checksum, ReadOnlySpan<byte> bytes)
    {
        uint state = ~checksum;
        if (Sse42.X64.IsSupported && Pclmulqdq.IsSupported)
        {
            while (bytes.Length >= 3 * StretchBytes)
            {
                state = ThreeStretches(state, bytes);
                bytes = bytes[(3 * StretchBytes)..];
            }
        }

        return ~OneByOne(state, bytes);
    }

    /// <summary>
    /// The plain way: the processor's instruction where there is one, else a table, as BitOperations does it.
    /// </summary>
    internal static uint OneByOne(uint state, ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length >= sizeof(ulong))
        {
            state = BitOperations.Crc32C(state, BinaryPrimitives.ReadUInt64LittleEndian(bytes));
            bytes = bytes[sizeof(ulong)..];
        }

        foreach (byte value in bytes)
        {
            state = BitOperations.Crc32C(state, value);
        }

        return state;
    }

    private static uint ThreeStretches(uint state, ReadOnlySpan<byte> bytes)
    {
        ReadOnlySpan<byte> first = bytes[..StretchBytes];
        ReadOnlySpan<byte> second = bytes.Slice(StretchBytes, StretchBytes);
        ReadOnlySpan<byte> third = bytes.Slice(2 * StretchBytes, StretchBytes);
        ulong a = state, b = 0, c = 0;
        for (int i = 0; i <= StretchBytes - sizeof(ulong); i += sizeof(ulong))
        {
            a = Sse42.X64.Crc32(a, BinaryPrimitives.ReadUInt64LittleEndian(first[i..]));
            b = Sse42.X64.Crc32(b, BinaryPrimitives.ReadUInt64LittleEndian(second[i..]));
            c = Sse42.X64.Crc32(c, BinaryPrimitives.ReadUInt64LittleEndian(third[i..]));
        }

        return Move((uint)a, OverTwoStretches) ^ Move((uint)b, OverOneStretch) ^ (uint)c;
    }

    // The product of two checksums, brought back to 32 bits by the checksum instruction itself.
    private static uint Move(uint state, uint distance)
    {
        Vector128<ulong> product = Pclmulqdq.CarrylessMultiply(
            Vector128.CreateScalar((ulong)state), Vector128.CreateScalar((ulong)distance), 0);
        return (uint)Sse42.X64.Crc32(0, product.ToScalar());
    }
}
