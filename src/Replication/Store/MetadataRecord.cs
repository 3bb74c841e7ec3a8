using System.Buffers.Binary;
using Ublk.Wire;
using Ublk.Wire.Ids;

namespace Ublk.Replication.Store;

/// <summary>Where a record belongs.</summary>
public enum RecordKind : byte
{
    /// <summary>The metadata ring.</summary>
    Ring = 1,
    /// <summary>The vault: the second copy of what must never be forgotten.</summary>
    Vault = 2,
}

/// <summary>Marks of a record.</summary>
[Flags]
public enum RecordFlags : byte
{
    /// <summary>None.</summary>
    None = 0,
    /// <summary>
    /// First record after the log was opened. A batch or a checkpoint that was under way before it was cut
    /// off by a crash and will never end.
    /// </summary>
    Opened = 1,
}

/// <summary>What some 4 KiB turn out to be.</summary>
public enum RecordVerdict : byte
{
    /// <summary>A whole record of this log.</summary>
    Valid,
    /// <summary>Only zeros: never written.</summary>
    Blank,
    /// <summary>A whole record of another log, that is of an earlier format of the replica.</summary>
    Foreign,
    /// <summary>A whole record of a later version of the program.</summary>
    Newer,
    /// <summary>No record, or a torn or damaged one.</summary>
    Damaged,
}

/// <summary>Header of a record.</summary>
/// <param name="Kind">Where it belongs.</param>
/// <param name="Flags">Marks.</param>
/// <param name="Number">
/// Number of the record, from 1, without gaps. The ring's slot is number modulo ring length.
/// </param>
/// <param name="PreviousCrc">Checksum of the record before; 0 for the first one and in the vault.</param>
/// <param name="CheckpointBegin">
/// Number of the record that begins the last complete checkpoint; recovery needs nothing older.
/// </param>
/// <param name="PayloadBytes">Bytes of entries, 0 to <see cref="MetadataRecord.MaxPayloadBytes"/>.</param>
public readonly record struct RecordHeader(
    RecordKind Kind,
    RecordFlags Flags,
    ulong Number,
    uint PreviousCrc,
    ulong CheckpointBegin,
    int PayloadBytes);

/// <summary>
/// The unit of the metadata ring: 4096 bytes, little endian, written by one durable write.
/// <code>
/// offset size
///  0  8  magic "UBLKREC1"
///  8  2  format version
/// 10  1  kind (1 ring, 2 vault)
/// 11  1  flags (1: first record after the log was opened)
/// 12  4  payload length in bytes
/// 16 16  log identity: the replica's incarnation, most significant byte first
/// 32  8  record number
/// 40  4  CRC-32C of the previous record: its field at 44
/// 44  4  CRC-32C of all 4096 bytes, this field counted as zero
/// 48  8  number of the record that begins the last complete checkpoint
/// 56  8  zero
/// 64     entries, then zeros
/// </code>
/// The identity keeps records of an earlier format of the same file from ever being taken; the chain of
/// checksums keeps a record from following another one than it was written after.
/// </summary>
public static class MetadataRecord
{
    /// <summary>Bytes of a record.</summary>
    public const int Bytes = 4096;

    /// <summary>Bytes of its header.</summary>
    public const int HeaderBytes = 64;

    /// <summary>Most bytes of entries in one record.</summary>
    public const int MaxPayloadBytes = Bytes - HeaderBytes;

    private const ulong Magic = 0x3143_4552_4B4C_4255; // "UBLKREC1"
    private const int VersionAt = 8;
    private const int KindAt = 10;
    private const int FlagsAt = 11;
    private const int LengthAt = 12;
    private const int IdentityAt = 16;
    private const int NumberAt = 32;
    private const int PreviousAt = 40;
    private const int CrcAt = 44;
    private const int CheckpointAt = 48;

    /// <summary>Where the entries of a record go.</summary>
    /// <param name="record">The record's 4096 bytes.</param>
    public static Span<byte> Payload(Span<byte> record) => record[HeaderBytes..Bytes];

