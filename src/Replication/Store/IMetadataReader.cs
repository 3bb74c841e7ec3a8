using Ublk.Wire.Ids;

namespace Ublk.Replication.Store;

/// <summary>Reads the metadata file of a replica, one record at a time.</summary>
public interface IMetadataReader
{
    /// <summary>Opens what lies somewhere as a record, as <see cref="MetadataRecord"/> does.</summary>
    /// <param name="offsetBytes">Offset in the metadata file, a multiple of 4096.</param>
    /// <param name="identity">The log's identity.</param>
    /// <param name="record">The record, if it is valid; its entries hold until the next call.</param>
    /// <returns>What it is: damaged also where the medium does not give the bytes.</returns>
    RecordVerdict Open(long offsetBytes, Incarnation identity, out OpenRecord record);
}

/// <summary>A valid record.</summary>
/// <param name="header">Its header.</param>
/// <param name="crc">Its checksum.</param>
/// <param name="payload">Its entries.</param>
public readonly ref struct OpenRecord(scoped in RecordHeader header, uint crc, ReadOnlySpan<byte> payload)
{
    /// <summary>Its header.</summary>
    public RecordHeader Header { get; } = header;

    /// <summary>Its checksum.</summary>
    public uint Crc { get; } = crc;

    /// <summary>Its entries.</summary>
    public ReadOnlySpan<byte> Payload { get; } = payload;
}
