using System.Numerics;

namespace Ublk.Replication.Store;

/// <summary>What became of an entry that was folded.</summary>
public enum FoldVerdict : byte
{
    /// <summary>The state changed accordingly.</summary>
    Folded,
    /// <summary>Its type is not known: a later version wrote it.</summary>
    Unknown,
    /// <summary>It speaks of what cannot be: outside the volume, a wrong length, a shrunk volume.</summary>
    Impossible,
}

/// <summary>
/// All that a replica durably knows of itself: the fold of the entries of its metadata ring. The running
/// replica and recovery fold with the same code, so what is here is what a restart would find. Changed by
/// the log only, entry by entry as they become durable; everyone else reads. Used on one thread.
/// </summary>
/// <remarks>
/// Memory per TiB of volume: intents 2 MiB, versions at most 8 MiB, missing regions at most 2 MiB.
/// </remarks>
public sealed class MetadataState
{
    /// <summary>The state before any entry.</summary>
    /// <param name="sizeBytes">Size of the volume at format.</param>
    public MetadataState(long sizeBytes)
    {
        SizeBytes = sizeBytes;
        Intents = new GrainMap(GrainsOf(sizeBytes));
        Missing = new MissingMap(RegionsOf(sizeBytes));
        Versions = new RegionVersions(RegionsOf(sizeBytes));
    }

    /// <summary>Size of the volume in bytes.</summary>
    public long SizeBytes { get; private set; }

    /// <summary>P: the highest promise; epoch 0 when none was made.</summary>
    public PromiseEntry Promise { get; private set; }

    /// <summary>The configuration; null before the first one.</summary>
    public ReplicaConfiguration? Configuration { get; private set; }

    /// <summary>The last epoch start; epoch 0 when there was none.</summary>
    public EpochStartEntry EpochStart { get; private set; }

    /// <summary>The epoch history.</summary>
    public EpochHistory History { get; } = new();

    /// <summary>D: everything up to it is on stable media, outside the missing regions.</summary>
    public HistoryPoint Durable { get; private set; }

    /// <summary>What A began with in this history; counts where the live page does not.</summary>
    public HistoryPoint AppliedFloor { get; private set; }

    /// <summary>What is wrong with the replica.</summary>
    public ReplicaCondition Condition { get; private set; }

    /// <summary>
    /// Epoch of the history in which memory was last lost; 0 unless <see cref="ReplicaCondition.Voided"/>.
    /// </summary>
    public ulong VoidedIn { get; private set; }

    /// <summary>The longest lease ever configured, in milliseconds.</summary>
    public uint LongestLeaseMs { get; private set; }

    /// <summary>Under which start of the machine the replica was last opened.</summary>
    public BootEntry Boot { get; private set; }

    /// <summary>How far a resync has come.</summary>
    public ResyncCursorEntry Cursor { get; private set; }

    /// <summary>The newest view; of another epoch than that of the history it says nothing.</summary>
    public ViewEntry View { get; private set; }

    /// <summary>I: grains that may hold bytes newer than D, or not yet known durable on W.</summary>
    public GrainMap Intents { get; }

    /// <summary>M: regions that are stale here.</summary>
    public MissingMap Missing { get; }

    /// <summary>
    /// rv: versions of regions, the durable part. Those of regions with intents are older than the truth,
    /// which counts as unknown.
    /// </summary>
    public RegionVersions Versions { get; }

    /// <summary>Grains of a volume.</summary>
    /// <param name="sizeBytes">Its size.</param>
    public static int GrainsOf(long sizeBytes) => StoreFormat.Covering(sizeBytes, StoreFormat.GrainBytes);

    /// <summary>Regions of a volume.</summary>
    /// <param name="sizeBytes">Its size.</param>
    public static int RegionsOf(long sizeBytes) =>
        StoreFormat.Covering(sizeBytes, StoreFormat.RegionBytes);

