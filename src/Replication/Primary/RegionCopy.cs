using Ublk.Replication.State;
using Ublk.Uring;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Primary;

/// <summary>
/// Makes one region the same on several replicas. When reconciling, what others have applied beyond the
/// source's claim is laid over the source and whoever lacks it first: so it is never overwritten where it is.
/// Then it compares digests of blocks of 4 KiB, asks the source for those that differ anywhere, and pushes
/// them to the replicas that lack them. While the volume serves, the source is asked only once it has
/// applied everything that the target will not be sent, or had accepted when it was asked.
/// </summary>
internal sealed class RegionCopy
{
    private const int Block = MessageLimits.CopyBlockBytes;

    private readonly RegionCopies _owner;
    private readonly Dictionary<int, byte[]> _digests = [];
    private readonly ulong[][] _lacks = new ulong[ReplicaMask.Places][];
    private readonly IReadOnlyList<Overlay> _overlays;
    private readonly ReplicaMask _failed;
    private ulong _needed;
    private int _asked;
    private int _pushes;
    private int _blocksLeft;
    private int _nextOverlay;
    private bool _isCompared;

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
    public RegionCopy(
        RegionCopies owner, int region, (long OffsetBytes, int LengthBytes) range, int source,
        ReplicaMask targets, ReplicaMask failed, IReadOnlyList<Overlay> overlays)
    {
        _owner = owner;
        Region = region;
        OffsetBytes = range.OffsetBytes;
        LengthBytes = range.LengthBytes;
        Source = source;
        _failed = failed;
        Targets = failed.Has(source) ? targets : targets.Without(source);
        _overlays = overlays;
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
            _owner.AskOverlay(this, _overlays[_nextOverlay++]);
        }
        else if (_isCompared || Targets.IsEmpty)
        {
            _owner.Finish(this);
        }
        else
        {
            _isCompared = true;
            AskTargets();
        }
    }

    /// <summary>Whether the source has to apply something before it can be asked.</summary>
    public bool IsWaiting { get; private set; }

    /// <summary>The source may have applied more.</summary>
    public void AskSource()
    {
        IsWaiting = !_owner.HasApplied(Source, _needed) && !Mistakes.Make(Mistake.SourceNotFarEnough);
        if (!IsWaiting)
        {
            _asked++;
            _owner.AskDigests(this, Source);
        }
    }

    /// <summary>Digests have come.</summary>
    /// <param name="place">Whose.</param>
    /// <param name="issued">Highest operation issued in the range there.</param>
    /// <param name="digests">One of 16 bytes for each block.</param>
    public void OnDigests(int place, ulong issued, ReadOnlySpan<byte> digests)
    {
        _digests[place] = digests.ToArray();
        if (place != Source)
        {
            _needed = Math.Max(_needed, issued);
            if (--_asked == 0)
            {
                AskSource();
            }

            return;
        }

        Issued = issued;
        ulong[] wanted = new ulong[MessageLimits.MaxRegionBytes / Block / 64];
        foreach (int target in Targets)
        {
            ReadOnlySpan<byte> known = _failed.Has(target) ? [] : _digests[target];
            _lacks[target] = Difference(_digests[Source], known, wanted);
        }

        _blocksLeft = wanted.Sum(word => System.Numerics.BitOperations.PopCount(word));
        if (_blocksLeft == 0)
        {
            Continue();
        }
        else
        {
            _owner.AskBlocks(this, Source, wanted);
        }
    }

    /// <summary>Wanted blocks have come.</summary>
    /// <param name="chunk">They.</param>
    /// <param name="payload">Their bytes; to be released when nobody needs them.</param>
    public void OnChunk(in CopyChunk chunk, in IoBuffer payload)
    {
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
            Sequence.None, Sequence.None, reply.Crc32C, CopyFlags.None);
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

    private static ulong[] Difference(ReadOnlySpan<byte> source, ReadOnlySpan<byte> target, ulong[] wanted)
    {
        ulong[] lacks = new ulong[wanted.Length];
        for (int block = 0; block * Digest.SizeBytes < source.Length; block++)
        {
            int at = block * Digest.SizeBytes;
            bool isSame = !target.IsEmpty &&
                source.Slice(at, Digest.SizeBytes).SequenceEqual(target.Slice(at, Digest.SizeBytes));
            if (!isSame)
            {
                lacks[block / 64] |= 1ul << block % 64;
                wanted[block / 64] |= 1ul << block % 64;
            }
        }

        return lacks;
    }

    private static bool LacksAny(ulong[] lacks, int first, int count)
    {
        for (int block = first; block < first + count; block++)
        {
            if ((lacks[block / 64] >> block % 64 & 1) != 0)
            {
                return true;
            }
        }

        return false;
    }

    private void StepWhenDone()
    {
        if (_pushes == 0 && _blocksLeft == 0)
        {
            Continue();
        }
    }

    private void AskTargets()
    {
        foreach (int place in Targets.Without(Source))
        {
            _asked++;
            _owner.AskDigests(this, place);
        }

        if (_asked == 0)
        {
            AskSource();
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
