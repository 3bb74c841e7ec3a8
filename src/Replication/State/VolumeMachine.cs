using Ublk.Uring;
using Ublk.Wire.Blocks;

namespace Ublk.Replication.State;

/// <summary>
/// The primary of a volume in one epoch: gives every mutating operation its place in history, sends it to
/// the replicas, answers the host when a write quorum has applied it, and serves reads that can never be
/// un-read. It only decides: no thread, no clock, no socket, no file. Time comes with the events, in ticks
/// of a clock that runs while the host sleeps. Used on one thread; no allocation per request; who is told
/// of an answer may ask for more at once, but effects answer later.
/// Source: the replication design, sections 4, 5 and 11.
/// </summary>
public sealed partial class VolumeMachine
{
    private readonly VolumeOptions _options;
    private readonly IVolumeEffects _effects;
    private readonly HostRequests _requests;
    private readonly ReplicaTable _replicas;
    private readonly VolumeFlushes _flushes;
    private readonly VolumeWrites _writes;
    private readonly VolumeReads _reads;
    private readonly int _local;
    private long _now = long.MinValue;
    private long _nextHeartbeat = long.MinValue;
    private long _nextIdleFlush = long.MinValue;

    /// <summary>Starts to serve; the epoch's start record is durable on a write quorum.</summary>
    /// <param name="options">Settings.</param>
    /// <param name="configuration">Who decides.</param>
    /// <param name="firstSequence">First sequence of this epoch, above 0.</param>
    /// <param name="local">Place of the local replica; −1 without one.</param>
    /// <param name="effects">The surroundings.</param>
    public VolumeMachine(
        VolumeOptions options, VolumeConfiguration configuration, ulong firstSequence, int local,
        IVolumeEffects effects)
    {
        _options = options;
        _effects = effects;
        _local = local;
        _requests = new HostRequests(options.MaxRequests, effects);
        _replicas = new ReplicaTable(configuration);
        var reading = new RangeIndex(options.MaxRequests);
        _flushes = new VolumeFlushes(options.MaxRequests, _requests, _replicas, effects);
        _writes = new VolumeWrites(
            options, _requests, _replicas, firstSequence, _flushes, reading, local, effects)
        {
            OnAcknowledged = first => _reads!.WakeChain(first, _now),
        };
        _reads = new VolumeReads(
            _requests, _writes, _replicas, options.MaxRequests, reading, local, options.ChecksLocalReads,
            effects);
    }

    /// <summary>Where the volume is in its life.</summary>
    public VolumeStage Stage { get; private set; }

    /// <summary>Highest acknowledged sequence.</summary>
    public ulong Acknowledged => _writes.Acknowledged;

    /// <summary>What is known of the replicas.</summary>
    public ReplicaTable Replicas => _replicas;

    /// <summary>The operations that some replica may still need.</summary>
    public WriteWindow Window => _writes.Window;

    /// <summary>Requests of the host in hand.</summary>
    public int RequestCount => _requests.Count;

    /// <summary>Takes a request of the host. A write's payload is ours until it is released.</summary>
    /// <param name="request">In range and aligned.</param>
    /// <param name="crc">CRC32C of a write's payload.</param>
    /// <param name="completion">Hears of the end, exactly once.</param>
    /// <param name="now">The clock.</param>
    public void Submit(in BlockRequest request, uint crc, IBlockCompletion completion, long now)
    {
        _now = now;
        long deadline = _options.RequestLimit == 0 ? long.MaxValue : now + _options.RequestLimit;
        ulong id = _requests.Add(request, crc, completion, deadline);
        if (Stage != VolumeStage.Serving)
        {
            _ = _requests.TryFind(id, out int slot);
            _requests.Answer(slot, BlockStatus.Gone);
        }
        else if (request.Operation == BlockOperation.Read)
        {
            _reads.Continue(id, now);
        }
        else if (request.Operation == BlockOperation.Flush)
        {
            _flushes.Start(id, Acknowledged);
        }
        else
        {
            _writes.Start(id);
        }

        _requests.Deliver();
    }

    /// <summary>
    /// Writes once more what a part of the replicas has lost, as an operation that nobody waits for; but only
    /// if it can have its place in history at once, so that nothing of the host comes between.
    /// </summary>
    /// <param name="operation">Write or write-zeroes.</param>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="lengthBytes">Length.</param>
    /// <param name="crc">CRC32C of a write's payload.</param>
    /// <param name="payload">The bytes of a write; ours if this succeeds.</param>
    /// <param name="now">The clock.</param>
    public bool TryRepair(
        BlockOperation operation, long offsetBytes, int lengthBytes, uint crc, in IoBuffer payload, long now)
    {
        _now = now;
        return Stage == VolumeStage.Serving && _writes.TryAppend(new WindowOperation
        {
            Operation = operation, OffsetBytes = offsetBytes, LengthBytes = lengthBytes, Crc = crc,
            Payload = payload,
        });
    }

    /// <summary>A replica has answered an operation.</summary>
    /// <param name="replica">Its place.</param>
    /// <param name="sequence">The operation.</param>
    /// <param name="status">How.</param>
    /// <param name="applied">Its A.</param>
    /// <param name="durable">Its D.</param>
    /// <param name="now">The clock.</param>
    public void OnApplied(
        int replica, ulong sequence, ApplyStatus status, ulong applied, ulong durable, long now)
    {
        _now = now;
        if (!_replicas.InStream.Has(replica))
        {
            return; // It left meanwhile.
        }

        if (status == ApplyStatus.Failed)
        {
            _effects.LeaveStream(replica, LeaveReason.Failed);
            _writes.Leave(replica, ReplicaStage.Behind);
        }
        else
        {
            Report(replica, applied, durable);
            _writes.Answer(
                replica, sequence, status == ApplyStatus.Applied && !_replicas.Doubted.Has(replica));
        }

        Settle();
    }

