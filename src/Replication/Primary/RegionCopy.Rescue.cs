using Ublk.Replication.Replica;
using Ublk.Replication.State;
using Ublk.Uring;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Primary;

/// <content>
/// Blocks that the source cannot read as they were written. It knows their checksum; whoever has bytes that
/// match it has what was written, and from there everybody gets it. Where nobody has, everybody gets the
/// checksum alone: the block is unreadable then until the host writes it, instead of showing something older,
/// and whoever comes later with the right bytes brings it back.
/// </content>
internal sealed partial class RegionCopy
{
    private readonly List<CorruptBlock> _corrupt = [];
    private readonly Dictionary<int, int> _authorityOf = [];
    private readonly Dictionary<int, byte[]> _found = [];
    private ReplicaMask _authorities;
    private ReplicaMask _tried;
    private ReplicaMask _overlayTried;
    private int _overlaySource;
    private int _rescued;

    /// <summary>Whom a corrupt block is asked of now; −1 for nobody.</summary>
    public int Rescuer { get; private set; } = -1;

    private bool IsRescuing => Rescuer >= 0;

    /// <summary>Whether nothing can be decided without a replica's digests.</summary>
    /// <param name="place">Its place.</param>
    public bool MustBeRead(int place) => place == Source || _authorities.Has(place);

    /// <summary>Who was asked for a block in place of the source does not have it.</summary>
    public void OnNotRescued()
    {
        _owner.EndBlocks(this);
        Rescuer = -1;
        RescueNext();
    }

    /// <summary>Who was to tell what it alone has of an operation cannot read that right any more.</summary>
    public void OnCorruptOverlay()
    {
        Overlay overlay = _overlays[_nextOverlay - 1];
        _overlayTried = _overlayTried.With(_overlaySource);
        int next = overlay.Holders.FirstOutside(_overlayTried, -1);
        if (next >= 0)
        {
            _overlaySource = next;
            _owner.AskOverlay(this, overlay, next);
            return;
        }

        // What it should hold there counts all the same.
        _overlayTried = default;
        int first = (int)((overlay.OffsetBytes - OffsetBytes) / Block);
        int last = (int)((overlay.OffsetBytes + overlay.LengthBytes - 1 - OffsetBytes) / Block);
        for (int block = first; block <= last; block++)
        {
            _authorityOf[block] = overlay.Source;
        }

        _authorities = _authorities.With(overlay.Source);
        Continue();
    }

    private bool IsCorrupt(int block, out uint checksum)
    {
        int authority = _authorityOf.GetValueOrDefault(block, Source);
        return CorruptDigest.Is(DigestOf(authority, block), out checksum) ||
            authority != Source && CorruptDigest.Is(DigestOf(Source, block), out checksum);
    }

    private ReadOnlySpan<byte> DigestOf(int place, int block) =>
        _digests[place].AsSpan(block * Digest.SizeBytes, Digest.SizeBytes);

    // All of them at first, so that it is told that they are lost; then those that somebody can still read,
    // or takes for readable.
    private void FindCorrupt()
    {
        _corrupt.Clear();
        _rescued = 0;
        bool isShown = _rounds > 1 && Mistakes.Make(Mistake.LostBlockShown);
        int blocks = isShown ? 0 : (LengthBytes + Block - 1) / Block;
        for (int block = 0; block < blocks; block++)
        {
            if (IsCorrupt(block, out uint checksum) &&
                (_rounds == 1 || !Settled(block, checksum).HasAll(Everybody(block))))
            {
                _corrupt.Add(new CorruptBlock(block, checksum));
            }
        }
    }

    // A source that serves is mended by a scrub.
    private ReplicaMask Everybody(int block) =>
        _mendsSource || _authorityOf.ContainsKey(block) ? Targets.With(Source) : Targets.Without(Source);

    // Who has what was found, or knows that it is lost: that is the best there is as long as nobody has it.
    private ReplicaMask Settled(int block, uint checksum)
    {
        ReplicaMask settled = default;
        bool isFound = _found.TryGetValue(block, out byte[]? found);
        foreach (int place in Targets.With(Source))
        {
            bool isSettled = !IsUnread(place) && (isFound
                ? DigestOf(place, block).SequenceEqual(found)
                : CorruptDigest.Is(DigestOf(place, block), out uint its) && its == checksum);
            settled = settled.Set(place, isSettled);
        }

        return settled;
    }

    private bool IsUnread(int place) => _digests.GetValueOrDefault(place) is not { Length: > 0 };

    private void Rescue()
    {
        if (_corrupt.Count == 0)
        {
            Fetch();
        }
        else
        {
            RescueNext();
        }
    }

    private void RescueNext()
    {
        while (_rescued < _corrupt.Count)
        {
            CorruptBlock lost = _corrupt[_rescued];
            int rescuer = (Targets | _owner.Others()).FirstOutside(_tried.With(Source), -1);
            if (rescuer >= 0)
            {
                _tried = _tried.With(rescuer);
                if (Targets.Has(rescuer) && !IsUnread(rescuer) &&
                    CorruptDigest.Is(DigestOf(rescuer, lost.Block), out _))
                {
                    continue; // One that could not read all of it may have this block all the same.
                }

                ulong[] wanted = new ulong[_wanted.Length];
                BlockBits.Add(wanted, lost.Block);
                Rescuer = rescuer;
                _owner.AskBlocks(this, rescuer, wanted);
                return;
            }

            GiveUp(lost);
            _tried = default;
            _rescued++;
        }

        StepWhenDone();
    }

    private void OnRescued(in CopyChunk chunk, in IoBuffer payload)
    {
        CorruptBlock lost = _corrupt[_rescued];
        ReadOnlySpan<byte> bytes = chunk.PayloadBytes > 0 ? payload.Span : new byte[chunk.LengthBytes];
        bool isRight = BlockChecksum.Of(bytes) == lost.Checksum ||
            Mistakes.Make(Mistake.CorruptReplacedByAny);
        if (!isRight)
        {
            _pushes += _owner.Push(this, chunk, payload, default);
            OnNotRescued();
            return;
        }

        byte[] digest = new byte[Digest.SizeBytes];
        BlockDigest.Put(bytes, digest);
        _found[lost.Block] = digest;
        ReplicaMask lacking = Everybody(lost.Block).Outside(Settled(lost.Block, lost.Checksum));
        _owner.EndBlocks(this);
        Rescuer = -1;
        _tried = default;
        _rescued++;
        _pushes += _owner.Push(this, chunk, payload, lacking);
        RescueNext();
    }

    private void GiveUp(in CorruptBlock lost)
    {
        if (Mistakes.Make(Mistake.LostBlockShown))
        {
            return;
        }

        long offset = OffsetBytes + (long)lost.Block * Block;
        var chunk = new CopyChunk(
            default, default, AnswerStatus.Ok, offset,
            (int)Math.Min(Block, OffsetBytes + LengthBytes - offset), new Sequence(Issued), lost.Checksum,
            CopyFlags.ChecksumOnly);
        _ = _found.Remove(lost.Block);
        ReplicaMask unaware = Everybody(lost.Block).Outside(Settled(lost.Block, lost.Checksum));
        _pushes += _owner.Push(this, chunk, default, unaware);
        _owner.NoteLost(this, offset);
    }

    private readonly record struct CorruptBlock(int Block, uint Checksum);
}
