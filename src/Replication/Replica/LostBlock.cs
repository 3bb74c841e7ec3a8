using System.Buffers.Binary;
using Ublk.Wire;

namespace Ublk.Replication.Replica;

/// <summary>
/// What is written in place of a block of 4 KiB whose bytes are lost: so nothing older is there to be taken
/// for it, not even by who does not know its checksum any more, and not by who looks at the image itself.
/// Each sector of 512 bytes says so for itself, because a part of the block may be written later:
/// <code>
/// offset size
///   0  16  "UBLK LOST BLOCK", zero
///  16   8  offset of the block in the volume, little endian
///  24   4  the checksum of what was lost (<see cref="BlockChecksum"/>)
///  28   4  CRC-32C of the 28 bytes before
///  32      zero
/// </code>
/// </summary>
internal static class LostBlock
{
    private const int SectorBytes = 512;
    private const int OffsetAt = 16;
    private const int ChecksumAt = 24;
    private const int CrcAt = 28;
    private const int HeadBytes = 32;

    private static ReadOnlySpan<byte> Magic => "UBLK LOST BLOCK\0"u8;

    /// <summary>Fills a block.</summary>
    /// <param name="block">Its bytes, whole sectors.</param>
    /// <param name="offsetBytes">Its start in the volume.</param>
    /// <param name="checksum">Of what was lost.</param>
    public static void Fill(Span<byte> block, long offsetBytes, uint checksum)
    {
        block.Clear();
        for (; !block.IsEmpty; block = block[SectorBytes..])
        {
            WriteHead(block, offsetBytes, checksum);
        }
    }

    /// <summary>Whether anything of a block is lost.</summary>
    /// <param name="block">Its bytes.</param>
    /// <param name="offsetBytes">Its start in the volume.</param>
    /// <param name="checksum">Of what was lost.</param>
    public static bool Is(ReadOnlySpan<byte> block, long offsetBytes, out uint checksum)
    {
        checksum = 0;
        Span<byte> head = stackalloc byte[HeadBytes];
        for (; block.Length >= SectorBytes; block = block[SectorBytes..])
        {
            if (block.StartsWith(Magic))
            {
                checksum = BinaryPrimitives.ReadUInt32LittleEndian(block[ChecksumAt..]);
                WriteHead(head, offsetBytes, checksum);
                if (block[..HeadBytes].SequenceEqual(head))
                {
                    return true;
                }
            }
        }

        return false;
    }

    private static void WriteHead(Span<byte> head, long offsetBytes, uint checksum)
    {
        Magic.CopyTo(head);
        BinaryPrimitives.WriteInt64LittleEndian(head[OffsetAt..], offsetBytes);
        BinaryPrimitives.WriteUInt32LittleEndian(head[ChecksumAt..], checksum);
        BinaryPrimitives.WriteUInt32LittleEndian(head[CrcAt..], Crc32C.Compute(head[..CrcAt]));
    }
}
