using Ublk.Replication.Store;

namespace Ublk.Replication.Primary;

/// <summary>
/// The epochs of a volume's history, the newest last: tells where a replica's history parted from it.
/// </summary>
internal sealed class Lineage
{
    private readonly List<HistoryPoint> _points;

    private Lineage(List<HistoryPoint> points) => _points = points;

    /// <summary>The epoch before the newest; 0 without one.</summary>
    public ulong Former => _points.Count > 1 ? _points[^2].Epoch : 0;

    /// <summary>The history of whom the volume goes on from, and a new epoch.</summary>
    /// <param name="claims">All claims, at least one.</param>
    /// <param name="epoch">The new epoch and its first sequence.</param>
    public static Lineage Of(ReadOnlySpan<ReplicaClaim?> claims, HistoryPoint epoch)
    {
        ReplicaClaim? newest = null;
        foreach (ReplicaClaim? claim in claims)
        {
            bool isNewer = claim is not null &&
                (newest is null || ClaimRules.Compare(claim.LastHistory, newest.LastHistory) > 0);
            newest = isNewer ? claim : newest;
        }

        return new Lineage([.. newest!.History, epoch]);
    }

    /// <summary>
    /// Last number that a replica's history and this one have in common. Where another epoch follows, numbers
    /// were left out: what was seen of the one before ends below them.
    /// </summary>
    /// <param name="theirs">The replica's history.</param>
    /// <param name="applied">Its A.</param>
    public ulong CommonWith(ReadOnlySpan<HistoryPoint> theirs, ulong applied)
    {
        if (Mistakes.Make(Mistake.MissingFromApplied))
        {
            return applied;
        }

        for (int at = theirs.Length - 1; at >= 0; at--)
        {
            int ours = _points.IndexOf(theirs[at]);
            if (ours >= 0)
            {
                ulong common = at == theirs.Length - 1 ? applied : EndOf(theirs[at + 1]);
                return ours == _points.Count - 1
                    ? common : Math.Min(common, EndOf(_points[ours + 1]));
            }
        }

        return 0;
    }

    /// <summary>
    /// Last number that all have in common whose history is not the newest one; the highest number there is
    /// when all are of the newest. Numbers above it may stand for different operations.
    /// </summary>
    /// <param name="claims">The claims that this history was made of.</param>
    public ulong CommonOfParted(ReadOnlySpan<ReplicaClaim?> claims)
    {
        ulong common = ulong.MaxValue;
        foreach (ReplicaClaim? claim in claims)
        {
            if (claim is not null && claim.LastHistory.Epoch != Former)
            {
                common = Math.Min(common, CommonWith(claim.History, claim.Applied));
            }
        }

        return common;
    }

    private static ulong EndOf(HistoryPoint next) =>
        next.Sequence > ClaimRules.EpochGap ? next.Sequence - 1 - ClaimRules.EpochGap : 0;
}
