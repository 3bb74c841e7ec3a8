using Ublk.Replication.State;
using Ublk.Uring;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Primary;

/// <summary>
/// Makes one region the same on several replicas. When reconciling, what others have applied beyond the
/// source's claim is laid over the source and whoever lacks it first: so it is never overwritten where it is.
/// Then digests of blocks of 4 KiB are compared, while the volume serves all of one position of the stream;
/// the source is asked for blocks that differ anywhere, and they are pushed to the replicas that lack them.
/// So again until nothing differs: what was copied is read back before it counts. What the source itself
/// cannot read right any more is looked for elsewhere first.
/// </summary>
internal sealed partial class RegionCopy
{
    private const int Block = MessageLimits.CopyBlockBytes;
    private const int MaxRounds = 8;

    private readonly RegionCopies _owner;
    private readonly Dictionary<int, byte[]> _digests = [];
    private readonly ulong[][] _lacks = new ulong[ReplicaMask.Places][];
    private readonly IReadOnlyList<Overlay> _overlays;
    private readonly ReplicaMask _failed;
    private readonly bool _mendsSource;
    private ulong[] _wanted = [];
    private int _asked;
    private int _pushes;
    private int _blocksLeft;
    private int _nextOverlay;
    private int _rounds;

    /// <summary>Copies a region, or a part of it at the volume's end.</summary>
    /// <param name="owner">Asks and pushes.</param>
    /// <param name="region">The region.</param>
    /// <param name="range">Its bytes.</param>
    /// <param name="source">Whose bytes count.</param>
    /// <param name="targets">Who is to have them.</param>
    /// <param name="failed">
    /// Who failed to bring data to stable media: what is read there may be in memory only and count as
    /// written, so every block is written anew, also where it is the same, and also at the source.
    /// </param>
    /// <param name="overlays">What comes from others afterwards, in this order.</param>
    /// <param name="mendsSource">Whether the source may be given such blocks too.</param>
    public RegionCopy(
        RegionCopies owner, int region, (long OffsetBytes, int LengthBytes) range, int source,
        ReplicaMask targets, ReplicaMask failed, IReadOnlyList<Overlay> overlays, bool mendsSource)
    {
        _owner = owner;
        Region = region;
        OffsetBytes = range.OffsetBytes;
        LengthBytes = range.LengthBytes;
        Source = source;
        _failed = failed;
        Targets = failed.Has(source) ? targets : targets.Without(source);
        _overlays = overlays;
        _mendsSource = mendsSource;
    }

    /// <summary>The region.</summary>
    public int Region { get; }

    /// <summary>Its start.</summary>
    public long OffsetBytes { get; }

    /// <summary>Its length.</summary>
    public int LengthBytes { get; }

    /// <summary>Whose bytes count.</summary>
    public int Source { get; }

    /// <summary>Who is to have them; the source only when it failed.</summary>
    public ReplicaMask Targets { get; }

    /// <summary>Highest operation issued in the range at the source when it was read last.</summary>
    public ulong Issued { get; private set; }

    /// <summary>The question for blocks, which has several answers.</summary>
    public RequestId BlocksQuestion { get; set; }

    /// <summary>Begins, or goes on with the next step.</summary>
    public void Continue()
    {
        if (_nextOverlay < _overlays.Count)
        {
            _overlaySource = _overlays[_nextOverlay].Source;
            _owner.AskOverlay(this, _overlays[_nextOverlay++], _overlaySource);
        }
        else if (Targets.IsEmpty)
        {
            _owner.Finish(this);
        }
        else
        {
            Compare();
        }
    }

    /// <summary>Digests have come.</summary>
    /// <param name="place">Whose.</param>
    /// <param name="issued">Highest operation issued in the range there.</param>
    /// <param name="digests">One of 16 bytes for each block; none where they cannot be read.</param>
    public void OnDigests(int place, ulong issued, ReadOnlySpan<byte> digests)
    {
        _digests[place] = digests.ToArray();
        Issued = place == Source ? issued : Issued;
        if (--_asked > 0)
        {
            return;
        }

        _wanted = new ulong[MessageLimits.MaxPayloadBytes / Block / 64];
        bool mustWriteAll = _rounds == 1;
        foreach (int target in Targets)
        {
            ReadOnlySpan<byte> known = mustWriteAll && _failed.Has(target) ? [] : _digests[target];
            _lacks[target] = Difference(_digests[Source], known, _wanted);
            if (_rounds > 1 && known.Length > 0 && LacksAny(_lacks[target], 0, _wanted.Length * 64))
            {
                _owner.NoteDifference(this, target);
            }
        }

        FindCorrupt();
        bool isSame = _corrupt.Count == 0 && !Array.Exists(_wanted, word => word != 0);
        if (isSame)
        {
            _owner.Finish(this);
        }
        else if (_rounds == MaxRounds)
        {
            _owner.Fail(this, Targets.FirstOutside(default, -1), AnswerStatus.IoError);
        }
        else
        {
            Rescue();
        }
    }

