using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Replica;

/// <content>Messages: who may say what, and who hears of it.</content>
public sealed partial class ReplicaMachine
{
    /// <summary>A message has come.</summary>
    /// <param name="session">Over which session; its first message opens it.</param>
    /// <param name="head">The message, parsed.</param>
    /// <param name="payload">Its payload; the machine's until it releases it. Empty without.</param>
    /// <param name="now">The clock.</param>
    public void OnMessage(int session, scoped in MessageHead head, in IoBuffer payload, long now)
    {
        _context.Now = now;
        string? refusal = null;
        bool isTaken = false;
        if (_isDead)
        {
            _effects.Close(session, CloseReason.Failed, "the metadata failed");
        }
        else if (head.Kind == MessageKind.OpenSession)
        {
            refusal = Open(session, head.Read<OpenSession>());
        }
        else if (!_sessions.TryFind(session, out PeerSession peer) || !_isReady)
        {
            refusal = "a session begins with OpenSession and its answer";
        }
        else if (IsRead(head.Kind) && _reads.IsFull)
        {
            End(session, CloseReason.Overloaded, "more questions are under way than the replica keeps");
        }
        else if (peer.Opened.Role == SessionRole.Puller || IsQuestion(head.Kind))
        {
            refusal = TakeQuestion(session, head, payload);
        }
        else if (head.Kind == MessageKind.Promise)
        {
            TakePromise(peer, head.Read<Promise>());
        }
        else if (session != _sessions.Writer && !Mistakes.Make(Mistake.OldWriterNotRefused))
        {
            End(session, CloseReason.WrongEpoch, "the volume is promised to another writer or session");
        }
        else
        {
            isTaken = head.Kind is MessageKind.Write or MessageKind.CopyChunk;
            refusal = TakeFromWriter(session, head, payload);
        }

        if (!isTaken && head.PayloadBytes > 0)
        {
            _effects.ReleasePayload(payload);
        }

        if (refusal is not null)
        {
            End(session, CloseReason.ProtocolError, refusal);
        }

        Settle();
    }

    private static bool IsQuestion(MessageKind kind) => kind is
        MessageKind.VersionsRequest or MessageKind.DigestsRequest or MessageKind.CopyRequest;

    private static bool IsRead(MessageKind kind) => kind is
        MessageKind.Read or MessageKind.DigestsRequest or MessageKind.CopyRequest;

    private string? Open(int session, in OpenSession open)
    {
        if (_sessions.TryFind(session, out _))
        {
            return "a session is opened once";
        }

        ReplicaIdentity identity = _context.Superblock.Identity;
        bool isThis = open.Volume == _context.Options.Volume && open.Replica == identity.Replica &&
            open.Incarnation == identity.Incarnation;
        bool isGeometry = open.BlockBytes == _context.Options.BlockBytes &&
            open.RegionBytes == StoreFormat.RegionBytes && open.GrainBytes == StoreFormat.GrainBytes;
        if (!isThis || !isGeometry || _sessions.Count == _context.Options.MaxSessions)
        {
            CloseReason reason = !isThis ? CloseReason.UnknownReplica
                : !isGeometry ? CloseReason.WrongGeometry : CloseReason.Overloaded;
            _effects.Close(session, reason, $"this is replica {identity.Replica} {identity.Incarnation}");
            return null;
        }

        var peer = new PeerSession(session, open);
        _sessions.Add(peer);
        if (_isReady)
        {
            OnMayOpen(peer);
        }

        return null;
    }

    // The writer that has the promise goes on over a new session; what the old one brought is not lost.
    private void OnMayOpen(PeerSession peer)
    {
        OpenSession open = peer.Opened;
        if (open.Role == SessionRole.Writer && _promises.IsFor(open.Epoch, open.Writer))
        {
            BecomeWriter(peer.Session);
            _writes.Next = _progress.Applied + 1;
            _writes.Session = peer.Session;
        }

        _claims.SendState(peer.Session, open.Epoch, _promises.Current);
        if (peer.Session == _sessions.Writer && IsStarted && State.Missing.Count > 0)
        {
            _claims.SendMissing(peer.Session, open.Epoch);
        }
    }

