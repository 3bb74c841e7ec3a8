using System.Buffers.Binary;

namespace Ublk.Replication.Store;

/// <summary>
/// Fields of an entry at their offsets: little endian, ids with the most significant byte first.
/// </summary>
internal static class EntryBytes
{
    public static void PutU32(this Span<byte> bytes, int offset, uint value) =>
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[offset..], value);

    public static void PutU64(this Span<byte> bytes, int offset, ulong value) =>
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[offset..], value);

    public static void PutBits(this Span<byte> bytes, int offset, UInt128 value) =>
        BinaryPrimitives.WriteUInt128BigEndian(bytes[offset..], value);

    public static void PutId(this Span<byte> bytes, int offset, Guid value) =>
        value.TryWriteBytes(bytes[offset..], bigEndian: true, out _);

    public static uint U32(this ReadOnlySpan<byte> bytes, int offset) =>
        BinaryPrimitives.ReadUInt32LittleEndian(bytes[offset..]);

    public static ulong U64(this ReadOnlySpan<byte> bytes, int offset) =>
        BinaryPrimitives.ReadUInt64LittleEndian(bytes[offset..]);

    public static UInt128 Bits(this ReadOnlySpan<byte> bytes, int offset) =>
        BinaryPrimitives.ReadUInt128BigEndian(bytes[offset..]);

    public static Guid Id(this ReadOnlySpan<byte> bytes, int offset) =>
        new(bytes.Slice(offset, 16), bigEndian: true);

    /// <summary>Writes the 8 bytes that every entry begins with.</summary>
    /// <param name="bytes">The entry, all of it.</param>
    /// <param name="type">Its type.</param>
    /// <param name="field">The field at offset 4.</param>
    public static void PutHead(this Span<byte> bytes, MetadataEntryType type, uint field = 0)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, (ushort)type);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[2..], checked((ushort)bytes.Length));
        bytes.PutU32(4, field);
    }
}
