using Ublk.Replication.Runtime;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Peers;

/// <summary>Volumes over sockets, whose connections last.</summary>
public sealed class AttachedVolumeTests
{
    [Theory]
    [InlineData(true, 2, false)]
    [InlineData(true, 2, true)]
    [InlineData(true, 1, false)]
    [InlineData(false, 3, true)]
    public void WhatIsWrittenIsOnAllReplicas(bool hasLocal, int peers, bool hasTls)
    {
        using var world = new PeerVolume(
            [.. Enumerable.Range(0, peers).Select(_ => new LoopbackNet())], hasLocal, hasTls);
        world.Attach();
        Work(world, 2000);
        world.UntilInSync();
        world.CheckAll();
        world.Stop();
        world.AssertIdentical();
    }

    [Fact]
    public void ItIsAttachedAgainAndHasEverything()
    {
        using var world = new PeerVolume([new LoopbackNet(), new LoopbackNet()]);
        for (int round = 0; round < 5; round++)
        {
            world.Attach();
            world.CheckAll();
            Work(world, 300);
            world.Run(world.Volume.StopAsync());
            Assert.Equal(world.Pool.CapacityBytes, world.Pool.FreeBytes);
        }

        world.Attach();
        world.UntilInSync();
        world.CheckAll();
        world.Stop();
        world.AssertIdentical();
    }

    // A node that is stopped is gone for the writer at once; the rest goes on.
    [Fact]
    public void ANodeMayGo()
    {
        using var world = new PeerVolume([new LoopbackNet(), new LoopbackNet()]);
        world.Attach();
        world.UntilInSync();
        Work(world, 300);
        world.Nodes[2].Stop();
        world.Until(() => world.Volume.Status()[2].Stage == LocalReplicaStage.Closed);
        Work(world, 300);
        world.CheckAll();
        Assert.Contains("onnect", world.Volume.Status()[2].Problem!, StringComparison.Ordinal);
    }

    [Fact]
    public void ItAsksForAnEpochUntilThereIsOne()
    {
        using var world = new PeerVolume([new LoopbackNet(), new LoopbackNet()]) { EpochsRefused = 3 };
        world.Attach(mustServe: false);
        world.Until(() => world.Volume.Problem == "no metadata");
        world.Until(() => world.Volume.Served.IsCompleted);
        Assert.Null(world.Volume.Problem);
        Work(world, 50);
    }

    // What the operator reads names the node and what is wrong with it.
    [Fact]
    public void ANodeWhoseCertificateIsRevokedIsNoPeer()
    {
        using var world = new PeerVolume([new LoopbackNet(), new LoopbackNet()], hasTls: true);
        world.Authority!.Revoke(world.Nodes[2].Certificate!);
        world.Attach();
        Work(world, 100);
        VolumePlaceStatus status = world.Volume.Status()[2];
        Assert.Equal(LocalReplicaStage.Closed, status.Stage);
        Assert.Contains("revoked", status.Problem!, StringComparison.Ordinal);
        Assert.Equal(LocalReplicaStage.InSync, world.Volume.Status()[1].Stage);
    }

    internal static void Work(PeerVolume world, int writes)
    {
        long end = world.Completed + writes;
        while (world.Completed < end)
        {
            while (world.OpenCount < 16 && world.TryWrite())
            {
            }

            if (world.Random.Next(50) == 0)
            {
                world.Flush();
            }

            _ = world.Loop.DrainOrWait(TimeSpan.FromMilliseconds(20));
        }

        world.Settle();
    }
}
