namespace Ublk.Replication.Store;

/// <summary>
/// Grains that may hold bytes newer than D from now on. Durable before the first of them is written.
/// <code>
///  0  2  type 16;  2  2  length 16
///  4  4  first grain
///  8  4  grains
/// 12  4  zero
/// </code>
/// </summary>
/// <param name="First">First grain.</param>
/// <param name="Count">Grains, 1 or more.</param>
public readonly record struct IntentAddEntry(uint First, uint Count) : IMetadataEntry
{
    /// <inheritdoc/>
    public EntryRoom Room => EntryRoom.Common;

    /// <inheritdoc/>
    public int EncodedBytes => RangeEntry.Bytes;

    /// <inheritdoc/>
    public void Encode(Span<byte> bytes) =>
        RangeEntry.Encode(bytes, MetadataEntryType.IntentAdd, First, Count);
}

/// <summary>
/// Grains in which everything applied is durable here and on W replicas.
/// <code>
///  0  2  type 17;  2  2  length 16
///  4  4  first grain
///  8  4  grains
/// 12  4  zero
/// </code>
/// </summary>
/// <param name="First">First grain.</param>
/// <param name="Count">Grains, 1 or more.</param>
public readonly record struct IntentClearEntry(uint First, uint Count) : IMetadataEntry
{
    /// <inheritdoc/>
    public EntryRoom Room => EntryRoom.Common;

    /// <inheritdoc/>
    public int EncodedBytes => RangeEntry.Bytes;

    /// <inheritdoc/>
    public void Encode(Span<byte> bytes) =>
        RangeEntry.Encode(bytes, MetadataEntryType.IntentClear, First, Count);
}

/// <summary>
/// Scattered grains that are intents; a bit of 0 says nothing.
/// <code>
///  0  2  type 18;  2  2  length 8 + 8 n, n up to 64
///  4  4  first grain, a multiple of 64
///  8 8n  words: bit i of word w is grain first + 64 w + i
/// </code>
/// </summary>
/// <param name="first">First grain.</param>
/// <param name="words">The bits.</param>
public readonly ref struct IntentMapEntry(uint first, ReadOnlySpan<ulong> words) : IMetadataEntry
{
    private readonly ReadOnlySpan<ulong> _words = words;

    /// <inheritdoc/>
    public EntryRoom Room => EntryRoom.Common;

    /// <inheritdoc/>
    public int EncodedBytes => MetadataEntry.MinBytes + 8 * _words.Length;

    /// <inheritdoc/>
    public void Encode(Span<byte> bytes)
    {
        bytes.PutHead(MetadataEntryType.IntentMap, first);
        RangeEntry.PutWords(bytes, MetadataEntry.MinBytes, _words);
    }
}

/// <summary>
/// Regions that are stale here, with the older claim that still holds for them.
/// <code>
///  0  2  type 20;  2  2  length 32
///  4  4  first region
///  8  4  regions
/// 12  4  zero
/// 16  8  epoch of the claim
/// 24  8  sequence of the claim
/// </code>
/// </summary>
/// <param name="First">First region.</param>
/// <param name="Count">Regions, 1 or more.</param>
/// <param name="Claim">
/// What the replica may still claim for them. It replaces the one that a region had: who adds a region that
/// is missing already leaves it out, because the oldest claim holds.
/// </param>
public readonly record struct MissingAddEntry(uint First, uint Count, HistoryPoint Claim) : IMetadataEntry
{
    /// <inheritdoc/>
    public EntryRoom Room => EntryRoom.Reserved;

    /// <inheritdoc/>
    public int EncodedBytes => 32;

    /// <inheritdoc/>
    public void Encode(Span<byte> bytes)
    {
        RangeEntry.Encode(bytes, MetadataEntryType.MissingAdd, First, Count);
        bytes.PutU64(16, Claim.Epoch);
        bytes.PutU64(24, Claim.Sequence);
    }
}

/// <summary>
/// Scattered regions that are stale here, with one older claim; a bit of 0 says nothing.
/// <code>
///  0  2  type 21;  2  2  length 24 + 8 n, n up to 64
///  4  4  first region, a multiple of 64
///  8  8  epoch of the claim
/// 16  8  sequence of the claim
/// 24 8n  words: bit i of word w is region first + 64 w + i
/// </code>
/// </summary>
/// <param name="first">First region.</param>
/// <param name="claim">What the replica may still claim for them.</param>
/// <param name="words">The bits.</param>
public readonly ref struct MissingMapEntry(uint first, HistoryPoint claim, ReadOnlySpan<ulong> words)
    : IMetadataEntry
{
    /// <summary>Bytes before the words.</summary>
    internal const int HeadBytes = 24;

    private readonly ReadOnlySpan<ulong> _words = words;

    /// <inheritdoc/>
    public EntryRoom Room => EntryRoom.Reserved;

    /// <inheritdoc/>
    public int EncodedBytes => HeadBytes + 8 * _words.Length;

    /// <inheritdoc/>
    public void Encode(Span<byte> bytes)
    {
        bytes.PutHead(MetadataEntryType.MissingMap, first);
        bytes.PutU64(8, claim.Epoch);
        bytes.PutU64(16, claim.Sequence);
        RangeEntry.PutWords(bytes, HeadBytes, _words);
    }
}

