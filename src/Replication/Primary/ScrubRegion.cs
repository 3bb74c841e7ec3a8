using System.IO.Hashing;
using Ublk.Replication.Replica;
using Ublk.Replication.State;
using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Wire;
using Ublk.Wire.Blocks;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Primary;

/// <summary>
/// The comparison of one region, and the repair of what differs in it: the bytes that most replicas have are
/// fetched from one of them and written again, unless the host has written there since they were compared.
/// Then the region is compared anew, until nothing differs or nothing more can be done. Used for one region
/// after the other; no allocation once all replicas were seen.
/// </summary>
/// <param name="world">What it shares with others.</param>
internal sealed class ScrubRegion(ScrubWorld world)
{
    private const int Block = MessageLimits.CopyBlockBytes;
    private const int Blocks = StoreFormat.RegionBytes / Block;
    private const int Words = Blocks / 64;
    private const int MaxAttempts = 16;
    private const int Free = -1;
    private const long RetryNs = 2_000_000;
    private const int MaxRetryDoublings = 12;

    private static readonly byte[] s_zeros = new byte[Block];

    private readonly byte[]?[] _digests = new byte[]?[ReplicaMask.Places];
    private readonly uint[] _asked = new uint[ReplicaMask.Places];
    private readonly ReplicaMask[] _wrong = new ReplicaMask[Blocks];
    private readonly ulong[] _differed = new ulong[Words];
    private readonly ulong[] _differs = new ulong[Words];
    private readonly ulong[] _hopeless = new ulong[Words];
    private readonly ulong[] _touched = new ulong[Words];
    private readonly ulong[] _wanted = new ulong[Words];
    private int _region = Free;
    private long _offset;
    private int _length;
    private int _attempts;
    private int _blocksLeft;
    private long _compareAt = long.MaxValue;
    private int _source = Free;
    private ReplicaMask _compared;
    private ReplicaMask _awaited;
    private ReplicaMask _unreadable;
    private bool _wasCompared;

    /// <summary>Whether it has no region.</summary>
    public bool IsFree => _region == Free;

    /// <summary>Whether its region can be reported.</summary>
    public bool IsDone { get; private set; }

    private int BlockCount => (_length + Block - 1) / Block;

    /// <summary>Takes up a region.</summary>
    /// <param name="region">Which.</param>
    public void Begin(int region)
    {
        _region = region;
        (_offset, _length) = StoreFormat.RangeOfRegion(region, world.Membership.SizeBytes);
        _attempts = 0;
        _wasCompared = false;
        Array.Clear(_wrong);
        Array.Clear(_differed);
        Array.Clear(_differs);
        Compare();
    }

    /// <summary>What has waited goes on.</summary>
    public void Step()
    {
        if (!IsFree && !IsDone && world.Now >= _compareAt)
        {
            Compare();
        }
    }

    /// <summary>The host has changed something behind the position that is compared.</summary>
    public void OnOperation(long offsetBytes, long lengthBytes)
    {
        long start = Math.Max(0, offsetBytes - _offset);
        long end = Math.Min(_length, offsetBytes + lengthBytes - _offset);
        for (long at = start - start % Block; at < end; at += Block)
        {
            BlockBits.Add(_touched, (int)(at / Block));
        }
    }

    /// <summary>A replica is gone.</summary>
    public void OnLost(int place)
    {
        if (_awaited.Has(place) || _source == place)
        {
            Retry();
        }
    }

    /// <summary>Digests have come.</summary>
    /// <returns>Whether they were asked for here.</returns>
    public bool TryTake(int place, in Digests digests, in IoBuffer payload)
    {
        if (!_awaited.Has(place) || _asked[place] != digests.Id.Value)
        {
            return false;
        }

        _awaited = _awaited.Without(place);
        if (digests.Status == AnswerStatus.Ok && digests.PayloadBytes == BlockCount * Digest.SizeBytes)
        {
            payload.Span.CopyTo(_digests[place] ??= new byte[Blocks * Digest.SizeBytes]);
        }
        else if (digests.Status == AnswerStatus.IoError)
        {
            _unreadable = _unreadable.With(place);
        }
        else
        {
            Retry();
            return true;
        }

        if (_awaited.IsEmpty)
        {
            Judge();
        }

        return true;
    }

