using Ublk.Wire.Blocks;

namespace Ublk.Replication.State;

/// <summary>
/// Mutating operations of the host: their place in history, the replicas' answers, the quorum,
/// back-pressure (replication design, section 4 and rules 15 to 20).
/// </summary>
internal sealed partial class VolumeWrites
{
    private readonly VolumeOptions _options;
    private readonly HostRequests _requests;
    private readonly ReplicaTable _replicas;
    private readonly IVolumeEffects _effects;
    private readonly RangeIndex _open;
    private readonly RangeIndex _reading;
    private readonly Queue<ulong> _held;
    private readonly VolumeFlushes _flushes;
    private readonly ReplicaLag[] _lags = new ReplicaLag[ReplicaMask.Places];
    private readonly int _local;
    private ReplicaMask _kept;

    /// <summary>Nothing written yet.</summary>
    /// <param name="options">Settings.</param>
    /// <param name="requests">The host's requests.</param>
    /// <param name="replicas">What is known of the replicas.</param>
    /// <param name="firstSequence">First sequence of the epoch.</param>
    /// <param name="flushes">Whoever waits for stable media.</param>
    /// <param name="reading">Ranges that are being read: no operation on one begins.</param>
    /// <param name="local">Place of the local replica; −1 without one.</param>
    /// <param name="effects">The surroundings.</param>
    public VolumeWrites(
        VolumeOptions options, HostRequests requests, ReplicaTable replicas, ulong firstSequence,
        VolumeFlushes flushes, RangeIndex reading, int local, IVolumeEffects effects)
    {
        _options = options;
        _requests = requests;
        _replicas = replicas;
        _effects = effects;
        _local = local;
        _reading = reading;
        Window = new WriteWindow(firstSequence, options.WindowOperations, options.WindowBytes);
        _open = new RangeIndex(options.WindowOperations);
        _held = new Queue<ulong>(options.MaxRequests);
        _flushes = flushes;
        Acknowledged = firstSequence - 1;
    }

    /// <summary>The operations that some replica may still need.</summary>
    public WriteWindow Window { get; }

    /// <summary>Highest acknowledged sequence.</summary>
    public ulong Acknowledged { get; private set; }

    /// <summary>
    /// Whether the local replica was away while operations were acknowledged, and has not answered all of
    /// them yet: its image shows what was there before.
    /// </summary>
    public bool IsLocalBehind => _local >= 0 && _lags[_local].Operations > 0;

    /// <summary>Called with the first read that waited for an operation which has its quorum now.</summary>
    public required Action<ulong> OnAcknowledged { get; init; }

    /// <summary>Starts a write, discard or write-zeroes.</summary>
    /// <param name="id">The request.</param>
    public void Start(ulong id)
    {
        if (!_replicas.HasWriteQuorum && _options.OnQuorumLoss == QuorumLoss.Error)
        {
            _ = _requests.TryFind(id, out int slot);
            _requests.Answer(slot, BlockStatus.IoError);
            return;
        }

        _held.Enqueue(id);
        Pump();
    }

    /// <summary>Gives an operation of our own its place in history, if it can have it now.</summary>
    /// <param name="operation">It.</param>
    public bool TryAppend(in WindowOperation operation)
    {
        DropDone();
        return _held.Count == 0 && TrySequence(operation);
    }

    /// <summary>Lets a read wait for the latest operation on its range without its quorum, if any.</summary>
    /// <param name="id">The request.</param>
    /// <param name="request">Its entry.</param>
    public bool TryWaitForQuorum(ulong id, ref HostRequest request)
    {
        BlockRequest read = request.Request;
        if (!_open.TryFindOverlap(read.OffsetBytes, read.LengthBytes, ulong.MaxValue, out int slot))
        {
            return false;
        }

        ref WindowOperation operation = ref Window.At(slot);
        if (Mistakes.Make(Mistake.FailedWriteNotWaitedFor) && !_requests.TryFind(operation.Request, out _))
        {
            return false;
        }

        request.WaitsFor = operation.Sequence;
        request.NextWaiter = operation.FirstWaiter;
        operation.FirstWaiter = id;
        return true;
    }

    /// <summary>Takes a read out of the line for its operation, because its time is over.</summary>
    /// <param name="id">The request.</param>
    /// <param name="slot">Its slot.</param>
    public void StopWaiting(ulong id, int slot)
    {
        ref WindowOperation operation = ref Window[_requests[slot].WaitsFor];
        ulong next = _requests[slot].NextWaiter;
        if (operation.FirstWaiter == id)
        {
            operation.FirstWaiter = next;
            return;
        }

        ulong before = operation.FirstWaiter;
        while (_requests.TryFind(before, out int other))
        {
            if (_requests[other].NextWaiter == id)
            {
                _requests[other].NextWaiter = next;
                return;
            }

            before = _requests[other].NextWaiter;
        }
    }

    /// <summary>A replica has answered an operation.</summary>
    /// <param name="replica">Its place, in the stream.</param>
    /// <param name="sequence">The operation.</param>
    /// <param name="isApplied">It has applied it and its copy of the range is current.</param>
    public void Answer(int replica, ulong sequence, bool isApplied)
    {
        if (!Window.Has(sequence) || Window[sequence].AnsweredBy.Has(replica))
        {
            return;
        }

        ref WindowOperation operation = ref Window[sequence];
        operation.AnsweredBy = operation.AnsweredBy.With(replica);
        if (isApplied)
        {
            operation.AppliedBy = operation.AppliedBy.With(replica);
        }

        if (operation.IsAcknowledged)
        {
            _lags[replica].Remove(operation.PayloadBytes);
        }
        else
        {
            TryAcknowledge(ref operation);
        }

        Pump();
    }

