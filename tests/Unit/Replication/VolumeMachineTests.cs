using Ublk.Replication.State;
using Ublk.Wire.Blocks;
using Xunit;

namespace Ublk.Tests.Unit.Replication;

/// <summary>The primary of a volume, alone with replicas that do what they are told, late or never.</summary>
public sealed class VolumeMachineTests
{
    private static readonly VolumeOptions s_small = new()
    {
        WindowOperations = 16,
        WindowBytes = 8 * VolumeWorld.BlockBytes,
        MaxRequests = 32,
        HeartbeatInterval = 200,
        IdleFlushInterval = 2000,
    };

    [Theory]
    [InlineData(1, 1)]
    [InlineData(2, 2)]
    [InlineData(3, 2)]
    [InlineData(3, 1)]
    [InlineData(5, 3)]
    [InlineData(7, 4)]
    public void NothingPromisedIsLostAndEverythingIsAnswered(int replicas, int quorum)
    {
        for (int seed = 1; seed <= 60; seed++)
        {
            var random = new Random(seed);
            var world = new VolumeWorld(seed, replicas, quorum, s_small);
            try
            {
                for (int step = 0; step < 1500; step++)
                {
                    Disturb(world, random, replicas);
                    if (world.Outstanding < s_small.MaxRequests && random.Next(3) == 0)
                    {
                        Ask(world, random);
                    }

                    world.Step();
                }

                Heal(world, replicas);
            }
            catch (Exception exception)
            {
                throw new InvalidOperationException($"seed {seed}", exception);
            }

            Assert.True(IsQuiet(world), $"seed {seed}: {world.Describe()}");
            Assert.True(world.ReadCount > 0);
        }
    }

    [Fact]
    public void WithoutAQuorumRequestsWait()
    {
        var world = new VolumeWorld(1, 3, 2, s_small);
        world.Disconnect(1);
        world.Disconnect(2);
        world.Submit(BlockOperation.Write, 3, 1, BlockRequestFlags.None);
        Run(world, 500);
        Assert.Equal(1, world.Outstanding);
        Assert.Equal(0, world.Machine.Window.Count);

        world.Connect(2);
        Run(world, 500);
        Assert.Equal(0, world.Outstanding);
    }

    [Fact]
    public void WithoutAQuorumRequestsFailAtOnceWhereToldSo()
    {
        var world = new VolumeWorld(1, 3, 2, s_small with { OnQuorumLoss = QuorumLoss.Error });
        world.Disconnect(1);
        world.Disconnect(2);
        world.Submit(BlockOperation.Write, 3, 1, BlockRequestFlags.None);
        Assert.Equal(0, world.Outstanding);
        Assert.Equal(0, world.PayloadsOut);
    }

    [Fact]
    public void AFrozenPeerLeavesTheStreamAndSlowsNobody()
    {
        var world = new VolumeWorld(1, 3, 2, s_small);
        world.Freeze(2);
        for (int i = 0; i < 40; i++)
        {
            world.Submit(BlockOperation.Write, i % VolumeWorld.Blocks, 1, BlockRequestFlags.None);
            Run(world, 60);
            Assert.Equal(0, world.Outstanding);
        }

        Assert.False(world.Machine.Replicas.InStream.Has(2));
    }

    // What it missed meanwhile the window has: no region has to be compared.
    [Fact]
    public void WhoIsBackSoonFollowsAtOnce()
    {
        var world = new VolumeWorld(1, 3, 2, s_small);
        Write(world, 4);
        world.Disconnect(2);
        Write(world, 5);
        ulong missed = world.Machine.Window.Base;
        Assert.Equal(5ul, world.Machine.Window.Next - missed);
        world.Connect(2);
        Assert.True(world.Machine.Replicas.Counting.Has(2));
        Run(world, 200);
        Assert.Equal(0, world.Machine.Window.Count);
    }

    // The host does not wait for who does not come back.
    [Fact]
    public void WhoIsAwayForLongSlowsNobody()
    {
        var world = new VolumeWorld(1, 3, 2, s_small);
        world.Disconnect(2);
        Write(world, 100);
        world.Connect(2);
        Run(world, 200);
        Assert.True(world.Machine.Replicas.Counting.Has(2));
        Assert.Equal(0, world.PayloadsOut);
    }

