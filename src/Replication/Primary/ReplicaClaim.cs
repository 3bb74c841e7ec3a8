using Ublk.Replication.Store;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Primary;

/// <summary>What one replica has told a candidate about itself.</summary>
internal sealed class ReplicaClaim
{
    private readonly HistoryPoint[] _history;
    private readonly List<IntentRun> _intents = [];
    private readonly List<MissingRun> _missing = [];
    private readonly List<OutOfOrderEntry> _outOfOrder = [];
    private readonly Dictionary<long, Digest> _digests = [];
    private readonly Dictionary<long, ulong[]> _pages = [];

    /// <summary>Begins with the head of a claim that was granted.</summary>
    /// <param name="claim">The head.</param>
    public ReplicaClaim(scoped in Claim claim)
    {
        Applied = claim.Applied.Value;
        Durable = claim.Durable.Value;
        Flags = claim.Flags;
        VoidedIn = claim.VoidedIn.Value;
        View = claim.View.Value;
        Configuration = claim.Configuration.Value;
        _history = HistoryOf(claim.History);
    }

    public ulong Applied { get; }

    public ulong Durable { get; }

    public ReplicaFlags Flags { get; }

    public ulong VoidedIn { get; }

    public ulong View { get; }

    /// <summary>Number of the newest configuration that it has recorded; 0 for none.</summary>
    public ulong Configuration { get; }

    /// <summary>Parts of its lists that have come.</summary>
    public int Parts { get; private set; }

    /// <summary>Whether all its lists have come.</summary>
    public bool IsComplete { get; private set; }

    /// <summary>Whether it may have lost what it had acknowledged.</summary>
    public bool IsVoid => (Flags & (ReplicaFlags.Voided | ReplicaFlags.Failed)) != ReplicaFlags.None;

    /// <summary>Whether it failed to bring data to stable media.</summary>
    public bool HasFailed => (Flags & ReplicaFlags.Failed) != ReplicaFlags.None;

    /// <summary>Whether it can take part in an epoch.</summary>
    public bool IsUsable => (Flags & ReplicaFlags.Learner) == ReplicaFlags.None;

    public ReadOnlySpan<HistoryPoint> History => _history;

    public HistoryPoint LastHistory => _history.Length > 0 ? _history[^1] : default;

    public IReadOnlyList<IntentRun> Intents => _intents;

    public IReadOnlyList<MissingRun> Missing => _missing;

    public IReadOnlyList<OutOfOrderEntry> OutOfOrder => _outOfOrder;

    public IReadOnlyDictionary<long, Digest> VersionDigests => _digests;

    /// <summary>Highest sequence that it speaks of anywhere.</summary>
    public ulong HighestSequence
    {
        get
        {
            ulong highest = Math.Max(Math.Max(Applied, Durable), LastHistory.Sequence);
            foreach (OutOfOrderEntry entry in _outOfOrder)
            {
                highest = Math.Max(highest, entry.Sequence.Value);
            }

            foreach (MissingRun run in _missing)
            {
                highest = Math.Max(highest, run.OldSequence.Value);
            }

            return highest;
        }
    }

    /// <summary>A history as the store has it.</summary>
    /// <param name="entries">As a message has it.</param>
    public static HistoryPoint[] HistoryOf(scoped in MessageList<HistoryEntry> entries)
    {
        var history = new HistoryPoint[entries.Count];
        int i = 0;
        foreach (HistoryEntry entry in entries)
        {
            history[i++] = new HistoryPoint(entry.Epoch.Value, entry.First.Value);
        }

        return history;
    }

    /// <summary>Takes a part of the lists.</summary>
    /// <param name="entries">The part.</param>
    /// <returns>Whether it is the next one.</returns>
    public bool TryAdd(scoped in ClaimEntries entries)
    {
        if (IsComplete || entries.Part != Parts)
        {
            return false;
        }

        Parts++;
        IsComplete = !entries.HasMore;
        foreach (IntentRun run in entries.Intents)
        {
            _intents.Add(run);
        }

        foreach (MissingRun run in entries.Missing)
        {
            _missing.Add(run);
        }

        foreach (OutOfOrderEntry entry in entries.OutOfOrder)
        {
            _outOfOrder.Add(entry);
        }

        foreach (VersionDigest digest in entries.VersionDigests)
        {
            _digests[digest.Page] = digest.Digest;
        }

        return true;
    }

    /// <summary>Takes the versions of a page.</summary>
    /// <param name="versions">The page.</param>
    public void Add(scoped in Versions versions)
    {
        ulong[] page = new ulong[MessageLimits.RegionsPerVersionPage];
        long first = versions.Page * MessageLimits.RegionsPerVersionPage;
        foreach (VersionRun run in versions.Runs)
        {
            for (long region = run.FirstRegion; region < run.FirstRegion + run.Count; region++)
            {
                if (region >= first && region < first + page.Length)
                {
                    page[region - first] = run.Version.Value;
                }
            }
        }

        _pages[versions.Page] = page;
    }

    /// <summary>Whether the versions of a page are here, or known to be 0.</summary>
    /// <param name="page">The page.</param>
    public bool HasPage(long page) => _pages.ContainsKey(page) || !_digests.ContainsKey(page);

    /// <summary>The version of a region whose page is here.</summary>
    /// <param name="region">The region.</param>
    public ulong VersionOf(long region) =>
        _pages.TryGetValue(region / MessageLimits.RegionsPerVersionPage, out ulong[]? page)
            ? page[region % MessageLimits.RegionsPerVersionPage] : 0;

    /// <summary>What it claims for a region: claims count per region, not per replica.</summary>
    /// <param name="region">The region.</param>
    public HistoryPoint ClaimOf(long region) =>
        TryGetMissing(region, out MissingRun run) && !Mistakes.Make(Mistake.ClaimPerReplica)
        ? new HistoryPoint(run.OldEpoch.Value, run.OldSequence.Value)
        : new HistoryPoint(LastHistory.Epoch, Applied);

    /// <summary>Whether a region is missing there.</summary>
    /// <param name="region">The region.</param>
    public bool IsMissing(long region) => TryGetMissing(region, out _);

    private bool TryGetMissing(long region, out MissingRun found)
    {
        foreach (MissingRun run in _missing)
        {
            if (region >= run.FirstRegion && region < run.FirstRegion + run.Count)
            {
                found = run;
                return true;
            }
        }

        found = default;
        return false;
    }
}
