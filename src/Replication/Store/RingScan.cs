namespace Ublk.Replication.Store;

/// <summary>What lies in a slot of the ring.</summary>
internal enum SlotContent : byte
{
    /// <summary>Zeros, or a record of an earlier format: never written by this log.</summary>
    Empty,
    /// <summary>A whole record of this log.</summary>
    Record,
    /// <summary>Damaged, torn or unreadable.</summary>
    Damaged,
    /// <summary>A whole record of a later version.</summary>
    Newer,
}

/// <summary>A look at every slot of a ring, without judgement.</summary>
internal sealed class RingScan
{
    private readonly Slot[] _slots;

    private RingScan(RingLayout layout) => _slots = new Slot[layout.Records];

    /// <summary>The highest record that lies where it belongs; 0 when there is none.</summary>
    public ulong Highest { get; private set; }

    /// <summary>The begin of the last complete checkpoint, as the highest record names it.</summary>
    public ulong CheckpointBegin { get; private set; }

    /// <summary>A slot.</summary>
    public ref readonly Slot this[int slot] => ref _slots[slot];

    /// <summary>Reads all slots.</summary>
    public static RingScan Of(IMetadataReader reader, RingLayout layout)
    {
        var scan = new RingScan(layout);
        for (int slot = 0; slot < layout.Records; slot++)
        {
            ref Slot found = ref scan._slots[slot];
            RecordVerdict verdict =
                reader.Open(RingLayout.OffsetOfSlot(slot), layout.Identity, out OpenRecord record);
            RecordHeader header = record.Header;
            found.Content = ContentOf(verdict, header);
            if (found.Content == SlotContent.Record)
            {
                found.Number = header.Number;
                found.Crc = record.Crc;
                found.PreviousCrc = header.PreviousCrc;
                found.IsOpened = (header.Flags & RecordFlags.Opened) != RecordFlags.None;
                found.Mark = LastMarkOf(record.Payload);
                if (header.Number > scan.Highest && layout.SlotOf(header.Number) == slot)
                {
                    scan.Highest = header.Number;
                    scan.CheckpointBegin = header.CheckpointBegin;
                }
            }
        }

        return scan;
    }

    private static SlotContent ContentOf(RecordVerdict verdict, in RecordHeader header) => verdict switch
    {
        RecordVerdict.Valid =>
            header.Kind == RecordKind.Ring && header.Number > 0 ? SlotContent.Record : SlotContent.Damaged,
        RecordVerdict.Blank or RecordVerdict.Foreign => SlotContent.Empty,
        RecordVerdict.Newer => SlotContent.Newer,
        _ => SlotContent.Damaged,
    };

    // Where the last batch of a record begins that does not end in it, or that it only ends one.
    private static short LastMarkOf(ReadOnlySpan<byte> payload)
    {
        short mark = Slot.NoMark;
        int length = payload.Length;
        int at = 0;
        while (MetadataEntry.TryTake(ref payload, out MetadataEntryType type, out _))
        {
            mark = type switch
            {
                MetadataEntryType.BatchBegin => (short)at,
                MetadataEntryType.BatchEnd => Slot.EndMark,
                _ => mark,
            };
            at = length - payload.Length;
        }

        return mark;
    }

    internal struct Slot
    {
        public const short NoMark = -1, EndMark = -2;

        public ulong Number;
        public uint Crc;
        public uint PreviousCrc;
        public SlotContent Content;
        public bool IsOpened;
        public short Mark;
    }
}
