using Ublk.Replication.State;
using Ublk.Uring;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Replica;

/// <summary>A read for somebody else: of bytes, of digests, or of blocks one run after the other.</summary>
internal struct PeerRead
{
    public int Session;
    public MessageKind Kind;
    public Epoch Epoch;
    public RequestId Id;
    public long Offset;
    public int Length;
    public int Unit;
    public bool IsRepair;
    public ulong Position;
    public ulong Needed;
    public ulong[]? Wanted;
    public long RangeStart;
    public long RangeEnd;
    public IoBuffer Buffer;
    public IoBuffer Digests;
    public int Read;
    public int Hashed;

    /// <summary>Turns to the next wanted blocks in a row.</summary>
    /// <param name="from">From an offset in the range on.</param>
    /// <returns>Whether there are any.</returns>
    public bool TryNextRun(long from)
    {
        const int Block = MessageLimits.CopyBlockBytes;
        int blocks = (int)((RangeEnd - RangeStart + Block - 1) / Block);
        int first = (int)((from + Block - 1) / Block);
        while (first < blocks && !BlockBits.Has(Wanted!, first))
        {
            first++;
        }

        int end = first;
        while (end < blocks && BlockBits.Has(Wanted!, end))
        {
            end++;
        }

        Offset = RangeStart + (long)first * Block;
        Length = (int)(Math.Min(RangeEnd, RangeStart + (long)end * Block) - Offset);
        return end > first;
    }
}
