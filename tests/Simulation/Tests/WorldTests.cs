using Ublk.Tests.Simulation.World;
using Ublk.Uring;
using Ublk.Wire.Blocks;
using Xunit;

namespace Ublk.Tests.Simulation.Tests;

/// <summary>Time, memory, hosts, and what is drawn from a seed.</summary>
public sealed class WorldTests
{
    [Fact]
    public void ThingsHappenInOrderOfTimeAndThenOfAsking()
    {
        var clock = new SimulationClock();
        var happened = new List<int>();
        var random = new SimulationRandom(5);
        int[] times = [.. Enumerable.Range(0, 3000).Select(_ => random.Below(50))];
        for (int i = 0; i < times.Length; i++)
        {
            int number = i;
            clock.At(times[i], () => happened.Add(number));
        }

        clock.RunUntil(60);
        Assert.Equal(Enumerable.Range(0, 3000).OrderBy(number => times[number]), happened);
        Assert.Equal(60, clock.Now);
        Assert.False(clock.Step());
    }

    [Fact]
    public void AHostsClockDriftsAndGoesOnWhileItIsFrozen()
    {
        var clock = new SimulationClock();
        var node = new SimulatedNode(0, clock, new SimulationRandom(1));
        node.Clock.DriftPerMillion = 100;
        long begin = node.Clock.Now;
        long heardAt = 0;
        node.Freeze();
        node.After(LatencyModel.Second, () => heardAt = node.Clock.Now);
        clock.RunUntil(10 * LatencyModel.Second);
        Assert.Equal(0, heardAt);
        node.Thaw();
        Assert.Equal(begin + 10 * LatencyModel.Second + LatencyModel.Millisecond, heardAt);
        Assert.True(node.Clock.ToWorld(LatencyModel.Second) is > 999_900_000 and < 999_900_020);
    }

    [Fact]
    public void AKilledProcessDoesNothingMore()
    {
        var clock = new SimulationClock();
        var node = new SimulatedNode(0, clock, new SimulationRandom(1));
        Guid boot = node.BootId;
        int count = 0;
        node.Post(() => count++);
        node.Kill();
        node.Start();
        clock.RunUntil(1);
        Assert.Equal(0, count);
        Assert.Equal(boot, node.BootId);
        node.LosePower();
        node.Start();
        Assert.NotEqual(boot, node.BootId);
    }

    [Fact]
    public void MemoryIsUsedAgainAndNeverTwiceAtOnce()
    {
        using var memory = new SimulatedMemory(4 << 20);
        IoBuffer one = memory.Rent(1000);
        IoBuffer other = memory.Rent(1000);
        one.Span.Fill(1);
        other.Span.Fill(2);
        Assert.Equal(-1, one.Span.IndexOfAnyExcept((byte)1));
        memory.Return(one);
        Assert.Equal(0xdb, one.Span[0]);
        _ = Assert.Throws<InvalidOperationException>(() => memory.Return(one));
        Assert.Equal(1, memory.RentedCount);
        Assert.False(memory.TryRent(1 << 20, out _) && memory.TryRent(1 << 20, out _) &&
            memory.TryRent(1 << 20, out _) && memory.TryRent(1 << 20, out _));
        memory.Reset();
        Assert.Equal(0, memory.RentedCount);
        Assert.True(memory.TryRent(1 << 20, out _));
    }

    [Fact]
    public void EverySeedHasALegalWorldAndEveryWorldOccurs()
    {
        var rules = new HashSet<(int, int)>();
        int quiet = 0;
        for (ulong seed = 0; seed < 2000; seed++)
        {
            SimulationOptions options = SimulationOptions.Draw(seed);
            Assert.InRange(options.WriteQuorum, 1, options.Replicas);
            Assert.InRange(options.Replicas, 1, 7);
            Assert.True(options.BlockBytes is 512 or 4096);
            Assert.Equal(0, options.VolumeBytes % (1 << 20));
            Assert.True(options.Workload.Operations >= 200);
            rules.Add((options.Replicas, options.WriteQuorum));
            quiet += options.HasFaults ? 0 : 1;
            if (options.HasFaults)
            {
                FaultKind kind = options.NextFault(new SimulationRandom(seed));
                Assert.True(options.WeightOf(kind) > 0);
            }
        }

        Assert.Equal(28, rules.Count);
        Assert.True(quiet < 50);
    }

    [Fact]
    public void TheHostAsksForWhatTheVolumeHas()
    {
        var seen = new HashSet<BlockOperation>();
        for (ulong seed = 0; seed < 200; seed++)
        {
            var random = new SimulationRandom(seed);
            var workload = new WorkloadGenerator(WorkloadOptions.Draw(random), 4096, random);
            while (!workload.IsDone)
            {
                HostWish wish = workload.Next(512);
                seen.Add(wish.Operation);
                bool isFlush = wish.Operation == BlockOperation.Flush;
                Assert.Equal(isFlush, wish.Count == 0);
                Assert.InRange(wish.Block, 0, 512 - wish.Count);
                Assert.InRange(wish.Count, 0, (256 << 10) / 4096);
            }

            Assert.InRange(workload.Count, 200, 300);
        }

        Assert.Equal(5, seen.Count);
    }

    [Fact]
    public void SlowTimesAreWithinTheirBounds()
    {
        var random = new SimulationRandom(3);
        var latency = new LatencyModel(10, 100, 500, 10_000);
        long[] times = [.. Enumerable.Range(0, 2000).Select(_ => latency.Draw(random))];
        Assert.InRange(times.Min(), 10, 20);
        Assert.InRange(times.Max(), 5_000, 10_000);
        Assert.InRange(times.Count(time => time <= 100), 700, 1500);
    }
}
