using Ublk.Replication.Replica;
using Ublk.Replication.Store;
using Ublk.Tests.Unit.Uring;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Ids;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Store;

/// <summary>The file of checksums: made with the replica, refused when it is not that replica's.</summary>
public sealed class ChecksumFileTests : IDisposable
{
    private const long Size = (40L << 20) + 512;
    private const int Length = (1 + 11) * 4096;

    private static readonly BootEntry s_boot = new(new Guid(5, 0, 0, new byte[8]), 6);

    private readonly TempDirectory _directory = new();
    private readonly string _image;
    private readonly string _file;

    public ChecksumFileTests()
    {
        _image = _directory.File("image");
        _file = ChecksumFile.PathOf(_image);
    }

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void TheHeaderIsOfGoldenBytes()
    {
        byte[] header = new byte[ChecksumFile.PageBytes];
        Array.Fill(header, (byte)0x77);
        ChecksumFile.EncodeHeader(header, new Incarnation(new UInt128(0xC400_0000_0000_0000, 4)));
        Assert.Equal(
            "55424C4B53554D31" + "0100" + "0000" + "50612616" + // magic, version, checksum
            "C4000000000000000000000000000004" + "00100000" + "01000000", // incarnation, block, algorithm
            Convert.ToHexString(header.AsSpan(0, 40)));
        Assert.Equal(-1, header.AsSpan(40).IndexOfAnyExcept((byte)0));
    }

    // The checksum of a block that anybody can count: CRC-32C of 4 KiB of ones, exclusive-or that of zeros.
    [Fact]
    public void ABlockOfZerosHasZero()
    {
        Assert.Equal(0u, BlockChecksum.Of(new byte[4096]));
        Assert.Equal(0u, BlockChecksum.Of(new byte[512]));
        byte[] ones = new byte[4096];
        Array.Fill(ones, byte.MaxValue);
        Assert.Equal(0xBD38BF9Au, BlockChecksum.Of(ones));
    }

    [Theory]
    [InlineData(ImageContent.New, 0)]
    [InlineData(ImageContent.Imported, 0xFF)]
    [InlineData(ImageContent.Replacement, 0xFF)]
    public void WhatIsKnownOfAnImage(ImageContent content, byte expected)
    {
        if (content == ImageContent.Imported)
        {
            File.WriteAllBytes(_image, new byte[Size]);
        }

        Format(content);
        byte[] bytes = File.ReadAllBytes(_file);
        Assert.Equal(Length, bytes.Length);
        Assert.Equal(Length, ChecksumFile.LengthOf(Size));
        Assert.Equal(-1, bytes.AsSpan(ChecksumFile.PageBytes).IndexOfAnyExcept(expected));
        Assert.True(Load().Superblock.Options.HasFlag(StoreOptions.Checksums));
        Assert.Equal(
            $"{_image} {ReplicaFormat.MetadataPath(_image)} {_file}",
            string.Join(' ', Directory.GetFiles(_directory.Root).Order(StringComparer.Ordinal)));
    }

    [Fact]
    public void AFormatWithoutThemLeavesNone()
    {
        Format(ImageContent.New);
        File.WriteAllBytes(_file + ".new", [1]); // Another format was cut short.
        Format(ImageContent.Replacement, StoreOptions.None);
        Assert.Equal(2, Directory.GetFiles(_directory.Root).Length);
        Assert.Equal(StoreOptions.None, Load().Superblock.Options);
        Format(ImageContent.Replacement);
        Assert.Equal(3, Directory.GetFiles(_directory.Root).Length);
    }

    // Until its metadata is erased, the replica that is there has its own checksums.
    [Fact]
    public void AFormatThatIsRefusedChangesNothing()
    {
        Format(ImageContent.New);
        byte[] before = File.ReadAllBytes(_file);
        using (BlockImage held = BlockImage.Open(
            ReplicaFormat.MetadataPath(_image), readOnly: false, DirectMode.Off))
        {
            Assert.Equal(ReplicaStoreError.Busy, Assert.Throws<ReplicaStoreException>(
                () => Format(ImageContent.Replacement, incarnation: 5)).Error);
        }

        Assert.Equal(before, File.ReadAllBytes(_file));
        Assert.NotNull(Load());
        File.Delete(_file);
        Directory.CreateDirectory(_file + ".new"); // It cannot be made.
        Assert.ThrowsAny<Exception>(() => Format(ImageContent.Replacement, incarnation: 5));
        File.WriteAllBytes(_file, before);
        Assert.Equal(new Incarnation(4), Load().Superblock.Identity.Incarnation);
    }

    [Fact]
    public void AFileThatIsNotThereIsRefused()
    {
        Format(ImageContent.New);
        File.Delete(_file);
        Refuse(ReplicaStoreError.Damaged, "is not there", "--replacement");
    }

