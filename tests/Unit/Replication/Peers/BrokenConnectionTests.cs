using Xunit;

namespace Ublk.Tests.Unit.Replication.Peers;

/// <summary>
/// Connections that are cut, stalled and reset at random points, between network namespaces: nothing that was
/// acknowledged is lost, nothing is applied twice.
/// </summary>
public sealed class BrokenConnectionTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData(true, 2000)]
    [InlineData(false, 400)]
    public void NoWriteIsLostOrAppliedTwice(bool hasTls, int faults)
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "network namespaces need root");
        using var net = new NetworkNamespaces(peers: 2);
        using Relay one = new(net, 1), two = new(net, 2);
        using var world = new PeerVolume([one, two], hasTls: hasTls);
        world.Attach();
        world.UntilInSync();
        one.IsBad = two.IsBad = true;
        while (one.FaultCount + two.FaultCount < faults)
        {
            Step(world);
        }

        one.IsBad = two.IsBad = false;
        world.Settle(seconds: 60);
        world.UntilInSync();
        world.CheckAll();
        output.WriteLine(
            $"{world.Completed} requests; resets, cuts, half cuts, stalls, unplugged: " +
            $"{string.Join(", ", one.Counts)} and {string.Join(", ", two.Counts)}");

        // Each operation has a number, and whoever has it takes it no more.
        ulong numbers = world.Volume.LastSequence;
        Assert.All(world.Nodes, node => Assert.InRange(node.OperationCount, 1, (long)numbers));
        world.Stop();
        world.AssertIdentical();
    }

    // What it missed is in the window: each operation reaches its image once, and no region is compared.
    [Fact]
    public void WhoIsBackWithinTheWindowCatchesUpExactly()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "network namespaces need root");
        using var net = new NetworkNamespaces(peers: 2);
        using Relay one = new(net, 1) { OnlyResets = true }, two = new(net, 2);
        using var world = new PeerVolume([one, two]);
        world.Attach();
        world.UntilInSync();
        ulong first = world.Volume.LastSequence;
        long[] before = [.. world.Nodes.Select(node => node.OperationCount)];
        one.IsBad = true;
        while (one.FaultCount < 50)
        {
            // Few enough that the window has all of it until the peer is back.
            ulong behind = world.Volume.LastSequence - world.Nodes[1].Served.Replica.Driver!.Machine.Applied;
            _ = world.OpenCount > 0 || behind > 500 || world.TryWrite(maxBlocks: 1);
            _ = world.Loop.DrainOrWait(TimeSpan.FromMilliseconds(5));
            Assert.Equal(0, world.Nodes[1].Served.Replica.Driver!.Machine.State.Missing.Count);
        }

        one.IsBad = false;
        world.Settle();
        world.UntilInSync();
        world.Until(() => world.Nodes.TrueForAll(
            node => node.Served.Replica.Driver!.Machine.Applied == world.Volume.LastSequence));
        long operations = (long)(world.Volume.LastSequence - first);
        output.WriteLine($"{operations} operations, {one.FaultCount} resets; " + string.Join(
            "; ", world.Nodes.Select(node => node.Served.Describe())));
        for (int place = 0; place < world.Nodes.Count; place++)
        {
            Assert.Equal(operations, world.Nodes[place].OperationCount - before[place]);
        }

        world.CheckAll();
        world.Stop();
        world.AssertIdentical();
    }

    private static void Step(PeerVolume world)
    {
        int blocks = (int)(world.SizeBytes / PeerVolume.BlockBytes);
        for (int i = 0; i < 4 && world.OpenCount < 24; i++)
        {
            _ = world.Random.Next(4) == 0
                ? world.TryRead(world.Random.Next(blocks - 8), world.Random.Next(1, 9))
                : world.TryWrite(world.Random.Next(10) == 0 ? 128 : 16);
        }

        if (world.Random.Next(200) == 0)
        {
            world.Flush();
        }

        _ = world.Loop.DrainOrWait(TimeSpan.FromMilliseconds(5));
    }
}
