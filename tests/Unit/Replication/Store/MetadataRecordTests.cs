using Ublk.Replication.Store;
using Ublk.Wire.Ids;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Store;

public sealed class MetadataRecordTests
{
    private static readonly Incarnation s_identity =
        new(new UInt128(0x0011_2233_4455_6677, 0x8899_aabb_ccdd_eeff));

    private static readonly RecordHeader s_header = new(
        RecordKind.Ring, RecordFlags.Opened, Number: 0x0102030405060708, PreviousCrc: 0xA1B2C3D4,
        CheckpointBegin: 0x0102030405060700, PayloadBytes: 3);

    [Fact]
    public void HeaderIsOfGoldenBytes()
    {
        byte[] record = Sealed();
        Assert.Equal(
            "55424C4B52454331" + // magic
            "0100" + "01" + "01" + "03000000" + // version, kind, flags, payload
            "00112233445566778899AABBCCDDEEFF" + // identity
            "0807060504030201" + "D4C3B2A1" + // number, previous
            "02BB7957" + // checksum
            "0007060504030201" + "0000000000000000" + "0A0B0C" + "00",
            Convert.ToHexString(record.AsSpan(0, 68)));
        Assert.Equal(-1, record.AsSpan(67).IndexOfAnyExcept((byte)0));
    }

    [Fact]
    public void WhatIsSealedIsRead()
    {
        byte[] record = Sealed();
        RecordVerdict verdict =
            MetadataRecord.Open(record, s_identity, out OpenRecord opened);
        Assert.Equal(RecordVerdict.Valid, verdict);
        Assert.Equal(s_header, opened.Header);
        Assert.Equal(BitConverter.ToUInt32(record, 44), opened.Crc);
        Assert.Equal([10, 11, 12], opened.Payload.ToArray());
    }

    [Fact]
    public void EveryFlippedBitIsNoticed()
    {
        byte[] record = Sealed();
        for (int bit = 0; bit < MetadataRecord.Bytes * 8; bit++)
        {
            record[bit / 8] ^= (byte)(1 << bit % 8);
            RecordVerdict verdict =
                MetadataRecord.Open(record, s_identity, out OpenRecord opened);
            Assert.Equal(RecordVerdict.Damaged, verdict);
            Assert.Equal(default, opened.Header);
            record[bit / 8] ^= (byte)(1 << bit % 8);
        }
    }

    [Fact]
    public void ARecordOfAnotherFormatIsForeign() => Assert.Equal(
        RecordVerdict.Foreign,
        MetadataRecord.Open(Sealed(), new Incarnation(s_identity.Value - 1), out _));

    [Fact]
    public void ZerosAreBlankAndOtherBytesAreDamage()
    {
        byte[] record = new byte[MetadataRecord.Bytes];
        Assert.Equal(RecordVerdict.Blank, MetadataRecord.Open(record, s_identity, out _));
        record[4095] = 1;
        Assert.Equal(RecordVerdict.Damaged, MetadataRecord.Open(record, s_identity, out _));
    }

    [Theory]
    [InlineData(8, 2)]
    [InlineData(10, 9)]
    [InlineData(11, 2)]
    public void ALaterVersionIsTold(int offset, byte value)
    {
        byte[] record = Sealed();
        record[offset] = value;
        StoreBytes.SetCrc(record, 44);
        Assert.Equal(RecordVerdict.Newer, MetadataRecord.Open(record, s_identity, out _));
    }

    private static byte[] Sealed()
    {
        byte[] record = new byte[MetadataRecord.Bytes];
        Array.Fill(record, (byte)0x77);
        MetadataRecord.Payload(record)[0] = 10;
        MetadataRecord.Payload(record)[1] = 11;
        MetadataRecord.Payload(record)[2] = 12;
        MetadataRecord.Seal(record, s_identity, s_header);
        return record;
    }
}
