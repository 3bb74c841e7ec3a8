using Ublk.Replication.Primary;
using Ublk.Replication.Runtime;
using Ublk.Replication.State;
using Ublk.Replication.Store;
using Ublk.Tests.Unit.Uring;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Blocks;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Runtime;

/// <summary>
/// Volumes with checksums over real files, some bytes of which change behind their back: the host never sees
/// them, and they are written again from who has the right ones.
/// </summary>
public sealed class ChecksumTests
{
    private const int Block = 4096;

    private readonly List<ScrubDifference> _differences = [];

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void WhatIsWrittenIsReadInEveryLife(int replicas)
    {
        using var volume = new LocalVolume(replicas, sizeBytes: (12 << 20) + 1536, hasChecksums: true);
        var random = new Random(replicas);
        for (int life = 0; life < 3; life++)
        {
            volume.Start();
            volume.CheckAll();
            volume.Work(random, 150);
            volume.Check(volume.SizeBytes - 512, 512);
            volume.CheckAll();
            volume.UntilInSync();
            volume.Stop();
            volume.AssertIdentical();
            AssertSound(volume);
        }
    }

    [Fact]
    public void WritesOfPartsOfBlocksAtOnce()
    {
        using LocalVolume volume = new LocalVolume(hasChecksums: true).Start();
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
            volume.Check(512, 1024);
            volume.Check(3584, 5120);
        }

