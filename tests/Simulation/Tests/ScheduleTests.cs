using Ublk.Replication;
using Ublk.Tests.Simulation.Cluster;
using Ublk.Tests.Simulation.Judge;
using Ublk.Tests.Simulation.World;
using Xunit;

namespace Ublk.Tests.Simulation.Tests;

/// <summary>
/// The counterexamples behind the rules of the protocol, step by step (replication design, sections 6 and
/// 11). Each must hold; and where a rule is broken on purpose, its schedule must see it.
/// </summary>
public sealed partial class ScheduleTests : IDisposable
{
    private const int RegionBlocks = 256;
    private const int One = RegionBlocks + 10;
    private const int Two = 2 * RegionBlocks + 10;
    private const int Three = 3 * RegionBlocks + 10;

    // Three replicas on three hosts, and what a schedule needs instead.
    private static readonly SimulationOptions s_usual =
        new() { Seed = 0, Workload = new WorkloadOptions { Operations = 0 } };

    private static readonly SimulationOptions s_spareHost = s_usual with { Nodes = 4 };
    private static readonly SimulationOptions s_impatient = s_usual with { RequestLimitMs = 500 };
    private static readonly SimulationOptions s_smallBlocks = s_usual with { BlockBytes = 512 };

    private static readonly SimulationOptions s_two =
        s_usual with { Replicas = 2, WriteQuorum = 2, Nodes = 2 };

    private static readonly SimulationOptions s_twoAndHost = s_two with { WriteQuorum = 1, Nodes = 3 };

    private static readonly SimulationOptions s_checked = s_usual with { HasChecksums = true };

    private static readonly SimulationOptions s_checkedTwo =
        s_two with { WriteQuorum = 1, HasChecksums = true };

    private static readonly SimulationOptions s_four =
        s_usual with { Replicas = 4, WriteQuorum = 3, Nodes = 4 };

    private static readonly SimulationOptions s_five =
        s_usual with { Replicas = 5, WriteQuorum = 3, Nodes = 6 };

