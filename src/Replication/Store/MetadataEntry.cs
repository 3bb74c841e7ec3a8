using System.Buffers.Binary;

namespace Ublk.Replication.Store;

/// <summary>Types of entries, the first two bytes of each. Numbers are never used again.</summary>
public enum MetadataEntryType : ushort
{
    /// <summary><see cref="PromiseEntry"/>.</summary>
    Promise = 1,
    /// <summary><see cref="ReplicaConfiguration"/>.</summary>
    Configuration = 2,
    /// <summary><see cref="EpochStartEntry"/>.</summary>
    EpochStart = 3,
    /// <summary><see cref="EpochEntry"/>.</summary>
    History = 4,
    /// <summary><see cref="DurableEntry"/>.</summary>
    Durable = 5,
    /// <summary><see cref="AppliedFloorEntry"/>.</summary>
    AppliedFloor = 6,
    /// <summary><see cref="ConditionEntry"/>.</summary>
    Condition = 7,
    /// <summary><see cref="LongestLeaseEntry"/>.</summary>
    LongestLease = 8,
    /// <summary><see cref="SizeEntry"/>.</summary>
    Size = 9,
    /// <summary><see cref="BootEntry"/>.</summary>
    Boot = 10,
    /// <summary><see cref="ResyncCursorEntry"/>.</summary>
    ResyncCursor = 11,
    /// <summary><see cref="ViewEntry"/>.</summary>
    View = 12,
    /// <summary><see cref="IntentAddEntry"/>.</summary>
    IntentAdd = 16,
    /// <summary><see cref="IntentClearEntry"/>.</summary>
    IntentClear = 17,
    /// <summary><see cref="IntentMapEntry"/>.</summary>
    IntentMap = 18,
    /// <summary><see cref="MissingAddEntry"/>.</summary>
    MissingAdd = 20,
    /// <summary><see cref="MissingMapEntry"/>.</summary>
    MissingMap = 21,
    /// <summary><see cref="MissingRemoveEntry"/>.</summary>
    MissingRemove = 22,
    /// <summary><see cref="RegionVersionsEntry"/>.</summary>
    RegionVersions = 24,
    /// <summary><see cref="RegionVersionRunEntry"/>.</summary>
    RegionVersionRun = 25,
    /// <summary>Begin of a checkpoint; the first entry of its record.</summary>
    CheckpointBegin = 32,
    /// <summary>End of a checkpoint; offset 8: number of the record of its begin.</summary>
    CheckpointEnd = 33,
    /// <summary>Begin of a batch: what follows counts only together with its end.</summary>
    BatchBegin = 34,
    /// <summary>End of a batch.</summary>
    BatchEnd = 35,
    /// <summary>Only in the vault; offset 8: number of the ring record that it belongs to.</summary>
    VaultMark = 36,
}

/// <summary>Which part of the ring's room an entry may take.</summary>
public enum EntryRoom : byte
{
    /// <summary>
    /// What is left over. Intents and what else can wait: refused early, so that they never stand in the
    /// way of the rest.
    /// </summary>
    Common,
    /// <summary>Also what is kept for promises, missing regions, epoch starts and the like.</summary>
    Reserved,
}

/// <summary>
/// One fact for the metadata ring. All entries are multiples of 8 bytes long and begin with type (2 bytes),
/// length of the whole entry (2 bytes) and a field of 4 bytes. They carry absolute values, never
/// differences: so a checkpoint may lie between them, and the last one that speaks of a thing holds.
/// </summary>
public interface IMetadataEntry
{
    /// <summary>Which room it may take.</summary>
    EntryRoom Room { get; }

    /// <summary>Length in bytes, a multiple of 8, at most <see cref="MetadataEntry.MaxBytes"/>.</summary>
    int EncodedBytes { get; }

    /// <summary>Writes the entry.</summary>
    /// <param name="bytes">Exactly <see cref="EncodedBytes"/>.</param>
    void Encode(Span<byte> bytes);
}

/// <summary>What all entries share.</summary>
public static class MetadataEntry
{
    /// <summary>Shortest entry: its head.</summary>
    public const int MinBytes = 8;

    /// <summary>
    /// Longest entry, below half a record: so a checkpoint and live entries each get on in every record.
    /// </summary>
    public const int MaxBytes = 1984;

    /// <summary>Takes the next entry of a payload.</summary>
    /// <param name="payload">What is left of the payload; afterwards what follows the entry.</param>
    /// <param name="type">Its type, known or not.</param>
    /// <param name="entry">All its bytes.</param>
    /// <returns>False at the end, and where the bytes are no entry: then something is left.</returns>
    public static bool TryTake(
        ref ReadOnlySpan<byte> payload, out MetadataEntryType type, out ReadOnlySpan<byte> entry)
    {
        type = default;
        entry = default;
        if (payload.Length < MinBytes)
        {
            return false;
        }

        int length = BinaryPrimitives.ReadUInt16LittleEndian(payload[2..]);
        if (length < MinBytes || length > MaxBytes || length % 8 != 0 || length > payload.Length)
        {
            return false;
        }

        type = (MetadataEntryType)BinaryPrimitives.ReadUInt16LittleEndian(payload);
        entry = payload[..length];
        payload = payload[length..];
        return true;
    }
}