    /// <summary>Folds one entry in.</summary>
    /// <param name="type">Its type.</param>
    /// <param name="entry">All its bytes.</param>
    public FoldVerdict Fold(MetadataEntryType type, ReadOnlySpan<byte> entry)
    {
        FoldVerdict verdict = EntryCheck.Of(type, entry, SizeBytes);
        if (verdict != FoldVerdict.Folded)
        {
            return verdict;
        }

        switch (type)
        {
            case MetadataEntryType.IntentAdd:
                Intents.Add((int)entry.U32(4), (int)entry.U32(8));
                break;
            case MetadataEntryType.IntentClear:
                Intents.Remove((int)entry.U32(4), (int)entry.U32(8));
                break;
            case MetadataEntryType.IntentMap:
                FoldIntents((int)entry.U32(4), entry[MetadataEntry.MinBytes..]);
                break;
            case MetadataEntryType.MissingAdd:
                var claim = new HistoryPoint(entry.U64(16), entry.U64(24));
                return VerdictOf(Missing.TryAdd((int)entry.U32(4), (int)entry.U32(8), claim));
            case MetadataEntryType.MissingMap:
                return VerdictOf(FoldMissing(entry));
            case MetadataEntryType.MissingRemove:
                Missing.Remove((int)entry.U32(4), (int)entry.U32(8));
                break;
            case MetadataEntryType.RegionVersions:
                FoldVersions((int)entry.U32(4), entry[MetadataEntry.MinBytes..]);
                break;
            case MetadataEntryType.RegionVersionRun:
                Versions.Fill((int)entry.U32(4), (int)entry.U32(8), entry.U64(16));
                break;
            default:
                FoldValue(type, entry);
                break;
        }

        return FoldVerdict.Folded;
    }

    private static FoldVerdict VerdictOf(bool isFolded) =>
        isFolded ? FoldVerdict.Folded : FoldVerdict.Impossible;

    private void FoldValue(MetadataEntryType type, ReadOnlySpan<byte> entry)
    {
        switch (type)
        {
            case MetadataEntryType.Promise:
                Promise = PromiseEntry.Decode(entry);
                break;
            case MetadataEntryType.Configuration:
                Configuration = ReplicaConfiguration.Decode(entry);
                break;
            case MetadataEntryType.EpochStart:
                EpochStart = EpochStartEntry.Decode(entry);
                break;
            case MetadataEntryType.History:
                EpochEntry epoch = EpochEntry.Decode(entry);
                History.Set(epoch.Epoch, epoch.FirstSequence);
                break;
            case MetadataEntryType.Durable:
                Durable = DurableEntry.Decode(entry).Point;
                break;
            case MetadataEntryType.AppliedFloor:
                AppliedFloor = AppliedFloorEntry.Decode(entry).Point;
                break;
            case MetadataEntryType.Condition:
                (Condition, VoidedIn) = ConditionEntry.Decode(entry);
                break;
            case MetadataEntryType.LongestLease:
                uint lease = LongestLeaseEntry.Decode(entry).Milliseconds;
                LongestLeaseMs = Math.Max(LongestLeaseMs, lease);
                break;
            case MetadataEntryType.Size:
                Grow(SizeEntry.Decode(entry).Bytes);
                break;
            case MetadataEntryType.Boot:
                Boot = BootEntry.Decode(entry);
                break;
            case MetadataEntryType.ResyncCursor:
                Cursor = ResyncCursorEntry.Decode(entry);
                break;
            case MetadataEntryType.View:
                View = ViewEntry.Decode(entry);
                break;
            default:
                break; // Marks of the chain mean nothing to the state.
        }
    }

    private void Grow(long sizeBytes)
    {
        SizeBytes = sizeBytes;
        Intents.Grow(GrainsOf(sizeBytes));
        Missing.Grow(RegionsOf(sizeBytes));
        Versions.Grow(RegionsOf(sizeBytes));
    }

    private void FoldVersions(int first, ReadOnlySpan<byte> versions)
    {
        for (int at = 0; at < versions.Length; at += 8)
        {
            Versions[first + at / 8] = versions.U64(at);
        }
    }

    private void FoldIntents(int first, ReadOnlySpan<byte> words)
    {
        for (int at = 0; at < words.Length; at += 8, first += 64)
        {
            ulong word = words.U64(at);
            while (word != 0)
            {
                int bit = BitOperations.TrailingZeroCount(word);
                int count = BitOperations.TrailingZeroCount(~(word >> bit));
                Intents.Add(first + bit, count);
                word = bit + count == 64 ? 0 : word & ulong.MaxValue << bit + count;
            }
        }
    }

    private bool FoldMissing(ReadOnlySpan<byte> entry)
    {
        var claim = new HistoryPoint(entry.U64(8), entry.U64(16));
        int first = (int)entry.U32(4);
        for (int at = MissingMapEntry.HeadBytes; at < entry.Length; at += 8, first += 64)
        {
            for (ulong word = entry.U64(at); word != 0; word &= word - 1)
            {
                if (!Missing.TryAdd(first + BitOperations.TrailingZeroCount(word), 1, claim))
                {
                    return false;
                }
            }
        }

        return true;
    }
}
