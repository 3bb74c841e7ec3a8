using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Replica;

/// <summary>
/// Operations of the stream on their way into the image: in the order of the session, each with its intents
/// durable before a byte of it can arrive, overlapping ones one after the other, all others at once
/// (replication design, section 4.3 and rules 4, 12, 15, 20).
/// </summary>
internal sealed class ReplicaWrites
{
    private readonly ReplicaContext _context;
    private readonly ReplicaProgress _progress;
    private readonly ReplicaIntents _intents;
    private readonly RangeOrder _order;
    private readonly ReplicaOperation[] _operations;
    private readonly ulong _mask;
    private readonly Queue<ulong> _marking;
    private readonly Queue<ulong> _crowded;
    private readonly ViewGate _views;
    private int _held;
    private ulong _heldFrom;

    /// <summary>Nothing under way.</summary>
    /// <param name="context">The replica.</param>
    /// <param name="progress">What is applied.</param>
    /// <param name="intents">What must be durable first.</param>
    /// <param name="order">Orders what touches the image; operations have its first places.</param>
    public ReplicaWrites(
        ReplicaContext context, ReplicaProgress progress, ReplicaIntents intents, RangeOrder order)
    {
        int places = context.Options.MaxOperations;
        _context = context;
        _progress = progress;
        _intents = intents;
        _order = order;
        _views = new ViewGate(context);
        _operations = new ReplicaOperation[places];
        _mask = (ulong)places - 1;
        _marking = new Queue<ulong>(places);
        _crowded = new Queue<ulong>(places);
    }

    /// <summary>Operations accepted and not done.</summary>
    public int Count { get; private set; }

    /// <summary>Operations the image has, or the ring because of a failure.</summary>
    public int IssuedCount { get; private set; }

    /// <summary>Whether operations wait for room: a flush and clearing are due.</summary>
    public bool IsCrowded => _crowded.Count > 0 || _intents.IsCrowded || _views.IsCrowded;

    /// <summary>Whether accepted operations are held: the epoch's start is not durable yet.</summary>
    public bool Holds { get; private set; }

    /// <summary>The next of the session.</summary>
    public ulong Next { get; set; }

    /// <summary>The session that is answered; −1 for none.</summary>
    public int Session { get; set; } = -1;

    /// <summary>Called with the range of every operation that was accepted.</summary>
    public required Action<long, long> OnAccepted { get; init; }

    /// <summary>Called when an operation was applied.</summary>
    public required Action OnApplied { get; init; }

    /// <summary>
    /// Whether an operation of before, which the image still has, is where another one belongs: its epoch,
    /// or its part in it, is over, and a new one begins while it is waited for. What is applied of the old
    /// one is forgotten by the new one, so this holds for an operation that is sent once more, too.
    /// </summary>
    /// <param name="sequence">The other one.</param>
    public bool IsOccupied(ulong sequence)
    {
        ref ReplicaOperation operation = ref _operations[sequence & _mask];
        return operation.Stage != OperationStage.None && (Holds || operation.Sequence != sequence);
    }

    /// <summary>Takes an operation of the session, checked as far as its message goes.</summary>
    /// <param name="write">The message.</param>
    /// <param name="payload">The bytes of a write; ours.</param>
    /// <returns>Null, or why the session has to end.</returns>
    public string? Accept(in Write write, in IoBuffer payload)
    {
        ulong sequence = write.Sequence.Value;
        ulong highest = (Holds ? _heldFrom : _progress.Applied) + (ulong)_operations.Length;
        string? refusal = _context.RefusalOf(write, payload, Next, highest);
        if (refusal is not null)
        {
            Release(write.Operation, payload);
            return refusal;
        }

        Next++;
        if (!Holds && _progress.Has(sequence) && !Mistakes.Make(Mistake.AppliedTwice))
        {
            Release(write.Operation, payload);
            Answer(sequence, _context.IsMissing(write.OffsetBytes, write.LengthBytes)
                ? AnswerStatus.Missing : AnswerStatus.Ok);
            return null;
        }

        ref ReplicaOperation operation = ref _operations[sequence & _mask];
        if (operation.Stage != OperationStage.None)
        {
            Release(write.Operation, payload); // Sent again by a new session; answered when it is done.
            return null;
        }

        operation = new ReplicaOperation
        {
            Stage = OperationStage.Held,
            Operation = write.Operation,
            Flags = write.Flags,
            LengthBytes = write.LengthBytes,
            Sequence = sequence,
            OffsetBytes = write.OffsetBytes,
            Payload = payload,
        };
        Count++;
        Stamp(operation);
        OnAccepted(operation.OffsetBytes, operation.LengthBytes);
        _order.Add(
            (int)(sequence & _mask), RangeOrder.PlaceOf(sequence), write.OffsetBytes, write.LengthBytes);
        _views.Want(write.View.Value);
        if (Holds ? !Mistakes.Make(Mistake.WriteBeforeStart) : !_views.TryPass())
        {
            _held++;
        }
        else
        {
            Prepare(ref operation);
        }

        return null;
    }