    /// <summary>The entries of a valid record.</summary>
    /// <param name="record">The record's 4096 bytes.</param>
    /// <param name="header">Its header.</param>
    public static ReadOnlySpan<byte> Payload(ReadOnlySpan<byte> record, scoped in RecordHeader header) =>
        record.Slice(HeaderBytes, header.PayloadBytes);

    /// <summary>Completes a record whose entries are in place: header, zeros after them, checksum.</summary>
    /// <param name="record">The record's 4096 bytes.</param>
    /// <param name="identity">The log's identity.</param>
    /// <param name="header">The header.</param>
    /// <returns>The record's checksum, which the next one carries.</returns>
    public static uint Seal(Span<byte> record, Incarnation identity, in RecordHeader header)
    {
        record = record[..Bytes];
        record[..HeaderBytes].Clear();
        record[(HeaderBytes + header.PayloadBytes)..].Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(record, Magic);
        BinaryPrimitives.WriteUInt16LittleEndian(record[VersionAt..], StoreFormat.Version);
        record[KindAt] = (byte)header.Kind;
        record[FlagsAt] = (byte)header.Flags;
        BinaryPrimitives.WriteInt32LittleEndian(record[LengthAt..], header.PayloadBytes);
        BinaryPrimitives.WriteUInt128BigEndian(record[IdentityAt..], identity.Value);
        BinaryPrimitives.WriteUInt64LittleEndian(record[NumberAt..], header.Number);
        BinaryPrimitives.WriteUInt32LittleEndian(record[PreviousAt..], header.PreviousCrc);
        BinaryPrimitives.WriteUInt64LittleEndian(record[CheckpointAt..], header.CheckpointBegin);
        uint crc = Crc32C.Compute(record);
        BinaryPrimitives.WriteUInt32LittleEndian(record[CrcAt..], crc);
        return crc;
    }

    /// <summary>Judges 4096 bytes and reads the header of a valid record.</summary>
    /// <param name="record">The bytes.</param>
    /// <param name="identity">The log's identity.</param>
    /// <param name="opened">The record; nothing unless it is valid.</param>
    public static RecordVerdict Open(
        ReadOnlySpan<byte> record, Incarnation identity, out OpenRecord opened)
    {
        opened = default;
        record = record[..Bytes];
        if (BinaryPrimitives.ReadUInt64LittleEndian(record) != Magic)
        {
            return record.ContainsAnyExcept((byte)0) ? RecordVerdict.Damaged : RecordVerdict.Blank;
        }

        uint stored = BinaryPrimitives.ReadUInt32LittleEndian(record[CrcAt..]);
        int length = BinaryPrimitives.ReadInt32LittleEndian(record[LengthAt..]);
        if (stored != CrcOf(record) || (uint)length > MaxPayloadBytes)
        {
            return RecordVerdict.Damaged;
        }

        if (BinaryPrimitives.ReadUInt128BigEndian(record[IdentityAt..]) != identity.Value)
        {
            return RecordVerdict.Foreign;
        }

        var kind = (RecordKind)record[KindAt];
        var flags = (RecordFlags)record[FlagsAt];
        ushort version = BinaryPrimitives.ReadUInt16LittleEndian(record[VersionAt..]);
        bool isKnown = version <= StoreFormat.Version &&
            kind is RecordKind.Ring or RecordKind.Vault &&
            (flags & ~RecordFlags.Opened) == RecordFlags.None;
        if (!isKnown)
        {
            return RecordVerdict.Newer;
        }

        var header = new RecordHeader(
            kind, flags,
            BinaryPrimitives.ReadUInt64LittleEndian(record[NumberAt..]),
            BinaryPrimitives.ReadUInt32LittleEndian(record[PreviousAt..]),
            BinaryPrimitives.ReadUInt64LittleEndian(record[CheckpointAt..]),
            length);
        opened = new OpenRecord(header, stored, Payload(record, header));
        return RecordVerdict.Valid;
    }

    private static uint CrcOf(ReadOnlySpan<byte> record)
    {
        ReadOnlySpan<byte> zero = [0, 0, 0, 0];
        uint crc = Crc32C.Append(Crc32C.Compute(record[..CrcAt]), zero);
        return Crc32C.Append(crc, record[CheckpointAt..]);
    }
}
