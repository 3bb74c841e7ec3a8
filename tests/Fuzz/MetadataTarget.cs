using System.Buffers.Binary;
using Ublk.Replication.Store;
using Ublk.Testing.Replicas;
using Ublk.Tests.Unit.Replication.Store;
using Ublk.Wire.Ids;

namespace Ublk.Tests.Fuzz;

/// <summary>
/// Recovery of a replica's metadata: whatever the records say, it ends with a state or with the damage named,
/// the same one every time. Checksums are made right, or no input would ever be looked into; what the fuzzer
/// chooses is <see cref="HostileRing"/>.
/// </summary>
internal sealed class MetadataTarget : IFuzzTarget
{
    private const long SizeBytes = 64L << 20;

    // A state of the largest volume that is tried, and texts about what is wrong.
    private const long MaxAllocatedBytes = 8 << 20;

    public void Run(byte[] input)
    {
        byte[] raw = new byte[MetadataRecord.Bytes];
        input.AsSpan(0, Math.Min(input.Length, raw.Length)).CopyTo(raw);
        _ = MetadataRecord.Open(raw, default, out _);

        HostileRing? ring = HostileRing.Read(input);
        if (ring is null)
        {
            return;
        }

        long before = GC.GetAllocatedBytesForCurrentThread();
        RecoveryResult found = MetadataRecovery.Run(ring, HostileRing.Layout, SizeBytes, ring.LiveRecord);
        FuzzFailure.UnlessAllocated(before, MaxAllocatedBytes);
        FuzzFailure.Unless(
            found.State is null == (found.Damage != MetadataDamage.None), $"{found.Damage}, and a state");
        FuzzFailure.Unless(
            found.Text.Length > 0 == (found.Damage != MetadataDamage.None),
            $"{found.Damage}: '{found.Text}'");
        if (found.State is { } state)
        {
            CheckState(state, found.Position);
            RecoveryResult again = MetadataRecovery.Run(ring, HostileRing.Layout, SizeBytes, ring.LiveRecord);
            FuzzFailure.Unless(
                StateText.Of(again.State!) == StateText.Of(state) && again.Position == found.Position,
                "another state the second time");
        }
    }

    public IEnumerable<(string Name, byte[] Bytes)> Seeds()
    {
        for (int seed = 1; seed <= 12; seed++)
        {
            var random = new Random(seed);
            var maker = new EntryMaker(random, SizeBytes, promisedEpoch: 1);
            byte[] promise = EntryMaker.Bytes(new PromiseEntry(1, new Writer(new NodeId(3), 4), 5));
            byte[] start = EntryMaker.Bytes(new EpochStartEntry(1, 2, 0));
            byte[][] entries =
                [.. Enumerable.Range(0, 4).Select(_ => maker.Next()).Where(one => one.Length < 200)];
            byte[] first =
            [
                .. EntryMaker.Bytes(new MarkEntry(MetadataEntryType.CheckpointBegin)), .. promise, .. start,
                .. entries.SelectMany(entry => entry),
            ];
            byte[] second =
            [
                .. EntryMaker.Bytes(new MarkEntry(MetadataEntryType.BatchBegin)),
                .. maker.Intent(isAdded: true),
                .. EntryMaker.Bytes(new MarkEntry(MetadataEntryType.BatchEnd)),
                .. EntryMaker.Bytes(new MarkEntry(MetadataEntryType.CheckpointEnd, 1)),
            ];
            byte[] vault =
                [.. EntryMaker.Bytes(new MarkEntry(MetadataEntryType.VaultMark, 1)), .. promise, .. start];
            yield return ($"seed {seed}",
            [
                .. HostileRing.Record(HostileRing.Chained, 1, 1, RecordFlags.Opened, first),
                .. HostileRing.Record(HostileRing.Chained, 2, 1, RecordFlags.None, second),
                .. HostileRing.Record(HostileRing.Vault, 1, 0, RecordFlags.None, vault),
            ]);
        }
    }