    /// <summary>Blocks have come from whom they were asked of.</summary>
    /// <returns>Whether they were asked for here.</returns>
    public bool TryTake(int place, in CopyChunk chunk, in IoBuffer payload)
    {
        if (_source != place || _asked[place] != chunk.Id.Value)
        {
            return false;
        }

        int first = (int)((chunk.OffsetBytes - _offset) / Block);
        int count = (chunk.LengthBytes + Block - 1) / Block;
        _blocksLeft -= chunk.Status == AnswerStatus.Ok ? count : _blocksLeft;
        bool isZero = chunk.Flags == CopyFlags.Zero;
        ReadOnlySpan<byte> bytes = chunk.PayloadBytes > 0 ? payload.Span : [];
        bool isTaken = chunk.Status == AnswerStatus.Ok && IsAsCompared(first, count, bytes) &&
            world.Volume.TryRepair(
                isZero ? BlockOperation.WriteZeroes : BlockOperation.Write, chunk.OffsetBytes,
                chunk.LengthBytes, isZero ? 0 : Crc32C.Compute(bytes), payload, world.Now);
        if (!isTaken && chunk.PayloadBytes > 0)
        {
            world.Effects.ReleasePayload(payload);
        }

        if (_blocksLeft == 0)
        {
            Retry();
        }

        return true;
    }

    /// <summary>Tells what differed, and is free for another region.</summary>
    /// <param name="report">Of the regions before.</param>
    /// <returns>With this one.</returns>
    public ScrubReport Report(ScrubReport report)
    {
        long repaired = 0, left = 0;
        for (int block = 0; block < Blocks;)
        {
            if (!BlockBits.Has(_differed, block))
            {
                block++;
                continue;
            }

            int first = block;
            ScrubOutcome outcome = OutcomeOf(first);
            while (block < Blocks && BlockBits.Has(_differed, block) && OutcomeOf(block) == outcome &&
                _wrong[block] == _wrong[first])
            {
                block++;
            }

            repaired += outcome == ScrubOutcome.Repaired ? block - first : 0;
            left += outcome == ScrubOutcome.Repaired ? 0 : block - first;
            long start = (long)first * Block;
            world.Effects.Differs(new ScrubDifference(
                _offset + start, Math.Min(_length, (long)block * Block) - start,
                _wrong[first].IsEmpty ? _compared : _wrong[first], outcome));
        }

        _region = Free;
        IsDone = false;
        return report with
        {
            RegionsCompared = report.RegionsCompared + (_wasCompared ? 1 : 0),
            RegionsNotCompared = report.RegionsNotCompared + (_wasCompared ? 0 : 1),
            Absent = report.Absent | world.Membership.Current.Members.Outside(_compared),
            BlocksRepaired = report.BlocksRepaired + repaired,
            BlocksNotRepaired = report.BlocksNotRepaired + left,
        };
    }

    private ScrubOutcome OutcomeOf(int block) => !BlockBits.Has(_differs, block) ? ScrubOutcome.Repaired
        : BlockBits.Has(_hopeless, block) ? ScrubOutcome.NoMajority : ScrubOutcome.NotRepaired;

    private void Compare()
    {
        _source = Free;
        _compareAt = long.MaxValue;
        _compared = world.Volume.Replicas.Counting;
        IsDone = world.Membership.Current.Members.Count < 2 || _attempts++ == MaxAttempts;
        if (IsDone || _compared.Count < 2)
        {
            Retry(); // Who is away may come back.
            return;
        }

        Array.Clear(_touched);
        _awaited = _compared;
        _unreadable = default;
        foreach (int place in _compared)
        {
            RequestId id = world.Ids.Next();
            _asked[place] = id.Value;
            world.Effects.Send(place, new DigestsRequest(
                world.Epoch, id, _offset, _length, Block, new Sequence(world.Volume.Window.Next - 1)));
        }
    }

