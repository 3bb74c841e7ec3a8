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
public sealed class ScheduleTests : IDisposable
{
    private const int RegionBlocks = 256;
    private const int One = RegionBlocks + 10;
    private const int Two = 2 * RegionBlocks + 10;

    private static readonly Dictionary<string, Action<ClusterHistory>> s_schedules = new(
        StringComparer.Ordinal)
    {
        [nameof(ClaimsCountPerRegion)] = ClaimsCountPerRegion,
        [nameof(ReconcileIsCutShort)] = ReconcileIsCutShort,
        [nameof(AVoidedReplicaIsNotEnough)] = AVoidedReplicaIsNotEnough,
        [nameof(ALostClaimIsNotTheHighest)] = ALostClaimIsNotTheHighest,
        [nameof(TwoOutagesAreNotOne)] = TwoOutagesAreNotOne,
        [nameof(AnEpochThatNobodySawDoesNotWin)] = AnEpochThatNobodySawDoesNotWin,
        [nameof(WhatIsReconciledHasANewVersion)] = WhatIsReconciledHasANewVersion,
        [nameof(GhostsAreOverwritten)] = GhostsAreOverwritten,
        [nameof(WhatIsOutOfOrderIsNotLost)] = WhatIsOutOfOrderIsNotLost,
        [nameof(AFrozenWriterReadsNothing)] = AFrozenWriterReadsNothing,
        [nameof(ALostDiskIsReplaced)] = ALostDiskIsReplaced,
        [nameof(WhoWasAwayGrowsToo)] = WhoWasAwayGrowsToo,
    };

    private readonly WorldPools _pools = new();

    public static TheoryData<string> Names => [.. s_schedules.Keys];

    public void Dispose() => _pools.Dispose();

    [Theory]
    [MemberData(nameof(Names))]
    public void TheScheduleHolds(string name)
    {
        for (ulong seed = 1; seed <= 5; seed++)
        {
            ClusterHistory.Play(World(seed), _pools, s_schedules[name]);
        }
    }

    [Theory]
    [InlineData(nameof(ClaimsCountPerRegion), nameof(Mistake.ClaimPerReplica))]
    [InlineData(nameof(AVoidedReplicaIsNotEnough), nameof(Mistake.VoidForgotten))]
    [InlineData(nameof(AVoidedReplicaIsNotEnough), nameof(Mistake.NotVoided))]
    [InlineData(nameof(AVoidedReplicaIsNotEnough), nameof(Mistake.VoidedClaimsCount))]
    [InlineData(nameof(TwoOutagesAreNotOne), nameof(Mistake.FormerVoidsCount))]
    [InlineData(nameof(AnEpochThatNobodySawDoesNotWin), nameof(Mistake.HigherNumberWins))]
    [InlineData(nameof(WhatIsReconciledHasANewVersion), nameof(Mistake.ReconciledNotStamped))]
    [InlineData(nameof(GhostsAreOverwritten), nameof(Mistake.JoinWithoutIntents))]
    [InlineData(nameof(WhatIsOutOfOrderIsNotLost), nameof(Mistake.OutOfOrderNotLaidOver))]
    [InlineData(nameof(AFrozenWriterReadsNothing), nameof(Mistake.LeaseNotChecked))]
    public void TheScheduleSeesTheMistake(string name, string mistake)
    {
        Mistakes.Made = Enum.Parse<Mistake>(mistake);
        try
        {
            Assert.Contains(Enumerable.Range(1, 5), seed => IsSeen((ulong)seed, s_schedules[name]));
        }
        finally
        {
            Mistakes.Made = Mistake.None;
        }
    }

    private bool IsSeen(ulong seed, Action<ClusterHistory> schedule)
    {
        try
        {
            ClusterHistory.Play(World(seed), _pools, schedule);
            return false;
        }
        catch (HistoryException seen)
        {
            return !seen.Message.StartsWith(ClusterHistory.Endless, StringComparison.Ordinal);
        }
    }

    private static SimulationOptions World(ulong seed) =>
        new() { Seed = seed, Workload = new WorkloadOptions { Operations = 0 } };

    // A write that 0 has applied, and nobody else; 2 is cut off, 0 and 1 are back.
    private static void WriteOnZeroOnly(ClusterHistory history)
    {
        history.LeaveOut(2);
        history.Freeze(1);
        history.Write(One);
        history.Pass(50);
        history.Kill(0);
        history.Kill(1);
        history.Restart(0);
        history.Restart(1);
    }

    // 2 joins and misses a region; what it then has applied beyond 1 says nothing about that region.
    private static void ClaimsCountPerRegion(ClusterHistory history)
    {
        history.Serve(0);
        history.LeaveOut(2);
        history.WriteDone(One);
        history.FlushDone();
        history.SlowDisk(0, 400);
        history.Heal(2);
        history.Until(() => history[2].Machine!.State.Missing.Count > 0);
        history.CutBetween(0, 1);
        ulong applied = history[2].Machine!.Applied;
        history.Write(Two);
        history.Until(() => history[2].Machine!.Applied > applied);
        history.Kill(0);
        history.Serve(1);
        history.ReadDone(One);
        history.Restart(0);
    }

    // 2 is being brought up to date by a candidate that dies; the next one has 1, which has all of it.
    private static void ReconcileIsCutShort(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(1);
        history.CutOff(2);
        history.WriteDone(One);
        history.FlushDone();
        history.CutOff(1);
        history.Heal(2);
        history.CutBetween(1, 2);
        history.SlowDisk(2, 500);
        history.Attach(0);
        history.Pass(700);
        history.Kill(0);
        history.SlowDisk(2, 1);
        history.Heal(1);
        history.Serve(1);
        history.ReadDone(One);
        history.Restart(0);
    }

