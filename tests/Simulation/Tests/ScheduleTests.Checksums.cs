using Ublk.Tests.Simulation.Cluster;

namespace Ublk.Tests.Simulation.Tests;

/// <content>Disks that change by themselves, under replicas that keep checksums.</content>
public sealed partial class ScheduleTests
{
    // 2 misses a region of which 0, from where it is copied, has lost a block; 1 has it, and is gone then.
    private static void ACorruptSourceIsNotCopied(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(One);
        history.Rest();
        history.LeaveOut(2);
        history.WriteDone(One + 1);
        history.Rest();
        history.TurnBit(0, One);
        history.Heal(2);
        history.Until(() => history.Volume!.Replicas.Counting.Has(2));
        history.ReadSucceeds(One);
        history.Kill(1);
        history.Kill(0);
        history.Restart(1);
        history.Serve(2);
        history.ReadSucceeds(One);
        history.Restart(0);
    }

    // The last write is on 0 alone, and rots there. What 1 has is older: it must not come back.
    private static void WhatNobodyHasIsNotShown(ClusterHistory history)
    {
        WriteToZeroAlone(history, away: 1);
        history.TurnBit(0, One);
        history.Heal(1);
        history.Until(() => history.Volume!.Replicas.Counting.Has(1));
        history.ReadFails(One);
        history.Serve(1);
        history.ReadFails(One);
        history.WriteDone(One);
        history.ReadDone(One);
    }

    // The same, and the process of 1 dies while that is new to it: it does not know the checksum any more.
    private static void WhatIsLostStaysLost(ClusterHistory history)
    {
        WriteToZeroAlone(history, away: 1);
        history.TurnBit(0, One);
        history.Heal(1);
        history.Until(() => history.Volume!.Replicas.Counting.Has(1));
        history.Kill(1);
        history.Restart(1);
        history.Serve(1);
        history.ReadFails(One);
        history.WriteDone(One);
    }

    // The same, and 2 has it: when it comes, everything is there again.
    private static void WhoComesLaterBringsItBack(ClusterHistory history)
    {
        WriteToZeroAlone(history, away: 1);
        history.LeaveOut(2);
        history.TurnBit(0, One);
        history.Heal(1);
        history.Until(() => history.Volume!.Replicas.Counting.Has(1));
        history.ReadFails(One);
        history.Heal(2);
        history.Until(() => history.Volume!.Replicas.Counting.Has(2));
        history.ReadSucceeds(One);
        history.Scrub();
        history.Kill(2);
        history.ReadSucceeds(One);
        history.Restart(2);
    }

    // Only 0 has a write, without a quorum, and it rots there. Who joins then has to get it from the writer.
    private static void ACopyOfARottenWriteIsNoWrite(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(One);
        history.LosePower(1);
        history.CutBetween(0, 2);
        history.Write(One);
        history.Pass(50);
        history.TurnBit(0, One);
        history.Restart(1);
        history.Done();
        history.ReadSucceeds(One);
        history.Heal(2);
    }

    // The process dies with bytes on its disk whose checksum was in its memory only.
    private static void WhatWasHotIsNotKnown(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(One);
        history.Rest();
        history.WriteDone(One);
        history.Kill(1);
        history.Restart(1);
        history.Until(() => history.Volume!.Replicas.Counting.Has(1));
        history.Scrub();
        history.ReadDone(One);
    }

    // What is not hot any more is on stable media with its checksum.
    private static void ChecksumsAreSyncedBeforeTheyCount(ClusterHistory history)
    {
        history.Serve(0);
        history.WriteDone(One);
        history.Rest();
        history.LosePower(1);
        history.Restart(1);
        history.Until(() => history.Volume!.Replicas.Counting.Has(1));
        history.Scrub();
        history.ReadDone(One);
    }

    private static void WriteToZeroAlone(ClusterHistory history, int away)
    {
        history.Serve(0);
        history.WriteDone(One);
        history.Rest();
        history.LeaveOut(away);
        history.WriteDone(One);
        history.Rest();
    }
}
