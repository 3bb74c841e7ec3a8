using Ublk.Replication;
using Xunit;

namespace Ublk.Tests.Simulation.Tests;

/// <summary>
/// The simulator sees mistakes: those that few histories are enough for. All of them: eng/sim --mistakes.
/// </summary>
public sealed class MistakeTests : IDisposable
{
    private const ulong Seeds = 60;

    private readonly MistakeSearch _search = new();

    public void Dispose() => _search.Dispose();

    [Theory]
    [InlineData(nameof(Mistake.AcknowledgeBeforeQuorum))]
    [InlineData(nameof(Mistake.LearnerCounts))]
    [InlineData(nameof(Mistake.DurableBeforeSync))]
    [InlineData(nameof(Mistake.DurableOfTheEnd))]
    [InlineData(nameof(Mistake.IntentsNotDurable))]
    [InlineData(nameof(Mistake.CopyIntentsNotDurable))]
    [InlineData(nameof(Mistake.IntentsClearedWithoutCommit))]
    [InlineData(nameof(Mistake.IntentsClearedWithoutSync))]
    [InlineData(nameof(Mistake.VersionNotStamped))]
    [InlineData(nameof(Mistake.RangesNotOrdered))]
    [InlineData(nameof(Mistake.PromiseAnsweredBeforeDurable))]
    [InlineData(nameof(Mistake.LowerEpochPromised))]
    [InlineData(nameof(Mistake.EpochPromisedTwice))]
    [InlineData(nameof(Mistake.GrantsNotWaitedFor))]
    [InlineData(nameof(Mistake.StartBeforeCopied))]
    [InlineData(nameof(Mistake.FewerStarts))]
    [InlineData(nameof(Mistake.StartAnsweredBeforeDurable))]
    [InlineData(nameof(Mistake.StartWithoutSync))]
    [InlineData(nameof(Mistake.RegionLeavesBeforeSync))]
    public void AMistakeIsSeen(string mistake)
    {
        (ulong seed, _) = _search.Find(Enum.Parse<Mistake>(mistake), Seeds);
        Assert.True(seed > 0, $"{mistake} was not seen in {Seeds} histories");
    }

    // Those that took many histories, where they were met.
    [Theory]
    [InlineData(nameof(Mistake.AnswersBeforeStartCount), 10012367)]
    public void AMistakeIsSeenWhereItWasMet(string mistake, ulong met)
    {
        (ulong seed, _) = _search.Find(Enum.Parse<Mistake>(mistake), seeds: 1, met);
        Assert.Equal(met, seed);
    }

    [Fact]
    public void NoMistakeIsMadeUnlessOneIsAskedFor() => Assert.Equal(Mistake.None, Mistakes.Made);
}