/// <summary>
/// Regions that are whole again.
/// <code>
///  0  2  type 22;  2  2  length 16
///  4  4  first region
///  8  4  regions
/// 12  4  zero
/// </code>
/// </summary>
/// <param name="First">First region.</param>
/// <param name="Count">Regions, 1 or more.</param>
public readonly record struct MissingRemoveEntry(uint First, uint Count) : IMetadataEntry
{
    /// <inheritdoc/>
    public EntryRoom Room => EntryRoom.Reserved;

    /// <inheritdoc/>
    public int EncodedBytes => RangeEntry.Bytes;

    /// <inheritdoc/>
    public void Encode(Span<byte> bytes) =>
        RangeEntry.Encode(bytes, MetadataEntryType.MissingRemove, First, Count);
}

/// <summary>
/// Versions of regions that follow one another.
/// <code>
///  0  2  type 24;  2  2  length 8 + 8 n, n up to 240
///  4  4  first region
///  8 8n  version of each: sequence of the last operation that touched it
/// </code>
/// </summary>
/// <param name="first">First region.</param>
/// <param name="versions">Their versions.</param>
public readonly ref struct RegionVersionsEntry(uint first, ReadOnlySpan<ulong> versions) : IMetadataEntry
{
    /// <summary>Most regions of one entry.</summary>
    public const int MaxRegions = 240;

    private readonly ReadOnlySpan<ulong> _versions = versions;

    /// <inheritdoc/>
    public EntryRoom Room => EntryRoom.Common;

    /// <inheritdoc/>
    public int EncodedBytes => MetadataEntry.MinBytes + 8 * _versions.Length;

    /// <inheritdoc/>
    public void Encode(Span<byte> bytes)
    {
        bytes.PutHead(MetadataEntryType.RegionVersions, first);
        RangeEntry.PutWords(bytes, MetadataEntry.MinBytes, _versions);
    }
}

/// <summary>
/// One version for many regions.
/// <code>
///  0  2  type 25;  2  2  length 24
///  4  4  first region
///  8  4  regions
/// 12  4  zero
/// 16  8  version
/// </code>
/// </summary>
/// <param name="First">First region.</param>
/// <param name="Count">Regions, 1 or more.</param>
/// <param name="Version">Their version.</param>
public readonly record struct RegionVersionRunEntry(uint First, uint Count, ulong Version) : IMetadataEntry
{
    /// <inheritdoc/>
    public EntryRoom Room => EntryRoom.Common;

    /// <inheritdoc/>
    public int EncodedBytes => 24;

    /// <inheritdoc/>
    public void Encode(Span<byte> bytes)
    {
        RangeEntry.Encode(bytes, MetadataEntryType.RegionVersionRun, First, Count);
        bytes.PutU64(16, Version);
    }
}

/// <summary>What entries about ranges share: first unit at offset 4, number of units at offset 8.</summary>
internal static class RangeEntry
{
    /// <summary>An entry with nothing but the range.</summary>
    public const int Bytes = 16;

    public static void Encode(Span<byte> bytes, MetadataEntryType type, uint first, uint count)
    {
        bytes.PutHead(type, first);
        bytes.PutU32(8, count);
        bytes.PutU32(12, 0);
    }

    public static void PutWords(Span<byte> bytes, int offset, ReadOnlySpan<ulong> words)
    {
        for (int i = 0; i < words.Length; i++)
        {
            bytes.PutU64(offset + 8 * i, words[i]);
        }
    }

    /// <summary>Whether a range that an entry names is one of the volume's, and not empty.</summary>
    public static bool IsWithin(ReadOnlySpan<byte> entry, int units) =>
        entry.U32(8) is > 0 and var count && (ulong)entry.U32(4) + count <= (ulong)units;
}

/// <summary>
/// Entries that structure the chain: type, and where it has one, a record number at offset 8.
/// </summary>
/// <param name="type">Type.</param>
/// <param name="record">The record it names; only with the types that have one.</param>
internal readonly struct MarkEntry(MetadataEntryType type, ulong record = 0) : IMetadataEntry
{
    public EntryRoom Room => EntryRoom.Reserved;

    public int EncodedBytes =>
        type is MetadataEntryType.CheckpointEnd or MetadataEntryType.VaultMark ? 16 : 8;

    public void Encode(Span<byte> bytes)
    {
        bytes.PutHead(type);
        if (bytes.Length == 16)
        {
            bytes.PutU64(8, record);
        }
    }
}
