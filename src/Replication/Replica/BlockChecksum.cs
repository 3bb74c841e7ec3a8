using System.Runtime.InteropServices;
using Ublk.Wire;

namespace Ublk.Replication.Replica;

/// <summary>
/// The checksum of a block of 4 KiB as a replica keeps it: CRC-32C of its bytes, exclusive-or that of 4 KiB
/// of zeros. So a block of zeros has 0, a shorter block is as if zeros followed, and the checksum is linear:
/// that of a change, old bytes exclusive-or new ones and zeros around them, turns the old checksum into the
/// new one. A part of a block is written without looking at the rest of it, and a block that was damaged
/// before stays recognizably damaged.
/// </summary>
internal static class BlockChecksum
{
    /// <summary>Bytes of a block.</summary>
    public const int BlockBytes = 4096;

    /// <summary>
    /// Nothing is known of the block: whatever is read there matches. One block in 2^32 has it by chance.
    /// </summary>
    public const uint Unknown = uint.MaxValue;

    private static readonly uint s_ofZeros = Crc32C.Compute(new byte[BlockBytes]);

    /// <summary>The checksum of a block.</summary>
    /// <param name="bytes">Its bytes; as if zeros followed where they are fewer.</param>
    public static uint Of(ReadOnlySpan<byte> bytes)
    {
        if (!bytes.ContainsAnyExcept((byte)0))
        {
            return 0; // Much of most volumes.
        }

        if (bytes.Length == BlockBytes)
        {
            return Crc32C.Compute(bytes) ^ s_ofZeros;
        }

        Span<byte> block = stackalloc byte[BlockBytes];
        bytes.CopyTo(block);
        block[bytes.Length..].Clear();
        return Crc32C.Compute(block) ^ s_ofZeros;
    }

    /// <summary>The checksum of a change of a part of a block.</summary>
    /// <param name="old">Old bytes of the part.</param>
    /// <param name="changed">New bytes; zeros where there are none.</param>
    /// <param name="start">Start of the part within its block.</param>
    public static uint OfChange(ReadOnlySpan<byte> old, ReadOnlySpan<byte> changed, int start)
    {
        Span<byte> block = stackalloc byte[BlockBytes];
        block.Clear();
        Span<byte> part = block.Slice(start, old.Length);
        old.CopyTo(part);
        if (!changed.IsEmpty)
        {
            Span<ulong> words = MemoryMarshal.Cast<byte, ulong>(part);
            ReadOnlySpan<ulong> with = MemoryMarshal.Cast<byte, ulong>(changed);
            for (int i = 0; i < words.Length; i++)
            {
                words[i] ^= with[i];
            }
        }

        return Crc32C.Compute(block) ^ s_ofZeros;
    }

    /// <summary>Whether bytes are what a block should hold, or nothing is known against them.</summary>
    /// <param name="kept">What is kept for the block.</param>
    /// <param name="bytes">Its bytes.</param>
    public static bool Matches(uint kept, ReadOnlySpan<byte> bytes) =>
        kept == Unknown || Of(bytes) == kept;
}