    [Fact]
    public void AFileOfAnotherFormatIsRefused()
    {
        Format(ImageContent.New);
        byte[] before = File.ReadAllBytes(_file);
        Format(ImageContent.Replacement, incarnation: 5);
        File.WriteAllBytes(_file, before);
        Refuse(ReplicaStoreError.WrongReplica, "another replica", "--replacement");
    }

    [Theory]
    [InlineData(0, ReplicaStoreError.Damaged, "does not begin")]
    [InlineData(12, ReplicaStoreError.Damaged, "damaged header")]
    [InlineData(20, ReplicaStoreError.Damaged, "damaged header")]
    [InlineData(4095, ReplicaStoreError.Damaged, "damaged header")]
    public void ADamagedHeaderIsRefused(int at, ReplicaStoreError error, string words)
    {
        Format(ImageContent.New);
        Change(bytes => bytes[at] ^= 1);
        Refuse(error, words, "--replacement");
    }

    [Theory]
    [InlineData(8)] // version
    [InlineData(33)] // block
    [InlineData(36)] // algorithm
    public void WhatIsNotKnownIsNewer(int at)
    {
        Format(ImageContent.New);
        Change(bytes =>
        {
            bytes[at]++;
            StoreBytes.SetCrc(bytes.AsSpan(0, ChecksumFile.PageBytes), 12);
        });
        Refuse(ReplicaStoreError.Newer, "later version", "use that version");
    }

    [Theory]
    [InlineData(0)]
    [InlineData(100)]
    [InlineData(4096)]
    [InlineData(Length - 1)]
    [InlineData(Length - 4096)]
    [InlineData(Length + 1)]
    public void AWrongLengthIsRefused(int length)
    {
        Format(ImageContent.New);
        using (FileStream file = File.OpenWrite(_file))
        {
            file.SetLength(length);
        }

        Assert.Contains(_file, Assert.Throws<ReplicaStoreException>(Load).Message, StringComparison.Ordinal);
        Assert.Throws<ReplicaStoreException>(() => ReplicaStore.Inspect(_image, s_boot));
    }

    [Fact]
    public void ItGrowsBehindWhatItHas()
    {
        Format(ImageContent.Replacement);
        Assert.Equal(0, ChecksumFile.Extend(_image, Size, 43L << 20));
        Assert.Equal(Length, new FileInfo(_file).Length);
        Assert.Equal(0, ChecksumFile.MakeRoom(_image, 43L << 20, out long former));
        Assert.Equal(0, former);
        Assert.Equal(0, ChecksumFile.MakeRoom(_image, 52L << 20, out former));
        Assert.Equal(Length, former);
        Check(13);
        Assert.Equal(0, ChecksumFile.GiveBack(_image, former));
        Assert.Equal(Length, new FileInfo(_file).Length);
        Assert.Equal(0, ChecksumFile.Extend(_image, Size, 52L << 20));
        Assert.NotNull(Load()); // As if a crash came before the size was recorded.
        Check(13);
        Change(bytes => bytes[^1] = 5);
        Assert.Equal(0, ChecksumFile.Extend(_image, Size, 64L << 20));
        Check(16);
        File.Delete(_file);
        Assert.Equal(-Errno.ENOENT, ChecksumFile.Extend(_image, Size, 64L << 20));

        void Check(int pages)
        {
            byte[] bytes = File.ReadAllBytes(_file);
            Assert.Equal((1 + pages) * ChecksumFile.PageBytes, bytes.Length);
            Assert.Equal(-1, bytes.AsSpan(ChecksumFile.PageBytes, Length - ChecksumFile.PageBytes)
                .IndexOfAnyExcept((byte)0xFF));
            Assert.Equal(-1, bytes.AsSpan(Length).IndexOfAnyExcept((byte)0));
        }
    }

    private void Refuse(ReplicaStoreError error, params string[] words)
    {
        foreach (Func<object> open in (Func<object>[])[Load, () => ReplicaStore.Inspect(_image, s_boot)])
        {
            ReplicaStoreException thrown = Assert.Throws<ReplicaStoreException>(open);
            Assert.Equal(error, thrown.Error);
            Assert.Contains(_file, thrown.Message, StringComparison.Ordinal);
            Assert.All(words, word => Assert.Contains(word, thrown.Message, StringComparison.Ordinal));
        }
    }

    private OpenedReplica Load() => ReplicaStore.Load(_image, Size, s_boot, null);

    private void Format(
        ImageContent content, StoreOptions options = StoreOptions.Checksums, ulong incarnation = 4) =>
        ReplicaFormat.Create(_image, new ReplicaFormatOptions
        {
            Identity = new ReplicaIdentity(
                new ClusterId(1), new VolumeId(2), new ReplicaId(3), new Incarnation(incarnation)),
            Content = content,
            SizeBytes = Size,
            Options = options,
            Overwrite = true,
        });

    private void Change(Action<byte[]> change)
    {
        byte[] bytes = File.ReadAllBytes(_file);
        change(bytes);
        File.WriteAllBytes(_file, bytes);
    }
}
