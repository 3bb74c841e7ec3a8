using Ublk.Replication.Store;
using Ublk.Testing.Replicas;
using Ublk.Tests.Unit.Uring;
using Ublk.Uring;
using Ublk.Uring.Native;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Crash;

/// <summary>A replica on a full filesystem: what cannot be done changes nothing and says why.</summary>
public sealed class FullDiskTests : IDisposable
{
    private const long Size = 4L << 20;

    // The metadata of a volume of 4 MiB: a ring of 256 records and what is around it.
    private const int MetadataKiB = (64 * 1024 + 256 * 4096 + 64 * 1024) / 1024;

    private readonly TempDirectory _directory = new();
    private readonly string _mount;
    private readonly string _image;
    private bool _isMounted;

    public FullDiskTests()
    {
        _mount = Directory.CreateDirectory(_directory.File("mount")).FullName;
        _image = Path.Combine(_mount, "image");
    }

    public void Dispose()
    {
        if (_isMounted)
        {
            Assert.Equal(0, Programs.Run("umount", out _, "-l", _mount));
        }

        _directory.Dispose();
    }

    [Fact]
    public void AFormatLeavesNothingBehind()
    {
        Mount(MetadataKiB - 100);
        ReplicaStoreException refused = Assert.Throws<ReplicaStoreException>(
            () => CrashWorkload.Format(_image, Size));
        Assert.Equal(ReplicaStoreError.NoSpace, refused.Error);
        Assert.Contains("no space", refused.Message, StringComparison.OrdinalIgnoreCase);
        Assert.Empty(Directory.GetFiles(_mount));
    }

    // There is room for the metadata, and not for the checksums as well: 8 MiB of them for 8 GiB.
    [Fact]
    public void AFormatWithChecksumsLeavesNothingBehind()
    {
        Mount(4 * MetadataKiB);
        ReplicaStoreException refused = Assert.Throws<ReplicaStoreException>(
            () => CrashWorkload.Format(_image, 8L << 30, hasChecksums: true));
        Assert.Equal(ReplicaStoreError.NoSpace, refused.Error);
        Assert.Contains("nothing was changed", refused.Message, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFiles(_mount));
    }

    [Fact]
    public void ChecksumsThatAreThereSurviveAFormatWithoutRoom()
    {
        Mount(2 * MetadataKiB);
        CrashWorkload.Format(_image, Size, hasChecksums: true);
        byte[] metadata = File.ReadAllBytes(ReplicaFormat.MetadataPath(_image));
        byte[] checksums = File.ReadAllBytes(ChecksumFile.PathOf(_image));
        ReplicaIdentity identity = ReplicaStore.TryReadSuperblock(_image)!.Identity;
        FillUp();
        ReplicaStoreException refused = Assert.Throws<ReplicaStoreException>(
            () => ReplicaFormat.Create(_image, new ReplicaFormatOptions
            {
                Identity = identity,
                Content = ImageContent.Replacement,
                SizeBytes = Size,
                MaxSizeBytes = Size,
                Options = StoreOptions.Checksums,
                Overwrite = true,
            }));
        Assert.Equal(ReplicaStoreError.NoSpace, refused.Error);
        Assert.Equal(metadata, File.ReadAllBytes(ReplicaFormat.MetadataPath(_image)));
        Assert.Equal(checksums, File.ReadAllBytes(ChecksumFile.PathOf(_image)));
        Assert.NotNull(ReplicaStore.Load(_image, Size, CrashChild.Boot, null));
        Assert.Equal(-Errno.ENOSPC, ChecksumFile.Extend(_image, Size, 8L << 30));
        Assert.Equal(checksums, File.ReadAllBytes(ChecksumFile.PathOf(_image)));
    }

    [Fact]
    public void AFormatThatWantsMoreLeavesTheReplicaThatIsThere()
    {
        Mount(MetadataKiB + 600);
        CrashWorkload.Format(_image, Size);
        byte[] before = File.ReadAllBytes(ReplicaFormat.MetadataPath(_image));
        ReplicaStoreException refused = Assert.Throws<ReplicaStoreException>(
            () => ReplicaFormat.Create(_image, new ReplicaFormatOptions
            {
                Identity = ReplicaStore.TryReadSuperblock(_image)!.Identity,
                Content = ImageContent.Replacement,
                SizeBytes = Size,
                MaxSizeBytes = 1L << 40,
                Overwrite = true,
            }));
        Assert.Equal(ReplicaStoreError.NoSpace, refused.Error);
        Assert.Equal(before, File.ReadAllBytes(ReplicaFormat.MetadataPath(_image)));
        Assert.Equal(0, ReplicaStore.Load(_image, Size, CrashChild.Boot, null).State.Missing.Count);
    }

