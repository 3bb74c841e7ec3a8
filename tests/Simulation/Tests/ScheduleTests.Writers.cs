using Ublk.Tests.Simulation.Cluster;

namespace Ublk.Tests.Simulation.Tests;

/// <content>Who may write, and when: rules 7 to 9, 21 and 22.</content>
public sealed partial class ScheduleTests
{
    // The metadata gives one epoch out twice: to two processes of a node, and to two nodes.
    private static void AnEpochHasOneWriter(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(1);
        history.Kill(0);
        history.Restart(0);
        history.AttachIn(0, 1);
        history.Until(() => !history.IsAsking(0));
        ClusterHistory.Expect(!history.IsServed, "the epoch was of another process");
        history.Attach(1);
        history.AttachIn(2, 2);
        history.Pass(5000);
        history.Serve(2);
        history.ReadDone(1);
    }

    // A replica promises while its grant to 0 runs, and restarts: it neither answers sooner nor forgets.
    private static void APromiseIsKeptWhileItsAnswerWaits(ClusterHistory history)
    {
        history.Serve(0);
        history.Pass(1000);
        history.CutOff(0);
        history.Attach(1);
        history.Until(() => history[2].Machine!.State.Promise.Epoch == 2);
        history.Kill(2);
        history.Restart(2);
        history.Pass(500);
        ClusterHistory.Expect(history[2].Machine!.Promise.Epoch == 2, "the promise is kept");
        ClusterHistory.Expect(!history.IsServedBy(1), "the grants to 0 have not ended");
        history.Until(() => history.IsServedBy(1));
        history.WriteDone(1);
        history.Heal(0);
    }

    // 2 asks in epoch 2, but epoch 9 comes first: it is told, and the next one that it asks in is higher.
    private static void ARefusalNamesWhatIsPromised(ClusterHistory history)
    {
        history.Serve(0);
        history.SlowWays(2, 1000);
        history.Attach(2);
        history.Pass(2500);
        history.AttachIn(1, 9);
        history.Until(() => !history.IsAsking(2));
        history.Until(() => history.IsServedBy(1));
        history.WriteDone(One);
        history.SlowWays(2, 1);
        history.Serve(2);
        history.ReadDone(One);
    }

    // A write of 0 is on its way to 2 while 2 promises itself to 1.
    private static void AnOldWritersPacketsChangeNothing(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(1);
        history.CutBetween(0, 2);
        history.Write(1);
        history.Pass(50);
        history.Attach(1);
        history.Until(() => history[2].Machine!.Promise.Epoch == 2);
        history.Heal(2);
        history.Until(() => history.IsServedBy(1));
        history.ReadDone(1);
    }

    // The volume is served before 2 has recorded that: what it is sent is not of the history that it has.
    private static void NothingIsWrittenBeforeTheStart(ClusterHistory history)
    {
        history.SlowSync(2, 1000);
        history.Serve(0);
        history.WriteDone(One);
        history.Pass(100);
        history.Kill(2);
        history.SlowSync(2, 1);
        history.Restart(2);
        history.Kill(0);
        history.Serve(2);
        history.ReadDone(One);
        history.Restart(0);
    }

    // Two replicas, both of which must have a write: one alone cannot know that it has all of them.
    private static void OneOfTwoDoesNotServe(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(One);
        history.Kill(0);
        history.Attach(1);
        history.Pass(10_000);
        ClusterHistory.Expect(!history.IsServed, "half of two is not enough");
        history.SlowSync(0, 1000);
        history.Restart(0);
        history.Until(() => history.IsServedBy(1));
        history.ReadDone(One);
    }

    // Four replicas, and W is three: both halves have R promises; later a writer has its start at 0 only.
    private static void NeitherHalfOfFourServes(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(One);
        history.Kill(0);
        history.Restart(0);
        history.CutBetween(0, 2);
        history.CutBetween(0, 3);
        history.CutBetween(1, 2);
        history.CutBetween(1, 3);
        history.Attach(1);
        history.Attach(2);
        history.Pass(5000);
        ClusterHistory.Expect(!history.IsServed, "half of four is not enough");
        history.Heal(2);
        history.CutOff(3);
        history.SlowSync(1, 3000);
        history.SlowSync(2, 3000);
        history.Attach(0);
        history.Until(() => history[0].Machine!.State.EpochStart.Epoch == 4);
        history.CutOff(0);
        history.SlowSync(1, 1);
        history.SlowSync(2, 1);
        history.Heal(3);
        history.CutBetween(0, 3);
        history.Serve(3);
        history.WriteDone(One);
        history.Heal(0);
        history.ReadDone(One);
    }

    // Nothing has been written for a while, and 0 loses power: nothing can have been lost there.
    private static void AnIdleVolumeIsNotVoided(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(One);
        history.Pass(10_000);
        history.LosePower(0);
        history.CutOff(1);
        history.Restart(0);
        history.Attach(0);
        history.Pass(10_000);
        ClusterHistory.Expect(history.IsServedBy(0), "an idle replica is not voided");
        history.ReadDone(One);
    }
}
