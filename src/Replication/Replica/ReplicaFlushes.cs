using Ublk.Replication.Store;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Replica;

/// <summary>
/// Flushes: everything up to A is brought to stable media, then D is appended, then whoever waits is answered
/// (replication design, section 4.6 and rule 14). One sync at a time serves all who came before it.
/// </summary>
internal sealed class ReplicaFlushes
{
    private readonly ReplicaContext _context;
    private readonly ReplicaProgress _progress;
    private readonly Queue<PendingFlush> _pending = new(64);
    private ulong _syncedThrough;
    private bool _isWanted;

    /// <summary>Nothing under way.</summary>
    /// <param name="context">The replica.</param>
    /// <param name="progress">What is applied.</param>
    public ReplicaFlushes(ReplicaContext context, ReplicaProgress progress)
    {
        _context = context;
        _progress = progress;
    }

    /// <summary>Whether a sync, or the append of its D, is under way.</summary>
    public bool IsBusy { get; private set; }

    /// <summary>Syncs begun.</summary>
    public ulong Begun { get; private set; }

    /// <summary>Syncs whose D is durable.</summary>
    public ulong Ended { get; private set; }

    /// <summary>Whether nothing is answered or begun: an epoch is starting.</summary>
    public bool IsHeld { get; set; }

    /// <summary>A peer wants everything up to a sequence on stable media.</summary>
    /// <param name="session">Who is answered.</param>
    /// <param name="flush">The question.</param>
    public void Add(int session, in Flush flush)
    {
        _pending.Enqueue(new PendingFlush(session, flush.Epoch.Value, flush.Through.Value));
        Step();
    }

    /// <summary>The replica itself wants what is applied on stable media.</summary>
    public void Want()
    {
        _isWanted |= _progress.Applied > _context.Durable;
        Step();
    }

    /// <summary>The same, also where nothing was applied: something was copied.</summary>
    public void WantAnyway()
    {
        _isWanted = true;
        Step();
    }

    /// <summary>Forgets whom to answer: another writer was promised.</summary>
    public void Drop()
    {
        IsHeld = false;
        _pending.Clear();
        _isWanted = false;
    }

    /// <summary>Goes on where something has been applied, or has become durable.</summary>
    public void Step()
    {
        if (IsHeld)
        {
            return;
        }

        AnswerDurable();
        bool isDue = _isWanted ||
            _pending.TryPeek(out PendingFlush first) && first.Through <= _progress.Applied;
        if (isDue && !IsBusy && !_context.IsFailed)
        {
            IsBusy = true;
            Begun++;
            _isWanted = false;
            _syncedThrough = _progress.Applied;
            if (Mistakes.Make(Mistake.DurableBeforeSync))
            {
                _ = OnSynced();
                return;
            }

            _context.Image.Sync(ReplicaContext.Name(ReplicaIo.Sync));
        }
    }

    /// <summary>The image is on stable media.</summary>
    /// <returns>False when the ring has no room for D: the replica cannot go on.</returns>
    public bool OnSynced()
    {
        _syncedThrough = Mistakes.Make(Mistake.DurableOfTheEnd) ? _progress.Applied : _syncedThrough;
        var entry = new DurableEntry(new HistoryPoint(_context.State.History.Last.Epoch, _syncedThrough));
        return _context.Log.Append(entry, ReplicaContext.Name(ReplicaIo.Sync)) == AppendResult.Queued;
    }

    /// <summary>D is durable.</summary>
    public void OnDurable()
    {
        IsBusy = false;
        Ended++;
        Step();
    }

    /// <summary>The replica has failed: nobody's flush will come to an end.</summary>
    public void Fail()
    {
        IsBusy = false;
        while (_pending.TryDequeue(out PendingFlush flush))
        {
            Answer(flush, AnswerStatus.Failed);
        }
    }

    private void AnswerDurable()
    {
        while (_pending.TryPeek(out PendingFlush flush) && flush.Through <= _context.Durable)
        {
            _ = _pending.Dequeue();
            Answer(flush, AnswerStatus.Ok);
        }
    }

    private void Answer(PendingFlush flush, AnswerStatus status) => _context.Effects.Send(
        flush.Session, new Flushed(
            new Epoch(flush.Epoch), new Sequence(flush.Through), status,
            new Sequence(_progress.Applied), new Sequence(_context.Durable)));

    private readonly record struct PendingFlush(int Session, ulong Epoch, ulong Through);
}
