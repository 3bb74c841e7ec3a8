using Ublk.Wire.Ids;

namespace Ublk.Replication.Store;

/// <summary>Where the records of a replica's log lie in its metadata file.</summary>
/// <param name="Identity">The log's identity: the replica's incarnation.</param>
/// <param name="Records">Records of the ring.</param>
public readonly record struct RingLayout(Incarnation Identity, int Records)
{
    /// <summary>Slot of a record of the ring.</summary>
    /// <param name="number">Its number.</param>
    public int SlotOf(ulong number) => (int)(number % (ulong)Records);

    /// <summary>Offset of a slot of the ring in the metadata file.</summary>
    /// <param name="slot">The slot.</param>
    public static long OffsetOfSlot(int slot) =>
        StoreFormat.RingOffsetBytes + (long)slot * MetadataRecord.Bytes;

    /// <summary>Offset of a slot of the vault in the metadata file.</summary>
    /// <param name="slot">The slot.</param>
    public long OffsetOfVaultSlot(int slot) =>
        StoreFormat.RingOffsetBytes + (long)(Records + slot) * MetadataRecord.Bytes;
}

/// <summary>Where a log goes on.</summary>
/// <param name="LastRecord">Number of the last record; 0 in an empty ring.</param>
/// <param name="LastCrc">Its checksum.</param>
/// <param name="CheckpointBegin">Record that begins the last complete checkpoint; 1 in an empty ring.</param>
/// <param name="LastVaultRecord">Number of the last record of the vault; 0 when it is empty.</param>
public readonly record struct LogPosition(
    ulong LastRecord, uint LastCrc, ulong CheckpointBegin, ulong LastVaultRecord)
{
    /// <summary>Where the log of a new replica begins.</summary>
    public static LogPosition Empty => new(0, 0, 1, 0);
}
