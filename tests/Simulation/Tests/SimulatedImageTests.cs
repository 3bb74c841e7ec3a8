using Ublk.Tests.Simulation.World;
using Ublk.Uring.Native;
using Xunit;

namespace Ublk.Tests.Simulation.Tests;

/// <summary>A disk with a volatile cache.</summary>
public sealed class SimulatedImageTests
{
    [Fact]
    public void AWriteShowsWhenItHasEnded()
    {
        using var bench = new ImageBench();
        ulong write = bench.BeginWrite(1024, 8192, 7);
        Assert.Equal([0], bench.Sectors(1024, 1));
        Assert.Equal(8192, bench.Finish(write));
        Assert.Equal([.. Enumerable.Repeat((byte)7, 8192)], bench.Read(1024, 8192));
        Assert.Equal([0, 0, 7], bench.Sectors(0, 3));
        Assert.Equal(0, bench.Finish(bench.BeginZero(1536, 512)));
        Assert.Equal([7, 0, 7], bench.Sectors(1024, 3));
    }

    [Fact]
    public void WithoutSyncPowerTakesAnyOfIt()
    {
        var seen = new SortedSet<string>(StringComparer.Ordinal);
        for (ulong seed = 1; seed <= 200; seed++)
        {
            using var bench = new ImageBench(seed);
            bench.Write(0, 1024, 1);
            Assert.Equal(0, bench.Finish(bench.BeginSync()));
            bench.Write(0, 1024, 2);
            bench.Write(0, 1024, 3);
            bench.Node.LosePower();
            seen.Add(string.Join(',', bench.Sectors(0, 2)));
        }

        Assert.Equal(["1,1", "1,2", "1,3", "2,1", "2,2", "2,3", "3,1", "3,2", "3,3"], seen);
    }

    [Fact]
    public void ASyncCoversOnlyWhatHadEndedBefore()
    {
        bool isOneLost = false;
        for (ulong seed = 1; seed <= 100; seed++)
        {
            using var bench = new ImageBench(seed);
            bench.Write(0, 512, 1);
            ulong late = bench.BeginWrite(4096, 512, 2);
            ulong sync = bench.BeginSync();
            Assert.Equal(512, bench.Finish(late));
            Assert.Equal(0, bench.Finish(sync));
            bench.Node.LosePower();
            Assert.Equal([1], bench.Sectors(0, 1));
            isOneLost |= bench.Sectors(4096, 1)[0] == 0;
        }

        Assert.True(isOneLost);
    }

    [Fact]
    public void WhatIsUnderWayWhenPowerGoesMayBeTorn()
    {
        bool isTorn = false;
        for (ulong seed = 1; seed <= 100; seed++)
        {
            using var bench = new ImageBench(seed);
            ulong write = bench.BeginWrite(0, 4096, 9);
            bench.Node.LosePower();
            isTorn |= bench.Sectors(0, 8).Distinct().Count() == 2;
            bench.Clock.RunUntil(LatencyModel.Second);
            Assert.Empty(bench.Results);
            Assert.Equal(1ul, write);
        }

        Assert.True(isTorn);
    }

    [Fact]
    public void AKilledProcessKeepsWhatItWrote()
    {
        var seen = new SortedSet<string>(StringComparer.Ordinal);
        for (ulong seed = 1; seed <= 200; seed++)
        {
            using var bench = new ImageBench(seed);
            bench.Write(0, 512, 1);
            ulong write = bench.BeginWrite(4096, 512, 2);
            bench.Node.Kill();
            byte atOnce = bench.Sectors(4096, 1)[0];
            bool isUnlocked = false;
            bench.Image.WhenUnlocked(() => isUnlocked = true);
            bool isLocked = !isUnlocked;
            bench.Clock.RunUntil(LatencyModel.Second);
            Assert.True(isUnlocked);
            Assert.Equal([1], bench.Sectors(0, 1));
            Assert.False(bench.Results.ContainsKey(write));
            seen.Add($"{isLocked} {atOnce} {bench.Sectors(4096, 1)[0]}");
        }

        Assert.Equal(["False 0 0", "True 0 0", "True 0 2"], seen);
    }

