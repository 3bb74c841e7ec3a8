using System.IO.Hashing;
using Ublk.Wire.Messages;

namespace Ublk.Replication.State;

/// <summary>What replicas compare instead of bytes: XxHash128 of them.</summary>
internal static class BlockDigest
{
    private static readonly byte[] s_ofZeros = XxHash128.Hash(new byte[MessageLimits.CopyBlockBytes]);

    /// <summary>Writes a digest. Much of most volumes is zeros, whose digest is known.</summary>
    /// <param name="bytes">Whose digest: of a block of 4 KiB, or of more.</param>
    /// <param name="digest">Where it goes, 16 bytes.</param>
    public static void Put(ReadOnlySpan<byte> bytes, Span<byte> digest)
    {
        if (bytes.Length == MessageLimits.CopyBlockBytes && !bytes.ContainsAnyExcept((byte)0))
        {
            s_ofZeros.CopyTo(digest);
        }
        else
        {
            XxHash128.Hash(bytes, digest);
        }
    }
}
