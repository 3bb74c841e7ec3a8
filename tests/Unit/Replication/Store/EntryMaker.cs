using Ublk.Replication.Store;
using Ublk.Wire.Ids;
using EpochEntry = Ublk.Replication.Store.EpochEntry;
using ReplicaMember = Ublk.Wire.Messages.ReplicaMember;

namespace Ublk.Tests.Unit.Replication.Store;

/// <summary>Random entries that a replica of some size could write, as bytes.</summary>
internal sealed class EntryMaker(Random random, long sizeBytes, ulong promisedEpoch = 0)
{
    private ulong _promised = promisedEpoch;

    public long SizeBytes { get; private set; } = sizeBytes;

    public static byte[] Bytes<T>(in T entry) where T : IMetadataEntry, allows ref struct
    {
        byte[] bytes = new byte[entry.EncodedBytes];
        entry.Encode(bytes);
        return bytes;
    }

    public static MetadataEntryType TypeOf(ReadOnlySpan<byte> entry) =>
        (MetadataEntryType)BitConverter.ToUInt16(entry);

    public static FoldVerdict Fold(MetadataState state, ReadOnlySpan<byte> entry) =>
        state.Fold(TypeOf(entry), entry);

    public byte[] Next() => random.Next(21) switch
    {
        0 => Bytes(new PromiseEntry(++_promised, new Writer(new NodeId(Small()), Number()), Number())),
        1 => Bytes(Configuration()),
        2 => Bytes(new EpochStartEntry(Number(), Number(), Number())),
        3 => Bytes(new EpochEntry(Number(200), Number())),
        4 or 5 => Bytes(new DurableEntry(Point())),
        6 => Bytes(new AppliedFloorEntry(Point())),
        7 => Bytes(Condition()),
        8 => Bytes(new LongestLeaseEntry((uint)random.Next(10_000))),
        9 => Grown(),
        10 => Bytes(new BootEntry(Id(), Number())),
        11 => Bytes(new ResyncCursorEntry((uint)random.Next(3), Point(), Number())),
        20 => Bytes(new ViewEntry(Number(), Number())),
        12 or 13 => Intent(isAdded: true),
        14 => Intent(isAdded: false),
        15 => Scattered(),
        16 => Missing(),
        17 => Whole(),
        18 => Versions(),
        _ => VersionRun(),
    };

    public byte[] Intent(bool isAdded)
    {
        (uint first, uint count) = Range(MetadataState.GrainsOf(SizeBytes));
        return isAdded ? Bytes(new IntentAddEntry(first, count)) : Bytes(new IntentClearEntry(first, count));
    }

    public byte[] Missing()
    {
        int regions = MetadataState.RegionsOf(SizeBytes);
        var claim = new HistoryPoint(Number(3), Number(4));
        if (random.Next(2) == 0)
        {
            (uint first, uint count) = Range(regions);
            return Bytes(new MissingAddEntry(first, count, claim));
        }

        return Bytes(new MissingMapEntry((uint)Start(regions), claim, [Bits(regions)]));
    }

    public HistoryPoint Point() => new(Number(5), Number());

    private byte[] Grown()
    {
        SizeBytes += random.Next(3) * 512L;
        return Bytes(new SizeEntry(SizeBytes));
    }

    private byte[] Scattered()
    {
        int grains = MetadataState.GrainsOf(SizeBytes);
        return Bytes(new IntentMapEntry((uint)Start(grains), [Bits(grains)]));
    }

    private byte[] Whole()
    {
        (uint first, uint count) = Range(MetadataState.RegionsOf(SizeBytes));
        return Bytes(new MissingRemoveEntry(first, count));
    }

    private byte[] Versions()
    {
        (uint first, uint count) = Range(MetadataState.RegionsOf(SizeBytes), RegionVersionsEntry.MaxRegions);
        ulong[] versions = new ulong[count];
        for (int i = 0; i < versions.Length; i++)
        {
            versions[i] = Number(3);
        }

        return Bytes(new RegionVersionsEntry(first, versions));
    }

    private byte[] VersionRun()
    {
        (uint first, uint count) = Range(MetadataState.RegionsOf(SizeBytes));
        return Bytes(new RegionVersionRunEntry(first, count, Number(3)));
    }

    private ReplicaConfiguration Configuration()
    {
        ReplicaMember[] members = [.. Enumerable.Range(0, 7).Select(
            _ => new ReplicaMember(new ReplicaId(Small()), new Incarnation(Bits128())))];
        int count = random.Next(1, 8), old = random.Next(8);
        return new ReplicaConfiguration(Number() + 1, members.AsSpan(0, old), (old + 1) / 2,
            members.AsSpan(7 - count), count / 2 + 1);
    }

    private ConditionEntry Condition()
    {
        var condition = (ReplicaCondition)random.Next(4);
        bool isVoided = condition.HasFlag(ReplicaCondition.Voided);
        return new ConditionEntry(condition, isVoided ? Number() : 0);
    }

    private int _start;

    private int Start(int units) => _start = random.Next((units + 63) / 64) * 64;

    private ulong Bits(int units)
    {
        ulong bits = (ulong)random.NextInt64() & (ulong)random.NextInt64();
        int left = units - _start;
        return left >= 64 ? bits : bits & (1ul << left) - 1;
    }

    private (uint First, uint Count) Range(int units, int most = int.MaxValue)
    {
        int first = random.Next(units);
        int longest = random.Next(3) == 0 ? units : Math.Min(units, 20);
        return ((uint)first, (uint)Math.Min(random.Next(1, longest + 1), Math.Min(most, units - first)));
    }

    private ulong Number(int below = int.MaxValue) => (ulong)random.Next(below);

    private uint Small() => (uint)random.NextInt64(1L << 32);

    private UInt128 Bits128() => new((ulong)random.NextInt64(), (ulong)random.NextInt64());

    private Guid Id()
    {
        byte[] bytes = new byte[16];
        random.NextBytes(bytes);
        return new Guid(bytes);
    }
}
