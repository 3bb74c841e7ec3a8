using Ublk.Wire.Ids;

namespace Ublk.Wire.Messages;

/// <summary>
/// Every limit of a message, checked from its head before anything is buffered. What is over a limit is a
/// <see cref="ProtocolError"/> and ends the connection.
/// </summary>
public static class MessageLimits
{
    /// <summary>
    /// Longest head of a data message in bytes, all but the payload. The longest written is 98
    /// (<see cref="OpenSession"/>); those with a payload stay below 110 even with every integer in its
    /// longest form. So little is copied when a head lies across two segments.
    /// </summary>
    public const int MaxHeadBytes = 128;

    /// <summary>
    /// Longest list message in bytes, one segment of the transport; longer lists go in several messages.
    /// </summary>
    public const int MaxListMessageBytes = 64 << 10;

    /// <summary>Most fields of a message, with its kind: the head of such an array has one byte.</summary>
    public const int MaxFieldCount = 15;

    /// <summary>Longest payload in bytes, the longest request of the block device.</summary>
    public const int MaxPayloadBytes = 1 << 20;

    /// <summary>
    /// Longest discard or write-zeroes in bytes: more would hold the stream for long; the frontend splits.
    /// </summary>
    public const int MaxMutationBytes = 1 << 30;

    /// <summary>Largest volume in bytes (64 PiB), so that offset + length never overflows.</summary>
    public const long MaxVolumeBytes = 1L << 56;

    /// <summary>Largest value of an integer: fits the signed 64-bit numbers of every language.</summary>
    public const ulong MaxInteger = long.MaxValue;

    /// <summary>Offsets and lengths are multiples of this, the smallest logical block, in bytes.</summary>
    public const int SectorBytes = 512;

    /// <summary>Largest logical block in bytes.</summary>
    public const int MaxBlockBytes = 4096;

    /// <summary>Unit of resync in bytes: offsets of digests and copies are multiples of it.</summary>
    public const int CopyBlockBytes = 4096;

    /// <summary>Smallest grain of intents and smallest region in bytes.</summary>
    public const int MinGrainBytes = 4096;

    /// <summary>Largest region and largest grain in bytes.</summary>
    public const int MaxRegionBytes = 64 << 20;

    /// <summary>Highest number of regions or grains of a volume: the largest in the smallest units.</summary>
    public const long MaxRegions = MaxVolumeBytes / MinGrainBytes;

    /// <summary>
    /// Regions of one page of region versions (2 GiB at regions of 1 MiB): a page of runs of one region each
    /// still fits into one message.
    /// </summary>
    public const int RegionsPerVersionPage = 2048;

    /// <summary>Highest number of pages of region versions.</summary>
    public const long MaxVersionPages = MaxRegions / RegionsPerVersionPage;

    /// <summary>
    /// Most entries of an epoch history, and so most that a replica keeps; with every one more the oldest
    /// goes, and who needs it is brought up to date by a full resync.
    /// </summary>
    public const int MaxHistoryEntries = 1024;

    /// <summary>Most entries of one <see cref="ClaimEntries"/>; more go in further parts.</summary>
    public const int MaxClaimEntries = 1024;

    /// <summary>Most replicas of one set of a <see cref="Configure"/>; the volume's own limit.</summary>
    public const int MaxReplicas = 7;

    /// <summary>Most digests of one <see cref="Digests"/>: as many as its payload holds.</summary>
    public const int MaxDigests = MaxPayloadBytes / Digest.SizeBytes;

    /// <summary>
    /// Longest lease in milliseconds: what a restarted replica may have to wait, and a frozen primary block.
    /// </summary>
    public const int MaxLeaseMs = 60_000;

    /// <summary>Longest text of a <see cref="Close"/> in bytes of UTF-8; enough for a sentence.</summary>
    public const int MaxTextBytes = 256;
}
