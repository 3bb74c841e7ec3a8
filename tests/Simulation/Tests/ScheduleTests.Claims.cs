using Ublk.Tests.Simulation.Cluster;
using Ublk.Tests.Simulation.World;

namespace Ublk.Tests.Simulation.Tests;

/// <content>Claims, histories and what is reconciled: rules 1, 2, 4 and 6.</content>
public sealed partial class ScheduleTests
{
    // Writes that 0 has applied, and nobody else; 2 is cut off, 0 and 1 are back.
    private static void WriteOnZeroOnly(ClusterHistory history, int writes = 1)
    {
        history.LeaveOut(2);
        history.Freeze(1);
        for (int i = 0; i < writes; i++)
        {
            history.Write(One + i);
        }

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
        history.Pass(6000); // What was on its way to 1 is given up.
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
        history.Until(() => history.Volume!.Replicas.Counting.Count == 3);
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

    // 0 acknowledges in a view that it never recorded and loses power: as if it had done so with 2, before.
    private static void AViewIsDurableBeforeItCounts(ClusterHistory history)
    {
        history.Serve(1);
        history.Until(() => history.Volume!.Replicas.Counting.Count == 3);
        history.SlowSync(0, 20_000); // So that its intents stay.
        history.WriteDone(One);
        history.Until(() => history[2].Machine!.State.Intents.Count > 0);
        history.LosePower(2);
        history.Until(() => !history.Volume!.Replicas.Counting.Has(2));
        history.SlowRing(0, 1000);
        history.Write(One);
        history.Pass(100);
        history.LosePower(0);
        history.CutOff(1);
        history.SlowRing(0, 1);
        history.SlowSync(0, 1);
        history.Restart(0);
        history.Restart(2);
        history.Attach(0);
        history.Pass(5000);
        history.Heal(1);
        history.Until(() => history.IsServedBy(0));
        history.ReadDone(One);
    }

    // Power is lost in the middle of a copy to 1: it has bytes there that nobody owes, and 2 does not.
    private static void AReconcileIsCutByALossOfPower(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(1);
        history.Until(() => history[1].Machine!.State.Intents.Count == 0);
        WriteOnZeroOnly(history);
        history[1].Image.Survives = Survival.Everything;
        history.SlowDisk(1, 500);
        history.Attach(0);
        history.Until(() => history[1].Machine!.State.Intents.Count > 0);
        history.Pass(100);
        history.LosePower(1);
        history.CutOff(0);
        history.SlowDisk(1, 1);
        history.Restart(1);
        history.Heal(2);
        history.CutBetween(0, 2);
        history.Attach(2);
        history.Pass(5000);
        ClusterHistory.Expect(!history.IsServedBy(2), "1 is voided by what was copied there");
        history.Heal(0);
        history.Until(() => history.IsServedBy(2));
    }

    // Epoch 2 is recorded on 0 only, with a write that was never acknowledged; epoch 3 is served without it.
    private static void AnEpochThatNobodySawDoesNotWin(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(1);
        WriteOnZeroOnly(history);
        RecordOnZeroOnly(history);
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
}
