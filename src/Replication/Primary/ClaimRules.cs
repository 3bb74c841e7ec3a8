using Ublk.Replication.State;
using Ublk.Replication.Store;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Primary;

/// <summary>
/// With which claims a recovery may go on (replication design, rule 1), and what follows from them. Pure.
/// </summary>
internal static class ClaimRules
{
    /// <summary>
    /// Numbers left out between the highest that was ever seen and the first of a new epoch: more than a
    /// writer may have outstanding, so that nothing of the old epoch reaches into the new one.
    /// </summary>
    public static ulong EpochGap => Mistakes.Make(Mistake.NoGap) ? 0u : 1u << 20;

    /// <summary>Whether claims are enough to change a byte.</summary>
    /// <param name="configuration">Who decides.</param>
    /// <param name="claims">One for each place; null where none is complete.</param>
    /// <param name="givenUp">
    /// Replicas that are lost for good: what they might have said is not waited for.
    /// </param>
    public static bool AreEnough(
        VolumeConfiguration configuration, ReadOnlySpan<ReplicaClaim?> claims, ReplicaMask givenUp = default)
    {
        ReplicaMask granted = default, sound = default, voidedNow = default, usable = default;
        (ulong Epoch, ulong View) newest = default;
        foreach (ReplicaClaim? claim in claims)
        {
            var view = (claim?.LastHistory.Epoch ?? 0, claim?.View ?? 0);
            newest = view.CompareTo(newest) > 0 ? view : newest;
        }

        for (int place = 0; place < claims.Length; place++)
        {
            if (claims[place] is { } claim)
            {
                granted = granted.With(place);
                sound = sound.Set(place, !claim.IsVoid || Mistakes.Make(Mistake.VoidedClaimsCount));
                usable = usable.Set(place, claim.IsUsable);
                voidedNow = voidedNow.Set(place, IsVoidedNow(claim, newest));
            }
        }

        // Everybody has lost their memory at once: only what was flushed is owed, and W have all of that.
        bool isOwedOnlyFlushed = configuration.HasWriteQuorum(voidedNow);
        isOwedOnlyFlushed |= Mistakes.Make(Mistake.FewerPromises);
        return (configuration.HasPromiseQuorum(granted) || Mistakes.Make(Mistake.FewerPromises)) &&
            configuration.HasWriteQuorum(usable) &&
            (configuration.HasRecoveryQuorum(sound) || (granted | givenUp).HasAll(configuration.Members) ||
                isOwedOnlyFlushed);
    }

    /// <summary>First sequence of the new epoch.</summary>
    /// <param name="claims">All claims.</param>
    public static ulong FirstSequence(ReadOnlySpan<ReplicaClaim?> claims)
    {
        ulong highest = 0;
        foreach (ReplicaClaim? claim in claims)
        {
            highest = Math.Max(highest, claim?.HighestSequence ?? 0);
        }

        return highest + EpochGap + 1;
    }

    /// <summary>Which of two claims of a region is higher: negative when the first is lower.</summary>
    /// <param name="left">The first.</param>
    /// <param name="right">The second.</param>
    public static int Compare(HistoryPoint left, HistoryPoint right) =>
        left.Epoch != right.Epoch && !Mistakes.Make(Mistake.HigherNumberWins)
        ? left.Epoch.CompareTo(right.Epoch) : left.Sequence.CompareTo(right.Sequence);

    // A replica that was already missing something had been out of sync before, and so in no quorum since.
    // One that does not know the newest view had lost its memory before others went on without it.
    private static bool IsVoidedNow(ReplicaClaim claim, (ulong Epoch, ulong View) newest) =>
        (claim.Flags & ReplicaFlags.Voided) != ReplicaFlags.None && claim.VoidedIn == newest.Epoch &&
        claim.LastHistory.Epoch == newest.Epoch && claim.Missing.Count == 0 &&
        (claim.View == newest.View || Mistakes.Make(Mistake.FormerVoidsCount));
}
