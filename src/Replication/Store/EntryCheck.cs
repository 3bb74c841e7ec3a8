using System.Numerics;

namespace Ublk.Replication.Store;

/// <summary>
/// Whether an entry is one that can be: known, of the right length, inside the volume. The same check before
/// it is appended and before it is folded, so that nothing gets into a ring that a restart would refuse.
/// </summary>
internal static class EntryCheck
{
    private const int WordBits = 64;

    /// <summary>Whether an entry may bring another claim of missing regions.</summary>
    public static bool IsClaim(MetadataEntryType type) =>
        type is MetadataEntryType.MissingAdd or MetadataEntryType.MissingMap;

    /// <summary>Judges an entry.</summary>
    /// <param name="type">Its type.</param>
    /// <param name="entry">All its bytes.</param>
    /// <param name="sizeBytes">Size of the volume before it.</param>
    public static FoldVerdict Of(MetadataEntryType type, ReadOnlySpan<byte> entry, long sizeBytes)
    {
        int length = LengthOf(type, entry);
        if (length == 0)
        {
            return FoldVerdict.Unknown;
        }

        bool isPossible = entry.Length == length && type switch
        {
            MetadataEntryType.Promise => PromiseEntry.IsPossible(entry),
            MetadataEntryType.Condition => ConditionEntry.Decode(entry).IsPossible,
            MetadataEntryType.Configuration => ReplicaConfiguration.Decode(entry) is not null,
            MetadataEntryType.Size => SizeEntry.Decode(entry).Bytes is var bytes &&
                bytes >= sizeBytes && bytes <= StoreFormat.MaxVolumeBytes,
            MetadataEntryType.IntentAdd or MetadataEntryType.IntentClear =>
                RangeEntry.IsWithin(entry, MetadataState.GrainsOf(sizeBytes)),
            MetadataEntryType.MissingAdd or MetadataEntryType.MissingRemove or
                MetadataEntryType.RegionVersionRun =>
                RangeEntry.IsWithin(entry, MetadataState.RegionsOf(sizeBytes)),
            MetadataEntryType.RegionVersions =>
                entry.U32(4) + (ulong)(length - MetadataEntry.MinBytes) / 8 <=
                (ulong)MetadataState.RegionsOf(sizeBytes),
            MetadataEntryType.IntentMap =>
                IsMapWithin(entry, MetadataEntry.MinBytes, MetadataState.GrainsOf(sizeBytes)),
            MetadataEntryType.MissingMap =>
                IsMapWithin(entry, MissingMapEntry.HeadBytes, MetadataState.RegionsOf(sizeBytes)),
            _ => true,
        };
        return isPossible ? FoldVerdict.Folded : FoldVerdict.Impossible;
    }

    // The length that an entry of a type must have; its own where that varies within bounds; 0: unknown.
    private static int LengthOf(MetadataEntryType type, ReadOnlySpan<byte> entry) => type switch
    {
        MetadataEntryType.Promise => default(PromiseEntry).EncodedBytes,
        MetadataEntryType.Configuration => Math.Max(entry.Length, ReplicaConfiguration.MinBytes),
        MetadataEntryType.EpochStart => default(EpochStartEntry).EncodedBytes,
        MetadataEntryType.History => default(EpochEntry).EncodedBytes,
        MetadataEntryType.Durable => default(DurableEntry).EncodedBytes,
        MetadataEntryType.AppliedFloor => default(AppliedFloorEntry).EncodedBytes,
        MetadataEntryType.Condition => default(ConditionEntry).EncodedBytes,
        MetadataEntryType.LongestLease => default(LongestLeaseEntry).EncodedBytes,
        MetadataEntryType.Size => default(SizeEntry).EncodedBytes,
        MetadataEntryType.Boot => default(BootEntry).EncodedBytes,
        MetadataEntryType.ResyncCursor => default(ResyncCursorEntry).EncodedBytes,
        MetadataEntryType.View => default(ViewEntry).EncodedBytes,
        MetadataEntryType.IntentAdd or MetadataEntryType.IntentClear or
            MetadataEntryType.MissingRemove => RangeEntry.Bytes,
        MetadataEntryType.IntentMap =>
            Math.Clamp(entry.Length, MetadataEntry.MinBytes + 8, MetadataEntry.MinBytes + 8 * WordBits),
        MetadataEntryType.MissingAdd => default(MissingAddEntry).EncodedBytes,
        MetadataEntryType.MissingMap => Math.Clamp(
            entry.Length, MissingMapEntry.HeadBytes + 8, MissingMapEntry.HeadBytes + 8 * WordBits),
        MetadataEntryType.RegionVersions => Math.Clamp(entry.Length, MetadataEntry.MinBytes + 8,
            MetadataEntry.MinBytes + 8 * RegionVersionsEntry.MaxRegions),
        MetadataEntryType.RegionVersionRun => default(RegionVersionRunEntry).EncodedBytes,
        MetadataEntryType.CheckpointBegin or MetadataEntryType.CheckpointEnd or
            MetadataEntryType.BatchBegin or MetadataEntryType.BatchEnd or MetadataEntryType.VaultMark =>
            new MarkEntry(type).EncodedBytes,
        _ => 0,
    };

    // The highest bit decides: the map begins on a multiple of 64 and its last word is in use.
    private static bool IsMapWithin(ReadOnlySpan<byte> entry, int head, int units)
    {
        ulong first = entry.U32(4);
        if (first % WordBits != 0)
        {
            return false;
        }

        for (int at = entry.Length - 8; at >= head; at -= 8)
        {
            ulong word = entry.U64(at);
            if (word != 0)
            {
                ulong highest = first + 8 * (ulong)(at - head) + (ulong)BitOperations.Log2(word);
                return highest < (ulong)units;
            }
        }

        return true;
    }
}
