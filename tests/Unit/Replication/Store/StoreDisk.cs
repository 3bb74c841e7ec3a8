using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Wire.Ids;

namespace Ublk.Tests.Unit.Replication.Store;

/// <summary>What a crash makes of the write that was under way.</summary>
internal enum Tear
{
    /// <summary>Nothing of it arrived.</summary>
    Dropped,
    /// <summary>All of it arrived, but nobody heard.</summary>
    Kept,
    /// <summary>Some of its sectors of 512 bytes arrived.</summary>
    Torn,
}

/// <summary>A metadata file in memory, with at most one write under way.</summary>
internal sealed class StoreDisk : IMetadataReader
{
    private const int SectorBytes = 512;

    private byte[] _pending = [];
    private long _pendingAt;

    public StoreDisk(RingLayout layout)
    {
        Layout = layout;
        Bytes = new byte[layout.OffsetOfVaultSlot(0) + StoreFormat.TrailerBytes];
    }

    public RingLayout Layout { get; }

    public byte[] Bytes { get; }

    /// <summary>Offsets that cannot be read.</summary>
    public HashSet<long> Unreadable { get; } = [];

    public bool IsBusy => _pending.Length > 0;

    public int WriteCount { get; private set; }

    public int ReadCount { get; private set; }

    public Span<byte> Slot(int slot) =>
        Bytes.AsSpan((int)RingLayout.OffsetOfSlot(slot), MetadataRecord.Bytes);

    public Span<byte> Record(ulong number) => Slot(Layout.SlotOf(number));

    public Span<byte> VaultSlot(int slot) =>
        Bytes.AsSpan((int)Layout.OffsetOfVaultSlot(slot), MetadataRecord.Bytes);

    public RecordVerdict Open(long offsetBytes, Incarnation identity, out OpenRecord record)
    {
        ReadCount++;
        record = default;
        ReadOnlySpan<byte> bytes = Bytes.AsSpan((int)offsetBytes, MetadataRecord.Bytes);
        return Unreadable.Contains(offsetBytes)
            ? RecordVerdict.Damaged : MetadataRecord.Open(bytes, identity, out record);
    }

    public void Begin(long offsetBytes, in IoBuffer record)
    {
        if (IsBusy)
        {
            throw new InvalidOperationException("two writes at once");
        }

        _pendingAt = offsetBytes;
        _pending = record.Span.ToArray();
        WriteCount++;
    }

    public void Finish()
    {
        _pending.CopyTo(Bytes.AsSpan((int)_pendingAt));
        _pending = [];
    }

    public void Crash(Tear tear, Random random)
    {
        for (int at = 0; at < _pending.Length; at += SectorBytes)
        {
            if (tear == Tear.Kept || tear == Tear.Torn && random.Next(2) == 0)
            {
                _pending.AsSpan(at, SectorBytes).CopyTo(Bytes.AsSpan((int)_pendingAt + at));
            }
        }

        _pending = [];
    }
}