    [Fact]
    public void TheLivePageIsMadeOrNot()
    {
        Mount(MetadataKiB + 100);
        CrashWorkload.Format(_image, Size);
        IOException refused = Assert.Throws<IOException>(() => ReplicaLiveFile.Open(_image, 4));
        Assert.Contains("no space", refused.Message, StringComparison.OrdinalIgnoreCase);
        Assert.False(File.Exists(ReplicaFormat.LivePath(_image)));
        Assert.Empty(ReplicaStore.Load(_image, Size, CrashChild.Boot, null).Findings);
    }

    // The ring has all of its space since the format; the image's holes do not.
    [Fact]
    public void TheRingGoesOnWhereTheImageCannot()
    {
        Mount(MetadataKiB + 1024);
        CrashWorkload.Format(_image, Size);
        var lines = new List<string>();
        var random = new Random(3);
        using (var replica = new FileReplica(new ReplicaFiles(_image), CrashChild.Boot, random, lines.Add))
        {
            var work = new CrashWorkload(replica, 0, random, lines.Add);
            replica.Run();
            work.Begin(joins: false);
            FillUp();
            ulong before = replica.LastRecord;
            InvalidOperationException told = Assert.Throws<InvalidOperationException>(() => work.Play(40));
            Assert.Contains("NoSpace", told.Message, StringComparison.Ordinal);
            Assert.True(replica.LastRecord > before);
            Assert.True(replica.Machine.State.Missing.Count > 0);
            Assert.False(replica.Machine.IsDead);
        }

        var facts = new CrashFacts();
        lines.ForEach(line => facts.Add(line, isCertain: true));
        CrashJudge.Check(_image, CrashChild.Boot, facts, isMemoryKept: true);
    }

    [Fact]
    public void GrowthIsRefusedAndTheVolumeGoesOn()
    {
        Mount(MetadataKiB + 1024);
        CrashWorkload.Format(_image, Size);
        using var files = new ReplicaFiles(_image);
        using ReplicaLiveFile live = ReplicaLiveFile.Open(_image, 4);
        OpenedReplica opened = ReplicaStore.Load(_image, Size, CrashChild.Boot, null);
        live.Page.Initialize(
            opened.Superblock.Identity.Incarnation, CrashChild.Boot, opened.State, 1, opened.Applied);
        FillUp();
        const int Regions = 100_000;
        IOException refused = Assert.Throws<IOException>(() => live.Grow(Regions));
        Assert.Contains("no space", refused.Message, StringComparison.OrdinalIgnoreCase);
        Assert.Equal(4, live.Page.Regions);
        live.Page.SetVersion(3, 5);
        OpenedReplica again = ReplicaStore.Load(_image, Size, CrashChild.Boot, null);
        Assert.Equal(LivePageTrust.Trusted, again.Trust);
        Assert.Equal(Size, again.State.SizeBytes);
        Assert.Equal(-Errno.ENOSPC, files.Grow(live, (long)Regions << 20));
    }

    private void FillUp()
    {
        using FileHandle file = Made(Path.Combine(_mount, "filler"));
        byte[] page = new byte[4096];
        long at = 0;
        while (file.WriteAt(page, at) is var count && count > 0)
        {
            at += count;
        }
    }

    private static FileHandle Made(string path)
    {
        File.Create(path).Dispose();
        return FileHandle.Open(path, FileAccess.ReadWrite);
    }

    private void Mount(int kib)
    {
        Assert.SkipUnless(ProcessSetup.IsRoot, "only root may mount a filesystem that is soon full");
        _isMounted = Programs.Run(
            "mount", out _, "-t", "tmpfs", "-o", $"size={kib}k", "tmpfs", _mount) == 0;
        Assert.SkipUnless(_isMounted, "mounting is not allowed here");
    }
}