    private void BecomeWriter(int session)
    {
        int former = _sessions.Writer;
        if (former >= 0 && former != session && !Mistakes.Make(Mistake.OldWriterNotRefused))
        {
            End(former, CloseReason.Superseded, "another session of a writer took over");
        }

        _sessions.Writer = session;
    }

    private void TakePromise(in PeerSession peer, in Promise wanted)
    {
        if (wanted.Epoch != peer.Opened.Epoch || wanted.Writer != peer.Opened.Writer)
        {
            End(peer.Session, CloseReason.ProtocolError, "a promise for another writer than the session's");
        }
        else if (_start.Stage == StartStage.Recording || _context.IsFailed)
        {
            _promises.Refuse(peer.Session, wanted.Epoch, ClaimAnswer.Failed); // Ask again later.
        }
        else if (_promises.TryPromise(peer.Session, wanted))
        {
            _start.Clear();
            _flushes.Drop();
            _resync.Drop();
            _writes.Drop();
            BecomeWriter(peer.Session);
        }
    }

    private string? TakeQuestion(int session, scoped in MessageHead head, in IoBuffer payload)
    {
        switch (head.Kind)
        {
            case MessageKind.VersionsRequest:
                _claims.SendVersions(session, head.Read<VersionsRequest>());
                return null;
            case MessageKind.DigestsRequest:
                return TakeDigests(session, head.Read<DigestsRequest>());
            case MessageKind.CopyRequest:
                CopyRequest request = head.Read<CopyRequest>();
                bool isRepair = session == _sessions.Writer && IsStarted &&
                    _resync.IsTracked(ReplicaContext.RegionOf(request.OffsetBytes));
                _reads.Add(session, request, payload, isRepair);
                return null;
            default:
                return $"a session that only asks sent {head.Kind}";
        }
    }

    // The primary compares what is missing here in order to repair it.
    private string? TakeDigests(int session, in DigestsRequest request)
    {
        bool isInStream = session == _sessions.Writer && IsStarted;
        ulong position = request.Position.Value;
        if (position != 0 && (!isInStream || position != _writes.Next - 1))
        {
            return $"digests are wanted at {position}, which is not where the stream is";
        }

        int region = ReplicaContext.RegionOf(request.OffsetBytes);
        bool isRepair = position != 0 && State.Missing.Contains(region);
        if (isRepair)
        {
            _resync.Track(region);
        }

        _reads.Add(session, request, isRepair);
        return null;
    }

    private string? TakeFromWriter(int session, scoped in MessageHead head, in IoBuffer payload)
    {
        switch (head.Kind)
        {
            case MessageKind.Write:
                return TakeWrite(session, head.Read<Write>(), payload);
            case MessageKind.Flush:
                return TakeFlush(session, head.Read<Flush>());
            case MessageKind.Heartbeat:
                return TakeHeartbeat(session, head.Read<Heartbeat>());
            case MessageKind.Release:
                return TakeRelease(head.Read<Release>());
            case MessageKind.Read:
                _reads.Add(session, head.Read<Read>());
                return null;
            case MessageKind.CopyChunk:
                return TakeCopy(session, head.Read<CopyChunk>(), payload);
            case MessageKind.RegionDone:
                return TakeDone(session, head.Read<RegionDone>());
            case MessageKind.ClaimEntries:
                return _start.Stage == StartStage.None && _start.TryAdd(head.Read<ClaimEntries>())
                    ? null : "missing regions that cannot be";
            case MessageKind.Versions:
                return _start.Stage == StartStage.None && _start.TryAdd(head.Read<Versions>())
                    ? null : "versions of regions that cannot be";
            case MessageKind.EpochStart:
                return TakeStart(session, head.Read<EpochStart>());
            case MessageKind.Configure:
                return TakeConfigure(session, head.Read<Configure>());
            default:
                return $"{head.Kind} is nothing a replica is sent";
        }
    }

