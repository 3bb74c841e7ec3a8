using Ublk.Tests.Simulation.Cluster;

namespace Ublk.Tests.Simulation.Tests;

/// <content>What may be shown: section 5 and rules 12 and 13.</content>
public sealed partial class ScheduleTests
{
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

    // What 0 alone has is written under a read that is under way; then 0 is gone.
    private static void AWriteWaitsForARead(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(1);
        history.LeaveOut(2);
        history.ReadDone(1);
        history.SlowDisk(0, 100);
        history.Read(1);
        history.SlowDisk(0, 1);
        history.CutBetween(0, 1);
        history.Write(1);
        history.Pass(200);
        GoOnWithoutZero(history);
    }

    // What 0 alone has is read; then 0 is gone.
    private static void WhatOneReplicaHasIsNotShown(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(1);
        history.LeaveOut(2);
        history.ReadDone(1);
        history.CutBetween(0, 1);
        history.Write(1);
        history.Pass(50);
        history.Read(1);
        history.Pass(50);
        GoOnWithoutZero(history);
    }

    // 2 has missed what was written last; 1 has not.
    private static void GoOnWithoutZero(ClusterHistory history)
    {
        history.Kill(0);
        history.Heal(2);
        history.Serve(1);
        history.ReadDone(1);
        history.Restart(0);
    }

    // The writer has no replica of its own, and asks 0, which has not applied yet what 1 and 2 have.
    private static void APeerShowsAllThatIsAcknowledged(ClusterHistory history)
    {
        history.Serve(3);
        history.WriteDone(1);
        history.SlowDisk(0, 1000);
        history.WriteDone(1);
        history.SlowDisk(0, 1);
        history.ReadDone(1);
    }

    // The writer's own replica could not take a write that the others have, and is being brought up to date.
    private static void AStaleCopyIsNotRead(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(One);
        history.FillDisk(0);
        history.SlowDisk(1, 1000);
        history.WriteDone(One);
        history.Mend(0);
        history.Until(() => history.Volume!.Replicas.Knowing.Has(0));
        ClusterHistory.Expect(history[0].Machine!.State.Missing.Count > 0, "0 misses something");
        history.ReadDone(One);
    }

    // The writer's own replica was away while others took a write, which the window has for the slow 4; now
    // it is applying it.
    private static void ALocalCopyCatchesUpBeforeItIsRead(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(1);
        history.ReadDone(1);
        history.SlowDisk(4, 3000);
        history.Reset(0, 0);
        history.WriteDone(1);
        history.SlowDisk(0, 500);
        history.Until(() => history.Volume!.Replicas.Knowing.Has(0));
        history.SlowDisk(0, 1);
        history.ReadDone(1);
    }
}
