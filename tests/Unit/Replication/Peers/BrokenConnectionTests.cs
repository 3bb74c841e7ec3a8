using Xunit;

namespace Ublk.Tests.Unit.Replication.Peers;

/// <summary>
/// Connections that are cut, stalled and reset at random points, between network namespaces: nothing that was
/// acknowledged is lost, nothing is applied twice.
/// </summary>
public sealed class BrokenConnectionTests(ITestOutputHelper output)
{
    private const int Faults = 2000;

    [Fact]
    public void NoWriteIsLostOrAppliedTwice()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "network namespaces need root");
        using var net = new NetworkNamespaces(peers: 2);
        using Relay one = new(net, 1), two = new(net, 2);
        using var world = new PeerVolume([one, two]);
        world.Attach();
        world.UntilInSync();
        one.IsBad = two.IsBad = true;
        while (one.FaultCount + two.FaultCount < Faults)
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