        volume.Stop();
        volume.AssertIdentical();
        AssertSound(volume);
    }

    // The local replica rots; its bytes come from another one, whatever part of the block is asked for.
    [Theory]
    [InlineData(0, 4096)]
    [InlineData(0, 512)]
    [InlineData(3584, 512)]
    [InlineData(2560, 4096)]
    [InlineData(0, 65536)]
    public void AHostReadsWhatItWrote(int start, int length)
    {
        using LocalVolume volume = Filled(replicas: 2);
        Damage(volume, place: 0, 5 * Block + 17);
        volume.Check(5 * Block + start, length);
        volume.CheckAll();
        Assert.All(volume.Target.Status(), replica => Assert.Equal(LocalReplicaStage.InSync, replica.Stage));
    }

    // Neither of them has all of it.
    [Fact]
    public void AReadIsPutTogetherFromWhatEachCanRead()
    {
        using LocalVolume volume = Filled(replicas: 2);
        Damage(volume, place: 0, 5 * Block + 17);
        Damage(volume, place: 1, 9 * Block + 1);
        volume.Check(4 * Block + 512, 16 * Block);
        volume.CheckAll();
    }

    // A write of a part of a rotten block does not make the rest of it look well.
    [Fact]
    public async Task ADamagedBlockStaysDamagedWhenAPartOfItIsWritten()
    {
        using LocalVolume volume = Filled(replicas: 2);
        Damage(volume, place: 0, 5 * Block + 17);
        volume.Write(5 * Block + 1024, 512, new Random(5));
        volume.Check(5 * Block, Block);
        ScrubReport report = await Scrub(volume);
        Assert.Equal((1, 0), (report.BlocksRepaired, report.BlocksNotRepaired));
        volume.Stop();
        volume.AssertIdentical();
        AssertSound(volume);
    }

    // Of two that differ, the one whose bytes match their checksum is right.
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public async Task TwoAreEnoughForAScrub(int place)
    {
        using LocalVolume volume = Filled(replicas: 2);
        Damage(volume, place, 3 * Block);
        Damage(volume, place, (1 << 20) + 5);
        ScrubReport report = await Scrub(volume);
        Assert.Equal(
            [
                new ScrubDifference(3 * Block, Block, ReplicaMask.Of(place), ScrubOutcome.Repaired),
                new ScrubDifference(1 << 20, Block, ReplicaMask.Of(place), ScrubOutcome.Repaired),
            ],
            _differences.OrderBy(difference => difference.OffsetBytes));
        Assert.Equal((2, 0), (report.BlocksRepaired, report.BlocksNotRepaired));
        volume.Stop();
        volume.AssertIdentical();
        AssertSound(volume);
    }

    // What a disk has changed while the volume was closed is not taken for what was written.
    [Fact]
    public async Task ARestartDoesNotBelieveADamagedBlock()
    {
        using LocalVolume volume = Filled(replicas: 3);
        volume.UntilCold();
        volume.Stop();
        Damage(volume, place: 0, 7 * Block);
        Damage(volume, place: 1, 8 * Block);
        Assert.Equal([(7 * Block, Block)], ScanOf(volume, 0).Ranges);
        volume.Start();
        volume.UntilInSync(); // A read that needs two of them for its blocks needs one that has all.
        volume.CheckAll();
        ScrubReport report = await Scrub(volume);
        Assert.Equal((2, 0), (report.BlocksRepaired, report.BlocksNotRepaired));
        volume.Stop();
        volume.AssertIdentical();
        AssertSound(volume);
    }

    // The source of the copy has rotten bytes of its own: the other one has the right ones.
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void AResyncDoesNotCopyDamage(bool isReplaced)
    {
        using LocalVolume volume = Filled(replicas: 3);
        var random = new Random(6);
        volume.Close(2);
        volume.Write(9 * Block, 4 * Block, random);
        volume.Write(2 << 20, 64 << 10, random);
        volume.Flush();
        Damage(volume, place: 0, 10 * Block + 1);
        Damage(volume, place: 1, (2 << 20) + Block + 1);
        if (isReplaced)
        {
            volume.Format(2, ImageContent.Replacement);
        }

        volume.Target.ReopenReplica(2);
        volume.UntilInSync();
        volume.CheckAll();
        volume.Stop();
        Assert.Equal(volume.Model, TestFiles.Bytes(volume.Images[2]));
        Assert.Equal(0, ScanOf(volume, 2).Damaged);
    }

    // What nobody has any more is an error of that block, and of nothing else, until it is written.
    [Fact]
    public async Task ABlockThatIsLostIsToldAndNotShown()
    {
        using LocalVolume volume = Filled(replicas: 2);
        Damage(volume, place: 0, 5 * Block);
        Damage(volume, place: 1, 5 * Block + 9);
        Assert.Equal(BlockStatus.IoError, StatusOfRead(volume, 5 * Block, Block));
        volume.Check(4 * Block, Block);
        volume.Check(6 * Block, Block);
        _ = await Scrub(volume);
        Assert.Equal(BlockStatus.IoError, StatusOfRead(volume, 5 * Block, Block));
        volume.Write(5 * Block, Block, new Random(8));
        volume.CheckAll();
        ScrubReport after = await Scrub(volume);
        Assert.Equal(0, after.BlocksNotRepaired);
        Assert.All(volume.Target.Status(), replica => Assert.Null(replica.Damage));
        volume.Stop();
        volume.AssertIdentical();
        AssertSound(volume);
    }

    [Fact]
    public void ImportedBytesBecomeKnown()
    {
        using var volume = new LocalVolume(hasChecksums: true);
        new Random(6).NextBytes(volume.Model);
        File.WriteAllBytes(volume.Images[2], volume.Model);
        volume.Format(2, ImageContent.Imported);
        volume.Format(0, ImageContent.Replacement);
        volume.Format(1, ImageContent.Replacement);
        Assert.Equal(16 << 8, ScanOf(volume, 2).Unknown);
        volume.Start();
        volume.UntilInSync();
        volume.CheckAll();
        volume.Stop();
        volume.AssertIdentical();
        AssertSound(volume);
        Assert.Equal(16 << 8, ScanOf(volume, 0).Sound);
    }

    // To the middle of a block, and of a page; the last one has grown when it is back.
    [Fact]
    public void AVolumeGrowsWithItsChecksums()
    {
        using LocalVolume volume = new LocalVolume(hasChecksums: true).Start();
        var random = new Random(12);
        volume.Work(random, 30);
        volume.Grow((18 << 20) + 512);
        volume.Work(random, 30);
        volume.Write((18 << 20), 512, random);
        volume.CheckAll();
        volume.Close(2);
        volume.Grow(40 << 20);
        volume.Work(random, 60);
        volume.Target.ReopenReplica(2);
        volume.UntilInSync();
        volume.CheckAll();
        Damage(volume, place: 0, (18 << 20) + 1000);
        volume.CheckAll();
        VolumeGrowthException ring = volume.Refused(1L << 40);
        Assert.Equal(VolumeGrowthError.NoSpace, ring.Error);
        volume.Stop();
        Assert.All(volume.Images, image => Assert.Equal(
            ChecksumFile.LengthOf(40 << 20), new FileInfo(ChecksumFile.PathOf(image)).Length));
        volume.Start();
        volume.CheckAll();
        volume.Stop();
    }

    [Fact]
    public void AllKeepThemOrNone()
    {
        using var volume = new LocalVolume(hasChecksums: true);
        volume.HasChecksums = false;
        volume.Format(1, ImageContent.Replacement);
        Assert.False(File.Exists(ChecksumFile.PathOf(volume.Images[1])));
        var refused = Assert.Throws<ReplicaStoreException>(() => LocalVolumeFiles.Open(volume.Options));
        Assert.Equal(ReplicaStoreError.WrongReplica, refused.Error);
        Assert.Contains($"{volume.Images[1]} does not", refused.Message, StringComparison.Ordinal);
        Assert.Contains("--checksums", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ReadsGoThroughMemoryInWholeBlocks()
    {
        using LocalVolume volume = new LocalVolume(hasChecksums: true).Start();
        Assert.True(volume.Target.HasChecksums);
        Assert.False(volume.Target.Limits.ReadsIntoRegistered);
        Assert.True(volume.Target.Limits.PhysicalBlockBytes >= Block);
        Assert.Equal(LocalVolume.BlockBytes, volume.Target.Limits.LogicalBlockBytes);
        Assert.Throws<BlockImageException>(() => BlockImage.Open(
            ChecksumFile.PathOf(volume.Images[0]), readOnly: false, DirectMode.Off));
    }

    // A file whose pages cannot be written is a disk that fails, and opened anew it goes on.
    [Fact]
    public void ChecksumsThatCannotBeWrittenAreAFailedDisk()
    {
        using LocalVolume volume = Filled(replicas: 3);
        OpenDescriptors.Break(ChecksumFile.PathOf(volume.Images[1]), volume.LiveDirectory);
        var random = new Random(9);
        volume.Write(0, 64 << 10, random);
        volume.Flush();
        volume.Loop.Until(() => volume.Target.Status()[1].Problem is not null);
        volume.Work(random, 30);
        volume.UntilInSync();
        volume.CheckAll();
        volume.Stop();
        volume.AssertIdentical();
        AssertSound(volume);
    }

    private static LocalVolume Filled(int replicas)
    {
        LocalVolume volume = new LocalVolume(replicas, hasChecksums: true).Start();
        var random = new Random(replicas);
        volume.Write(0, 64 << 10, random);
        volume.Write(1 << 20, 64 << 10, random);
        volume.Work(random, 50);
        volume.Write(0, 64 << 10, random);
        volume.Write(1 << 20, 64 << 10, random);
        volume.Flush();
        volume.UntilInSync();
        return volume;
    }

    private static void Damage(LocalVolume volume, int place, long offset)
    {
        using FileHandle file = FileHandle.Open(volume.Images[place], FileAccess.ReadWrite);
        Span<byte> one = stackalloc byte[1];
        _ = file.ReadAt(one, offset);
        one[0] ^= 0x10;
        Assert.Equal(1, file.WriteAt(one, offset));
    }

    private static BlockStatus StatusOfRead(LocalVolume volume, long offset, int length)
    {
        IoBuffer buffer = default;
        volume.Loop.Until(() => volume.Pool.TryRent(length, out buffer));
        volume.Target.Submit(new BlockRequest(
            BlockOperation.Read, BlockRequestFlags.None, offset, length, buffer, 1_000_000), volume);
        BlockStatus status = volume.Await(1_000_000);
        volume.Pool.Return(buffer);
        return status;
    }

    private static ChecksumReport ScanOf(LocalVolume volume, int place) =>
        ChecksumScan.Run(volume.Images[place], SystemBoot.Of(volume.Images[place]), (_, _) => { });

    private static void AssertSound(LocalVolume volume)
    {
        for (int place = 0; place < volume.Images.Length; place++)
        {
            ChecksumReport found = ScanOf(volume, place);
            Assert.True(found.Damaged == 0, $"{place}: {string.Join(", ", found.Ranges)}");
        }
    }

    // The test turns the loop: what is awaited afterwards has ended.
    private Task<ScrubReport> Scrub(LocalVolume volume)
    {
        Task<ScrubReport> scrub = volume.Target.ScrubAsync(new ScrubOptions(), _differences.Add);
        volume.Loop.Until(() => scrub.IsCompleted);
        return scrub;
    }
}
