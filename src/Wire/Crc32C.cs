using System.Numerics;
using System.Runtime.InteropServices;

namespace Ublk.Wire;

/// <summary>
/// CRC-32C (Castagnoli), the checksum of payloads and of everything durable: by the processor's own
/// instruction where it has one, otherwise by table; the same value either way.
/// </summary>
public static class Crc32C
{
    /// <summary>The checksum of some bytes; 0 of none.</summary>
    /// <param name="data">The bytes.</param>
    public static uint Compute(ReadOnlySpan<byte> data) => Append(0, data);

    /// <summary>
    /// The checksum of bytes that follow others: <c>Append(Compute(a), b)</c> is that of a and b together.
    /// </summary>
    /// <param name="crc">Checksum of what came before; 0 for nothing.</param>
    /// <param name="data">The bytes that follow.</param>
    public static uint Append(uint crc, ReadOnlySpan<byte> data)
    {
        crc = ~crc;
        ReadOnlySpan<ulong> words = MemoryMarshal.Cast<byte, ulong>(data); // Little endian, as we run.
        foreach (ulong word in words)
        {
            crc = BitOperations.Crc32C(crc, word);
        }

        foreach (byte value in data[(sizeof(ulong) * words.Length)..])
        {
            crc = BitOperations.Crc32C(crc, value);
        }

        return ~crc;
    }
}
