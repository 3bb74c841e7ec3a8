using Ublk.Replication.Runtime;
using Ublk.Replication.Store;
using Ublk.Tests.Unit.Uring;
using Ublk.Wire.Blocks;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Runtime;

/// <summary>Volumes of one host that become larger while they are served.</summary>
public sealed class GrowthTests
{
    private const long MiB = 1 << 20;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void AVolumeGrowsWhileItWorks(int replicas)
    {
        using LocalVolume volume = new LocalVolume(replicas).Start();
        var random = new Random(replicas);
        volume.Work(random, 30);
        var tokens = new List<ulong>();
        for (int i = 0; i < 20; i++)
        {
            tokens.Add(volume.BeginWrite(i * 65536, 65536, random));
        }

        // To the end of a block, not of a region.
        volume.Grow(20 * MiB + 512);
        Assert.All(tokens, token => Assert.Equal(BlockStatus.Ok, volume.Await(token)));
        volume.Work(random, 60);
        volume.Grow(40 * MiB);
        volume.Grow(40 * MiB);
        volume.Work(random, 60);
        volume.CheckAll();
        volume.UntilInSync();
        volume.Stop();
        volume.AssertIdentical();
        volume.Start();
        Assert.Equal(40 * MiB, volume.Target.SizeBytes);
        volume.CheckAll();
        volume.Work(random, 30);
        volume.Stop();
        volume.AssertIdentical();
    }

    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    public void AReplicaThatIsAwayGrowsWhenItComesBack(int place)
    {
        using LocalVolume volume = new LocalVolume().Start();
        var random = new Random(10 + place);
        volume.Work(random, 30);
        volume.Close(place);
        volume.Grow(24 * MiB);
        volume.Work(random, 60);
        Assert.Equal(16 * MiB, new FileInfo(volume.Images[place]).Length);
        volume.Target.ReopenReplica(place);
        volume.UntilInSync();
        volume.CheckAll();
        volume.Work(random, 30);
        volume.Stop();
        volume.AssertIdentical();
    }

    [Fact]
    public void AReplicaThatMissedAGrowthGrowsAtTheNextStart()
    {
        using LocalVolume volume = new LocalVolume().Start();
        var random = new Random(20);
        volume.Close(0);
        volume.Grow(24 * MiB);
        volume.Write(20 * MiB, 65536, random);
        volume.Stop();
        volume.Start();
        Assert.Equal(24 * MiB, volume.Target.SizeBytes);
        volume.UntilInSync();
        volume.CheckAll();
        volume.Stop();
        volume.AssertIdentical();
    }

    [Fact]
    public void AReplicaThatWasNotThereAtTheStartIsKnownToTheOthers()
    {
        using LocalVolume volume = new LocalVolume().Start();
        var random = new Random(30);
        volume.Work(random, 30);
        volume.UntilInSync();
        volume.Stop();
        string metadata = ReplicaFormat.MetadataPath(volume.Images[1]);
        File.Move(metadata, metadata + ".away");
        volume.Start();
        volume.Grow(24 * MiB);
        volume.Work(random, 60);
        File.Move(metadata + ".away", metadata);
        volume.Target.ReopenReplica(1);
        volume.UntilInSync();
        volume.Work(random, 30);
        volume.Stop();
        volume.AssertIdentical();
    }

    [Fact]
    public void WithoutAReplicaThatNobodyKnowsNothingGrows()
    {
        using var volume = new LocalVolume();
        string metadata = ReplicaFormat.MetadataPath(volume.Images[1]);
        File.Move(metadata, metadata + ".away");
        volume.Start();
        VolumeGrowthException refusal = volume.Refused(24 * MiB);
        Assert.Equal(VolumeGrowthError.TooFew, refusal.Error);
        Assert.Contains(volume.Images[1], refusal.Message, StringComparison.Ordinal);
        File.Move(metadata + ".away", metadata);
        volume.Target.ReopenReplica(1);
        volume.UntilInSync();
        volume.Grow(24 * MiB);
        volume.Work(new Random(40), 30);
        volume.Stop();
        volume.AssertIdentical();
    }

    [Fact]
    public void WhatCannotBeChangesNothing()
    {
        using LocalVolume volume = new LocalVolume().Start();
        var random = new Random(50);
        volume.Work(random, 20);
        volume.UntilInSync();
        VolumeGrowthException smaller = volume.Refused(8 * MiB);
        Assert.Equal(VolumeGrowthError.WrongSize, smaller.Error);
        Assert.Contains("cannot shrink", smaller.Message, StringComparison.Ordinal);
        Assert.Equal(VolumeGrowthError.WrongSize, volume.Refused(24 * MiB + 100).Error);
        Assert.Equal(VolumeGrowthError.WrongSize, volume.Refused(1L << 50).Error);
        VolumeGrowthException ring = volume.Refused(1L << 40);
        Assert.Equal(VolumeGrowthError.NoSpace, ring.Error);
        Assert.Contains("--max-size", ring.Message, StringComparison.Ordinal);
        volume.Close(0);
        volume.Close(1);
        VolumeGrowthException few = volume.Refused(24 * MiB);
        Assert.Equal(VolumeGrowthError.TooFew, few.Error);
        Assert.Contains("1 of 3 replicas", few.Message, StringComparison.Ordinal);
        volume.Grow(16 * MiB);
        volume.Target.ReopenReplica(0);
        volume.Target.ReopenReplica(1);
        volume.UntilInSync();
        volume.Grow(24 * MiB);
        volume.Work(random, 20);
        volume.Stop();
        volume.AssertIdentical();
    }

