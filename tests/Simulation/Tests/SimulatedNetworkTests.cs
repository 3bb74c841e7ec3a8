using Ublk.Tests.Simulation.Network;
using Ublk.Tests.Simulation.World;
using Xunit;

namespace Ublk.Tests.Simulation.Tests;

/// <summary>Sessions between hosts, with real messages.</summary>
public sealed class SimulatedNetworkTests
{
    private const long Long = 100 * LatencyModel.Second;

    [Fact]
    public void MessagesArriveInOrderInBothDirections()
    {
        using var bench = new NetworkBench();
        SessionEnd end = bench.Open();
        SessionEnd peer = bench.Accepted[0];
        for (int i = 1; i <= 20; i++)
        {
            NetworkBench.Beat(end, 2 * i);
            bench.Write(end, (ulong)(2 * i) + 1, 512 * i);
            NetworkBench.Beat(peer, 1000 + i);
        }

        bench.Clock.RunUntil(Long);
        Assert.Equal(Enumerable.Range(2, 40).Select(i => (long)i),
            bench.Came.Where(came => came.End == peer).Select(came => came.Number));
        Assert.Equal(Enumerable.Range(1001, 20).Select(i => (long)i),
            bench.Came.Where(came => came.End == end).Select(came => came.Number));
        Assert.Equal(0, bench.Memory.RentedCount);
        Assert.Empty(bench.Ended);
    }

    [Fact]
    public void WhatWasSentBeforeACloseArrives()
    {
        using var bench = new NetworkBench();
        SessionEnd end = bench.Open();
        NetworkBench.Beat(end, 1);
        end.Close();
        NetworkBench.Beat(end, 2);
        bench.Clock.RunUntil(Long);
        Assert.Equal([(bench.Accepted[0], 1L)], bench.Came);
        Assert.Equal([bench.Accepted[0]], bench.Ended);
    }

    [Fact]
    public void AResetLosesTheRestAndBothHear()
    {
        var counts = new SortedSet<int>();
        for (ulong seed = 1; seed <= 60; seed++)
        {
            using var bench = new NetworkBench(seed);
            SessionEnd end = bench.Open();
            for (int i = 1; i <= 5; i++)
            {
                bench.Write(end, (ulong)i, 4096);
            }

            bench.Network.Reset(end);
            bench.Write(end, 6, 512);
            bench.Clock.RunUntil(Long);
            Assert.Equal(Enumerable.Range(1, bench.Came.Count).Select(i => (long)i),
                bench.Came.Select(came => came.Number));
            Assert.Equal(2, bench.Ended.Count);
            Assert.Equal(0, bench.Memory.RentedCount);
            counts.Add(bench.Came.Count);
        }

        Assert.Equal([0, 1, 2, 3, 4, 5], counts);
    }

    [Fact]
    public void ACutHoldsOneDirection()
    {
        using var bench = new NetworkBench();
        SessionEnd end = bench.Open();
        SessionEnd peer = bench.Accepted[0];
        bench.Network.Cut(0, 1);
        NetworkBench.Beat(end, 1);
        NetworkBench.Beat(end, 2);
        NetworkBench.Beat(peer, 3);
        bench.Clock.RunUntil(LatencyModel.Second);
        Assert.Equal([(end, 3L)], bench.Came);
        bench.Network.Heal(0, 1);
        bench.Clock.RunUntil(Long);
        Assert.Equal([(end, 3L), (peer, 1L), (peer, 2L)], bench.Came);
        Assert.Empty(bench.Ended);
    }

    [Fact]
    public void ALongCutEndsTheSession()
    {
        using var bench = new NetworkBench();
        SessionEnd end = bench.Open();
        bench.Network.Cut(0, 1);
        NetworkBench.Beat(end, 1);
        bench.Clock.RunUntil(Long);
        bench.Network.HealAll();
        bench.Clock.RunUntil(2 * Long);
        Assert.Empty(bench.Came);
        Assert.Equal([end, bench.Accepted[0]], bench.Ended);
    }

    [Fact]
    public void NobodyAnswersWhereNobodyIs()
    {
        using var bench = new NetworkBench();
        bench.Nodes[1].LosePower();
        SessionEnd end = bench.Open();
        Assert.Equal([end], bench.Ended);
        bench.Nodes[1].Start();
        Assert.Contains(bench.Open(), bench.Ended);
        bench.Network.Listen(1, bench);
        Assert.Contains(bench.Open(), bench.Opened);
    }

