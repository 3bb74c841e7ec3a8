using Ublk.Replication.State;
using Ublk.Replication.Store;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Primary;

/// <summary>
/// Which regions may differ between replicas, and whose bytes count in each (replication design, section 6
/// steps 3 and 4). Computed from claims alone.
/// </summary>
internal sealed class ReconcilePlan
{
    private readonly ReplicaClaim?[] _claims;
    private readonly int _local;
    private readonly long _sizeBytes;
    private readonly ulong _common;

    /// <summary>Begins with claims that are enough.</summary>
    /// <param name="claims">One for each place.</param>
    /// <param name="history">The history that the volume goes on from.</param>
    /// <param name="local">Place of the local replica; preferred where claims are equal.</param>
    /// <param name="sizeBytes">Size of the volume.</param>
    public ReconcilePlan(ReplicaClaim?[] claims, Lineage history, int local, long sizeBytes)
    {
        _claims = claims;
        _local = local;
        _sizeBytes = sizeBytes;
        _common = Mistakes.Make(Mistake.PartedVersionsCompared)
            ? ulong.MaxValue : history.CommonOfParted(claims);
        Uncertain = new GrainMap(MetadataState.RegionsOf(sizeBytes));
        for (int place = 0; place < claims.Length; place++)
        {
            Failed = Failed.Set(place, claims[place] is { HasFailed: true });
        }
    }

    /// <summary>Replicas that failed to bring data to stable media.</summary>
    public ReplicaMask Failed { get; }

    /// <summary>Regions that may differ.</summary>
    public GrainMap Uncertain { get; }

    private bool HavePartedHistories => _common != ulong.MaxValue;

    /// <summary>
    /// Pages of versions that must be looked at: those that differ, and where histories have parted all, as
    /// numbers that came afterwards may be the same by chance.
    /// </summary>
    public List<long> PagesToCompare()
    {
        var pages = new SortedSet<long>();
        foreach (ReplicaClaim? claim in _claims)
        {
            foreach (long page in claim?.VersionDigests.Keys ?? [])
            {
                if (HavePartedHistories ||
                    _claims.Any(other => other is not null && !IsSame(claim!, other, page)))
                {
                    pages.Add(page);
                }
            }
        }

        return [.. pages];
    }

    /// <summary>Finds all regions that may differ; the versions of those pages are here.</summary>
    /// <param name="pages">The pages to compare.</param>
    public void Find(List<long> pages)
    {
        int regions = Uncertain.Grains;
        foreach (ReplicaClaim? claim in _claims)
        {
            foreach (IntentRun run in
                Mistakes.Make(Mistake.UncertainWithoutIntents) ? [] : claim?.Intents ?? [])
            {
                long first = run.FirstGrain / StoreFormat.GrainsPerRegion;
                long last = (run.FirstGrain + run.Count - 1) / StoreFormat.GrainsPerRegion;
                AddWithin(first, last - first + 1);
            }

            foreach (MissingRun run in
                Mistakes.Make(Mistake.UncertainWithoutMissing) ? [] : claim?.Missing ?? [])
            {
                AddWithin(run.FirstRegion, run.Count);
            }
        }

        foreach (long page in pages)
        {
            long first = page * MessageLimits.RegionsPerVersionPage;
            long end = Math.Min(regions, first + MessageLimits.RegionsPerVersionPage);
            for (long region = first; region < end; region++)
            {
                if (HasDifferentVersions(region) && !Mistakes.Make(Mistake.UncertainWithoutVersions))
                {
                    AddWithin(region, 1);
                }
            }
        }
    }

    /// <summary>The bytes of a region.</summary>
    /// <param name="region">The region.</param>
    public (long OffsetBytes, int LengthBytes) RangeOf(int region) =>
        StoreFormat.RangeOfRegion(region, _sizeBytes);

    /// <summary>Whose bytes of a region count: the highest claim.</summary>
    /// <param name="region">The region.</param>
    public int SourceOf(int region)
    {
        int best = -1;
        for (int place = 0; place < _claims.Length; place++)
        {
            if (_claims[place] is not null && (best < 0 || IsBetter(place, best, region)))
            {
                best = place;
            }
        }

        return best;
    }

    /// <summary>
    /// Parts of operations that were applied out of order somewhere, and that the source of a region does not
    /// have: in the order of their sequences.
    /// </summary>
    /// <param name="region">The region.</param>
    /// <param name="source">Its source.</param>
    public List<Overlay> OverlaysOf(int region, int source)
    {
        HistoryPoint best = _claims[source]!.ClaimOf(region);
        (long offset, int length) = RangeOf(region);
        var overlays = new List<Overlay>();
        for (int place = 0; place < _claims.Length; place++)
        {
            if (Mistakes.Make(Mistake.OutOfOrderNotLaidOver) ||
                place == source || _claims[place] is not { } claim || claim.IsMissing(region) ||
                claim.LastHistory.Epoch != best.Epoch)
            {
                continue;
            }

            foreach (OutOfOrderEntry entry in claim.OutOfOrder)
            {
                long start = Math.Max(offset, entry.OffsetBytes);
                long end = Math.Min(offset + length, entry.OffsetBytes + entry.LengthBytes);
                if (start < end && entry.Sequence.Value > best.Sequence)
                {
                    overlays.Add(new Overlay(
                        place, HoldersOf(entry.Sequence, region, best.Epoch), entry.Sequence.Value, start,
                        (int)(end - start)));
                }
            }
        }

        // Of one operation that several have, any copy is the same.
        return [.. overlays.OrderBy(overlay => overlay.Sequence).DistinctBy(overlay => overlay.Sequence)];
    }

    private ReplicaMask HoldersOf(Sequence sequence, int region, ulong epoch)
    {
        ReplicaMask holders = default;
        for (int place = 0; place < _claims.Length; place++)
        {
            bool isHolder = _claims[place] is { } claim && claim.LastHistory.Epoch == epoch &&
                !claim.IsMissing(region) && claim.OutOfOrder.Any(entry => entry.Sequence == sequence);
            holders = holders.Set(place, isHolder);
        }

        return holders;
    }

    private static bool IsSame(ReplicaClaim one, ReplicaClaim other, long page) =>
        one.VersionDigests.TryGetValue(page, out Digest mine) &&
        other.VersionDigests.TryGetValue(page, out Digest theirs) && mine == theirs;

    // A number that came after histories have parted says nothing to those of the others.
    private bool HasDifferentVersions(long region)
    {
        ulong? version = null;
        foreach (ReplicaClaim? claim in _claims)
        {
            if (claim is null)
            {
                continue;
            }

            ulong its = claim.VersionOf(region);
            if (its > _common || version is { } known && known != its)
            {
                return true;
            }

            version = its;
        }

        return false;
    }

    private bool IsBetter(int place, int best, int region)
    {
        int order = ClaimRules.Compare(_claims[place]!.ClaimOf(region), _claims[best]!.ClaimOf(region));
        if (order != 0)
        {
            return order > 0;
        }

        // Equal claims: one whose memory is whole, then the local one.
        bool isVoid = _claims[place]!.IsVoid, isBestVoid = _claims[best]!.IsVoid;
        return isVoid != isBestVoid ? isBestVoid : place == _local;
    }

    private void AddWithin(long first, long count)
    {
        long end = Math.Min(first + count, Uncertain.Grains);
        if (first < end)
        {
            Uncertain.Add((int)first, (int)(end - first));
        }
    }
}
