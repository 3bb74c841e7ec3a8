using System.Buffers.Binary;
using Ublk.Wire.Ids;

namespace Ublk.Replication.Replica;

/// <summary>
/// What stands in place of the digest of a block that is not what was written: zeros, and at the end the
/// checksum of what was written. A digest that happens to begin with so many zeros is one in 2^96.
/// </summary>
internal static class CorruptDigest
{
    private const int ZeroBytes = Digest.SizeBytes - sizeof(uint);

    /// <summary>Writes it.</summary>
    /// <param name="digest">16 bytes.</param>
    /// <param name="kept">What is kept for the block (<see cref="BlockChecksum"/>).</param>
    public static void Write(Span<byte> digest, uint kept)
    {
        digest[..ZeroBytes].Clear();
        BinaryPrimitives.WriteUInt32BigEndian(digest[ZeroBytes..], kept);
    }

    /// <summary>Whether a digest is none.</summary>
    /// <param name="digest">16 bytes.</param>
    /// <param name="kept">The checksum of what was written.</param>
    public static bool Is(ReadOnlySpan<byte> digest, out uint kept)
    {
        kept = BinaryPrimitives.ReadUInt32BigEndian(digest[ZeroBytes..]);
        return digest[..ZeroBytes].IndexOfAnyExcept((byte)0) < 0;
    }
}
