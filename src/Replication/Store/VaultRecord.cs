namespace Ublk.Replication.Store;

/// <summary>
/// A record of the vault: the number of the ring record that it belongs to (VaultMark), then promise,
/// configuration where there is one, and epoch start, as they were after that record. Written only when that
/// record is durable; so a vault that names a record which the ring has not proves that the ring lost it.
/// </summary>
internal static class VaultRecord
{
    /// <summary>Whether the vault holds what an entry says.</summary>
    public static bool Holds(MetadataEntryType type) => type is MetadataEntryType.Promise
        or MetadataEntryType.Configuration or MetadataEntryType.EpochStart;

    /// <summary>Writes the entries.</summary>
    /// <returns>Their length.</returns>
    public static int Fill(Span<byte> payload, ulong ringRecord, MetadataState state)
    {
        int filled = Put(payload, 0, new MarkEntry(MetadataEntryType.VaultMark, ringRecord));
        filled = Put(payload, filled, state.Promise);
        if (state.Configuration is { } configuration)
        {
            filled = Put(payload, filled, configuration);
        }

        return Put(payload, filled, state.EpochStart);
    }

    /// <summary>Reads the entries; null when they are not such as are written here.</summary>
    /// <param name="payload">The entries.</param>
    public static VaultContent? Read(ReadOnlySpan<byte> payload)
    {
        var content = new VaultContent();
        while (MetadataEntry.TryTake(ref payload, out MetadataEntryType type, out ReadOnlySpan<byte> entry))
        {
            if (EntryCheck.Of(type, entry, StoreFormat.MaxVolumeBytes) != FoldVerdict.Folded)
            {
                return null;
            }

            content = type switch
            {
                MetadataEntryType.VaultMark => content with { RingRecord = entry.U64(8) },
                MetadataEntryType.Promise => content with { Promise = PromiseEntry.Decode(entry) },
                MetadataEntryType.Configuration =>
                    content with { Configuration = ReplicaConfiguration.Decode(entry) },
                MetadataEntryType.EpochStart => content with { EpochStart = EpochStartEntry.Decode(entry) },
                _ => content,
            };
        }

        return payload.Length == 0 && content.RingRecord > 0 ? content : null;
    }

    private static int Put<T>(Span<byte> payload, int at, in T entry) where T : IMetadataEntry
    {
        entry.Encode(payload.Slice(at, entry.EncodedBytes));
        return at + entry.EncodedBytes;
    }
}

/// <summary>What a record of the vault says.</summary>
public sealed record VaultContent
{
    /// <summary>The ring record that was durable before it.</summary>
    public ulong RingRecord { get; init; }

    /// <summary>The promise.</summary>
    public PromiseEntry Promise { get; init; }

    /// <summary>The configuration; null when there was none.</summary>
    public ReplicaConfiguration? Configuration { get; init; }

    /// <summary>The epoch start.</summary>
    public EpochStartEntry EpochStart { get; init; }
}
