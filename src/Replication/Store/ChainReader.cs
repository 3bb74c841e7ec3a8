namespace Ublk.Replication.Store;

/// <summary>Reads records of a chain that a scan has found, and nothing else in their place.</summary>
internal sealed class ChainReader(IMetadataReader reader, RingLayout layout, RingScan scan)
{
    private readonly byte[] _block = new byte[MetadataRecord.Bytes];

    /// <summary>Reads a record; false when it is not the one that the scan has seen.</summary>
    /// <param name="number">Its number.</param>
    /// <param name="header">Its header.</param>
    /// <param name="payload">Its entries, until the next call.</param>
    public bool TryRead(ulong number, out RecordHeader header, out ReadOnlySpan<byte> payload)
    {
        int slot = layout.SlotOf(number);
        header = default;
        payload = default;
        bool isSame = reader.TryRead(RingLayout.OffsetOfSlot(slot), _block) &&
            MetadataRecord.Open(_block, layout.Identity, out header, out uint crc) == RecordVerdict.Valid &&
            header.Number == number && crc == scan[slot].Crc;
        payload = isSame ? MetadataRecord.Payload(_block, header) : default;
        return isSame;
    }
}

/// <summary>Where a batch begins.</summary>
/// <param name="Record">Number of the record.</param>
/// <param name="At">Offset in its payload.</param>
internal readonly record struct BatchPlace(ulong Record, int At)
{
    /// <summary>
    /// The batches that a crash cut off, in order: the next record after them was written by a log opened
    /// anew, or there is none. Nothing of them counts.
    /// </summary>
    public static List<BatchPlace> FindCutOff(ChainReader chain, ulong begin, ulong last)
    {
        var found = new List<BatchPlace>();
        BatchPlace open = default;
        for (ulong number = begin; number <= last; number++)
        {
            if (!chain.TryRead(number, out RecordHeader header, out ReadOnlySpan<byte> left))
            {
                continue; // The fold will not get past it either.
            }

            if ((header.Flags & RecordFlags.Opened) != RecordFlags.None && open.Record > 0)
            {
                found.Add(open);
                open = default;
            }

            int at = 0;
            while (MetadataEntry.TryTake(ref left, out MetadataEntryType type, out ReadOnlySpan<byte> entry))
            {
                open = type switch
                {
                    MetadataEntryType.BatchBegin => new BatchPlace(number, at),
                    MetadataEntryType.BatchEnd => default,
                    _ => open,
                };
                at += entry.Length;
            }
        }

        if (open.Record > 0)
        {
            found.Add(open);
        }

        return found;
    }
}
