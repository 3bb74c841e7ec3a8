using Ublk.Replication.State;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Replica;

/// <summary>
/// Reads for others: of a primary whose own copy is stale, and digests and copies for who compares and
/// repairs (replication design, sections 6 and 7 and rules 13, 19). What they say of the stream they say as
/// of their first byte (A) and of their last (issued), unless they were asked for at a position of it: then
/// operations behind that wait until the range is read.
/// </summary>
internal sealed class ReplicaReads
{
    // Digests need no more of the memory that answers share, however long their range is.
    private const int SliceBytes = 128 << 10;

    private readonly ReplicaContext _context;
    private readonly ReplicaProgress _progress;
    private readonly RangeOrder _order;
    private readonly int _firstSlot;
    private readonly PeerRead[] _reads;
    private readonly Stack<int> _free = new();
    private readonly Queue<PeerRead> _waiting = new();

    /// <summary>None under way.</summary>
    /// <param name="context">The replica.</param>
    /// <param name="progress">What is applied.</param>
    /// <param name="order">Orders what touches the image.</param>
    /// <param name="firstSlot">The first slot there of those that are for reads.</param>
    public ReplicaReads(
        ReplicaContext context, ReplicaProgress progress, RangeOrder order, int firstSlot)
    {
        _context = context;
        _progress = progress;
        _order = order;
        _firstSlot = firstSlot;
        _reads = new PeerRead[context.Options.MaxReads];
        for (int slot = _reads.Length - 1; slot >= 0; slot--)
        {
            _free.Push(slot);
        }
    }

    /// <summary>Whether none is under way.</summary>
    public bool IsIdle => _free.Count == _reads.Length;

    /// <summary>Whether no more may wait.</summary>
    public bool IsFull => _waiting.Count >= _context.Options.MaxWaitingReads;

    /// <summary>A primary reads.</summary>
    public void Add(int session, in Read read) => Add(new PeerRead
    {
        Session = session, Kind = MessageKind.Read, Epoch = read.Epoch, Id = read.Id,
        Offset = read.OffsetBytes, Length = read.LengthBytes, Needed = read.Acknowledged.Value,
    });

    /// <summary>Somebody compares.</summary>
    /// <param name="session">Who.</param>
    /// <param name="request">What.</param>
    /// <param name="isRepair">What is missing here is compared, to be repaired.</param>
    public void Add(int session, in DigestsRequest request, bool isRepair)
    {
        var read = new PeerRead
        {
            Session = session, Kind = MessageKind.Digests, Epoch = request.Epoch, Id = request.Id,
            Offset = request.OffsetBytes, Length = (int)Math.Min(request.LengthBytes, int.MaxValue),
            Unit = request.UnitBytes, IsRepair = isRepair, Position = request.Position.Value,
        };
        if (request.LengthBytes > MessageLimits.MaxPayloadBytes)
        {
            Answer(read, AnswerStatus.InvalidRange);
            return;
        }

        Add(read);
    }

