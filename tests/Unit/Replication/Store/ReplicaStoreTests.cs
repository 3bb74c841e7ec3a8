using Ublk.Replication.Store;
using Ublk.Testing.Replicas;
using Ublk.Tests.Unit.Uring;
using Ublk.Uring;
using Ublk.Wire.Ids;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Store;

public sealed class ReplicaStoreTests : IDisposable
{
    private const long Size = 40L << 20;

    private static readonly ReplicaIdentity s_identity = new(
        new ClusterId(1), new VolumeId(2), new ReplicaId(3), new Incarnation(4));

    private static readonly BootEntry s_boot = new(new Guid(5, 0, 0, new byte[8]), 6);

    private readonly TempDirectory _directory = new();
    private readonly string _image;
    private readonly string _metadata;

    public ReplicaStoreTests()
    {
        _image = _directory.File("image");
        _metadata = ReplicaFormat.MetadataPath(_image);
    }

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void ANewReplicaIsEmptyAndClaimsNothing()
    {
        Superblock made = Format(ImageContent.New);
        OpenedReplica found = Load();
        Assert.Equal(made, found.Superblock);
        Assert.Equal(s_identity, found.Superblock.Identity);
        Assert.Equal(Size, new FileInfo(_image).Length);
        Assert.Equal(made.FileBytes, new FileInfo(_metadata).Length);
        Assert.Equal(StateText.Of(new MetadataState(Size)), StateText.Of(found.State));
        Assert.Equal(new LogPosition(1, found.Position.LastCrc, 1, 1), found.Position);
        Assert.Equal(LivePageTrust.Absent, found.Trust);
        Assert.False(found.MustBeVoided);
        Assert.Equal(default, found.Applied);
        Assert.Empty(found.Findings);
        Assert.False(File.Exists(ReplicaFormat.LivePath(_image)));
    }