    private string? TakeWrite(int session, in Write write, in IoBuffer payload)
    {
        bool isTooOld = write.Epoch.Value != _promises.Current.Epoch || !IsStarted && !_writes.Holds;
        isTooOld &= !Mistakes.Make(Mistake.OldWriterNotRefused);
        bool isOccupied = _writes.IsOccupied(write.Sequence.Value);
        if ((isTooOld || isOccupied) && write.Operation == Mutation.Write)
        {
            _effects.ReleasePayload(payload);
        }

        if (isTooOld)
        {
            return "an operation of an epoch that has not started here";
        }

        if (isOccupied)
        {
            End(session, CloseReason.Overloaded, "an operation of before has its place still");
            return null;
        }

        _promises.OnCommitted(write.Committed);
        _writes.Session = session;
        _lastWriteAt = _context.Now;
        return _writes.Accept(write, payload);
    }

    private string? TakeFlush(int session, in Flush flush)
    {
        if (flush.Epoch.Value != _promises.Current.Epoch || !IsStarted && !_writes.Holds)
        {
            return "a flush of an epoch that has not started here";
        }

        _promises.OnCommitted(flush.Committed);
        _flushes.Add(session, flush);
        return null;
    }

    private string? TakeHeartbeat(int session, in Heartbeat heartbeat)
    {
        if (heartbeat.Epoch.Value != _promises.Current.Epoch)
        {
            return "a heartbeat of another epoch";
        }

        if (IsStarted && !Mistakes.Make(Mistake.HeartbeatsWithoutCommit))
        {
            _promises.OnCommitted(heartbeat.Committed);
        }

        _promises.OnHeartbeat(session, heartbeat, IsStarted, _progress.Applied);
        return null;
    }

    private string? TakeRelease(in Release release)
    {
        if (release.Epoch.Value == _promises.Current.Epoch)
        {
            _promises.OnReleased();
        }

        return null;
    }

    private string? TakeCopy(int session, in CopyChunk chunk, in IoBuffer payload)
    {
        if (chunk.Epoch.Value == _promises.Current.Epoch && _start.Stage == StartStage.None)
        {
            return IsStarted ? _resync.Accept(session, chunk, payload)
                : _copies.Accept(session, chunk, payload);
        }

        if (chunk.PayloadBytes > 0)
        {
            _effects.ReleasePayload(payload);
        }

        return "a piece of another epoch";
    }

    private string? TakeDone(int session, in RegionDone done)
    {
        if (!IsStarted || done.Region >= State.Missing.Regions)
        {
            return $"region {done.Region} cannot be done";
        }

        if (State.Missing.Contains((int)done.Region))
        {
            _resync.OnDone(session, done);
        }
        else
        {
            // It became whole for an earlier session, when its record was already on the way.
            _effects.Send(session, new Copied(done.Epoch, done.Id, AnswerStatus.Ok));
        }

        return null;
    }

    private string? TakeStart(int session, in EpochStart start)
    {
        if (!_promises.IsFor(start.Epoch, start.Writer) || _start.Stage != StartStage.None)
        {
            return "a start of an epoch that was not promised, or is under way";
        }

        if (_context.IsFailed)
        {
            _effects.Send(session, new EpochStarted(start.Epoch, AnswerStatus.Failed));
            return null;
        }

        _writes.Drop();
        _flushes.Drop();
        _resync.Drop();
        _start.Begin(session, start);
        _writes.Session = session;
        _writes.Hold(start.Position.Value);
        _flushes.IsHeld = true;
        return null;
    }

    private void End(int session, CloseReason reason, string text)
    {
        Forget(session);
        _effects.Close(session, reason, text);
    }

    private void Forget(int session)
    {
        _sessions.Remove(session);
        _promises.OnSessionEnded(session);
        _reads.Drop(session);
        if (_writes.Session == session)
        {
            _writes.Session = -1;
            _resync.Drop();
        }

        if (_start.Session == session && _start.Stage is StartStage.None or StartStage.Draining)
        {
            _start.Clear();
            _flushes.Drop();
            _writes.Drop();
        }
    }
}
