using Ublk.Tests.Simulation.Cluster;

namespace Ublk.Tests.Simulation.Tests;

/// <content>Numbers of operations in histories that part: rules 2 and 3.</content>
public sealed partial class ScheduleTests
{
    // 0 alone has a write, and the others go on without it. It comes back before they have written anything.
    private static void AnEpochBeginsBehindAGap(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(1);
        history.CutOff(1);
        history.CutOff(2);
        history.Write(One);
        history.Pass(50);
        history.Heal(1);
        history.CutBetween(0, 1);
        history.CutBetween(0, 2);
        history.Serve(1);
        history.Heal(0);
        history.Until(() => history[0].Machine!.State.EpochStart.Epoch == 2);
        history.Pass(500);
        history.Reset(1, 0);
        history.Pass(500);
    }

    // 0 alone has recorded epoch 2, with higher numbers than epoch 3 begins with: they are not the same.
    private static void WhoPartedMissesAllSince(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(1);
        WriteOnZeroOnly(history, writes: 3);
        RecordOnZeroOnly(history);
        history.Serve(2);
        history.WriteDone(Two);
        for (int i = 0; i < 5; i++)
        {
            history.WriteDone(Three);
        }

        history.Heal(0);
    }

    // Epoch 2 begins with 0 and 1, but only 0 has recorded that; 1 and 2 are left, and 0 is cut off.
    private static void RecordOnZeroOnly(ClusterHistory history)
    {
        history.SlowSync(1, 3000);
        history.Attach(0);
        history.Until(() => history[0].Machine!.State.EpochStart.Epoch == 2);
        history.CutOff(0);
        history.Kill(1);
        history.SlowSync(1, 1);
        history.Restart(1);
        history.Heal(2);
        history.CutOff(0);
    }

    // Epoch 2, of 0 alone, stamps a region with the number that the first write of epoch 3 to it has.
    private static void NumbersOfTwoHistoriesMeet(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(Two);
        history.Freeze(1);
        history.Until(() => history[0].Machine!.State.Intents.Count == 0);
        WriteOnZeroOnly(history);
        RecordOnZeroOnly(history);
        history.Serve(2);
        history.WriteDone(Two);
        history.FlushDone();
        history.Until(() => history[1].Machine!.State.Intents.Count == 0);
        history.CutOff(2);
        history.Heal(0);
        history.CutBetween(0, 2);
        history.Serve(0);
        history.ReadDone(Two);
    }
}
