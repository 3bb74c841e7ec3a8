using Ublk.Replication.Store;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Replica;

/// <summary>
/// An epoch begins here: what was accepted is drained, the image synced, and one batch of the ring says what
/// the replica is from now on (replication design, section 6 step 5 and rules 2, 6, 9, 11). A reconciled
/// replica has everything up to the epoch's position; one that joins knows which regions it misses.
/// </summary>
internal sealed class ReplicaStart
{
    private readonly ReplicaContext _context;
    private readonly ReplicaProgress _progress;
    private readonly List<MissingRun> _missing = [];
    private readonly List<VersionRun> _stamps = [];
    private EpochStart _start;

    /// <summary>Nothing under way.</summary>
    /// <param name="context">The replica.</param>
    /// <param name="progress">What is applied.</param>
    public ReplicaStart(ReplicaContext context, ReplicaProgress progress)
    {
        _context = context;
        _progress = progress;
    }

    /// <summary>How far it is.</summary>
    public StartStage Stage { get; private set; }

    /// <summary>Whether the image is being synced, perhaps for a start that is not wanted any more.</summary>
    public bool IsSyncing { get; private set; }

    /// <summary>
    /// Whether the replica has everything up to the position, because a reconcile copied it here. Between
    /// epochs there is a gap of numbers, so who has the position of a new one was; within an epoch nobody is.
    /// </summary>
    public bool IsReconciled { get; private set; }

    /// <summary>The session that asked for it.</summary>
    public int Session { get; private set; } = -1;

    /// <summary>The position the stream begins behind.</summary>
    public ulong Position => _start.Position.Value;

    private MetadataState State => _context.State;

    /// <summary>Notes regions that the replica misses.</summary>
    /// <param name="entries">A part of the list.</param>
    /// <returns>Whether they are regions of this volume.</returns>
    public bool TryAdd(in ClaimEntries entries)
    {
        foreach (MissingRun run in entries.Missing)
        {
            if (run.FirstRegion + run.Count > State.Missing.Regions)
            {
                return false;
            }

            _missing.Add(run);
        }

        return entries.List == ClaimList.Missing;
    }

    /// <summary>Notes versions that the replica takes over.</summary>
    /// <param name="versions">A page of them.</param>
    /// <returns>Whether they are regions of this volume.</returns>
    public bool TryAdd(in Versions versions)
    {
        foreach (VersionRun run in versions.Runs)
        {
            if (run.FirstRegion + run.Count > State.Versions.Regions)
            {
                return false;
            }

            _stamps.Add(run);
        }

        return true;
    }

    /// <summary>The start has come.</summary>
    /// <param name="session">Over which session.</param>
    /// <param name="start">It.</param>
    public void Begin(int session, in EpochStart start)
    {
        Session = session;
        _start = start;
        IsReconciled = start.Common == start.Position && State.History.Last.Epoch != start.Epoch.Value;
        Stage = StartStage.Draining;
    }

    /// <summary>Everything is drained: the image is synced first, so that old claims are durable.</summary>
    public void Sync()
    {
        Stage = StartStage.Syncing;
        IsSyncing = true;
        if (Mistakes.Make(Mistake.StartWithoutSync))
        {
            _ = TryRecord();
            return;
        }

        _context.Image.Sync(ReplicaContext.Name(ReplicaIo.Start));
    }