    // Acknowledged on 0 and 1; 0 loses power and is back, 1 is cut off: 0 and 2 must wait, whatever restarts.
    private static void AVoidedReplicaIsNotEnough(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(1);
        history.CutOff(2);
        history.WriteDone(One);
        history.LosePower(0);
        history.CutOff(1);
        history.Heal(2);
        history.CutBetween(1, 2);
        history.Restart(0);
        history.Attach(0);
        history.Pass(5000);
        ClusterHistory.Expect(!history.IsServedBy(0), "a voided claim is not enough");
        history.Kill(0);
        history.Restart(0);
        history.Attach(0);
        history.Pass(5000);
        ClusterHistory.Expect(!history.IsServedBy(0), "nor is it after the process was restarted");
        history.Heal(1);
        history.Until(() => history.IsServedBy(0));
        history.ReadDone(One);
    }

    // 0 alone has one more operation than 1, and loses power: what it had applied is no claim any more.
    private static void ALostClaimIsNotTheHighest(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(1);
        history.LeaveOut(2);
        history.WriteDone(One);
        history.CutBetween(0, 1);
        ulong applied = history[0].Machine!.Applied;
        history.Write(One + 1);
        history.Until(() => history[0].Machine!.Applied > applied);
        history.LosePower(0);
        history.Restart(0);
        history.Heal(2);
        history.Heal(1);
        history.Serve(0);
        history.ReadDone(One);
    }

    // 2 loses power, 0 and 1 go on without it; then 0 loses power: what 1 alone has left is owed.
    private static void TwoOutagesAreNotOne(ClusterHistory history)
    {
        history.Serve(1);
        history.WriteDone(1);
        history.LosePower(2);
        history.Until(() => history.Volume!.Replicas.Counting.Count == 2);
        history.WriteDone(One);
        history.LosePower(0);
        history.CutOff(1);
        history.Restart(0);
        history.Restart(2);
        history.Attach(0);
        history.Pass(5000);
        ClusterHistory.Expect(!history.IsServedBy(0), "this is not one outage of both");
        history.Heal(1);
        history.Until(() => history.IsServedBy(0));
        history.ReadDone(One);
    }

    // Epoch 2 is recorded on 0 only, with a write that was never acknowledged; epoch 3 is served without it.
    private static void AnEpochThatNobodySawDoesNotWin(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(1);
        WriteOnZeroOnly(history);
        history.SlowSync(1, 3000);
        history.Attach(0);
        history.Until(() => history[0].Machine!.State.EpochStart.Epoch == 2);
        history.CutOff(0);
        history.Kill(1);
        history.SlowSync(1, 1);
        history.Restart(1);
        history.Heal(2);
        history.CutOff(0);
        history.Serve(2);
        history.ReadDone(One);
        history.CutOff(2);
        history.Heal(0);
        history.CutBetween(0, 2);
        history.Serve(0);
        history.ReadDone(One);
    }

    // 0 alone has a write; it is kept, and copied to 1. Who comes later and lacks it must learn of it from 1.
    private static void WhatIsReconciledHasANewVersion(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(1);
        WriteOnZeroOnly(history);
        history.Serve(1);
        history.Heal(2);
    }

    // 0 alone has a write, and the others go on without it: it is no part of the volume when 0 comes back.
    private static void GhostsAreOverwritten(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(1);
        history.CutOff(1);
        history.CutOff(2);
        history.Write(One);
        history.Pass(50);
        history.CutOff(0);
        history.Heal(1);
        history.CutBetween(0, 1);
        history.CutBetween(0, 2);
        history.Serve(1);
        history.ReadDone(One);
        history.WriteDone(Two);
        history.Heal(0);
    }

    // 1 has applied the second of two writes, and not the first, when it is killed: the second is owed.
    private static void WhatIsOutOfOrderIsNotLost(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(1);
        history.LeaveOut(2);
        history.SlowDisk(1, 2000);
        history.Write(One);
        history.Pass(20);
        history.SlowDisk(1, 1);
        history.Write(Two);
        history.Until(() => history.OpenCount == 1);
        history.Kill(0);
        history.Kill(1);
        history.Restart(1);
        history.Heal(2);
        history.Serve(2);
        history.ReadDone(Two);
        history.Restart(0);
    }

    // A read is under way when its writer is frozen; when it goes on, another one has written.
    private static void AFrozenWriterReadsNothing(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(1);
        history.ReadDone(1);
        history.SlowDisk(0, 100);
        history.Read(1);
        history.Pass(10);
        history.Freeze(0);
        history.Pass(3000);
        history.Serve(1);
        history.WriteDone(1);
        history.Thaw(0);
        history.Pass(500);
    }

    // An empty disk is no member of the volume before it holds everything, and the lost one never again.
    private static void ALostDiskIsReplaced(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(1);
        history.WriteDone(One);
        history.LoseDisk(2);
        history.LeaveOut(1);
        history.WriteDone(Two);
        history.Kill(0);
        history.Heal(1);
        history.Serve(1);
        history.ReadDone(One);
        history.ReadDone(Two);
        history.Restart(0);
    }

    // 2 was away while the volume grew, and is in the next set that serves.
    private static void WhoWasAwayGrowsToo(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(1);
        history.LeaveOut(2);
        int block = history.GrowDone();
        history.WriteDone(block);
        history.Kill(0);
        history.Heal(2);
        history.Serve(2);
        history.ReadDone(block);
        history.WriteDone(block + 1);
        history.Restart(0);
    }
}