    /// <summary>Operations behind a position are held until <see cref="GoOn"/>.</summary>
    public void Hold(ulong position)
    {
        Holds = true;
        _heldFrom = position;
        _views.Begin();
        Next = position + 1;
    }

    /// <summary>The epoch's start is durable: what was held goes on.</summary>
    public void GoOn()
    {
        Holds = false;
        foreach (ref ReplicaOperation operation in _operations.AsSpan())
        {
            if (operation.Stage == OperationStage.Held)
            {
                Stamp(operation); // The start has stamped regions with its position.
            }
        }

        OnViewDurable();
    }

    /// <summary>A view is durable: what was held goes on, unless it is of a newer one.</summary>
    public void OnViewDurable()
    {
        if (Holds || !_views.TryPass())
        {
            return;
        }

        for (ulong sequence = _progress.Applied + 1; _held > 0; sequence++)
        {
            ref ReplicaOperation operation = ref _operations[sequence & _mask];
            if (operation.Stage == OperationStage.Held)
            {
                _held--;
                Prepare(ref operation);
            }
        }
    }

    /// <summary>A mark is durable.</summary>
    /// <param name="ticket">Its ticket.</param>
    public void OnMarked(ulong ticket)
    {
        while (_marking.TryPeek(out ulong sequence))
        {
            ref ReplicaOperation operation = ref _operations[sequence & _mask];
            if (operation.Sequence == sequence && operation.Stage == OperationStage.Marking)
            {
                if (operation.Ticket > ticket)
                {
                    return;
                }

                TryIssue(ref operation);
            }

            _ = _marking.Dequeue();
        }
    }

    /// <summary>There may be room in the ring.</summary>
    public void Retry()
    {
        if (_held > 0)
        {
            OnViewDurable();
        }

        for (int count = _crowded.Count; count > 0; count--)
        {
            ulong sequence = _crowded.Peek();
            ref ReplicaOperation operation = ref _operations[sequence & _mask];
            if (operation.Sequence == sequence && operation.Stage == OperationStage.Crowded &&
                !TryPrepare(ref operation))
            {
                return;
            }

            _ = _crowded.Dequeue();
        }
    }

    /// <summary>The image has an operation, or has failed to take it.</summary>
    /// <param name="slot">Its slot.</param>
    /// <param name="result">0 or more, or −errno.</param>
    /// <returns>Whether it was applied; otherwise what is missing now must become durable first.</returns>
    public bool OnImageEnded(int slot, int result)
    {
        ref ReplicaOperation operation = ref _operations[slot];
        if (!Mistakes.Make(Mistake.WriteErrorIgnored) &&
            (result < 0 || operation.Operation == Mutation.Write && result != operation.LengthBytes))
        {
            operation.Stage = OperationStage.Breaking;
            operation.Status = result == -Errno.ENOSPC ? AnswerStatus.NoSpace : AnswerStatus.IoError;
            return false;
        }

        operation.Status = _context.IsMissing(operation.OffsetBytes, operation.LengthBytes)
            ? AnswerStatus.Missing : AnswerStatus.Ok;
        Finish(slot);
        return true;
    }

    /// <summary>The range of the operation in a slot.</summary>
    public (long OffsetBytes, long LengthBytes) RangeOf(int slot) =>
        (_operations[slot].OffsetBytes, _operations[slot].LengthBytes);

    /// <summary>An operation is done: it is applied, or its range is durably missing.</summary>
    /// <param name="slot">Its slot.</param>
    public void Finish(int slot)
    {
        ReplicaOperation operation = _operations[slot];
        _operations[slot] = default;
        Count--;
        IssuedCount--;
        _progress.Add(operation);
        Release(operation.Operation, operation.Payload);
        Answer(operation.Sequence, operation.Status);
        _order.Remove(slot);
        OnApplied();
    }