    [Fact]
    public void AnImportedImageIsClaimed()
    {
        File.WriteAllBytes(_image, new byte[Size + 512]);
        Format(ImageContent.Imported);
        OpenedReplica found = Load(Size + 512);
        Assert.Equal(new HistoryPoint(1, 1), found.Applied);
        Assert.Equal(new HistoryPoint(1, 1), found.State.History.Last);
        Assert.Equal(0, found.State.Missing.Count);
        Assert.All(Enumerable.Range(0, 40), region => Assert.Equal(1ul, found.State.Versions[region]));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void AReplacementMissesEverything(bool hasImage)
    {
        if (hasImage)
        {
            File.WriteAllBytes(_image, new byte[Size]);
        }

        Format(ImageContent.Replacement);
        OpenedReplica found = Load();
        Assert.Equal(40, found.State.Missing.Count);
        Assert.True(found.State.Missing.TryGetClaim(39, out HistoryPoint claim));
        Assert.Equal(default, claim);
    }

    [Fact]
    public void NothingIsOverwrittenUnasked()
    {
        File.WriteAllBytes(_image, new byte[Size]);
        Refuse(ReplicaStoreError.HasContent, () => Format(ImageContent.New), "--import");
        Assert.False(File.Exists(_metadata) && new FileInfo(_metadata).Length > 0);
        Format(ImageContent.Imported);
        Refuse(ReplicaStoreError.AlreadyFormatted, () => Format(ImageContent.Imported), "--overwrite");
        byte[] before = File.ReadAllBytes(_metadata);
        Format(ImageContent.Replacement, overwrite: true);
        Assert.NotEqual(before, File.ReadAllBytes(_metadata));
    }

    [Fact]
    public void ImpossibleVolumesAreNotMade()
    {
        Refuse(ReplicaStoreError.WrongSize, () => Format(ImageContent.New, sizeBytes: 1000), "multiple");
        Refuse(ReplicaStoreError.WrongSize,
            () => Format(ImageContent.New, sizeBytes: StoreFormat.MaxVolumeBytes + 512), "at most");
        Refuse(ReplicaStoreError.Missing, () => Format(ImageContent.Imported), "imported");
        File.WriteAllBytes(_image, new byte[4096]);
        Refuse(ReplicaStoreError.WrongSize, () => Format(ImageContent.Imported), "truncate");
    }

    [Fact]
    public void AReplicaInUseIsNotFormatted()
    {
        Format(ImageContent.New);
        using BlockImage held = BlockImage.Open(_metadata, readOnly: false, DirectMode.Off);
        Refuse(ReplicaStoreError.Busy,
            () => Format(ImageContent.Replacement, overwrite: true), "cannot open");
        Assert.Empty(Load().Findings);
    }

    [Fact]
    public void WhatIsNoReplicaIsRefused()
    {
        Refuse(ReplicaStoreError.Missing, () => Load(), "qublk replica format");
        File.WriteAllBytes(_metadata, []);
        Refuse(ReplicaStoreError.NotFormatted, () => Load(), "never completed");
        File.WriteAllBytes(_metadata, new byte[1 << 20]);
        Refuse(ReplicaStoreError.NotFormatted, () => Load(), "never completed");
        byte[] other = new byte[1 << 20];
        new Random(1).NextBytes(other);
        File.WriteAllBytes(_metadata, other);
        Refuse(ReplicaStoreError.NotOurs, () => Load(), "not the metadata of a replica");
        File.WriteAllBytes(_metadata, [1, 2, 3]);
        Refuse(ReplicaStoreError.NotOurs, () => Load(), "not the metadata");
    }

    [Fact]
    public void OneOfTheSuperblocksIsEnough()
    {
        Superblock made = Format(ImageContent.New);
        for (int copy = 0; copy < 2; copy++)
        {
            long offset = Superblock.OffsetOf(copy, made.FileBytes);
            Change(bytes => bytes[offset + 100] ^= 1);
            Assert.Equal(offset, Assert.Single(Load().Findings).OffsetBytes);
            Change(bytes => bytes[offset + 100] ^= 1);
        }

        Change(bytes => bytes[100] = bytes[made.FileBytes - 4000] = 0xEE);
        Refuse(ReplicaStoreError.Damaged, () => Load(), "both superblocks are damaged");
    }

    [Fact]
    public void SuperblocksOfTwoReplicasAreDamage()
    {
        Superblock made = Format(ImageContent.New);
        byte[] block = new byte[Superblock.Bytes];
        (made with { LogicalBlockBytes = 4096 }).Encode(block, 1);
        Change(bytes => block.CopyTo(bytes, made.FileBytes - Superblock.Bytes));
        Refuse(ReplicaStoreError.Damaged, () => Load(), "different");
    }

    [Fact]
    public void ALaterVersionIsRefused()
    {
        Format(ImageContent.New);
        Change(bytes =>
        {
            bytes[16] = 2;
            StoreBytes.SetCrc(bytes.AsSpan(0, Superblock.Bytes), 12);
        });
        Refuse(ReplicaStoreError.Newer, () => Load(), "later version");
    }

    [Theory]
    [InlineData(-4096, "was cut or extended")]
    [InlineData(4096, "was cut or extended")]
    [InlineData(-200_000, "was cut or extended")]
    public void AWrongLengthIsRefused(long change, string words)
    {
        Superblock made = Format(ImageContent.New);
        using (FileStream file = File.OpenWrite(_metadata))
        {
            file.SetLength(made.FileBytes + change);
        }

        Refuse(ReplicaStoreError.WrongSize, () => Load(), words);
    }

    [Fact]
    public void AShortImageIsRefused()
    {
        Format(ImageContent.New);
        Refuse(ReplicaStoreError.WrongSize, () => Load(Size - 512), "it was cut");
        using (FileStream file = File.OpenWrite(_image))
        {
            file.SetLength(Size - 512);
        }

        Refuse(ReplicaStoreError.WrongSize, () => ReplicaStore.Inspect(_image, s_boot), "it was cut");
    }

    [Fact]
    public void AnotherReplicaIsRefused()
    {
        Format(ImageContent.New);
        ReplicaIdentity other = s_identity with { Volume = new VolumeId(1) };
        Refuse(ReplicaStoreError.WrongReplica,
            () => ReplicaStore.Load(_image, Size, s_boot, other), "right image");
        ReplicaIdentity replaced = s_identity with { Incarnation = default };
        Assert.NotNull(ReplicaStore.Load(_image, Size, s_boot, replaced));
    }

    [Fact]
    public void DamageIsToldWithItsPlaceAndRemedy()
    {
        Format(ImageContent.New);
        long offset = StoreFormat.RingOffsetBytes + MetadataRecord.Bytes;
        Change(bytes => bytes[offset + 70] ^= 1);
        ReplicaStoreException error = Refuse(
            ReplicaStoreError.Damaged, () => Load(), "--replacement --overwrite");
        Assert.Equal(offset, error.OffsetBytes);
        Assert.Contains($"offset {offset}", error.Message, StringComparison.Ordinal);
    }

    // As after SIGKILL, and as after a power cut.
    [Fact]
    public void TheLivePageCountsInTheSameStartOfTheMachineOnly()
    {
        Format(ImageContent.New);
        var operation = new LiveOperation(152, 1, 4096, 512);
        OpenedReplica first = Load();
        using (var driver = new FileLog(_metadata, first))
        using (ReplicaLiveFile live = ReplicaLiveFile.Open(_image, 40))
        {
            live.Page.Initialize(
                s_identity.Incarnation, s_boot, first.State, first.Position.LastRecord, first.Applied);
            driver.Append(new EpochEntry(1, 100));
            driver.Append(new DurableEntry(new HistoryPoint(1, 120)));
            driver.Append(new AppliedFloorEntry(new HistoryPoint(1, 99)));
            Assert.Equal(new HistoryPoint(1, 99), Load().Applied);
            live.Page.BeginHistory(new HistoryPoint(1, 99));
            live.Page.SetApplied(150);
            live.Page.TryAddOutOfOrder(operation);
            live.Page.LastRecord = driver.Log.LastRecord;
            Assert.False(Load(boot: s_boot with { Backing = 7 }).MustBeVoided);
            driver.Append(new IntentAddEntry(3, 1));
        }

        OpenedReplica again = Load();
        Assert.Equal(LivePageTrust.Trusted, again.Trust);
        Assert.Equal(new HistoryPoint(1, 150), again.Applied);
        Assert.Equal([operation], again.OutOfOrder);
        Assert.False(again.MustBeVoided);

        OpenedReplica after = Load(boot: s_boot with { Boot = Guid.Empty });
        Assert.Equal(LivePageTrust.OtherBoot, after.Trust);
        Assert.Equal(new HistoryPoint(1, 120), after.Applied);
        Assert.Empty(after.OutOfOrder);
        Assert.True(after.MustBeVoided);

        File.Delete(ReplicaFormat.LivePath(_image));
        Assert.True(Load().MustBeVoided);
    }

    [Fact]
    public void ARecordThatTheLivePageNamesMustBeThere()
    {
        Format(ImageContent.New);
        OpenedReplica first = Load();
        using (ReplicaLiveFile live = ReplicaLiveFile.Open(_image, 40))
        {
            live.Page.Initialize(s_identity.Incarnation, s_boot, first.State, 2, first.Applied);
        }

        Refuse(ReplicaStoreError.Damaged, () => Load(), "LostRecord");
        Assert.NotNull(Load(boot: s_boot with { Boot = Guid.Empty }));
    }

    [Fact]
    public void AFailedReplicaClaimsD()
    {
        var state = new MetadataState(Size);
        EntryMaker.Fold(state, EntryMaker.Bytes(new DurableEntry(new HistoryPoint(0, 7))));
        EntryMaker.Fold(state, EntryMaker.Bytes(new ConditionEntry(ReplicaCondition.Failed, 0)));
        var live = new LiveProgress(new HistoryPoint(0, 9), [new LiveOperation(11, 1, 0, 512)]);
        (LiveProgress claim, _) = ReplicaStore.ClaimOf(state, LivePageTrust.Trusted, live);
        Assert.Equal(new HistoryPoint(0, 7), claim.Applied);
        Assert.Empty(claim.OutOfOrder);
    }

    [Fact]
    public void TheLivePageGrowsBeforeTheRing()
    {
        Format(ImageContent.New);
        OpenedReplica first = Load();
        using ReplicaLiveFile live = ReplicaLiveFile.Open(_image, 40);
        live.Page.Initialize(s_identity.Incarnation, s_boot, first.State, 1, first.Applied);
        live.Page.SetVersion(39, 5);
        live.Grow(2000);
        Assert.Equal(LivePageTrust.Trusted, Load().Trust);
        using var driver = new FileLog(_metadata, first);
        driver.Append(new SizeEntry(2000L << 20));
        live.Page.LastRecord = driver.Log.LastRecord;
        live.Page.SetVersion(1999, 6);
        OpenedReplica grown = Load(2000L << 20);
        Assert.Equal(LivePageTrust.Trusted, grown.Trust);
        Assert.Equal(2000, grown.State.Versions.Regions);
        Assert.Equal(5ul, live.Page.Version(39));
        Refuse(ReplicaStoreError.WrongSize, () => Load(), "it was cut");
    }

    [Fact]
    public void TheSystemTellsItsBoot()
    {
        File.WriteAllBytes(_image, new byte[512]);
        BootEntry boot = SystemBoot.Of(_image);
        Assert.NotEqual(Guid.Empty, boot.Boot);
        Assert.Equal(boot, SystemBoot.Of(_image));
    }

    private static ReplicaStoreException Refuse(ReplicaStoreError error, Action action, string words)
    {
        ReplicaStoreException thrown = Assert.Throws<ReplicaStoreException>(action);
        Assert.Equal(error, thrown.Error);
        Assert.Contains(words, thrown.Message, StringComparison.Ordinal);
        return thrown;
    }

    private OpenedReplica Load(long imageBytes = Size, BootEntry? boot = null) =>
        ReplicaStore.Load(_image, imageBytes, boot ?? s_boot, s_identity);

    private Superblock Format(ImageContent content, bool overwrite = false, long sizeBytes = Size) =>
        ReplicaFormat.Create(_image, new ReplicaFormatOptions
        {
            Identity = s_identity,
            Content = content,
            SizeBytes = sizeBytes,
            MaxSizeBytes = sizeBytes == Size ? 4000L << 20 : 0,
            Overwrite = overwrite,
        });

    private void Change(Action<byte[]> change)
    {
        byte[] bytes = File.ReadAllBytes(_metadata);
        change(bytes);
        File.WriteAllBytes(_metadata, bytes);
    }
}