    private static readonly Schedule[] s_schedules =
    [
        new("rule 1", AVoidedReplicaIsNotEnough),
        new("rule 1", TwoOutagesAreNotOne),
        new("rule 1", AViewIsDurableBeforeItCounts),
        new("rule 2", AnEpochThatNobodySawDoesNotWin),
        new("rule 2", GhostsAreOverwritten),
        new("rule 2", WhoPartedMissesAllSince),
        new("rule 3", AnEpochBeginsBehindAGap),
        new("rule 3", NumbersOfTwoHistoriesMeet),
        new("rule 4", AReconcileIsCutByALossOfPower),
        new("rule 5", WhatIsMissingDoesNotCount),
        new("rule 6", WhatIsReconciledHasANewVersion),
        new("rule 7", AnEpochHasOneWriter),
        new("rule 8", APromiseIsKeptWhileItsAnswerWaits),
        new("rule 8", ARefusalNamesWhatIsPromised),
        new("rule 9", NothingIsWrittenBeforeTheStart),
        new("rule 9", AnOldWritersPacketsChangeNothing),
        new("rule 12", AWriteWaitsForARead),
        new("rule 13", APeerShowsAllThatIsAcknowledged) { World = s_spareHost },
        new("rule 14", AFailedSyncIsNoSync),
        new("rule 14", AFailedReplicaDoesNotCount) { World = s_twoAndHost },
        new("rule 15", AFailedWriteIsMissing),
        new("rule 16", AFailedRequestMayStillHappen) { World = s_impatient },
        new("rule 16", AHeldRequestHasNoNumber) { World = s_impatient },
        new("rule 17", AWriteIsTornBetweenBlocks) { World = s_smallBlocks },
        new("rule 18", TheOldSetHoldsUntilTheNewOneDoes) { World = s_spareHost },
        new("rule 18", AChangeCountsWhenTheOldSetHasRecordedIt) { World = s_spareHost },
        new("rule 18", AnOldSetDecidesNothing) { World = s_spareHost },
        new("rule 18", WhoWasAwayGrowsToo),
        new("rule 19", ACopyLiesUnderWhatCameSince),
        new("section 7", ARepairDoesNotUndoAWrite),
        new("rule 19", ASourceHasWhatItsTargetIsNotSent),
        new("rule 19", ACopyIsSyncedBeforeItCounts),
        new("rule 20", WhatAVoidedReplicaAnsweredIsWithdrawn),
        new("rule 20", WhatIsAppliedIsNotAppliedAgain),
        new("rule 21", AnIdleVolumeIsNotVoided),
        new("rule 22", OneOfTwoDoesNotServe) { World = s_two },
        new("rule 22", NeitherHalfOfFourServes) { World = s_four },
        new("section 3", ALostClaimIsNotTheHighest),
        new("section 4", WhatOneReplicaHasIsNotShown),
        new("section 4", AStaleCopyIsNotRead),
        new("section 4", ALocalCopyCatchesUpBeforeItIsRead) { World = s_five },
        new("section 5", AFrozenWriterReadsNothing),
        new("section 6", ClaimsCountPerRegion),
        new("section 6", ReconcileIsCutShort),
        new("section 6", WhatIsOutOfOrderIsNotLost),
        new("section 7", ALostDiskIsReplaced),
        new("S12", AResyncCopiesWhatChanged),
        new("section 4", AShortAbsenceNeedsNoResync) { World = s_usual with { KeepsForAbsent = true } },
        new("section 7", WhatIsWrittenMeanwhileIsMissing) { World = s_five },
        new("section 7", ACorruptSourceIsNotCopied) { World = s_checked },
        new("section 7", WhatNobodyHasIsNotShown) { World = s_checkedTwo },
        new("section 7", WhatIsLostStaysLost) { World = s_checkedTwo },
        new("section 7", WhoComesLaterBringsItBack) { World = s_checked },
        new("rule 15", ACopyOfARottenWriteIsNoWrite) { World = s_checked },
        new("section 3", WhatWasHotIsNotKnown) { World = s_checked },
        new("section 3", ChecksumsAreSyncedBeforeTheyCount) { World = s_checked },
    ];

    private readonly WorldPools _pools = new();

    public static TheoryData<string> Names => [.. s_schedules.Select(schedule => schedule.Name)];

    public void Dispose() => _pools.Dispose();

    [Theory]
    [MemberData(nameof(Names))]
    public void TheScheduleHolds(string name)
    {
        for (ulong seed = 1; seed <= 5; seed++)
        {
            Play(seed, Find(name));
        }
    }

    [Fact]
    public void EveryRuleOfTheClusterHasASchedule()
    {
        const int LastRule = 22;
        int[] ofTheStore = [10, 11]; // Locks and records: unit tests.
        IEnumerable<string> rules = Enumerable.Range(1, LastRule).Except(ofTheStore).Select(n => $"rule {n}");
        Assert.All(rules, rule => Assert.Contains(s_schedules, schedule => schedule.Rule == rule));
    }