    /// <summary>Forgets what the image does not have yet: another writer was promised.</summary>
    public void Drop()
    {
        Session = -1;
        Holds = false;
        _held = 0;
        _marking.Clear();
        _crowded.Clear();
        if (Count == IssuedCount)
        {
            return;
        }

        // All first, then each: what waits behind a dropped one must not be issued in its place.
        foreach (ref ReplicaOperation operation in _operations.AsSpan())
        {
            operation.Stage = operation.IsWithImage ? operation.Stage : OperationStage.Dropped;
        }

        for (int slot = 0; slot < _operations.Length; slot++)
        {
            ref ReplicaOperation operation = ref _operations[slot];
            if (operation.Stage == OperationStage.Dropped)
            {
                Release(operation.Operation, operation.Payload);
                operation = default;
                Count--;
                _order.Remove(slot);
            }
        }
    }

    /// <summary>What an operation waited for is done.</summary>
    /// <param name="slot">Its slot.</param>
    public void OnTurn(int slot)
    {
        if (_operations[slot].Stage == OperationStage.Ordered)
        {
            TryIssue(ref _operations[slot]);
        }
    }

    private void Prepare(ref ReplicaOperation operation)
    {
        if (!TryPrepare(ref operation))
        {
            operation.Stage = OperationStage.Crowded;
            _crowded.Enqueue(operation.Sequence);
        }
    }

    // At once and not when the image is asked: it keeps intents from being cleared, and tells who asks for
    // versions behind this operation in the session that the region is newer.
    private void Stamp(in ReplicaOperation operation)
    {
        int last = Mistakes.Make(Mistake.VersionNotStamped) ? -1
            : ReplicaContext.RegionOf(operation.OffsetBytes + operation.LengthBytes - 1);
        for (int region = ReplicaContext.RegionOf(operation.OffsetBytes); region <= last; region++)
        {
            ulong version = _context.Live.Version(region);
            if (version < operation.Sequence || version == RegionVersions.Unknown)
            {
                _context.Live.SetVersion(region, operation.Sequence);
            }
        }
    }

    private bool TryPrepare(ref ReplicaOperation operation)
    {
        // What all later operations wait for to be durable may not wait for them to become cold.
        bool isOldest = operation.Sequence == _progress.Applied + 1;
        IntentNeed need = _intents.Mark(operation.OffsetBytes, operation.LengthBytes, isOldest);
        if (need.Step == IntentStep.Full)
        {
            return false;
        }

        if (need.Step == IntentStep.Ready || Mistakes.Make(Mistake.IntentsNotDurable))
        {
            TryIssue(ref operation);
            return true;
        }

        operation.Stage = OperationStage.Marking;
        operation.Ticket = need.Ticket;
        _marking.Enqueue(operation.Sequence);
        return true;
    }

    private void TryIssue(ref ReplicaOperation operation)
    {
        int slot = (int)(operation.Sequence & _mask);
        ulong place = RangeOrder.PlaceOf(operation.Sequence);
        if (_order.TryWait(slot, place, operation.OffsetBytes, operation.LengthBytes))
        {
            operation.Stage = OperationStage.Ordered;
            return;
        }

        operation.Stage = OperationStage.Issued;
        IssuedCount++;
        ulong io = ReplicaContext.Name(ReplicaIo.Operation, (ulong)slot);
        bool keepsSpace = (operation.Flags & MutationFlags.NoUnmap) != MutationFlags.None;
        if (operation.Operation == Mutation.Write)
        {
            _context.Image.Write(io, operation.OffsetBytes, operation.Payload);
        }
        else
        {
            _context.Image.Zero(io, operation.OffsetBytes, operation.LengthBytes, keepsSpace);
        }
    }

    private void Answer(ulong sequence, AnswerStatus status) => _context.Effects.Send(Session, new Applied(
        new Epoch(_context.State.EpochStart.Epoch), new Sequence(sequence), status,
        new Sequence(_progress.Applied), new Sequence(_context.Durable)));

    private void Release(Mutation operation, in IoBuffer payload)
    {
        if (operation == Mutation.Write)
        {
            _context.Effects.ReleasePayload(payload);
        }
    }
}
