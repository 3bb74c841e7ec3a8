using System.IO.Hashing;
using Ublk.Uring;
using Ublk.Wire;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Replica;

/// <summary>
/// Reads for others: of a primary whose own copy is stale, and digests and copies for who compares and
/// repairs (replication design, sections 6 and 7 and rules 13, 19). What they say of the stream they say as
/// of their first byte (A) and of their last (issued).
/// </summary>
internal sealed class ReplicaReads
{
    private readonly ReplicaContext _context;
    private readonly ReplicaProgress _progress;
    private readonly PeerRead[] _reads;
    private readonly Stack<int> _free = new();
    private readonly Queue<PeerRead> _waiting = new();

    /// <summary>None under way.</summary>
    /// <param name="context">The replica.</param>
    /// <param name="progress">What is applied.</param>
    public ReplicaReads(ReplicaContext context, ReplicaProgress progress)
    {
        _context = context;
        _progress = progress;
        _reads = new PeerRead[context.Options.MaxReads];
        for (int slot = _reads.Length - 1; slot >= 0; slot--)
        {
            _free.Push(slot);
        }
    }

    /// <summary>Whether none is under way.</summary>
    public bool IsIdle => _free.Count == _reads.Length;

    /// <summary>A primary reads.</summary>
    public void Add(int session, in Read read) => Add(new PeerRead
    {
        Session = session, Kind = MessageKind.Read, Epoch = read.Epoch, Id = read.Id,
        Offset = read.OffsetBytes, Length = read.LengthBytes, Needed = read.Acknowledged.Value,
    });

    /// <summary>Somebody compares.</summary>
    /// <param name="session">Who.</param>
    /// <param name="request">What.</param>
    /// <param name="baseline">
    /// What a source must have applied, where it is compared to be repaired here; null otherwise.
    /// </param>
    public void Add(int session, in DigestsRequest request, ulong? baseline)
    {
        var read = new PeerRead
        {
            Session = session, Kind = MessageKind.Digests, Epoch = request.Epoch, Id = request.Id,
            Offset = request.OffsetBytes, Length = (int)Math.Min(request.LengthBytes, int.MaxValue),
            Unit = request.UnitBytes, IsRepair = baseline is not null,
            Baseline = baseline ?? 0,
        };
        if (request.LengthBytes > MessageLimits.MaxPayloadBytes)
        {
            Answer(read, AnswerStatus.InvalidRange);
            return;
        }

        Add(read);
    }

    /// <summary>Somebody wants blocks.</summary>
    public void Add(int session, in CopyRequest request, in IoBuffer wanted)
    {
        var bits = new ulong[4];
        wanted.Span.CopyTo(System.Runtime.InteropServices.MemoryMarshal.AsBytes(bits.AsSpan()));
        var read = new PeerRead
        {
            Session = session, Kind = MessageKind.CopyChunk, Epoch = request.Epoch, Id = request.Id,
            Offset = request.OffsetBytes, Length = request.LengthBytes, Wanted = bits,
            RangeEnd = request.OffsetBytes + request.LengthBytes, RangeStart = request.OffsetBytes,
        };
        if (TryNextRun(ref read, 0))
        {
            Add(read);
        }
    }

    /// <summary>Reads that waited for operations, or for memory, go on.</summary>
    public void Step()
    {
        for (int count = _waiting.Count; count > 0; count--)
        {
            Add(_waiting.Dequeue());
        }
    }

    /// <summary>Nobody waits over a session any more.</summary>
    /// <param name="session">Which.</param>
    public void Drop(int session)
    {
        for (int count = _waiting.Count; count > 0; count--)
        {
            PeerRead read = _waiting.Dequeue();
            if (read.Session != session)
            {
                _waiting.Enqueue(read);
            }
        }
    }

    /// <summary>The image has answered.</summary>
    /// <param name="slot">The read.</param>
    /// <param name="result">Bytes, or −errno.</param>
    public void OnImageEnded(int slot, int result)
    {
        PeerRead read = _reads[slot];
        _reads[slot] = default;
        _free.Push(slot);
        AnswerStatus status = result == read.Length ? AnswerStatus.Ok : AnswerStatus.IoError;
        if (status == AnswerStatus.Ok && MayNotShow(read) is { } refusal)
        {
            status = refusal;
        }

        if (status != AnswerStatus.Ok)
        {
            _context.Effects.Return(read.Buffer);
            Answer(read, status);
            return;
        }

        switch (read.Kind)
        {
            case MessageKind.Read: AnswerRead(read); break;
            case MessageKind.Digests: AnswerDigests(read); break;
            default: AnswerCopy(ref read); break;
        }
    }

    private void Add(in PeerRead read)
    {
        if (!_context.IsLegal(read.Offset, read.Length))
        {
            Answer(read, AnswerStatus.InvalidRange);
            return;
        }

        if (MayNotShow(read) is { } refusal)
        {
            Answer(read, refusal);
            return;
        }

        if (_progress.Applied < read.Needed && !Mistakes.Make(Mistake.PeerReadTooEarly) || _free.Count == 0 ||
            !_context.Effects.TryRent(read.Length, out IoBuffer buffer))
        {
            _waiting.Enqueue(read);
            return;
        }

        int slot = _free.Pop();
        _reads[slot] = read;
        _reads[slot].Buffer = buffer;
        _reads[slot].Applied = _progress.Applied;
        _context.Effects.ReadImage(ReplicaContext.Name(ReplicaIo.Read, (ulong)slot), read.Offset, buffer);
    }