    /// <summary>Somebody wants blocks.</summary>
    /// <param name="session">Who.</param>
    /// <param name="request">Which.</param>
    /// <param name="wanted">A bit for each block.</param>
    /// <param name="isRepair">What is missing here is looked at all the same.</param>
    public void Add(int session, in CopyRequest request, in IoBuffer wanted, bool isRepair)
    {
        var bits = new ulong[4];
        wanted.Span.CopyTo(System.Runtime.InteropServices.MemoryMarshal.AsBytes(bits.AsSpan()));
        var read = new PeerRead
        {
            Session = session, Kind = MessageKind.CopyChunk, Epoch = request.Epoch, Id = request.Id,
            Offset = request.OffsetBytes, Length = request.LengthBytes, Wanted = bits,
            RangeEnd = request.OffsetBytes + request.LengthBytes, RangeStart = request.OffsetBytes,
            IsRepair = isRepair,
        };
        if (read.TryNextRun(0))
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
        ref PeerRead current = ref _reads[slot];
        bool isCorrupt = result == -Errno.EILSEQ;
        AnswerStatus status = result == current.Buffer.LengthBytes ? AnswerStatus.Ok
            : !isCorrupt ? AnswerStatus.IoError
            : current.Kind == MessageKind.Digests ? AnswerStatus.Ok : AnswerStatus.Corrupt;
        status = status == AnswerStatus.Ok ? MayNotShow(current) ?? status : status;
        if (status == AnswerStatus.Ok && current.Kind == MessageKind.Digests &&
            !TryFinishDigests(slot, isCorrupt))
        {
            return;
        }

        PeerRead read = current;
        current = default;
        _free.Push(slot);
        if (read.Position != 0)
        {
            _order.Remove(_firstSlot + slot);
        }

        if (status != AnswerStatus.Ok)
        {
            GiveBack(read);
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

        PeerRead begun = read;
        bool hasApplied = _progress.Applied >= read.Needed || Mistakes.Make(Mistake.PeerReadTooEarly);
        if (!hasApplied || _free.Count == 0 || !TryRent(ref begun))
        {
            Defer(read);
            return;
        }

        int slot = _free.Pop();
        _reads[slot] = begun;
        if (read.Position != 0)
        {
            _order.Add(
                _firstSlot + slot, RangeOrder.PlaceBehind(read.Position), read.Offset, read.Length);
        }

        OnTurn(slot);
    }

    /// <summary>A read may go to the image, unless there is something else to wait for.</summary>
    /// <param name="slot">It.</param>
    public void OnTurn(int slot)
    {
        ref PeerRead read = ref _reads[slot];
        bool mustWait = read.Position != 0 && !Mistakes.Make(Mistake.DigestsOutOfOrder) && _order.TryWait(
            _firstSlot + slot, RangeOrder.PlaceBehind(read.Position), read.Offset, read.Length);
        if (!mustWait)
        {
            _context.Image.Read(
                ReplicaContext.Name(ReplicaIo.Read, (ulong)slot), read.Offset, read.Buffer);
        }
    }

    private bool TryRent(ref PeerRead read)
    {
        bool isDigests = read.Kind == MessageKind.Digests;
        int slice = isDigests ? Math.Min(read.Length, Math.Max(SliceBytes, read.Unit)) : read.Length;
        if (!_context.Effects.TryRent(slice, out read.Buffer))
        {
            return false;
        }

        int units = isDigests ? (read.Length + read.Unit - 1) / read.Unit : 0;
        if (units == 0 || _context.Effects.TryRent(units * Digest.SizeBytes, out read.Digests))
        {
            return true;
        }

        _context.Effects.Return(read.Buffer);
        return false;
    }

    private void GiveBack(in PeerRead read)
    {
        _context.Effects.Return(read.Buffer);
        if (read.Digests.LengthBytes > 0)
        {
            _context.Effects.Return(read.Digests);
        }
    }

    // The stream does not wait for room: who wants to see a position of it has to ask again.
    private void Defer(in PeerRead read)
    {
        if (read.Position != 0)
        {
            Answer(read, AnswerStatus.Busy);
        }
        else
        {
            _waiting.Enqueue(read);
        }
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

    // One slice after the other; all of them are of one position, if one was asked for.
    private bool TryFinishDigests(int slot, bool isCorrupt)
    {
        ref PeerRead read = ref _reads[slot];
        ReadOnlySpan<byte> bytes = read.Buffer.Span;
        Span<byte> digests = read.Digests.Span;
        for (int at = 0; at < bytes.Length; at += read.Unit, read.Hashed += Digest.SizeBytes)
        {
            int length = Math.Min(read.Unit, bytes.Length - at);
            Span<byte> digest = digests.Slice(read.Hashed, Digest.SizeBytes);
            if (!isCorrupt || !TryMarkCorrupt(read.Offset + read.Read + at, length, digest))
            {
                BlockDigest.Put(bytes.Slice(at, length), digest);
            }
        }

        read.Read += bytes.Length;
        if (read.Read == read.Length)
        {
            return true;
        }

        read.Buffer = read.Buffer.Slice(0, Math.Min(bytes.Length, read.Length - read.Read));
        _context.Image.Read(
            ReplicaContext.Name(ReplicaIo.Read, (ulong)slot), read.Offset + read.Read, read.Buffer);
        return false;
    }

    private bool TryMarkCorrupt(long offsetBytes, int lengthBytes, Span<byte> digest)
    {
        for (int at = 0; at < lengthBytes; at += BlockChecksum.BlockBytes)
        {
            if (_context.Image.IsBad(offsetBytes + at, out uint kept))
            {
                CorruptDigest.Write(digest, kept);
                return true;
            }
        }

        return false;
    }

    private void AnswerDigests(in PeerRead read)
    {
        _context.Effects.Return(read.Buffer);
        _context.Effects.Send(read.Session, new Digests(
            read.Epoch, read.Id, AnswerStatus.Ok, Issued(read), read.Digests.LengthBytes), read.Digests);
    }

    private void AnswerCopy(ref PeerRead read)
    {
        bool isZero = read.Buffer.Span.IndexOfAnyExcept((byte)0) < 0;
        var chunk = new CopyChunk(
            read.Epoch, read.Id, AnswerStatus.Ok, read.Offset, read.Length, Issued(read),
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

        if (read.TryNextRun(read.Offset + read.Length - read.RangeStart))
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
                    read.Epoch, read.Id, status, Sequence.None, 0));
                break;
            default:
                _context.Effects.Send(read.Session, new CopyChunk(
                    read.Epoch, read.Id, status, read.RangeStart, (int)(read.RangeEnd - read.RangeStart),
                    Sequence.None, 0, CopyFlags.None));
                break;
        }
    }

    private Sequence Issued(in PeerRead read) => new(
        Math.Min(_context.HighestVersion(read.Offset, read.Length), MessageLimits.MaxInteger));
}