    [Fact]
    public void OneReplicaWithoutRoomKeepsAllFromGrowing()
    {
        using LocalVolume volume = new LocalVolume().Start();
        var random = new Random(60);
        volume.Work(random, 20);
        volume.UntilInSync();
        string page = ReplicaFormat.LivePath(volume.Images[2]);
        string target = new FileInfo(page).LinkTarget!;
        File.Delete(page);
        VolumeGrowthException refusal = volume.Refused(24 * MiB);
        Assert.Equal(VolumeGrowthError.NoSpace, refusal.Error);
        Assert.Contains(page, refusal.Message, StringComparison.Ordinal);
        Assert.All(volume.Target.Status(), replica => Assert.Equal(LocalReplicaStage.InSync, replica.Stage));
        File.CreateSymbolicLink(page, target);
        volume.Grow(24 * MiB);
        volume.Work(random, 30);
        volume.Stop();
        volume.AssertIdentical();
    }

    // One of three has recorded a growth, and then the process died.
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void AGrowthThatWasCutShortIsFollowed(bool isAway)
    {
        using LocalVolume volume = new LocalVolume().Start();
        var random = new Random(70);
        volume.UntilInSync();
        volume.Stop();
        string[] former = [volume.Images[1], volume.Images[2]];
        Array.ForEach(former, image => File.Copy(ReplicaFormat.MetadataPath(image), image + ".former"));
        volume.Start();
        volume.Grow(24 * MiB);
        volume.Stop();
        foreach (string image in former)
        {
            File.Move(image + ".former", ReplicaFormat.MetadataPath(image), overwrite: true);
            File.Delete(new FileInfo(ReplicaFormat.LivePath(image)).LinkTarget!);
            using FileStream file = File.OpenWrite(image);
            file.SetLength(16 * MiB);
        }

        string metadata = ReplicaFormat.MetadataPath(volume.Images[0]);
        if (isAway)
        {
            File.Move(metadata, metadata + ".away");
            volume.Start();
            Assert.Equal(16 * MiB, volume.Target.SizeBytes);
            volume.Write(0, 65536, random);

            // Another one, with the same number: 20 MiB for these, 24 for the one that is away.
            volume.Grow(20 * MiB);
            volume.Write(18 * MiB, 65536, random);
            File.Move(metadata + ".away", metadata);
            volume.Target.ReopenReplica(0);
            volume.Loop.Until(() => volume.Target.SizeBytes == 24 * MiB);
        }
        else
        {
            volume.Start();
            Assert.Equal(24 * MiB, volume.Target.SizeBytes);
        }

        volume.Adopt(24 * MiB);
        volume.UntilInSync();
        volume.CheckAll();
        volume.Work(random, 40);
        volume.Grow(30 * MiB);
        volume.Work(random, 40);
        volume.Stop();
        volume.AssertIdentical();
    }

    // Replicas go, and come back in the middle of a growth, as it happens.
    [Fact]
    public void SeededGrowthsAndLosses()
    {
        using LocalVolume volume = new LocalVolume(sizeBytes: 4 * MiB).Start();
        var random = new Random(90);
        volume.UntilInSync();
        for (int round = 0; round < 12; round++)
        {
            int place = random.Next(3);
            volume.Close(place);
            volume.Work(random, random.Next(20));
            volume.Grow(volume.SizeBytes + random.Next(1, 2000) * LocalVolume.BlockBytes);
            volume.Work(random, random.Next(20));
            volume.Target.ReopenReplica(place);
            Turn(volume, random.Next(30));
            volume.Grow(volume.SizeBytes + random.Next(1, 2000) * LocalVolume.BlockBytes);
            volume.Work(random, random.Next(20));
            volume.UntilInSync();
        }

        volume.CheckAll();
        volume.Stop();
        volume.AssertIdentical();
    }

    [Fact]
    public void WhatLayBehindTheEndIsNotShown()
    {
        using var volume = new LocalVolume();
        foreach (string image in volume.Images)
        {
            byte[] garbage = new byte[4 * MiB];
            Random.Shared.NextBytes(garbage);
            using FileStream file = File.OpenWrite(image);
            file.Position = volume.SizeBytes;
            file.Write(garbage);
        }

        volume.Start();
        volume.Grow(24 * MiB);
        volume.CheckAll();
        volume.UntilInSync();
        volume.Stop();
        volume.AssertIdentical();
    }

    [Fact]
    public void ANewReplicaIsNotLargerThanTheVolume()
    {
        using LocalVolume volume = new LocalVolume().Start();
        volume.Work(new Random(80), 20);
        volume.UntilInSync();
        volume.Close(2);
        volume.Adopt(32 * MiB);
        volume.Format(2, ImageContent.Replacement, isImageMade: true);
        volume.Target.ReopenReplica(2);
        volume.Loop.Until(() => volume.Target.Status()[2].Problem?.Contains(
            "and the volume 16777216", StringComparison.Ordinal) == true);
        Assert.Equal(16 * MiB, volume.Target.SizeBytes);
        volume.Grow(32 * MiB);
        volume.Target.ReopenReplica(2);
        volume.UntilInSync();
        volume.CheckAll();
        volume.Stop();
        volume.AssertIdentical();
    }

    private static void Turn(LocalVolume volume, int rounds)
    {
        for (int round = 0; round < rounds; round++)
        {
            _ = volume.Loop.Drain();
        }
    }
}