    // Before the epoch has started everything is told to its writer, which knows from the claims what it is.
    private AnswerStatus? MayNotShow(in PeerRead read)
    {
        if (_context.IsFailed)
        {
            return AnswerStatus.Failed; // The failed sync may have taken what was applied.
        }

        if (_context.State.Promise.Epoch != read.Epoch.Value)
        {
            return AnswerStatus.WrongEpoch;
        }

        bool isStarted = _context.State.EpochStart.Epoch == read.Epoch.Value;
        return isStarted && !read.IsRepair && _context.IsMissing(read.Offset, read.Length)
            ? AnswerStatus.Missing : null;
    }

    private void AnswerRead(in PeerRead read) => _context.Effects.Send(read.Session, new ReadReply(
        read.Epoch, read.Id, AnswerStatus.Ok, Issued(read), Crc32C.Compute(read.Buffer.Span), read.Length),
        read.Buffer);

    private void AnswerDigests(in PeerRead read)
    {
        // The digests take the place of the bytes: of each unit only what is already read is overwritten.
        Span<byte> bytes = read.Buffer.Span;
        int at = 0;
        for (int unit = 0; unit < read.Length; unit += read.Unit, at += Digest.SizeBytes)
        {
            int length = Math.Min(read.Unit, read.Length - unit);
            XxHash128.Hash(bytes.Slice(unit, length), bytes.Slice(at, Digest.SizeBytes));
        }

        _context.Effects.Send(read.Session, new Digests(
            read.Epoch, read.Id, AnswerStatus.Ok, new Sequence(read.Applied), Issued(read), at),
            read.Buffer.Slice(0, at));
    }

    private void AnswerCopy(ref PeerRead read)
    {
        bool isZero = read.Buffer.Span.IndexOfAnyExcept((byte)0) < 0;
        var version = Math.Min(
            _context.Live.Version(ReplicaContext.RegionOf(read.Offset)), MessageLimits.MaxInteger);
        var chunk = new CopyChunk(
            read.Epoch, read.Id, AnswerStatus.Ok, read.Offset, read.Length, Issued(read),
            new Sequence(read.Applied), new Sequence(version),
            isZero ? 0 : Crc32C.Compute(read.Buffer.Span), isZero ? CopyFlags.Zero : CopyFlags.None);
        if (isZero)
        {
            _context.Effects.Return(read.Buffer);
            _context.Effects.Send(read.Session, chunk);
        }
        else
        {
            _context.Effects.Send(read.Session, chunk, read.Buffer);
        }

        if (TryNextRun(ref read, read.Offset + read.Length - read.RangeStart))
        {
            Add(read);
        }
    }

    private void Answer(in PeerRead read, AnswerStatus status)
    {
        switch (read.Kind)
        {
            case MessageKind.Read:
                _context.Effects.Send(
                    read.Session, new ReadReply(read.Epoch, read.Id, status, Sequence.None, 0, 0));
                break;
            case MessageKind.Digests:
                _context.Effects.Send(read.Session, new Digests(
                    read.Epoch, read.Id, status, Sequence.None, Sequence.None, 0));
                break;
            default:
                _context.Effects.Send(read.Session, new CopyChunk(
                    read.Epoch, read.Id, status, read.RangeStart, (int)(read.RangeEnd - read.RangeStart),
                    Sequence.None, Sequence.None, Sequence.None, 0, CopyFlags.None));
                break;
        }
    }

    // Of what is to be repaired here: what its source must have applied.
    private Sequence Issued(in PeerRead read) => new(read.IsRepair ? read.Baseline : Math.Min(
        _context.HighestVersion(read.Offset, read.Length), MessageLimits.MaxInteger));

    // The next wanted blocks in a row, from an offset in the range on.
    private static bool TryNextRun(ref PeerRead read, long from)
    {
        const int Block = MessageLimits.CopyBlockBytes;
        int blocks = (int)((read.RangeEnd - read.RangeStart + Block - 1) / Block);
        int first = (int)((from + Block - 1) / Block);
        while (first < blocks && !IsWanted(read.Wanted!, first))
        {
            first++;
        }

        int end = first;
        while (end < blocks && IsWanted(read.Wanted!, end))
        {
            end++;
        }

        read.Offset = read.RangeStart + (long)first * Block;
        read.Length = (int)(Math.Min(read.RangeEnd, read.RangeStart + (long)end * Block) - read.Offset);
        return end > first;
    }

    private static bool IsWanted(ulong[] bits, int block) => (bits[block / 64] >> block % 64 & 1) != 0;

    private struct PeerRead
    {
        public int Session;
        public MessageKind Kind;
        public Epoch Epoch;
        public RequestId Id;
        public long Offset;
        public int Length;
        public int Unit;
        public bool IsRepair;
        public ulong Baseline;
        public ulong Needed;
        public ulong Applied;
        public ulong[]? Wanted;
        public long RangeStart;
        public long RangeEnd;
        public IoBuffer Buffer;
    }
}