    // Behind what had to be rescued.
    private void Fetch()
    {
        _blocksLeft = _wanted.Sum(word => System.Numerics.BitOperations.PopCount(word));
        if (_blocksLeft > 0)
        {
            _owner.AskBlocks(this, Source, _wanted);
        }
        else
        {
            Continue();
        }
    }

    /// <summary>Wanted blocks have come.</summary>
    /// <param name="chunk">They.</param>
    /// <param name="payload">Their bytes; to be released when nobody needs them.</param>
    public void OnChunk(in CopyChunk chunk, in IoBuffer payload)
    {
        if (IsRescuing)
        {
            OnRescued(chunk, payload);
            return;
        }

        Issued = Math.Max(Issued, chunk.Issued.Value);
        int first = (int)((chunk.OffsetBytes - OffsetBytes) / Block);
        int count = (chunk.LengthBytes + Block - 1) / Block;
        _blocksLeft -= count;
        ReplicaMask lacking = default;
        foreach (int target in Targets)
        {
            lacking = lacking.Set(target, LacksAny(_lacks[target], first, count));
        }

        _pushes += _owner.Push(this, chunk, payload, lacking);
        if (_blocksLeft == 0)
        {
            _owner.EndBlocks(this);
        }

        StepWhenDone();
    }

    /// <summary>What one replica alone has of an operation has come.</summary>
    /// <param name="reply">The answer.</param>
    /// <param name="payload">The bytes.</param>
    public void OnOverlay(in ReadReply reply, in IoBuffer payload)
    {
        Overlay overlay = _overlays[_nextOverlay - 1];
        var chunk = new CopyChunk(
            reply.Epoch, default, AnswerStatus.Ok, overlay.OffsetBytes, overlay.LengthBytes, Sequence.None,
            reply.Crc32C, CopyFlags.None);
        ReplicaMask lacking = Targets.With(Source).Outside(overlay.Holders);
        _pushes += _owner.Push(this, chunk, payload, lacking);
        StepWhenDone();
    }

    /// <summary>A replica has a piece.</summary>
    public void OnCopied()
    {
        _pushes--;
        StepWhenDone();
    }

    // What the source cannot read is another matter.
    private ulong[] Difference(ReadOnlySpan<byte> source, ReadOnlySpan<byte> target, ulong[] wanted)
    {
        ulong[] lacks = new ulong[wanted.Length];
        for (int block = 0; block * Digest.SizeBytes < source.Length; block++)
        {
            int at = block * Digest.SizeBytes;
            bool isSame = !target.IsEmpty &&
                source.Slice(at, Digest.SizeBytes).SequenceEqual(target.Slice(at, Digest.SizeBytes));
            if (!isSame && !IsCorrupt(block, out _))
            {
                BlockBits.Add(lacks, block);
                BlockBits.Add(wanted, block);
            }
        }

        return lacks;
    }

    private static bool LacksAny(ulong[] lacks, int first, int count)
    {
        for (int block = first; block < first + count; block++)
        {
            if (BlockBits.Has(lacks, block))
            {
                return true;
            }
        }

        return false;
    }

    private void StepWhenDone()
    {
        if (_pushes > 0 || _blocksLeft > 0 || IsRescuing)
        {
            return;
        }

        if (_corrupt.Count > 0)
        {
            _corrupt.Clear();
            Fetch();
        }
        else
        {
            Continue();
        }
    }

    private void Compare()
    {
        _rounds++;
        ReplicaMask asked = Targets.With(Source) | _authorities;
        _asked = asked.Count;
        Sequence position = _owner.Position();
        foreach (int place in asked)
        {
            _owner.AskDigests(this, place, position);
        }
    }
}

/// <summary>A part of an operation that is beyond the claim of a region's source.</summary>
/// <param name="Source">A replica that has applied it.</param>
/// <param name="Holders">
/// All who have: they may have applied later ones over it, but none without it.
/// </param>
/// <param name="Sequence">The operation.</param>
/// <param name="OffsetBytes">Start of the part.</param>
/// <param name="LengthBytes">Length, at most 1 MiB.</param>
internal readonly record struct Overlay(
    int Source, ReplicaMask Holders, ulong Sequence, long OffsetBytes, int LengthBytes);
