namespace Ublk.Replication.Store;

/// <summary>
/// Numbers of the on-disk format that are the same in every replica. Changing one is a new format version.
/// </summary>
public static class StoreFormat
{
    /// <summary>Version of superblock, records, entries and live page. A higher one is refused.</summary>
    public const ushort Version = 1;

    /// <summary>
    /// Unit of intents in bytes: small enough that a hot spot costs little to copy again, large enough
    /// that the map of a TiB is 2 MiB.
    /// </summary>
    public const int GrainBytes = 64 * 1024;

    /// <summary>Unit of versions and of missing ranges in bytes: 8 MiB of versions per TiB.</summary>
    public const int RegionBytes = 1024 * 1024;

    /// <summary>Grains in a region.</summary>
    public const int GrainsPerRegion = RegionBytes / GrainBytes;

    /// <summary>
    /// Largest volume in bytes: its live page is 512 MiB, and the longest ring holds its checkpoints. A
    /// larger size is refused at format and at growth.
    /// </summary>
    public const long MaxVolumeBytes = 64L << 40;

    /// <summary>Where the metadata ring begins in the metadata file.</summary>
    public const long RingOffsetBytes = 64 * 1024;

    /// <summary>Room after the ring, for the vault and the second superblock.</summary>
    public const long TrailerBytes = 64 * 1024;

    /// <summary>
    /// Slots of the vault: the second home of promises, configurations and epoch starts. More than two,
    /// so that writing one never touches the page of flash that the one before lies in.
    /// </summary>
    public const int VaultSlots = 8;

    /// <summary>Fewest records of a ring: room for a few checkpoints of a small volume.</summary>
    public const int MinRingRecords = 256;

    /// <summary>
    /// Most records of a ring, 4 GiB: the scan at start reads all of them. A larger one is refused.
    /// </summary>
    public const int MaxRingRecords = 1 << 20;

    /// <summary>
    /// Epochs kept in the history. A replica that was away for longer shares no history with the others
    /// and is copied as a whole; at the limit the oldest is dropped.
    /// </summary>
    public const int MaxHistory = 1024;

    /// <summary>
    /// Different claims among missing regions. One for each time the replica fell behind before it had
    /// caught up, and one for each region that a write error took; at the limit the replica has failed.
    /// </summary>
    public const int MaxMissingClaims = 4096;

    /// <summary>Replicas in one half of a configuration.</summary>
    public const int MaxMembers = State.QuorumRule.MaxReplicas;

    /// <summary>
    /// Operations applied out of order that the live page can name: twice what the window of a primary
    /// holds. At the limit the replica takes no further operation before the gap closes.
    /// </summary>
    public const int MaxOutOfOrder = 8 * 1024;

    /// <summary>Ending of the metadata file's name, after that of the image.</summary>
    public const string MetadataEnding = ".qmeta";

    /// <summary>Ending of the name of the file of checksums, after that of the image.</summary>
    public const string ChecksumEnding = ".qsums";

    /// <summary>Ending of the live page's name, after that of the image.</summary>
    public const string LiveEnding = ".qlive";

    /// <summary>The bytes of a region; the last one may be shorter.</summary>
    /// <param name="region">The region.</param>
    /// <param name="sizeBytes">Size of the volume.</param>
    public static (long OffsetBytes, int LengthBytes) RangeOfRegion(int region, long sizeBytes)
    {
        long offset = (long)region * RegionBytes;
        return (offset, (int)Math.Min(RegionBytes, sizeBytes - offset));
    }

    /// <summary>The regions that a range touches.</summary>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="lengthBytes">Length, above 0.</param>
    public static (int First, int Last) RegionsOf(long offsetBytes, long lengthBytes) =>
        ((int)(offsetBytes / RegionBytes), (int)((offsetBytes + lengthBytes - 1) / RegionBytes));

    /// <summary>Whole units that cover a length.</summary>
    /// <param name="lengthBytes">Length, 0 or more.</param>
    /// <param name="unitBytes">Unit.</param>
    public static int Covering(long lengthBytes, int unitBytes) =>
        checked((int)((lengthBytes + unitBytes - 1) / unitBytes));
}
