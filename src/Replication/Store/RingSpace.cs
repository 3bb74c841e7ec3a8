namespace Ublk.Replication.Store;

/// <summary>
/// The ring's room. Records from the begin of the last complete checkpoint on are needed; a checkpoint makes
/// the older ones free. While one is under way at least half of every record belongs to it, so one that
/// needs K records is complete after 2 K, whatever else is appended. It begins while 2 K and the reserve
/// are still free; so the ring never runs full.
/// </summary>
public static class RingSpace
{
    /// <summary>
    /// Bytes of entries that a record surely takes: its payload less the longest entry that may not fit any
    /// more. Live entries are short; only maps and versions come near.
    /// </summary>
    private const int SureBytes = MetadataRecord.MaxPayloadBytes - MetadataEntry.MaxBytes / 4;

    /// <summary>Reserve for what comes in ones: promises, configurations, starts, D.</summary>
    private const int FixedReserve = 32;

    /// <summary>Bytes per region of a map of missing regions, with its head, generously.</summary>
    private const int ReserveBitsPerRegion = 2;

    /// <summary>Records that a length of entries surely fits into.</summary>
    /// <param name="bytes">Bytes of entries.</param>
    public static long RecordsOf(long bytes) => (bytes + SureBytes - 1) / SureBytes;

    /// <summary>
    /// Records that intents and the like never take: kept for promises, missing regions, epoch starts.
    /// </summary>
    /// <param name="regions">Regions of the volume.</param>
    public static long ReserveOf(int regions) =>
        FixedReserve + RecordsOf((long)regions * ReserveBitsPerRegion / 8);

    /// <summary>
    /// Records that an entry must leave free: with common room, those of a checkpoint along with as much
    /// else, and the reserve; otherwise those of a checkpoint that has all records for itself.
    /// </summary>
    /// <param name="room">Which room the entry may take.</param>
    /// <param name="checkpoint">Records that a checkpoint needs, or still needs.</param>
    /// <param name="regions">Regions of the volume.</param>
    public static long KeptFrom(EntryRoom room, long checkpoint, int regions) =>
        room == EntryRoom.Common ? 2 * checkpoint + ReserveOf(regions) : checkpoint + 1;

    /// <summary>
    /// The room in which a checkpoint is begun: twice its records and the reserve, and a part of the ring
    /// more, so that intents are not refused while it is under way.
    /// </summary>
    /// <param name="state">The state.</param>
    /// <param name="queuedBytes">What waits for records.</param>
    /// <param name="ringRecords">Length of the ring.</param>
    public static long StartOf(MetadataState state, int queuedBytes, int ringRecords) =>
        2 * RecordsOf(CheckpointWriter.BytesOf(state) + queuedBytes) +
        ReserveOf(state.Missing.Regions) + ringRecords / 8;

    /// <summary>
    /// Length of ring for a volume: checkpoints of a state with many intents and missing regions, six
    /// times, so that one is rare and another still fits while it is under way.
    /// </summary>
    /// <param name="sizeBytes">Size that the volume may grow to.</param>
    public static int RingRecordsFor(long sizeBytes)
    {
        long regions = MetadataState.RegionsOf(sizeBytes);
        const int VersionBytes = 8, IntentBytes = 2, MissingBytes = 1, HistoryBytes = 24;
        long bytes = regions * (VersionBytes + IntentBytes + MissingBytes) +
            HistoryBytes * StoreFormat.MaxHistory;
        long records = 6 * RecordsOf(bytes) + 2 * ReserveOf((int)regions);
        return (int)Math.Clamp(records, StoreFormat.MinRingRecords, StoreFormat.MaxRingRecords);
    }

    /// <summary>
    /// Whether a ring is long enough for a volume's versions alone, and something to spare.
    /// </summary>
    /// <param name="ringRecords">Length of the ring.</param>
    /// <param name="sizeBytes">Size of the volume.</param>
    public static bool IsEnough(int ringRecords, long sizeBytes)
    {
        int regions = MetadataState.RegionsOf(sizeBytes);
        long checkpoint = RecordsOf(8L * regions + 24 * StoreFormat.MaxHistory);
        return ringRecords >= 4 * checkpoint + 2 * ReserveOf(regions);
    }
}
