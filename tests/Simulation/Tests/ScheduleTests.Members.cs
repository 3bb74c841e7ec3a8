using Ublk.Tests.Simulation.Cluster;

namespace Ublk.Tests.Simulation.Tests;

/// <content>Who keeps the volume, and how large it is: rule 18.</content>
public sealed partial class ScheduleTests
{
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

    // 1 gives its place to 3, and one of the two that have a write goes with it, before others have it.
    private static void TheOldSetHoldsUntilTheNewOneDoes(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(One);
        history.Exchange(1, 3);
        history.Until(() => history.Volume!.Replicas.Counting.Has(3));
        history.SlowDisk(2, 3000);
        history.SlowDisk(3, 3000);
        history.WriteDone(One);
        history.Pass(500);
        history.Kill(0);
        history.Kill(2);
        history.Kill(3);
        history.SlowDisk(2, 1);
        history.SlowDisk(3, 1);
        history.Restart(2);
        history.Restart(3);
        history.Serve(2);
        history.ReadDone(One);
        history.Restart(0);
    }

    // 0 and 3 go on alone with a change that 1 and 2 have not heard of, and are cut off from them.
    private static void AChangeCountsWhenTheOldSetHasRecordedIt(ClusterHistory history)
    {
        history.Serve(0);
        history.LeaveOut(1);
        history.WriteDone(One);
        history.FlushDone();
        history.Exchange(1, 3);
        history.Until(() => history.Volume!.Replicas.Counting.Has(3));
        history.CutBetween(0, 2);
        history.Write(One);
        history.Pass(500);
        ClusterHistory.Expect(history.OpenCount == 1, "of the old set only 0 has it");
        history.Kill(0);
        history.CutOff(3);
        history.Heal(1);
        history.CutBetween(1, 3);
        history.AttachAsOf(1, 1);
        history.Until(() => history.IsServedBy(1));
        history.Heal(3);
        history.ReadDone(One);
        history.Restart(0);
    }

    // Old metadata names 1 and 2: 1 has missed a write that 0 and 3 have, and 2 is no member any more.
    private static void AnOldSetDecidesNothing(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(One);
        history.Exchange(2, 3);
        history.Until(() => !history.IsExchanging);
        history.LeaveOut(1);
        history.WriteDone(One);
        history.Kill(0);
        history.Heal(1);
        history.AttachAsOf(2, 1);
        history.Pass(5000);
        history.Serve(1);
        history.ReadDone(One);
        history.Restart(0);
    }
}