    private static void CheckState(MetadataState state, LogPosition position)
    {
        FuzzFailure.Unless(
            position.LastRecord > 0 && position.CheckpointBegin > 0 &&
            position.CheckpointBegin <= position.LastRecord, $"the log is to go on at {position}");
        FuzzFailure.Unless(
            state.SizeBytes >= SizeBytes && state.History.Points.Length <= StoreFormat.MaxHistory,
            $"size {state.SizeBytes}, {state.History.Points.Length} histories");
        FuzzFailure.Unless(
            state.Intents.Count <= MetadataState.GrainsOf(state.SizeBytes) &&
            state.Missing.Count <= MetadataState.RegionsOf(state.SizeBytes), "more marks than units");
    }
}

/// <summary>
/// A short ring and its vault, made of an input: records one after the other, each with eight bytes (what it
/// is, number, begin of the checkpoint, flags, two of length, the record that the live page names, none) and
/// its entries.
/// </summary>
internal sealed class HostileRing : IMetadataReader
{
    public const byte Chained = 0, Vault = 1, Unchained = 2, Damaged = 3;

    private const int HeadBytes = 8;

    // A volume may grow to 64 TiB, which takes 512 MiB of versions: right, and nothing to find there.
    private const ulong LargestSize = 1ul << 30;

    private readonly Dictionary<long, byte[]> _records = [];
    private readonly uint[] _crcs = new uint[256];

    public static RingLayout Layout => new(new Incarnation(7), 8);

    /// <summary>The record that the live page names.</summary>
    public ulong LiveRecord { get; private set; }

    /// <summary>Makes it; null where it is not worth trying.</summary>
    public static HostileRing? Read(ReadOnlySpan<byte> input)
    {
        var ring = new HostileRing();
        while (input.Length >= HeadBytes)
        {
            int wanted = BinaryPrimitives.ReadUInt16LittleEndian(input[4..]);
            int length = Math.Min(wanted, Math.Min(input.Length - HeadBytes, MetadataRecord.MaxPayloadBytes));
            ReadOnlySpan<byte> entries = input.Slice(HeadBytes, length);
            if (GrowsFar(entries))
            {
                return null;
            }

            ring.Add(input, entries);
            input = input[(HeadBytes + length)..];
        }

        return ring._records.Count == 0 ? null : ring;
    }

    /// <summary>A record of an input.</summary>
    public static byte[] Record(byte what, byte number, byte checkpoint, RecordFlags flags, byte[] entries)
    {
        byte low = (byte)entries.Length, high = (byte)(entries.Length >> 8);
        return [what, number, checkpoint, (byte)flags, low, high, 0, 0, .. entries];
    }

    public RecordVerdict Open(long offsetBytes, Incarnation identity, out OpenRecord record)
    {
        record = default;
        return _records.TryGetValue(offsetBytes, out byte[]? bytes)
            ? MetadataRecord.Open(bytes, identity, out record) : RecordVerdict.Blank;
    }

    private void Add(ReadOnlySpan<byte> head, ReadOnlySpan<byte> entries)
    {
        int what = head[0] & 3;
        byte number = head[1];
        LiveRecord = Math.Max(LiveRecord, head[6]);
        byte[] record = new byte[MetadataRecord.Bytes];
        entries.CopyTo(MetadataRecord.Payload(record));
        uint previous = what == Chained && number > 0 ? _crcs[number - 1] : 0;
        RecordKind kind = what == Vault ? RecordKind.Vault : RecordKind.Ring;
        var header = new RecordHeader(kind, (RecordFlags)head[3], number, previous, head[2], entries.Length);
        uint crc = MetadataRecord.Seal(record, Layout.Identity, header);
        if (what == Damaged)
        {
            record[^1] ^= 1;
        }

        long offset = what == Vault
            ? Layout.OffsetOfVaultSlot(number % StoreFormat.VaultSlots)
            : RingLayout.OffsetOfSlot(Layout.SlotOf(number));
        _records[offset] = record;
        if (what == Chained)
        {
            _crcs[number] = crc;
        }
    }

    private static bool GrowsFar(ReadOnlySpan<byte> entries)
    {
        while (MetadataEntry.TryTake(ref entries, out MetadataEntryType type, out ReadOnlySpan<byte> entry))
        {
            if (type == MetadataEntryType.Size && entry.Length >= 16 &&
                BinaryPrimitives.ReadUInt64LittleEndian(entry[8..]) > LargestSize)
            {
                return true;
            }
        }

        return false;
    }
}
