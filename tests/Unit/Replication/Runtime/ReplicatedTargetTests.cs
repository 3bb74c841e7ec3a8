using Ublk.Replication.Runtime;
using Ublk.Replication.Store;
using Ublk.Wire.Blocks;
using Ublk.Wire.Ids;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Runtime;

/// <summary>Volumes over real files through the real ring: what is written is read, and lies in all images.
/// </summary>
public sealed class ReplicatedTargetTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(5)]
    public void WhatIsWrittenLiesInAllImages(int replicas)
    {
        using LocalVolume volume = new LocalVolume(replicas).Start();
        var random = new Random(replicas);
        volume.Work(random, 200);
        volume.CheckAll();
        volume.UntilInSync();
        volume.Stop();
        volume.AssertIdentical();
    }

    [Fact]
    public void TheNextProcessGoesOn()
    {
        using var volume = new LocalVolume();
        var random = new Random(2);
        for (int life = 1; life <= 3; life++)
        {
            volume.Start();
            Assert.True(volume.Target.Epoch >= (ulong)life);
            volume.CheckAll();
            volume.Work(random, 50);
            volume.Stop();
            volume.AssertIdentical();
        }
    }

    [Fact]
    public void ManyRequestsAtOnceOnTheSameBlocks()
    {
        using LocalVolume volume = new LocalVolume().Start();
        var random = new Random(3);
        for (int round = 0; round < 20; round++)
        {
            var tokens = new List<ulong>();
            for (int i = 0; i < 100; i++)
            {
                int length = LocalVolume.BlockBytes * random.Next(1, 33);
                tokens.Add(volume.BeginWrite(random.Next(64) * LocalVolume.BlockBytes, length, random));
            }

            Assert.All(tokens, token => Assert.Equal(BlockStatus.Ok, volume.Await(token)));
            volume.Check(0, 64 << 10);
        }

        volume.Stop();
        volume.AssertIdentical();
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public void OneThatWasTakenOutComesBackWithAllItMissed(int place)
    {
        using LocalVolume volume = new LocalVolume().Start();
        var random = new Random(place);
        volume.Work(random, 50);
        volume.UntilInSync();
        volume.Close(place);
        Assert.Equal(LocalReplicaStage.Closed, volume.Target.Status()[place].Stage);
        volume.Work(random, 100);
        volume.CheckAll();
        volume.Target.ReopenReplica(place);
        volume.Work(random, 50);
        volume.UntilInSync();
        volume.CheckAll();
        volume.Stop();
        volume.AssertIdentical();
    }

    [Fact]
    public void OneThatIsReplacedIsCopiedWhole()
    {
        using LocalVolume volume = new LocalVolume().Start();
        var random = new Random(5);
        volume.Work(random, 100);
        volume.UntilInSync();
        volume.Close(1);
        File.Delete(volume.Images[1]);
        volume.Format(1, ImageContent.Replacement);
        volume.Target.ReopenReplica(1);
        volume.UntilInSync();
        volume.Stop();
        volume.AssertIdentical();
    }

    [Fact]
    public void AnImportedImageIsCopiedToTheOthers()
    {
        using var volume = new LocalVolume();
        new Random(6).NextBytes(volume.Model);
        File.WriteAllBytes(volume.Images[2], volume.Model);
        volume.Format(2, ImageContent.Imported);
        volume.Format(0, ImageContent.Replacement);
        volume.Format(1, ImageContent.Replacement);
        volume.Start();
        volume.CheckAll();
        volume.UntilInSync();
        volume.Stop();
        volume.AssertIdentical();
    }

    [Fact]
    public void AnEpochThatIsTooLowIsFollowedByAHigherOne()
    {
        using var volume = new LocalVolume();
        var random = new Random(9);
        volume.Start(files => files.FirstEpoch = new Epoch(40));
        volume.Work(random, 20);
        volume.Stop();
        volume.Start(files => files.FirstEpoch = new Epoch(7));
        Assert.Equal(41ul, volume.Target.Epoch);
        volume.CheckAll();
        volume.UntilInSync();
        volume.Stop();
        volume.AssertIdentical();
    }

    [Fact]
    public void BelowTheQuorumRequestsWait()
    {
        using LocalVolume volume = new LocalVolume().Start();
        var random = new Random(7);
        volume.Work(random, 20);
        volume.Close(1);
        volume.Close(2);
        ulong token = volume.BeginWrite(0, 4096, random);
        for (int i = 0; i < 20; i++)
        {
            volume.Loop.DrainOrWait(TimeSpan.FromMilliseconds(5));
        }

        volume.Target.ReopenReplica(2);
        Assert.Equal(BlockStatus.Ok, volume.Await(token));
        volume.Check(0, 4096);
    }

    [Fact]
    public void ItStartsWithAQuorumAndTakesTheOtherWhenItIsThere()
    {
        using var volume = new LocalVolume();
        var random = new Random(8);
        volume.Start();
        volume.Work(random, 20);
        volume.Stop();
        File.Move(volume.Images[0], volume.Images[0] + ".away");
        volume.Start();
        Assert.NotNull(volume.Target.Status()[0].Problem);
        volume.Work(random, 50);
        File.Move(volume.Images[0] + ".away", volume.Images[0]);
        volume.Target.ReopenReplica(0);
        volume.UntilInSync();
        volume.CheckAll();
        volume.Stop();
        volume.AssertIdentical();
    }
}
