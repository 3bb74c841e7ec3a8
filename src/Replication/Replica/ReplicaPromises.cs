using Ublk.Replication.Store;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Replica;

/// <summary>
/// Whom the replica obeys: the highest promise, and the time it has granted to a primary (replication design,
/// section 5 and rules 7, 8, 11). A promise is durable before it is answered, and refuses everything below
/// it from the moment it was asked for.
/// </summary>
internal sealed class ReplicaPromises
{
    private const long NsPerMs = 1_000_000;

    private readonly ReplicaContext _context;
    private long _grantEnds;
    private uint _leaseAsked;
    private int _askedBy = -1;
    private long _askedAt;
    private bool _isDurable = true;

    /// <summary>Begins with what the ring has; grants of the process before may still run.</summary>
    /// <param name="context">The replica.</param>
    public ReplicaPromises(ReplicaContext context)
    {
        _context = context;
        Current = context.State.Promise;
        _leaseAsked = context.State.LongestLeaseMs;
        _grantEnds = context.Options.FormerGrantsAreVoid || Mistakes.Make(Mistake.GrantsForgotten)
            ? long.MinValue : context.Now + WithDrift(context.State.LongestLeaseMs);
    }

    /// <summary>The promise, whether it is durable already or not.</summary>
    public PromiseEntry Current { get; private set; }

    /// <summary>C: everything up to it is durable on W replicas, as the primary of this epoch said.</summary>
    public ulong Committed { get; private set; }

    /// <summary>Whether somebody waits for the claim.</summary>
    public bool IsAsked => _askedBy >= 0;

    /// <summary>Until when no other epoch is answered.</summary>
    public long GrantEnds => _grantEnds;

    /// <summary>Whether the promise is of an epoch and a writer.</summary>
    /// <param name="epoch">The epoch.</param>
    /// <param name="writer">The writer.</param>
    public bool IsFor(Epoch epoch, Writer writer) =>
        epoch.Value != 0 && Current.Epoch == epoch.Value && Current.Writer == writer;

    /// <summary>A writer wants the promise.</summary>
    /// <param name="session">Its session.</param>
    /// <param name="wanted">What it wants.</param>
    /// <returns>Whether it has it; its claim follows once everything else has come to an end.</returns>
    public bool TryPromise(int session, in Promise wanted)
    {
        ulong known = Math.Max(Current.Configuration, _context.State.Configuration?.Number ?? 0);
        ClaimAnswer answer =
            wanted.Epoch.Value < Current.Epoch && !Mistakes.Make(Mistake.LowerEpochPromised)
                ? ClaimAnswer.HigherEpoch :
            wanted.Epoch.Value == Current.Epoch && wanted.Writer != Current.Writer &&
            !Mistakes.Make(Mistake.EpochPromisedTwice) ? ClaimAnswer.OtherWriter :
            wanted.Configuration.Value < known && !Mistakes.Make(Mistake.OldConfigurationPromised)
                ? ClaimAnswer.NewerConfiguration : ClaimAnswer.Granted;
        var entry = new PromiseEntry(wanted.Epoch.Value, wanted.Writer, wanted.Configuration.Value);
        if (answer == ClaimAnswer.Granted && entry != Current)
        {
            ulong token = ReplicaContext.Name(ReplicaIo.Promise, wanted.Epoch.Value);
            answer = _context.Log.Append(entry, token) == AppendResult.Queued
                ? ClaimAnswer.Granted : ClaimAnswer.Failed;
        }

        if (answer != ClaimAnswer.Granted)
        {
            Refuse(session, wanted.Epoch, answer);
            return false;
        }

        _isDurable &= entry == Current;
        Current = entry;
        Committed = 0;
        _askedBy = session;
        _askedAt = _context.Now;
        return true;
    }

    /// <summary>A promise is durable.</summary>
    /// <param name="epoch">Its epoch.</param>
    public void OnDurable(ulong epoch) => _isDurable |= epoch == _context.State.Promise.Epoch &&
        Current == _context.State.Promise;

    /// <summary>A session has ended: nobody waits for a claim over it any more.</summary>
    /// <param name="session">Which.</param>
    public void OnSessionEnded(int session) => _askedBy = _askedBy == session ? -1 : _askedBy;

    /// <summary>Whether the claim may be told: no grant runs, the promise is durable.</summary>
    public bool MayAnswer => IsAsked &&
        (_isDurable || Mistakes.Make(Mistake.PromiseAnsweredBeforeDurable)) &&
        (_context.Now >= _grantEnds || Mistakes.Make(Mistake.GrantsNotWaitedFor));

    /// <summary>Whether draining has taken too long.</summary>
    public bool IsOverdue => IsAsked && _context.Now - _askedAt > _context.Options.DrainLimitNs &&
        _context.Now >= _grantEnds;

    /// <summary>Takes the session that waits for the claim.</summary>
    public int TakeAsker()
    {
        int session = _askedBy;
        _askedBy = -1;
        return session;
    }

    /// <summary>Refuses a promise, and says what is promised.</summary>
    /// <param name="session">Whom.</param>
    /// <param name="epoch">What was wanted.</param>
    /// <param name="answer">Why.</param>
    public void Refuse(int session, Epoch epoch, ClaimAnswer answer) =>
        _context.Effects.Send(session, new Claim
        {
            Epoch = epoch,
            Answer = answer,
            PromisedEpoch = new Epoch(Current.Epoch),
            PromisedWriter = Current.Writer,
            Configuration = new ConfigurationNumber(_context.State.Configuration?.Number ?? 0),
        });

    /// <summary>The primary says how far it is.</summary>
    /// <param name="committed">C.</param>
    public void OnCommitted(Sequence committed) => Committed = Math.Max(Committed, committed.Value);

    /// <summary>The primary wants time; it gets it when a restart would remember how long to wait.</summary>
    /// <param name="session">Its session.</param>
    /// <param name="heartbeat">The question.</param>
    /// <param name="isServing">Whether the epoch's start is durable here.</param>
    /// <param name="applied">A.</param>
    public void OnHeartbeat(int session, in Heartbeat heartbeat, bool isServing, ulong applied)
    {
        uint lease = (uint)heartbeat.LeaseMs;
        bool isForgotten = Mistakes.Make(Mistake.LeaseNotRecorded);
        if (lease > _leaseAsked && !isForgotten && _context.Log.Append(
            new LongestLeaseEntry(lease), ReplicaContext.Name(ReplicaIo.Lease)) == AppendResult.Queued)
        {
            _leaseAsked = lease;
        }

        bool isGranted = isServing && (isForgotten || lease <= _context.State.LongestLeaseMs);
        if (isGranted)
        {
            _grantEnds = Math.Max(_grantEnds, _context.Now + WithDrift(lease));
        }

        _context.Effects.Send(session, new Grant(
            heartbeat.Epoch, heartbeat.SentAtNs, isGranted ? (int)lease : 0,
            new Sequence(applied), new Sequence(_context.Durable)));
    }

    /// <summary>The primary gives its time back.</summary>
    public void OnReleased() => _grantEnds = _context.Now;

    private long WithDrift(uint leaseMs) => Mistakes.Make(Mistake.DriftIgnored) ? leaseMs * NsPerMs :
        leaseMs * NsPerMs + leaseMs * NsPerMs / 1024 * _context.Options.DriftPer1024;
}
