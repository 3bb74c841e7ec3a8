using System.Globalization;
using Ublk.Replication;
using Ublk.Tests.Simulation.Cluster;
using Ublk.Tests.Simulation.Judge;
using Ublk.Tests.Simulation.World;

namespace Ublk.Tests.Simulation;

/// <summary>
/// Looks for mistakes that the machines make on purpose: how many histories it takes until one of them fails
/// that does not fail without the mistake. One that does not come to an end proves nothing. Started by
/// eng/sim, which has checked the options.
/// </summary>
internal sealed class MistakeSearch : IDisposable
{
    // What no history from seed 1 to 200 shows: schedules see it, or later histories (docs/TESTING.md).
    // Looked for only where it is named.
    private static readonly Mistake[] s_unseen =
    [
        Mistake.FormerAnswersCount, Mistake.AppliedTwice, Mistake.AppliedClaimedAfterPowerLoss,
        Mistake.VoidForgotten, Mistake.NotVoided, Mistake.VoidedClaimsCount, Mistake.NoGap,
        Mistake.HigherNumberWins, Mistake.OutOfOrderNotLaidOver, Mistake.ReconciledNotStamped,
        Mistake.JoinWithoutIntents, Mistake.MissingFromApplied, Mistake.FormerVoidsCount,
        Mistake.ViewNotDurable, Mistake.JointLeftUnsettled, Mistake.JointNotDurable,
        Mistake.PageOfAnotherBoot, Mistake.StaleLocalRead, Mistake.FailedWriteNotWaitedFor,
        Mistake.HeldRequestsNumbered, Mistake.HeartbeatsWithoutCommit, Mistake.LeaseNotChecked,
        Mistake.PartedVersionsCompared, Mistake.RepairOverNewer, Mistake.JoinWithoutOperations,
        Mistake.UncertainWithoutMissing, Mistake.ClaimPerReplica, Mistake.LostBlockNotMarked,
        Mistake.UnacknowledgedNotSent, Mistake.AnswersBeforeStartCount,
    ];

    private readonly WorldPools _pools = new();
    private readonly Dictionary<ulong, bool> _failsAnyway = [];

    /// <inheritdoc/>
    public void Dispose() => _pools.Dispose();

    /// <summary>Looks for mistakes and prints a table of what was found.</summary>
    /// <param name="args">Most seeds for each; then the mistakes, or nothing for all of them.</param>
    /// <returns>0, or 1 when one was not found.</returns>
    public static int Run(string[] args)
    {
        ulong seeds = ulong.Parse(args[0], CultureInfo.InvariantCulture);
        Mistake[] mistakes = args.Length > 1
            ? [.. args[1..].Select(Enum.Parse<Mistake>)]
            : [.. Enum.GetValues<Mistake>().Skip(1).Except(s_unseen)];
        using var search = new MistakeSearch();
        int missed = 0;
        foreach (Mistake mistake in mistakes)
        {
            (ulong seed, string found) = search.Find(mistake, seeds);
            missed += seed == 0 ? 1 : 0;
            string needed = seed == 0 ? "-" : seed.ToString(CultureInfo.InvariantCulture);
            Console.WriteLine($"| {mistake} | {needed} | {found} |");
        }

        Console.WriteLine($"{mistakes.Length - missed} found, {missed} not found in {seeds} seeds");
        return missed == 0 ? 0 : 1;
    }

    /// <summary>Looks for a mistake.</summary>
    /// <param name="mistake">Which.</param>
    /// <param name="seeds">Most seeds.</param>
    /// <param name="first">The first of them.</param>
    /// <returns>The seed that found it, 0 for none, and what it found.</returns>
    public (ulong Seed, string Found) Find(Mistake mistake, ulong seeds, ulong first = 1)
    {
        for (ulong seed = first; seed < first + seeds; seed++)
        {
            if (TryFail(seed, mistake) is { } found && !FailsAnyway(seed))
            {
                return (seed, found);
            }
        }

        return (0, "nothing");
    }

    // A seed that fails by itself says nothing about the mistake.
    private bool FailsAnyway(ulong seed)
    {
        if (!_failsAnyway.TryGetValue(seed, out bool fails))
        {
            fails = TryFail(seed, Mistake.None) is not null;
            _failsAnyway.Add(seed, fails);
        }

        return fails;
    }

    private string? TryFail(ulong seed, Mistake mistake)
    {
        Mistakes.Made = mistake;
        try
        {
            _ = SimulatedHistory.Run(seed, _pools);
            return null;
        }
        catch (HistoryException failure)
        {
            string found = failure.Message.Split('\n')[0];
            return found.StartsWith(ClusterHistory.Endless, StringComparison.Ordinal) ? null : found;
        }
        finally
        {
            Mistakes.Made = Mistake.None;
        }
    }
}