    [Fact]
    public void NoReadWithoutALease()
    {
        var world = new VolumeWorld(1, 3, 2, s_small);
        world.Disconnect(1);
        world.Disconnect(2);
        Run(world, 1);
        world.Submit(BlockOperation.Read, 0, 1, BlockRequestFlags.None);
        Run(world, 500);
        Assert.Equal(1, world.Outstanding);
        Assert.Equal(0, world.ReadCount);
    }

    [Fact]
    public void OverdueRequestsFailAndTheirOperationStays()
    {
        var world = new VolumeWorld(1, 3, 2, s_small with { RequestLimit = 3000 });
        world.Freeze(1);
        world.Freeze(2);
        world.Submit(BlockOperation.Write, 0, 1, BlockRequestFlags.None);
        world.Submit(BlockOperation.Read, 0, 1, BlockRequestFlags.None);
        Run(world, 800);
        Assert.Equal(0, world.Outstanding);
        Assert.Equal(1, world.Machine.Window.Count);
        Assert.Equal(1, world.PayloadsOut);
    }

    [Fact]
    public void FencedMeansGone()
    {
        var world = new VolumeWorld(1, 3, 2, s_small);
        world.Freeze(1);
        world.Freeze(2);
        world.Submit(BlockOperation.Write, 0, 1, BlockRequestFlags.None);
        world.Submit(BlockOperation.Flush, 0, 0, BlockRequestFlags.None);
        world.Machine.OnFenced(world.Now);
        Assert.Equal(VolumeStage.Fenced, world.Machine.Stage);
        Assert.Equal(0, world.Outstanding);
        world.Submit(BlockOperation.Read, 0, 1, BlockRequestFlags.None);
        Assert.Equal(0, world.Outstanding);
    }

    [Fact]
    public void AReleaseFinishesAndFlushes()
    {
        var world = new VolumeWorld(1, 3, 2, s_small);
        for (int i = 0; i < 10; i++)
        {
            world.Submit(BlockOperation.Write, i, 1, BlockRequestFlags.None);
        }

        world.Machine.Release(world.Now);
        Run(world, 2000);
        Assert.Equal(VolumeStage.Released, world.Machine.Stage);
        Assert.Equal(10ul, world.Machine.Replicas.Committed);
        Assert.Equal(0, world.Outstanding);
    }

    private static void Disturb(VolumeWorld world, Random random, int replicas)
    {
        int replica = random.Next(replicas);
        switch (random.Next(120))
        {
            case 0:
                world.Disconnect(replica);
                break;
            case < 3:
                world.Connect(replica);
                break;
            default:
                break;
        }
    }

    private static void Ask(VolumeWorld world, Random random)
    {
        int count = random.Next(1, 4);
        int block = random.Next(VolumeWorld.Blocks - count);
        switch (random.Next(10))
        {
            case < 5:
                bool isFua = random.Next(4) == 0;
                world.Submit(BlockOperation.Write, block, count,
                    isFua ? BlockRequestFlags.ForceUnitAccess : BlockRequestFlags.None);
                break;
            case < 9:
                world.Submit(BlockOperation.Read, block, count, BlockRequestFlags.None);
                break;
            default:
                world.Submit(BlockOperation.Flush, 0, 0, BlockRequestFlags.None);
                break;
        }
    }

    private static void Heal(VolumeWorld world, int replicas)
    {
        for (int i = 0; i < 20_000 && !IsQuiet(world); i++)
        {
            world.Connect(i % replicas);
            world.Step();
        }
    }

    private static bool IsQuiet(VolumeWorld world) => world.Outstanding == 0 &&
        world.PayloadsOut == 0 && world.Machine.Replicas.Committed == world.Machine.Acknowledged;

    private static void Write(VolumeWorld world, int count)
    {
        for (int i = 0; i < count; i++)
        {
            world.Submit(BlockOperation.Write, i % VolumeWorld.Blocks, 1, BlockRequestFlags.None);
            Run(world, 60);
            Assert.Equal(0, world.Outstanding);
        }
    }

    private static void Run(VolumeWorld world, int steps)
    {
        for (int i = 0; i < steps; i++)
        {
            world.Step();
        }
    }
}
