using Ublk.Replication.Primary;
using Ublk.Replication.State;
using Ublk.Tests.Unit.Uring;
using Ublk.Uring.Native;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Runtime;

/// <summary>Scrubs of volumes over real files, some bytes of which change behind their back.</summary>
public sealed class ScrubTests
{
    private const int Block = 4096;

    private readonly List<ScrubDifference> _differences = [];

    [Fact]
    public async Task WhatOneReplicaHasLostIsWrittenAgain()
    {
        using LocalVolume volume = Filled(replicas: 3);
        Damage(volume, place: 1, 5 * Block + 17);
        Damage(volume, place: 2, (1 << 20) + 100);
        Damage(volume, place: 2, (1 << 20) + Block);
        ScrubReport report = await Scrub(volume);
        Assert.Equal(
            [
                new ScrubDifference(5 * Block, Block, ReplicaMask.Of(1), ScrubOutcome.Repaired),
                new ScrubDifference(1 << 20, 2 * Block, ReplicaMask.Of(2), ScrubOutcome.Repaired),
            ],
            _differences.OrderBy(difference => difference.OffsetBytes));
        Assert.Equal(
            new ScrubReport { RegionsCompared = 16, BlocksRepaired = 3 }, report);
        volume.CheckAll();
        volume.Stop();
        volume.AssertIdentical();
    }

    [Fact]
    public async Task NothingIsFoundWhileTheHostWrites()
    {
        using LocalVolume volume = Filled(replicas: 3);
        Task<ScrubReport> scrub = Begin(volume);
        var random = new Random(2);
        while (!scrub.IsCompleted)
        {
            volume.Work(random, 20);
        }

        Assert.Empty(_differences);
        Assert.Equal(16, (await scrub).RegionsCompared);
        volume.CheckAll();
        volume.Stop();
        volume.AssertIdentical();
    }

    // Nobody knows which of two is right: it is told, and nothing is changed.
    [Fact]
    public async Task WithoutAMajorityNothingIsChanged()
    {
        using LocalVolume volume = Filled(replicas: 2);
        Damage(volume, place: 1, 3 * Block);
        ScrubReport report = await Scrub(volume);
        Assert.Equal(
            new ScrubDifference(3 * Block, Block, new ReplicaMask(0b11), ScrubOutcome.NoMajority),
            Assert.Single(_differences));
        Assert.Equal((0, 1), (report.BlocksRepaired, report.BlocksNotRepaired));
        volume.CheckAll();
        volume.Stop();
    }

    [Fact]
    public async Task AVolumeOfOneHasNothingToCompare()
    {
        using LocalVolume volume = Filled(replicas: 1);
        ScrubReport report = await Scrub(volume);
        Assert.Equal((0, 16), (report.RegionsCompared, report.RegionsNotCompared));
        volume.Stop();
    }

    [Fact]
    public async Task OneAtATime()
    {
        using LocalVolume volume = Filled(replicas: 3);
        Task<ScrubReport> first = Begin(volume);
        Task<ScrubReport> second = Begin(volume);
        volume.Loop.Until(() => second.IsCompleted);
        _ = await Assert.ThrowsAsync<InvalidOperationException>(() => second);
        volume.Loop.Until(() => first.IsCompleted);
        Assert.False((await first).IsBrokenOff);
        volume.Stop();
    }

    // Whoever waits for a scrub hears of it also when the volume goes first.
    [Fact]
    public async Task AStopBreaksItOff()
    {
        using LocalVolume volume = Filled(replicas: 3);
        Task<ScrubReport> scrub = volume.Target.ScrubAsync(
            new ScrubOptions { RegionsAtOnce = 1, IntervalNs = 1_000_000_000 }, _differences.Add);
        volume.Stop();
        volume.Loop.Until(() => scrub.IsCompleted);
        Assert.True((await scrub).IsBrokenOff);
    }

    private static LocalVolume Filled(int replicas)
    {
        LocalVolume volume = new LocalVolume(replicas).Start();
        var random = new Random(replicas);
        volume.Write(0, 64 << 10, random);
        volume.Write(1 << 20, 64 << 10, random);
        volume.Work(random, 50);
        volume.Flush();
        volume.UntilInSync();
        return volume;
    }

    private static void Damage(LocalVolume volume, int place, long offset)
    {
        using FileHandle file = FileHandle.Open(volume.Images[place], FileAccess.ReadWrite);
        Span<byte> one = stackalloc byte[1];
        _ = file.ReadAt(one, offset);
        one[0] ^= 0xff;
        Assert.Equal(1, file.WriteAt(one, offset));
    }

    private Task<ScrubReport> Begin(LocalVolume volume) =>
        volume.Target.ScrubAsync(new ScrubOptions(), _differences.Add);

    // The test turns the loop: what is awaited afterwards has ended.
    private Task<ScrubReport> Scrub(LocalVolume volume)
    {
        Task<ScrubReport> scrub = Begin(volume);
        volume.Loop.Until(() => scrub.IsCompleted);
        return scrub;
    }
}
