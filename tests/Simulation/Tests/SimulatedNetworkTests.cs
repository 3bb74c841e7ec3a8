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
}
