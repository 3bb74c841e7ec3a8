namespace Ublk.Replication.Store;

/// <summary>A look at the slots of the vault.</summary>
internal sealed class VaultScan
{
    private readonly bool[] _damaged = new bool[StoreFormat.VaultSlots];

    /// <summary>What the newest whole record says; null when there is none.</summary>
    public VaultContent? Newest { get; private set; }

    /// <summary>Its number.</summary>
    public ulong NewestNumber { get; private set; }

    /// <summary>Whether a later version wrote one.</summary>
    public bool IsNewer { get; private set; }

    /// <summary>Whether a slot is torn, damaged or unreadable.</summary>
    public bool IsDamaged(int slot) => _damaged[slot];

    /// <summary>Reads all slots.</summary>
    public static VaultScan Of(IMetadataReader reader, RingLayout layout)
    {
        var scan = new VaultScan();
        for (int slot = 0; slot < StoreFormat.VaultSlots; slot++)
        {
            RecordVerdict verdict =
                reader.Open(layout.OffsetOfVaultSlot(slot), layout.Identity, out OpenRecord record);
            scan.Add(slot, verdict, record);
        }

        return scan;
    }

    private void Add(int slot, RecordVerdict verdict, in OpenRecord record)
    {
        IsNewer |= verdict == RecordVerdict.Newer;
        if (verdict is RecordVerdict.Blank or RecordVerdict.Foreign or RecordVerdict.Newer)
        {
            return;
        }

        RecordHeader header = record.Header;
        bool isInPlace = verdict == RecordVerdict.Valid && header.Kind == RecordKind.Vault &&
            header.Number % StoreFormat.VaultSlots == (ulong)slot;
        VaultContent? content = isInPlace ? VaultRecord.Read(record.Payload) : null;
        if (content is null)
        {
            _damaged[slot] = true;
        }
        else if (header.Number > NewestNumber)
        {
            Newest = content;
            NewestNumber = header.Number;
        }
    }
}
