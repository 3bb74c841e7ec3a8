using Ublk.Tests.Simulation.Cluster;

namespace Ublk.Tests.Simulation.Tests;

/// <content>Replicas that come back: rules 5, 19 and 20.</content>
public sealed partial class ScheduleTests
{
    // 2 joins and misses the region of a block; it is copied from a slow disk.
    private static void JoinMissingOne(ClusterHistory history, int slowness)
    {
        history.Serve(0);
        history.LeaveOut(2);
        history.WriteDone(One);
        history.SlowDisk(0, slowness);
        history.Heal(2);
        history.Until(() => history[2].Machine!.State.Missing.Count > 0);
    }

    // 2 joins and misses a region; nothing that rests on that region may count with it, and no flush.
    private static void WhatIsMissingDoesNotCount(ClusterHistory history)
    {
        JoinMissingOne(history, slowness: 1000);
        history.Freeze(1);
        history.Write(Two);
        history.Write(One);
        history.Pass(1100);
        ClusterHistory.Expect(history.OpenCount == 1, "2 has the one, and misses the other");
        history.Flush();
        history.Pass(500);
        ClusterHistory.Expect(history.OpenCount == 2, "a flush does not count where something is missing");
        history.Thaw(1);
        history.Done();
    }

    // A region is read at its source; before that arrives, 2 is sent something newer.
    private static void ACopyLiesUnderWhatCameSince(ClusterHistory history)
    {
        JoinMissingOne(history, slowness: 400);
        history.Until(() => history.Writer.CopiesAsked > 0);
        history.Write(One);
        history.Done();
    }

    // A block of 1 has decayed; while the right bytes are fetched to repair it, the host writes there.
    private static void ARepairDoesNotUndoAWrite(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(One);
        history.FlushDone();
        history.TurnBit(1, One);
        history.SlowDisk(0, 50);
        history.SlowDisk(2, 50);
        history.Writer.Scrub();
        history.Until(() => history.Writer.CopiesAsked > 0);
        history.WriteDone(One);
        history.ReadDone(One);
        history.Until(() => history.Writer.Scrubbed is not null);
        history.ReadDone(One);
    }

    // 2 is away while every fourth of many blocks is written again, a few of them hot when it goes. At most a
    // fifth more than that is brought to it.
    private static void AResyncCopiesWhatChanged(ClusterHistory history)
    {
        const int Blocks = 80, Distance = 11, BlockBytes = 4096;
        history.Serve(0);
        for (int i = 0; i < Blocks; i++)
        {
            history.WriteDone(i * Distance);
        }

        history.Rest();
        for (int i = 0; i < Blocks / 10; i++)
        {
            history.WriteDone(i * Distance);
        }

        history.LeaveOut(2);
        for (int i = 0; i < Blocks; i += 4)
        {
            history.WriteDone(i * Distance);
        }

        history.Heal(2);
        history.Until(() => history.Volume!.Replicas.Counting.Has(2));
        const int Most = (Blocks / 4 + Blocks / 10) * BlockBytes * 12 / 10;
        ClusterHistory.Expect(
            history.Writer.PushedBytes is > 0 and <= Most,
            $"{history.Writer.PushedBytes} bytes are copied, at most {Most} have changed or were hot");
    }

    // 2 joins behind a write that its source has not applied yet.
    private static void ASourceHasWhatItsTargetIsNotSent(ClusterHistory history)
    {
        history.Serve(0);
        history.LeaveOut(2);
        history.WriteDone(One);
        history.SlowDisk(0, 10_000);
        history.Write(One);
        history.Pass(20);
        history.SlowDisk(0, 1);
        history.Heal(2);
        history.Done();
    }

    // 2 loses power when all was copied there, and nothing of it synced.
    private static void ACopyIsSyncedBeforeItCounts(ClusterHistory history)
    {
        history.Serve(0);
        history.LeaveOut(2);
        history.WriteDone(One);
        history.FlushDone();
        history.Heal(2);
        history.Until(() => history[2].Machine!.State.Missing.Count > 0);
        history.SlowSync(2, 1000);
        history.Pass(500);
        history.LosePower(2);
        history.SlowSync(2, 1);
        history.LosePower(0);
        history.Restart(2);
        history.Serve(2);
        history.ReadDone(One);
        history.Restart(0);
    }

    // 1 answers a write and forgets it in a loss of power, before 0 has applied it.
    private static void WhatAVoidedReplicaAnsweredIsWithdrawn(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(One);
        history.SlowDisk(0, 12_000);
        history.CutBetween(0, 2);
        history.Write(One);
        history.Pass(100);
        ulong applied = history[0].Machine!.Applied;
        history.LosePower(1);
        history.Restart(1);
        history.Until(() => history[1].Machine!.State.Missing.Count > 0);
        history.SlowDisk(0, 1000);
        history.Until(() => history[0].Machine!.Applied > applied);
        history.Pass(100);
        ClusterHistory.Expect(history.OpenCount == 1, "only 0 has it");
        history.Done();
    }

    // 1 is sent again two writes of one block that it has; it is killed when it has done the first one again.
    private static void WhatIsAppliedIsNotAppliedAgain(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(One);
        history.WriteDone(Two);
        history.LeaveOut(2);
        history.SlowDisk(1, 3000);
        history.Write(Two);
        history.Pass(20);
        history.SlowDisk(1, 1);
        history.Write(One);
        history.Until(() => history.OpenCount == 1);
        history.Write(One);
        history.Until(() => history.OpenCount == 1);
        history.SlowDisk(1, 500);
        history.Reset(0, 1);
        history.Pass(800);
        history.Kill(0);
        history.Kill(1);
        history.Restart(1);
        history.Heal(2);
        history.Serve(2);
        history.ReadDone(One);
        history.Restart(0);
    }

    // What 1 says of its regions is long on its way to the writer, which has no replica of its own; what is
    // acknowledged meanwhile without 1 is neither in that, nor sent to 0, which joins, and is read from then.
    private static void WhatIsWrittenMeanwhileIsMissing(ClusterHistory history)
    {
        history.Serve(5);
        history.WriteDone(One);
        history.LosePower(0);
        history.Until(() => !history.Volume!.Replicas.Connected.Has(0));
        history.WriteDone(One);
        history.SlowWays(1, 1000);
        history.Reset(1, 5);
        history.Until(() => !history.Volume!.Replicas.Counting.Has(1));
        history.Until(() => history.Volume!.Replicas.Counting.Has(1));
        history.Restart(0);
        history.Until(() => history.Volume!.Replicas.Connected.Has(0));
        history.Pass(100);
        history.WriteDone(Two);
        history.Until(() => history.Volume!.Replicas.Counting.Has(0));
        history.ReadDone(Two);
        history.SlowWays(1, 1);
    }

    // 1 is away for a moment, and misses writes that the window keeps for it.
    private static void AShortAbsenceNeedsNoResync(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(One);
        history.Reset(0, 1);
        history.WriteDone(One);
        history.WriteDone(Two);
        bool wasBehind = false;
        history.Until(() =>
        {
            wasBehind |= history[1].Machine!.State.Missing.Count > 0;
            return history.Volume!.Replicas.Counting.Has(1);
        });
        ClusterHistory.Expect(!wasBehind, "1 misses no region");
        history.CutOff(0);
        history.Serve(1);
        history.ReadDone(One);
        history.ReadDone(Two);
    }
}
