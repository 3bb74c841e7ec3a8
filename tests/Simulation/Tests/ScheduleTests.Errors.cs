using Ublk.Tests.Simulation.Cluster;
using Ublk.Tests.Simulation.World;

namespace Ublk.Tests.Simulation.Tests;

/// <content>Disks that fail, requests that fail, writes that are torn: rules 14 to 17.</content>
public sealed partial class ScheduleTests
{
    // A flush that only 0 has done: the disk of 1 says that it could not.
    private static void AFailedSyncIsNoSync(ClusterHistory history)
    {
        history.Serve(0);
        history.LeaveOut(2);
        history.FailSyncs(1);
        history.WriteDone(One);
        history.Flush();
        history.Pass(1000);
        ClusterHistory.Expect(history.OpenCount == 1, "one of them has not synced");
        ClusterHistory.Expect(history[1].Machine!.HasFailed, "1 has failed");
        history.Kill(1);
        history.Restart(1);
        history.Pass(1000);
        ClusterHistory.Expect(history.OpenCount == 1, "it has not forgotten that");
        history.Mend(1);
        history.Kill(1);
        history.Restart(1);
        history.Done();
    }

    // A write that only 0 has: the disk of 1 says that it could not. Then 1 is all that is left of both.
    private static void AFailedWriteIsMissing(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(One);
        history.LeaveOut(2);
        history.FillDisk(1);
        history.Write(One);
        history.Pass(1000);
        ClusterHistory.Expect(history.OpenCount == 1, "only 0 has it");
        history.Mend(1);
        history.Kill(1);
        history.Restart(1);
        history.Done();
        history.Kill(0);
        history.Heal(2);
        history.Serve(1);
        history.ReadDone(One);
        history.Restart(0);
    }

    // The host was told that its write failed; 0 has it all the same, and 1 may still get it. Then 0 is gone.
    private static void AFailedRequestMayStillHappen(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(1);
        history.LeaveOut(2);
        history.ReadDone(1);
        history.CutBetween(0, 1);
        history.Write(1);
        history.Done();
        history.Read(1);
        history.Done();
        GoOnWithoutZero(history);
    }

    // Too few replicas are there. What is told to have failed then never had a place in history.
    private static void AHeldRequestHasNoNumber(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(1);
        history.LeaveOut(1);
        history.LeaveOut(2);
        ulong next = history.Volume!.Window.Next;
        history.Write(1);
        history.Done();
        ClusterHistory.Expect(history.Volume!.Window.Next == next, "what is held has no number");
    }

    // Every host loses power with a write in its cache, any blocks of which survive.
    private static void AWriteIsTornBetweenBlocks(ClusterHistory history)
    {
        const int Blocks = 8;
        history.Serve(0);
        history.Write(One, Blocks);
        history.Done();
        history.FlushDone();
        history.Write(One, Blocks);
        history.Done();
        for (int place = 0; place < 3; place++)
        {
            history[place].Image.Survives = Survival.AnyOfEachSector;
            history.LosePower(place);
        }

        for (int place = 0; place < 3; place++)
        {
            history.Restart(place);
        }

        history.Serve(0);
        history.Read(One, Blocks);
        history.Done();
    }

    // 1 could not take a write, and is being brought up to date; it alone takes another one, elsewhere.
    private static void AFailedReplicaDoesNotCount(ClusterHistory history)
    {
        history.Serve(2);
        history.WriteDone(One);
        history.FillDisk(1);
        history.WriteDone(One);
        history.Mend(1);
        history.SlowDisk(0, 1000);
        history.Until(() => history.Volume!.Replicas.Knowing.Has(1));
        history.WriteDone(Two);
        for (int node = 0; node <= 2; node++)
        {
            history.Kill(node);
            history.Restart(node);
        }

        history.SlowDisk(0, 1);
        history.Serve(2);
        history.ReadDone(Two);
    }
}