    [Fact]
    public void NothingIsDoneWhileTheImageIsLocked()
    {
        for (ulong seed = 1; ; seed++)
        {
            using var bench = new ImageBench(seed);
            _ = bench.BeginWrite(0, 512, 1);
            bench.Node.Kill();
            if (bench.Image.UnderWayCount == 0)
            {
                continue;
            }

            bench.Node.Start();
            _ = Assert.Throws<InvalidOperationException>(() => bench.BeginSync());
            return;
        }
    }

    [Fact]
    public void OverlappingWritesAtOnceAreAMistake()
    {
        using var bench = new ImageBench();
        _ = bench.BeginWrite(0, 1024, 1);
        _ = bench.BeginWrite(1024, 1024, 1);
        _ = Assert.Throws<InvalidOperationException>(() => bench.BeginWrite(512, 512, 2));
        _ = Assert.Throws<InvalidOperationException>(() => bench.BeginWrite(ImageBench.SizeBytes, 512, 2));
    }

    [Fact]
    public void AFailedSyncLosesAndTheNextOneLies()
    {
        bool isLost = false;
        for (ulong seed = 1; seed <= 100; seed++)
        {
            using var bench = new ImageBench(seed);
            bench.Write(0, 512, 1);
            bench.Image.Faults = new ImageFaults { SyncErrorPermille = 1000 };
            Assert.Equal(-Errno.EIO, bench.Finish(bench.BeginSync()));
            bench.Image.Faults = ImageFaults.None;
            Assert.Equal(0, bench.Finish(bench.BeginSync()));
            bench.Node.LosePower();
            isLost |= bench.Sectors(0, 1)[0] == 0;
        }

        Assert.True(isLost);
    }

    [Fact]
    public void ErrorsHappenWhenAskedFor()
    {
        using var bench = new ImageBench();
        bench.Image.Faults = new ImageFaults { WriteErrorPermille = 1000, ReadErrorPermille = 1000 };
        Assert.Equal(-Errno.EIO, bench.Finish(bench.BeginWrite(0, 4096, 1)));
        Assert.Empty(bench.Read(0, 512));
        bench.Image.Faults = new ImageFaults { NoSpacePermille = 1000 };
        Assert.Equal(-Errno.ENOSPC, bench.Finish(bench.BeginZero(8192, 4096)));
    }

    [Fact]
    public void OneWriteGoesAstray()
    {
        var places = new SortedSet<int>();
        for (ulong seed = 1; seed <= 50; seed++)
        {
            using var bench = new ImageBench(seed);
            bench.Image.Faults = new ImageFaults { StrayWrite = 2 };
            bench.Write(0, 512, 1);
            Assert.Equal(512, bench.Finish(bench.BeginWrite(512, 512, 2)));
            Assert.Equal([1], bench.Sectors(0, 1));
            places.Add(Array.IndexOf(bench.Sectors(0, ImageBench.SizeBytes / 512), (byte)2));
        }

        Assert.Contains(-1, places);
        Assert.True(places.Count > 5);
    }

    [Fact]
    public void AnImageGrows()
    {
        using var bench = new ImageBench();
        Assert.Equal(0, bench.Finish(bench.BeginGrow(2 * ImageBench.SizeBytes)));
        bench.Write(ImageBench.SizeBytes, 4096, 5);
        Assert.Equal([5], bench.Sectors(ImageBench.SizeBytes, 1));
    }

    [Fact]
    public void AFrozenProcessHearsLater()
    {
        using var bench = new ImageBench();
        ulong write = bench.BeginWrite(0, 512, 1);
        bench.Node.Freeze();
        bench.Clock.RunUntil(LatencyModel.Second);
        Assert.Equal([1], bench.Sectors(0, 1));
        Assert.Empty(bench.Results);
        bench.Node.Thaw();
        Assert.Equal(512, bench.Results[write]);
    }
}