    [Fact]
    public void OldBytesComeAfterANewSession()
    {
        bool isLate = false;
        for (ulong seed = 1; seed <= 50; seed++)
        {
            using var bench = new NetworkBench(seed);
            SessionEnd old = bench.Open();
            bench.Network.Faults = new NetworkFaults { LatestNewsNs = LatencyModel.Second };
            old.Latency = new LatencyModel(LatencyModel.Millisecond, LatencyModel.Second);
            NetworkBench.Beat(old, 1);
            bench.Network.Reset(old);
            SessionEnd fresh = bench.Open();
            NetworkBench.Beat(fresh, 2);
            bench.Clock.RunUntil(Long);
            isLate |= bench.Came.Count == 2 && bench.Came[0].Number == 2;
        }

        Assert.True(isLate);
    }

    [Fact]
    public void AKilledProcessHearsNothingAndItsPeersHear()
    {
        using var bench = new NetworkBench();
        SessionEnd end = bench.Open();
        NetworkBench.Beat(end, 1);
        bench.Nodes[0].Kill();
        NetworkBench.Beat(bench.Accepted[0], 2);
        bench.Nodes[0].Start();
        bench.Clock.RunUntil(Long);
        Assert.Equal([(bench.Accepted[0], 1L)], bench.Came);
        Assert.Equal([bench.Accepted[0]], bench.Ended);
    }

    [Fact]
    public void AFrozenProcessHearsLaterInOrder()
    {
        using var bench = new NetworkBench();
        SessionEnd end = bench.Open();
        bench.Nodes[1].Freeze();
        NetworkBench.Beat(end, 1);
        end.Send(default(Wire.Messages.Release) with { Epoch = new Wire.Ids.Epoch(1) });
        end.Close();
        bench.Clock.RunUntil(Long);
        Assert.Empty(bench.Came);
        Assert.Empty(bench.Ended);
    }

    [Fact]
    public void WhateverHappensEachEndGetsTheBeginningOfWhatWasSent()
    {
        int messages = 0, endings = 0;
        for (ulong seed = 1; seed <= 200; seed++)
        {
            using var bench = new NetworkBench(seed);
            var random = new SimulationRandom(seed);
            var sent = new Dictionary<int, int>();
            bench.Network.Faults = new NetworkFaults { ResetPerHundredThousand = 2000 };
            for (int step = 0; step < 300; step++)
            {
                Disturb(bench, random, sent);
                bench.Clock.RunUntil(bench.Clock.Now + random.Below(LatencyModel.Millisecond));
            }

            bench.Network.HealAll();
            bench.Nodes[0].Thaw();
            bench.Nodes[1].Thaw();
            bench.Clock.RunUntil(bench.Clock.Now + Long);
            foreach (IGrouping<SessionEnd, (SessionEnd End, long Number)> came in
                bench.Came.GroupBy(came => came.End))
            {
                Assert.Equal(Enumerable.Range(1, came.Count()).Select(i => (long)i),
                    came.Select(one => one.Number));
            }

            Assert.Equal(bench.Ended.Count, bench.Ended.Distinct().Count());
            Assert.All(bench.Accepted.Concat(bench.Opened).Where(end => end.IsOpen && end.Node.IsRunning),
                end => Assert.True(end.Peer.IsOpen || bench.Ended.Contains(end.Peer), $"{seed}: {end.Id}"));
            messages += bench.Came.Count;
            endings += bench.Ended.Count;
        }

        Assert.True(messages > 5000 && endings > 500, $"{messages} messages, {endings} endings");
    }

    private static void Disturb(NetworkBench bench, SimulationRandom random, Dictionary<int, int> sent)
    {
        int node = random.Below(2);
        switch (random.Below(40))
        {
            case < 4 when bench.Nodes[0].IsRunning:
                _ = bench.Network.Open(0, 1, bench);
                break;
            case 4:
                bench.Network.Cut(node, 1 - node);
                break;
            case < 8:
                bench.Network.HealAll();
                break;
            case 8:
                bench.Nodes[node].Freeze();
                break;
            case < 12:
                bench.Nodes[node].Thaw();
                break;
            case 12 when bench.Nodes[node].IsRunning:
                bench.Nodes[node].Kill();
                bench.Nodes[node].Start();
                bench.Network.Listen(1, bench);
                break;
            case 13:
                bench.Network.ResetBetween(node, 1 - node);
                break;
            default:
                List<SessionEnd> ends = node == 0 ? bench.Opened : bench.Accepted;
                if (ends.Count > 0 && !bench.Nodes[node].IsFrozen)
                {
                    SessionEnd end = ends[random.Below(ends.Count)];
                    int number = sent.GetValueOrDefault(end.Id) + 1;
                    sent[end.Id] = number;
                    bench.Write(end, (ulong)number, 512);
                }

                break;
        }
    }
}
