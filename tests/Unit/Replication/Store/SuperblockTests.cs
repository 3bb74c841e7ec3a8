using Ublk.Replication.Store;
using Ublk.Wire.Ids;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Store;

public sealed class SuperblockTests
{
    private static readonly Superblock s_superblock = new()
    {
        Identity = new ReplicaIdentity(
            new ClusterId(new UInt128(0xC100_0000_0000_0000, 1)),
            new VolumeId(new UInt128(0xC200_0000_0000_0000, 2)),
            new ReplicaId(0xC300_0003),
            new Incarnation(new UInt128(0xC400_0000_0000_0000, 4))),
        SizeBytes = 10L << 30,
        LogicalBlockBytes = 512,
        RingRecords = 1024,
        Options = StoreOptions.Checksums,
    };

    [Fact]
    public void IsOfGoldenBytes()
    {
        byte[] block = Encoded(1);
        Assert.Equal(
            "55424C4B53555031" + "0100" + "0100" + "C66FDFF3" + // magic, version, copy, checksum
            "0100000000000000" + "0000000000000000" + // features
            "C1000000000000000000000000000001" + "C2000000000000000000000000000002" +
            "030000C300000000" + "0000000000000000" + "C4000000000000000000000000000004" +
            "0000008002000000" + "00020000" + "00000100" + "00001000" + "00100000" + // size and units
            "0000010000000000" + "0004000000000000" + // ring
            "0000410000000000" + "08000000" + "01000000", // vault, options
            Convert.ToHexString(block.AsSpan(0, 152)));
        Assert.Equal(-1, block.AsSpan(152).IndexOfAnyExcept((byte)0));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void WhatIsWrittenIsRead(int copy)
    {
        Assert.Equal(SuperblockVerdict.Valid, Superblock.Decode(Encoded(copy), copy, out Superblock? read));
        Assert.Equal(s_superblock, read);
        Assert.Equal(SuperblockVerdict.Damaged, Superblock.Decode(Encoded(copy), 1 - copy, out read));
        Assert.Null(read);
    }

    [Fact]
    public void PartsOfTheFileFollowOneAnother()
    {
        Assert.Equal(65536 + 1024 * 4096, s_superblock.VaultOffsetBytes);
        Assert.Equal(s_superblock.VaultOffsetBytes + 65536, s_superblock.FileBytes);
        Assert.Equal(0, Superblock.OffsetOf(0, s_superblock.FileBytes));
        Assert.Equal(s_superblock.FileBytes - 4096, Superblock.OffsetOf(1, s_superblock.FileBytes));
    }

    [Fact]
    public void EveryFlippedBitIsNoticed()
    {
        byte[] block = Encoded(0);
        for (int bit = 0; bit < Superblock.Bytes * 8; bit++)
        {
            block[bit / 8] ^= (byte)(1 << bit % 8);
            SuperblockVerdict expected = bit < 64 ? SuperblockVerdict.NotOurs : SuperblockVerdict.Damaged;
            Assert.Equal(expected, Superblock.Decode(block, 0, out _));
            block[bit / 8] ^= (byte)(1 << bit % 8);
        }
    }

    [Theory]
    [InlineData(8)] // version
    [InlineData(16)] // incompatible features
    [InlineData(110)] // grain
    [InlineData(114)] // region
    [InlineData(118)] // record
    [InlineData(149)] // options
    public void WhatIsNotKnownIsNewer(int offset)
    {
        byte[] block = Encoded(0);
        block[offset] += 4;
        StoreBytes.SetCrc(block, 12);
        Assert.Equal(SuperblockVerdict.Newer, Superblock.Decode(block, 0, out _));
    }

    [Fact]
    public void ACompatibleFeatureIsPassedOver()
    {
        byte[] block = Encoded(0);
        block[24] = 4;
        StoreBytes.SetCrc(block, 12);
        Assert.Equal(SuperblockVerdict.Valid, Superblock.Decode(block, 0, out Superblock? read));
        Assert.Equal(4ul, read!.CompatibleFeatures);
    }

    [Theory]
    [InlineData(68)] // replica: above 2^32 − 1
    [InlineData(96)] // size: no whole block
    [InlineData(104)] // block
    [InlineData(131)] // ring
    [InlineData(136)] // vault
    [InlineData(148, -1)] // checksums as a feature, and not as an option
    public void WhatCannotBeIsDamage(int offset, int change = 1)
    {
        byte[] block = Encoded(0);
        block[offset] += (byte)change;
        StoreBytes.SetCrc(block, 12);
        Assert.Equal(SuperblockVerdict.Damaged, Superblock.Decode(block, 0, out _));
    }

    [Fact]
    public void AReplicaWithoutANumberIsDamage()
    {
        byte[] block = Encoded(0);
        block.AsSpan(64, 8).Clear();
        StoreBytes.SetCrc(block, 12);
        Assert.Equal(SuperblockVerdict.Damaged, Superblock.Decode(block, 0, out _));
    }

    [Fact]
    public void ZerosAreBlankAndOtherBytesAreNotOurs()
    {
        byte[] block = new byte[Superblock.Bytes];
        Assert.Equal(SuperblockVerdict.Blank, Superblock.Decode(block, 0, out _));
        block[0] = 1;
        Assert.Equal(SuperblockVerdict.NotOurs, Superblock.Decode(block, 0, out _));
    }

    private static byte[] Encoded(int copy)
    {
        byte[] block = new byte[Superblock.Bytes];
        Array.Fill(block, (byte)0x77);
        s_superblock.Encode(block, copy);
        return block;
    }
}