    private void Retry()
    {
        _awaited = default;
        _source = Free;
        _compareAt = world.Now + (RetryNs << Math.Min(_attempts, MaxRetryDoublings));
    }

    private void Judge()
    {
        _wasCompared = true;
        _blocksLeft = 0;
        Array.Clear(_differs);
        Array.Clear(_hopeless);
        Array.Clear(_wanted);
        bool isAnyHopeful = false;
        for (int block = 0; block < BlockCount; block++)
        {
            if (IsSame(block))
            {
                continue;
            }

            ReplicaMask right = MostOf(block);
            BlockBits.Add(_differs, block);
            BlockBits.Add(_differed, block);
            if (right.IsEmpty)
            {
                BlockBits.Add(_hopeless, block);
                continue;
            }

            _wrong[block] |= _compared.Outside(right);
            isAnyHopeful = true;
            _source = _source == Free ? Choose(right) : _source;
            if (right.Has(_source))
            {
                BlockBits.Add(_wanted, block);
                _blocksLeft++;
            }
        }

        bool isAnyHopeless = Array.Exists(_hopeless, word => word != 0);
        if (isAnyHopeful && _attempts < MaxAttempts)
        {
            Fetch();
        }
        else if (isAnyHopeless && !_compared.HasAll(world.Membership.Current.Members))
        {
            Retry(); // Who is absent may know better.
        }
        else
        {
            IsDone = true;
        }
    }

    // Another one with every attempt: what it has need not be what it can still read.
    private int Choose(ReplicaMask from)
    {
        int skip = _attempts % from.Count;
        foreach (int place in from)
        {
            if (skip-- == 0)
            {
                return place;
            }
        }

        return Free;
    }

    private void Fetch()
    {
        RequestId id = world.Ids.Next();
        _asked[_source] = id.Value;
        StreamMessages.AskBlocks(
            world.Effects, _source, new CopyRequest(world.Epoch, id, _offset, _length), _wanted);
    }

    private bool IsSame(int block)
    {
        int first = _compared.FirstOutside(default, -1);
        foreach (int place in _compared)
        {
            if (!IsReadable(place, block) || !DigestOf(place, block).SequenceEqual(DigestOf(first, block)))
            {
                return false;
            }
        }

        return true;
    }

    // Who has what more than half of those have that can read the block; nobody if there is no such.
    private ReplicaMask MostOf(int block)
    {
        ReplicaMask readable = default;
        foreach (int place in _compared)
        {
            readable = readable.Set(place, IsReadable(place, block));
        }

        foreach (int place in readable)
        {
            ReplicaMask same = default;
            foreach (int other in readable)
            {
                same = same.Set(other, DigestOf(place, block).SequenceEqual(DigestOf(other, block)));
            }

            if (2 * same.Count > readable.Count || Mistakes.Make(Mistake.RepairedFromAnybody))
            {
                return same;
            }
        }

        return default;
    }

    private bool IsReadable(int place, int block) =>
        !_unreadable.Has(place) && !CorruptDigest.Is(DigestOf(place, block), out _);

    private ReadOnlySpan<byte> DigestOf(int place, int block) =>
        _digests[place].AsSpan(block * Digest.SizeBytes, Digest.SizeBytes);

    // The bytes are what most had, and nothing of the host lies between.
    private bool IsAsCompared(int first, int count, ReadOnlySpan<byte> bytes)
    {
        Span<byte> digest = stackalloc byte[Digest.SizeBytes];
        for (int block = first; block < first + count; block++)
        {
            int start = (block - first) * Block;
            int length = Math.Min(Block, _length - block * Block);
            XxHash128.Hash(bytes.IsEmpty ? s_zeros.AsSpan(0, length) : bytes.Slice(start, length), digest);
            bool isTouched = BlockBits.Has(_touched, block) && !Mistakes.Make(Mistake.RepairOverNewer);
            bool isSame = digest.SequenceEqual(DigestOf(_source, block)) ||
                Mistakes.Make(Mistake.RepairOverNewer);
            if (isTouched || !isSame)
            {
                return false;
            }
        }

        return true;
    }
}