    /// <summary>The image is synced: the record is appended.</summary>
    /// <returns>False when the ring has no room.</returns>
    public bool TryRecord()
    {
        IsSyncing = false;
        if (Stage != StartStage.Syncing)
        {
            return true; // Another writer was promised meanwhile.
        }

        Stage = StartStage.Recording;
        List<MissingRun> runs = IsReconciled ? [] : NewlyMissing();
        const int Fixed = 512;
        int bytes = Fixed + 32 * runs.Count + 24 * _stamps.Count;
        if (_context.Log.BeginBatch(bytes, runs.Count) != AppendResult.Queued)
        {
            return false;
        }

        ulong epoch = _start.Epoch.Value, position = Position;
        HistoryPoint old = OldClaim();
        ulong durable = IsReconciled ? position : Math.Min(old.Sequence, _start.Common.Value);
        _context.Log.AddToBatch(new EpochStartEntry(epoch, _start.First.Value, durable));
        _context.Log.AddToBatch(new EpochEntry(epoch, _start.First.Value));
        _context.Log.AddToBatch(new AppliedFloorEntry(new HistoryPoint(epoch, position)));
        _context.Log.AddToBatch(new DurableEntry(new HistoryPoint(epoch, durable)));
        if (IsReconciled && State.Missing.Count > 0)
        {
            _context.Log.AddToBatch(new MissingRemoveEntry(0, (uint)State.Missing.Regions));
        }

        bool isWhole = IsReconciled || runs.Count == 0 && State.Missing.Count == 0;
        if (isWhole && State.Condition != ReplicaCondition.Sound)
        {
            _context.Log.AddToBatch(new ConditionEntry(ReplicaCondition.Sound, 0));
        }

        foreach (MissingRun run in runs)
        {
            _context.Log.AddToBatch(new MissingAddEntry((uint)run.FirstRegion, (uint)run.Count, old));
        }

        Stamp();
        _context.Log.EndBatch(ReplicaContext.Name(ReplicaIo.Start));
        if (Mistakes.Make(Mistake.StartAnsweredBeforeDurable))
        {
            _context.Effects.Send(Session, new EpochStarted(_start.Epoch, AnswerStatus.Ok));
        }

        return true;
    }

    /// <summary>The record is durable.</summary>
    public void Finish()
    {
        _progress.Begin(_start.Epoch.Value, Position);
        _context.Effects.Send(Session, new EpochStarted(_start.Epoch, AnswerStatus.Ok));
        Clear();
    }

    /// <summary>Another writer was promised, or the session ended, before anything was recorded.</summary>
    public void Clear()
    {
        Stage = StartStage.None;
        Session = -1;
        _missing.Clear();
        _stamps.Clear();
    }

    // What these bytes hold, durably: everything up to A of the history before.
    private HistoryPoint OldClaim() => new(State.History.Last.Epoch, _progress.Applied);

    // The live page first: a version too high costs a comparison, one too low a write.
    private void Stamp()
    {
        foreach (VersionRun run in _stamps)
        {
            for (long region = run.FirstRegion; region < run.FirstRegion + run.Count; region++)
            {
                _context.Live.SetVersion((int)region, run.Version.Value);
            }

            _context.Log.AddToBatch(new RegionVersionRunEntry(
                (uint)run.FirstRegion, (uint)run.Count, run.Version.Value));
        }
    }

    // What the primary says, and every region with an intent; what is missing already keeps its older claim.
    private List<MissingRun> NewlyMissing()
    {
        var isMissing = new GrainMap(State.Missing.Regions);
        foreach (MissingRun run in _missing)
        {
            isMissing.Add((int)run.FirstRegion, (int)run.Count);
        }

        int begin = Mistakes.Make(Mistake.JoinWithoutIntents) ? State.Intents.Grains : 0;
        for (int grain = State.Intents.NextIn(begin); grain < State.Intents.Grains;)
        {
            int region = grain / StoreFormat.GrainsPerRegion;
            isMissing.Add(region, 1);
            grain = State.Intents.NextIn(
                Math.Min((region + 1) * StoreFormat.GrainsPerRegion, State.Intents.Grains));
        }

        var runs = new List<MissingRun>();
        for (int first = isMissing.NextIn(0); first < isMissing.Grains; first = isMissing.NextIn(first))
        {
            int end = isMissing.NextOut(first);
            while (first < end)
            {
                int known = State.Missing.NextMissing(first);
                int stop = Math.Min(end, known);
                if (stop > first)
                {
                    runs.Add(new MissingRun(first, stop - first, default, default));
                }

                first = known < end ? State.Missing.EndOfRun(known) : end;
            }
        }

        return runs;
    }
}

/// <summary>How far the start of an epoch is.</summary>
internal enum StartStage : byte
{
    /// <summary>None is under way.</summary>
    None,
    /// <summary>Waits for what was accepted before.</summary>
    Draining,
    /// <summary>The image is being synced.</summary>
    Syncing,
    /// <summary>The record is on its way.</summary>
    Recording,
}
