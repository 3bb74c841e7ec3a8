using Ublk.Tests.Simulation.Cluster;
using Ublk.Tests.Simulation.World;
using Xunit;

namespace Ublk.Tests.Simulation.Tests;

/// <summary>Histories of a replicated volume, with the production machines.</summary>
public sealed class ClusterHistoryTests : IDisposable
{
    private readonly WorldPools _pools = new();

    public void Dispose() => _pools.Dispose();

    // Each has found something once: what, is said in docs/PROTOCOL.md and in the commit that mended it.
    [Theory]
    [InlineData(3)]
    [InlineData(6)]
    [InlineData(17)]
    [InlineData(21)]
    [InlineData(27)]
    [InlineData(165)]
    [InlineData(186)]
    [InlineData(10138)]
    [InlineData(10369)]
    [InlineData(10370)]
    [InlineData(10402)]
    [InlineData(20075)]
    [InlineData(20168)]
    [InlineData(20213)]
    [InlineData(20395)]
    [InlineData(700043)]
    [InlineData(700991)]
    [InlineData(800228)]
    [InlineData(800871)]
    [InlineData(900602)]
    [InlineData(901160)]
    public void WhatWasFoundOnceStaysMended(ulong seed) => _ = ClusterHistory.Run(seed, _pools);

    [Fact]
    public void OneSeedIsOneHistory()
    {
        using var others = new WorldPools();
        for (ulong seed = 1; seed <= 5; seed++)
        {
            Assert.Equal(ClusterHistory.Run(seed, _pools), ClusterHistory.Run(seed, others));
        }
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(2, 1)]
    [InlineData(2, 2)]
    [InlineData(3, 2)]
    [InlineData(4, 2)]
    [InlineData(5, 5)]
    [InlineData(7, 4)]
    public void AQuietVolumeServesItsHost(int replicas, int quorum)
    {
        var options = new SimulationOptions
        {
            Seed = (ulong)(10 * replicas + quorum),
            Replicas = replicas,
            WriteQuorum = quorum,
            Nodes = replicas,
        };
        Assert.NotEqual(0ul, ClusterHistory.Run(options, _pools));
    }
}