    [Theory]
    [InlineData(nameof(ClaimsCountPerRegion), nameof(Mistake.ClaimPerReplica))]
    [InlineData(nameof(AVoidedReplicaIsNotEnough), nameof(Mistake.VoidForgotten))]
    [InlineData(nameof(AVoidedReplicaIsNotEnough), nameof(Mistake.NotVoided))]
    [InlineData(nameof(AVoidedReplicaIsNotEnough), nameof(Mistake.VoidedClaimsCount))]
    [InlineData(nameof(AVoidedReplicaIsNotEnough), nameof(Mistake.PageOfAnotherBoot))]
    [InlineData(nameof(ALostClaimIsNotTheHighest), nameof(Mistake.AppliedClaimedAfterPowerLoss))]
    [InlineData(nameof(TwoOutagesAreNotOne), nameof(Mistake.FormerVoidsCount))]
    [InlineData(nameof(AViewIsDurableBeforeItCounts), nameof(Mistake.ViewNotDurable))]
    [InlineData(nameof(AnEpochThatNobodySawDoesNotWin), nameof(Mistake.HigherNumberWins))]
    [InlineData(nameof(WhoPartedMissesAllSince), nameof(Mistake.MissingFromApplied))]
    [InlineData(nameof(AnEpochBeginsBehindAGap), nameof(Mistake.NoGap))]
    [InlineData(nameof(AReconcileIsCutByALossOfPower), nameof(Mistake.CopyIntentsNotDurable))]
    [InlineData(nameof(WhatIsMissingDoesNotCount), nameof(Mistake.LearnerCounts))]
    [InlineData(nameof(WhatIsMissingDoesNotCount), nameof(Mistake.StaleAnswerCounts))]
    [InlineData(nameof(WhatIsReconciledHasANewVersion), nameof(Mistake.ReconciledNotStamped))]
    [InlineData(nameof(GhostsAreOverwritten), nameof(Mistake.JoinWithoutIntents))]
    [InlineData(nameof(WhatIsOutOfOrderIsNotLost), nameof(Mistake.OutOfOrderNotLaidOver))]
    [InlineData(nameof(AnEpochHasOneWriter), nameof(Mistake.EpochPromisedTwice))]
    [InlineData(nameof(APromiseIsKeptWhileItsAnswerWaits), nameof(Mistake.PromiseAnsweredBeforeDurable))]
    [InlineData(nameof(APromiseIsKeptWhileItsAnswerWaits), nameof(Mistake.GrantsNotWaitedFor))]
    [InlineData(nameof(APromiseIsKeptWhileItsAnswerWaits), nameof(Mistake.GrantsForgotten))]
    [InlineData(nameof(APromiseIsKeptWhileItsAnswerWaits), nameof(Mistake.LeaseNotRecorded))]
    [InlineData(nameof(APromiseIsKeptWhileItsAnswerWaits), nameof(Mistake.DriftIgnored))]
    [InlineData(nameof(ARefusalNamesWhatIsPromised), nameof(Mistake.LowerEpochPromised))]
    [InlineData(nameof(NothingIsWrittenBeforeTheStart), nameof(Mistake.WriteBeforeStart))]
    [InlineData(nameof(AnOldWritersPacketsChangeNothing), nameof(Mistake.OldWriterNotRefused))]
    [InlineData(nameof(AFrozenWriterReadsNothing), nameof(Mistake.LeaseNotChecked))]
    [InlineData(nameof(AWriteWaitsForARead), nameof(Mistake.WriteUnderRead))]
    [InlineData(nameof(WhatOneReplicaHasIsNotShown), nameof(Mistake.ReadBeforeQuorum))]
    [InlineData(nameof(APeerShowsAllThatIsAcknowledged), nameof(Mistake.PeerReadTooEarly))]
    [InlineData(nameof(AStaleCopyIsNotRead), nameof(Mistake.StaleLocalRead))]
    [InlineData(nameof(ALocalCopyCatchesUpBeforeItIsRead), nameof(Mistake.LocalReadTooEarly))]
    [InlineData(nameof(AFailedSyncIsNoSync), nameof(Mistake.SyncErrorIgnored))]
    [InlineData(nameof(AFailedReplicaDoesNotCount), nameof(Mistake.FailedReplicaCounts))]
    [InlineData(nameof(AFailedWriteIsMissing), nameof(Mistake.WriteErrorIgnored))]
    [InlineData(nameof(AFailedRequestMayStillHappen), nameof(Mistake.FailedWriteNotWaitedFor))]
    [InlineData(nameof(AHeldRequestHasNoNumber), nameof(Mistake.HeldRequestsNumbered))]
    [InlineData(nameof(TheOldSetHoldsUntilTheNewOneDoes), nameof(Mistake.JointLeftUnsettled))]
    [InlineData(nameof(AChangeCountsWhenTheOldSetHasRecordedIt), nameof(Mistake.JointNotDurable))]
    [InlineData(nameof(AnOldSetDecidesNothing), nameof(Mistake.OldConfigurationPromised))]
    [InlineData(nameof(ACopyLiesUnderWhatCameSince), nameof(Mistake.PieceOverNewer))]
    [InlineData(nameof(NumbersOfTwoHistoriesMeet), nameof(Mistake.PartedVersionsCompared))]
    [InlineData(nameof(ARepairDoesNotUndoAWrite), nameof(Mistake.RepairOverNewer))]
    [InlineData(nameof(ASourceHasWhatItsTargetIsNotSent), nameof(Mistake.DigestsOutOfOrder))]
    [InlineData(nameof(ACopyIsSyncedBeforeItCounts), nameof(Mistake.RegionLeavesBeforeSync))]
    [InlineData(nameof(WhatAVoidedReplicaAnsweredIsWithdrawn), nameof(Mistake.FormerAnswersCount))]
    [InlineData(nameof(WhatIsAppliedIsNotAppliedAgain), nameof(Mistake.AppliedTwice))]
    [InlineData(nameof(AnIdleVolumeIsNotVoided), nameof(Mistake.HeartbeatsWithoutCommit))]
    [InlineData(nameof(OneOfTwoDoesNotServe), nameof(Mistake.FewerStarts))]
    [InlineData(nameof(NeitherHalfOfFourServes), nameof(Mistake.FewerStarts))]
    [InlineData(nameof(ACorruptSourceIsNotCopied), nameof(Mistake.ChecksumsNotCompared))]
    [InlineData(nameof(WhatNobodyHasIsNotShown), nameof(Mistake.CorruptReplacedByAny))]
    [InlineData(nameof(WhatNobodyHasIsNotShown), nameof(Mistake.LostBlockShown))]
    [InlineData(nameof(WhatIsLostStaysLost), nameof(Mistake.LostBlockNotMarked))]
    [InlineData(nameof(WhatIsWrittenMeanwhileIsMissing), nameof(Mistake.JoinWithoutOperations))]
    [InlineData(nameof(ACopyOfARottenWriteIsNoWrite), nameof(Mistake.UnacknowledgedNotSent))]
    [InlineData(nameof(WhatWasHotIsNotKnown), nameof(Mistake.HotChecksumsTrusted))]
    [InlineData(nameof(ChecksumsAreSyncedBeforeTheyCount), nameof(Mistake.ChecksumsNotSynced))]
    public void TheScheduleSeesTheMistake(string name, string mistake)
    {
        Mistakes.Made = Enum.Parse<Mistake>(mistake);
        try
        {
            Assert.Contains(Enumerable.Range(1, 5), seed => IsSeen((ulong)seed, Find(name)));
        }
        finally
        {
            Mistakes.Made = Mistake.None;
        }
    }

    // Here the mistake is in the world: a volume that promises more than its disks do.
    [Fact]
    public void ABlockThatDisksDoNotWriteAtOnceIsSeenTorn()
    {
        var tearing = new Schedule("rule 17", AWriteIsTornBetweenBlocks)
        {
            World = s_usual with { BlockBytes = 4096, AtomicBytes = 512 },
        };
        Assert.Contains(Enumerable.Range(1, 5), seed => IsSeen((ulong)seed, tearing));
    }

    private static Schedule Find(string name) => s_schedules.Single(schedule => schedule.Name == name);

    private void Play(ulong seed, Schedule schedule) =>
        ClusterHistory.Play(schedule.World with { Seed = seed }, _pools, schedule.Steps);

    private bool IsSeen(ulong seed, Schedule schedule)
    {
        try
        {
            Play(seed, schedule);
            return false;
        }
        catch (HistoryException seen)
        {
            return !seen.Message.StartsWith(ClusterHistory.Endless, StringComparison.Ordinal);
        }
    }

    // What a rule of the design is for.
    private sealed record Schedule(string Rule, Action<ClusterHistory> Steps)
    {
        public SimulationOptions World { get; init; } = s_usual;

        public string Name => Steps.Method.Name;
    }
}