    /// <summary>A replica has flushed, or otherwise tells where it stands.</summary>
    /// <param name="replica">Its place.</param>
    /// <param name="applied">Its A.</param>
    /// <param name="durable">Its D.</param>
    /// <param name="now">The clock.</param>
    public void OnReport(int replica, ulong applied, ulong durable, long now)
    {
        _now = now;
        Report(replica, applied, durable);
        Settle();
    }

    /// <summary>A replica has granted a lease.</summary>
    /// <param name="replica">Its place.</param>
    /// <param name="sentAt">When it was asked, by the machine's clock.</param>
    /// <param name="granted">For how long, in ticks; the margin for drifting clocks is taken off.</param>
    /// <param name="now">The clock.</param>
    public void OnGrant(int replica, long sentAt, long granted, long now)
    {
        _now = now;
        if (Stage is VolumeStage.Serving or VolumeStage.Releasing)
        {
            _replicas.Grant(replica, (Mistakes.Make(Mistake.LeaseFromReceipt) ? now : sentAt) + granted);
            _reads.Wake(now);
        }

        Settle();
    }

    /// <summary>A read has ended: of the local image, from a peer, or because the peer went away.</summary>
    /// <param name="read">As it was named.</param>
    /// <param name="source">Who was asked.</param>
    /// <param name="status">How; Ok when the whole buffer is filled.</param>
    /// <param name="now">The clock.</param>
    public void OnReadEnded(ulong read, int source, BlockStatus status, long now)
    {
        _now = now;
        _reads.OnEnded(read, source, status, Stage == VolumeStage.Fenced, now);
        _writes.Pump(); // A write on its range may have waited for it.
        Settle();
    }

    /// <summary>Others decide from now on; that is durable on W of those before and of these.</summary>
    /// <param name="configuration">Who.</param>
    /// <param name="now">The clock.</param>
    public void Reconfigure(VolumeConfiguration configuration, long now)
    {
        _now = now;
        _replicas.Reconfigure(configuration);
        _writes.KeepNothing();
        _flushes.Ask(Acknowledged);
        _writes.AcknowledgeAll();
        _writes.Pump();
        Settle();
    }

    /// <summary>A replica has promised another writer: nothing is served any more.</summary>
    /// <param name="now">The clock.</param>
    public void OnFenced(long now)
    {
        _now = now;
        if (Stage is VolumeStage.Serving or VolumeStage.Releasing)
        {
            Stage = VolumeStage.Fenced;
            _replicas.EndLease();
            AnswerAll(long.MaxValue, BlockStatus.Gone);
            _effects.Ended(Stage);
        }

        _requests.Deliver();
    }

    /// <summary>Takes nothing new, finishes what it has and flushes it, for a planned switchover.</summary>
    /// <param name="now">The clock.</param>
    public void Release(long now)
    {
        _now = now;
        if (Stage == VolumeStage.Serving)
        {
            Stage = VolumeStage.Releasing;
            _writes.KeepNothing();
        }

        Settle();
    }

    /// <summary>Time passes: heartbeats, overdue requests, the flush of an idle volume.</summary>
    /// <param name="now">The clock.</param>
    public void OnTick(long now)
    {
        _now = now;
        if (Stage is VolumeStage.Fenced or VolumeStage.Released)
        {
            return;
        }

        if (now >= _nextHeartbeat)
        {
            _nextHeartbeat = now + _options.HeartbeatInterval;
            foreach (int place in _replicas.Connected)
            {
                _effects.SendHeartbeat(place, now, Acknowledged, _replicas.Committed);
            }
        }

        if (now >= _nextIdleFlush)
        {
            _nextIdleFlush = now + _options.IdleFlushInterval;
            FlushIfNeeded();
        }

        AnswerAll(now, BlockStatus.TimedOut);
        Settle();
    }

    private void Report(int replica, ulong applied, ulong durable)
    {
        if (_replicas.Report(replica, applied, durable))
        {
            _flushes.OnCommitted();
        }
    }

    private void FlushIfNeeded()
    {
        if (_replicas.Committed < Acknowledged)
        {
            _flushes.Ask(Acknowledged);
        }
    }

    // A read whose buffer is being filled is answered when that has ended.
    private void AnswerAll(long deadline, BlockStatus status)
    {
        for (int slot = 0; slot < _requests.Capacity; slot++)
        {
            ulong id = _requests.IdAt(slot);
            if (id == 0 || _requests[slot].Deadline > deadline)
            {
                continue;
            }

            if (_requests[slot].IsReading)
            {
                _requests[slot].IsOverdue = true;
                continue;
            }

            if (_requests[slot].WaitsFor != 0)
            {
                _writes.StopWaiting(id, slot);
            }

            _requests.Answer(slot, status);
        }
    }

    // The end of every event: a release may be complete now, and who is to be told is told.
    private void Settle()
    {
        if (Stage == VolumeStage.Releasing && _requests.Count == 0 && Window.Count == 0)
        {
            FlushIfNeeded();
            if (_replicas.Committed >= Acknowledged)
            {
                Stage = VolumeStage.Released;
                _replicas.EndLease();
                _effects.Ended(Stage);
            }
        }

        _requests.Deliver();
    }
}
