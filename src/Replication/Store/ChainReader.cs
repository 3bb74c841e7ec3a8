namespace Ublk.Replication.Store;

/// <summary>Reads records of a chain that a scan has found, and nothing else in their place.</summary>
internal sealed class ChainReader(IMetadataReader reader, RingLayout layout, RingScan scan)
{
    /// <summary>Reads a record; false when it is not the one that the scan has seen.</summary>
    /// <param name="number">Its number.</param>
    /// <param name="record">It; its entries hold until the next call.</param>
    public bool TryRead(ulong number, out OpenRecord record)
    {
        int slot = layout.SlotOf(number);
        RecordVerdict verdict = reader.Open(RingLayout.OffsetOfSlot(slot), layout.Identity, out record);
        return verdict == RecordVerdict.Valid && record.Header.Number == number &&
            record.Crc == scan[slot].Crc;
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
    /// <param name="scan">The ring, whose chain is whole.</param>
    /// <param name="layout">Where records lie.</param>
    /// <param name="begin">First record of the chain.</param>
    /// <param name="last">Last one.</param>
    public static List<BatchPlace> FindCutOff(RingScan scan, RingLayout layout, ulong begin, ulong last)
    {
        var found = new List<BatchPlace>();
        BatchPlace open = default;
        for (ulong number = begin; number <= last; number++)
        {
            ref readonly RingScan.Slot slot = ref scan[layout.SlotOf(number)];
            if (slot.IsOpened && open.Record > 0)
            {
                found.Add(open);
                open = default;
            }

            if (slot.Mark != RingScan.Slot.NoMark)
            {
                open = slot.Mark == RingScan.Slot.EndMark ? default : new BatchPlace(number, slot.Mark);
            }
        }

        if (open.Record > 0)
        {
            found.Add(open);
        }

        return found;
    }
}
