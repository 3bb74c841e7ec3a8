using Ublk.Replication.Runtime;
using Ublk.Replication.Store;
using Ublk.Uring;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Runtime;

/// <summary>Which replicas may be served together, and what is said of others.</summary>
public sealed class LocalVolumeFilesTests
{
    [Fact]
    public void FilesAreLockedForOneProcess()
    {
        using var volume = new LocalVolume();
        using LocalVolumeFiles files = LocalVolumeFiles.Open(volume.Options);
        Assert.All(files.Replicas, Assert.NotNull);
        Assert.Equal(1ul, files.FirstEpoch.Value);
        var busy = Assert.Throws<BlockImageException>(() => LocalVolumeFiles.Open(volume.Options));
        Assert.Equal(BlockImageError.Busy, busy.Error);
        Assert.Contains("0 of 3 replicas", busy.Message, StringComparison.Ordinal);
        Assert.ThrowsAny<IOException>(() => volume.Format(1, ImageContent.Replacement));
    }

    [Fact]
    public void TooFewAreRefusedWithWhatIsWrongWithEach()
    {
        using var volume = new LocalVolume();
        File.Delete(ReplicaFormat.MetadataPath(volume.Images[0]));
        File.Delete(ReplicaFormat.MetadataPath(volume.Images[2]));
        var missing = Assert.Throws<ReplicaStoreException>(() => LocalVolumeFiles.Open(volume.Options));
        Assert.Equal(ReplicaStoreError.Missing, missing.Error);
        Assert.Contains("1 of 3 replicas can be opened, 2 are needed", missing.Message,
            StringComparison.Ordinal);
        Assert.Contains(volume.Images[0], missing.Message, StringComparison.Ordinal);
        Assert.Contains(volume.Images[2], missing.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void OneNumberTwiceIsRefused()
    {
        using var volume = new LocalVolume();
        File.Copy(volume.Images[0], volume.Images[1], overwrite: true);
        File.Copy(ReplicaFormat.MetadataPath(volume.Images[0]),
            ReplicaFormat.MetadataPath(volume.Images[1]), overwrite: true);
        var refused = Assert.Throws<ReplicaStoreException>(() => LocalVolumeFiles.Open(volume.Options));
        Assert.Equal(ReplicaStoreError.WrongReplica, refused.Error);
        Assert.Contains("both replica 1", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void WhatHoldsNothingDoesNotMakeAQuorum()
    {
        using LocalVolume volume = new LocalVolume().Start();
        volume.Work(new Random(1), 20);
        volume.Stop();
        volume.Format(1, ImageContent.Replacement);
        using (LocalVolumeFiles files = LocalVolumeFiles.Open(volume.Options))
        {
            Assert.True(files.IsBlank(1));
            Assert.False(files.IsBlank(0));
            Assert.False(files.NeedsAll); // The other two are a quorum.
            Assert.Equal(2ul, files.FirstEpoch.Value);
        }

        File.Move(volume.Images[0], volume.Images[0] + ".away");
        var refused = Assert.Throws<ReplicaStoreException>(() => LocalVolumeFiles.Open(volume.Options));
        Assert.Equal(ReplicaStoreError.Missing, refused.Error);
        Assert.Contains("hold nothing yet", refused.Message, StringComparison.Ordinal);
        File.Move(volume.Images[0] + ".away", volume.Images[0]);
        volume.Start();
        volume.UntilInSync();
        volume.Stop();
        volume.AssertIdentical();
    }

    [Fact]
    public void TheLivePageLiesInItsDirectoryAndIsKeptFromLifeToLife()
    {
        using LocalVolume volume = new LocalVolume().Start();
        volume.Work(new Random(2), 20);
        volume.Stop();
        using LocalVolumeFiles files = LocalVolumeFiles.Open(volume.Options);
        foreach (ReplicaFiles? replica in files.Replicas)
        {
            string? target = new FileInfo(ReplicaFormat.LivePath(replica!.Path)).LinkTarget;
            Assert.Equal(volume.LiveDirectory, Path.GetDirectoryName(target));
            Assert.Equal(LivePageTrust.Trusted, replica.Opened.Trust);
        }

        // After a restart of the host the link leads nowhere.
        files.Replicas[0]!.DistrustLive();
        string gone = new FileInfo(ReplicaFormat.LivePath(volume.Images[0])).LinkTarget!;
        Assert.False(File.Exists(gone));
        BootEntry boot = files.Replicas[0]!.Boot;
        Assert.Equal(LivePageTrust.Absent, ReplicaStore.Inspect(volume.Images[0], boot).Trust);
        Assert.Equal(LivePageTrust.Trusted, ReplicaStore.Inspect(volume.Images[1], boot).Trust);
    }

    [Fact]
    public void AWriteQuorumStaysWhatItWas()
    {
        using LocalVolume volume = new LocalVolume { WriteQuorum = 3 }.Start();
        volume.UntilInSync();
        volume.Stop();
        volume.WriteQuorum = 2;
        var refused = Assert.Throws<ReplicaStoreException>(() => LocalVolumeFiles.Open(volume.Options));
        Assert.Equal(ReplicaStoreError.WrongReplica, refused.Error);
        Assert.Contains("a write quorum of 3, and 2 is wanted", refused.Message, StringComparison.Ordinal);
        refused = Assert.Throws<ReplicaStoreException>(
            () => LocalVolumeFiles.Open(volume.Options with { Images = volume.Images[..2] }));
        Assert.Equal(ReplicaStoreError.WrongReplica, refused.Error);
        Assert.Contains("has 3 replicas, and 2 are named", refused.Message, StringComparison.Ordinal);
        volume.WriteQuorum = 0;
        using LocalVolumeFiles files = LocalVolumeFiles.Open(volume.Options);
        Assert.Equal(3, files.Rule.WriteQuorum);
    }

    [Fact]
    public void WhoIsNotThereIsNamedByTheOthers()
    {
        using LocalVolume volume = new LocalVolume().Start();
        volume.UntilInSync();
        volume.Stop();
        File.Move(ReplicaFormat.MetadataPath(volume.Images[0]), volume.Images[0] + ".away");
        using (LocalVolumeFiles files = LocalVolumeFiles.Open(volume.Options))
        {
            Assert.Equal([1u, 2u, 3u], files.Members().Select(member => member!.Value.Replica.Value));
        }

        // Named in another order than before, each has the place that is left.
        Array.Reverse(volume.Images);
        using LocalVolumeFiles reversed = LocalVolumeFiles.Open(volume.Options);
        Assert.Equal([3u, 2u, 1u], reversed.Members().Select(member => member!.Value.Replica.Value));
    }
}
