using Ublk.Uring;

namespace Ublk.Replication.Replica;

/// <summary>What is done to an image with checksums.</summary>
internal enum ChecksumVerb : byte
{
    None,
    Read,
    Write,
    Zero,
    /// <summary>Nothing is known of a block but its checksum.</summary>
    Expect,
}

/// <summary>
/// An operation on an image with checksums. The blocks at its ends may be touched in part only: they are its
/// edges, 0 at the start and 1 at the end; one block alone is edge 0.
/// </summary>
internal struct ChecksumOperation
{
    private const int Block = BlockChecksum.BlockBytes;

    public ChecksumVerb Verb;
    public bool KeepsSpace;
    public bool IsBefore;
    public int Parts;
    public int Result;
    public int MainBytes;
    public int FirstEdgeBytes;
    public int LastEdgeBytes;
    public ulong Io;
    public ulong Place;
    public long Offset;
    public long Length;
    public long At;
    public long SizeBytes;
    public IoBuffer Bytes;
    public uint Expected;
    public Dictionary<long, uint>? Bad;

    public readonly long FirstBlock => Offset / Block;

    public readonly long EndBlock => (Offset + Length + Block - 1) / Block;

    // Which edge a block is: 0 at the start, 1 at the end, −1 where all of it is touched.
    public readonly int EdgeOf(long block)
    {
        bool isCut = Offset > block * Block ||
            Offset + Length < Math.Min((block + 1) * Block, SizeBytes);
        return !isCut ? -1 : block == FirstBlock ? 0 : 1;
    }

    // The touched part of the block at an edge.
    public readonly bool TryEdge(int edge, out long start, out int length)
    {
        long block = edge == 0 ? FirstBlock : EndBlock - 1;
        start = Math.Max(Offset, block * Block);
        length = (int)(Math.Min(Offset + Length, (block + 1) * Block) - start);
        return EdgeOf(block) == edge;
    }

    // Without the edges.
    public readonly (long OffsetBytes, int LengthBytes) Middle()
    {
        long start = TryEdge(0, out _, out int first) ? Offset + first : Offset;
        long end = Offset + Length;
        end -= TryEdge(1, out _, out int last) ? last : 0;
        return (start, (int)(end - start));
    }
}