    /// <summary>Operations that may have their quorum by now are looked at.</summary>
    public void AcknowledgeAll()
    {
        for (ulong sequence = Window.Base; sequence < Window.Next; sequence++)
        {
            ref WindowOperation operation = ref Window[sequence];
            if (!operation.IsAcknowledged)
            {
                TryAcknowledge(ref operation);
            }
        }
    }

    /// <summary>Makes room in the window, and gives held requests their place in history.</summary>
    public void Pump()
    {
        DropDone();
        while (_held.TryPeek(out ulong id))
        {
            if (_requests.TryFind(id, out int slot) && !TrySequence(id, slot))
            {
                return;
            }

            _ = _held.Dequeue();
        }
    }

    // Oldest first, so that what is kept stays one piece of history.
    private void DropDone()
    {
        while (Window.Count > 0 && IsDone(Window[Window.Base]))
        {
            ref WindowOperation oldest = ref Window[Window.Base];
            if (oldest.Operation == BlockOperation.Write)
            {
                _requests.ReleasePayload(oldest.Payload);
            }

            Window.DropOldest();
        }
    }

    private bool IsDone(in WindowOperation operation) =>
        operation.IsAcknowledged && operation.AnsweredBy.HasAll(_replicas.InStream | _kept);

    private bool TrySequence(ulong id, int slot)
    {
        ref HostRequest request = ref _requests[slot];
        if (!TrySequence(new WindowOperation
        {
            Operation = request.Request.Operation,
            Flags = request.Request.Flags,
            OffsetBytes = request.Request.OffsetBytes,
            LengthBytes = request.Request.LengthBytes,
            Crc = request.Crc,
            Payload = request.Request.Buffer,
            Request = id,
        }))
        {
            return false;
        }

        request.Sequence = Window.Next - 1;
        request.OwnsPayload = false;
        return true;
    }

    private bool TrySequence(in WindowOperation wanted)
    {
        int payload = wanted.PayloadBytes;
        bool isRead = _reading.TryFindOverlap(wanted.OffsetBytes, wanted.LengthBytes, ulong.MaxValue, out _);
        isRead &= !Mistakes.Make(Mistake.WriteUnderRead);
        bool isAlone = !_replicas.HasWriteQuorum && !Mistakes.Make(Mistake.HeldRequestsNumbered);
        if (isRead || isAlone || (!Window.HasRoom(payload) && !TryRelieve(payload)))
        {
            return false;
        }

        ref WindowOperation operation = ref Window.Append(wanted);
        _open.Add(Window.SlotOf(operation.Sequence), operation.Sequence, operation.OffsetBytes,
            operation.LengthBytes);
        foreach (int place in _replicas.InStream)
        {
            _effects.SendOperation(place, operation, _replicas.Committed);
        }

        return true;
    }

    // Neither who is gone nor who alone holds more than half of the window slows the host: a quorum has what
    // they lack.
    private bool TryRelieve(int payload)
    {
        _kept = default;
        DropDone();
        if (Window.HasRoom(payload))
        {
            return _replicas.HasWriteQuorum;
        }

        foreach (int place in _replicas.InStream)
        {
            bool isSlow = _lags[place].Bytes > Window.MaxBytes / 2 ||
                _lags[place].Operations > Window.Capacity / 2;
            if (isSlow)
            {
                _replicas.Move(place, ReplicaStage.Behind, isCurrent: false);
                _effects.LeaveStream(place, LeaveReason.TooSlow);
            }
        }

        DropDone();
        return _replicas.HasWriteQuorum && Window.HasRoom(payload);
    }

    private void TryAcknowledge(ref WindowOperation operation)
    {
        // Reads go straight to the local image as long as it has answered everything.
        bool isLocalDone = _local < 0 || !_replicas.InStream.Has(_local) || operation.AnsweredBy.Has(_local);
        if (!isLocalDone || !Mistakes.Make(Mistake.AcknowledgeBeforeQuorum) &&
            !_replicas.Configuration.HasWriteQuorum(operation.AppliedBy))
        {
            return;
        }

        operation.IsAcknowledged = true;
        Acknowledged = Math.Max(Acknowledged, operation.Sequence);
        _open.Remove(Window.SlotOf(operation.Sequence));
        foreach (int place in _replicas.InStream.Outside(operation.AnsweredBy))
        {
            _lags[place].Add(operation.PayloadBytes);
        }

        ulong request = operation.Request;
        ulong waiter = operation.FirstWaiter;
        operation.Request = 0;
        operation.FirstWaiter = 0;
        if (_requests.TryFind(request, out int slot))
        {
            bool isDurable = _options.AcknowledgesDurable ||
                (operation.Flags & BlockRequestFlags.ForceUnitAccess) != BlockRequestFlags.None;
            if (isDurable && !Mistakes.Make(Mistake.ForceUnitAccessIgnored))
            {
                _flushes.Start(request, Acknowledged);
            }
            else
            {
                _requests.Answer(slot, BlockStatus.Ok);
            }
        }

        if (waiter != 0)
        {
            OnAcknowledged(waiter);
        }
    }
}
