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
        byte[] block = new byte[MetadataRecord.Bytes];
        for (int slot = 0; slot < StoreFormat.VaultSlots; slot++)
        {
            RecordHeader header = default;
            RecordVerdict verdict = reader.TryRead(layout.OffsetOfVaultSlot(slot), block)
                ? MetadataRecord.Open(block, layout.Identity, out header, out _)
                : RecordVerdict.Damaged;
            scan.Add(slot, verdict, header, block);
        }

        return scan;
    }

    private void Add(int slot, RecordVerdict verdict, in RecordHeader header, ReadOnlySpan<byte> block)
    {
        IsNewer |= verdict == RecordVerdict.Newer;
        if (verdict is RecordVerdict.Blank or RecordVerdict.Foreign or RecordVerdict.Newer)
        {
            return;
        }

        bool isInPlace = verdict == RecordVerdict.Valid && header.Kind == RecordKind.Vault &&
            header.Number % StoreFormat.VaultSlots == (ulong)slot;
        VaultContent? content = isInPlace ? VaultRecord.Read(MetadataRecord.Payload(block, header)) : null;
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
