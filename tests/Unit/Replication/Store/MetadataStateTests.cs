using Ublk.Replication.Store;
using Ublk.Testing.Replicas;
using Ublk.Wire.Ids;
using Xunit;
using EpochEntry = Ublk.Replication.Store.EpochEntry;
using ReplicaMember = Ublk.Wire.Messages.ReplicaMember;

namespace Ublk.Tests.Unit.Replication.Store;

public sealed class MetadataStateTests
{
    private const long Size = 300L << 20;

    [Theory]
    [MemberData(nameof(Golden))]
    public void EntriesAreOfGoldenBytes(string hex, byte[] entry) =>
        Assert.Equal(hex.Replace(" ", "", StringComparison.Ordinal), Convert.ToHexString(entry));

    public static TheoryData<string, byte[]> Golden()
    {
        var boot = new Guid("a1a2a3a4-0000-0000-0000-0000000000af");
        var incarnation = new Incarnation(new UInt128(0xA1A2_A3A4_0000_0000, 0xAF));
        var member = new ReplicaMember(new ReplicaId(0xB100_00BF), incarnation);
        ReplicaMember[] one = [member], two = [member, new ReplicaMember(new ReplicaId(5), incarnation)];
        var writer = new Writer(new NodeId(0xA1A2_A3A4), 8);
        const string Id = "A1A2A3A40000000000000000000000AF";
        const string Member = "BF0000B100000000" + Id;
        var point = new HistoryPoint(2, 3);
        const string Point = "0200000000000000 0300000000000000";
        return new()
        {
            {
                "01002800 00000000 0700000000000000 A4A3A2A100000000 0800000000000000 0900000000000000",
                EntryMaker.Bytes(new PromiseEntry(7, writer, 9))
            },
            {
                $"02002800 00000101 0500000000000000 {Member}",
                EntryMaker.Bytes(new ReplicaConfiguration(5, one, 1))
            },
            {
                $"02005800 01010202 0600000000000000 {Member} {Member} 0500000000000000 {Id}",
                EntryMaker.Bytes(new ReplicaConfiguration(6, one, 1, two, 2))
            },
            { $"03002000 00000000 {Point} 0400000000000000", EntryMaker.Bytes(new EpochStartEntry(2, 3, 4)) },
            { $"04001800 00000000 {Point}", EntryMaker.Bytes(new EpochEntry(2, 3)) },
            { $"05001800 00000000 {Point}", EntryMaker.Bytes(new DurableEntry(point)) },
            { $"06001800 00000000 {Point}", EntryMaker.Bytes(new AppliedFloorEntry(point)) },
            { "07001000 02000000 0000000000000000", Condition(ReplicaCondition.Failed, 0) },
            { "07001000 01000000 0600000000000000", Condition(ReplicaCondition.Voided, 6) },
            { "08000800 D0070000", EntryMaker.Bytes(new LongestLeaseEntry(2000)) },
            { "09001000 00000000 0000008002000000", EntryMaker.Bytes(new SizeEntry(10L << 30)) },
            { $"0A002000 00000000 {Id} 0B00000000000000", EntryMaker.Bytes(new BootEntry(boot, 11)) },
            {
                $"0B002000 01000000 {Point} 0C00000000000000",
                EntryMaker.Bytes(new ResyncCursorEntry(1, point, 12))
            },
            { $"0C001800 00000000 {Point}", EntryMaker.Bytes(new ViewEntry(2, 3)) },
            { "10001000 05000000 06000000 00000000", EntryMaker.Bytes(new IntentAddEntry(5, 6)) },
            { "11001000 05000000 06000000 00000000", EntryMaker.Bytes(new IntentClearEntry(5, 6)) },
            { "12001000 40000000 0500000000000000", EntryMaker.Bytes(new IntentMapEntry(64, [5ul])) },
            {
                $"14002000 05000000 06000000 00000000 {Point}",
                EntryMaker.Bytes(new MissingAddEntry(5, 6, point))
            },
            {
                $"15002000 40000000 {Point} 0500000000000000",
                EntryMaker.Bytes(new MissingMapEntry(64, point, [5ul]))
            },
            { "16001000 05000000 06000000 00000000", EntryMaker.Bytes(new MissingRemoveEntry(5, 6)) },
            {
                "18001800 05000000 0700000000000000 0800000000000000",
                EntryMaker.Bytes(new RegionVersionsEntry(5, [7ul, 8ul]))
            },
            {
                "19001800 05000000 06000000 00000000 0700000000000000",
                EntryMaker.Bytes(new RegionVersionRunEntry(5, 6, 7))
            },
            { "20000800 00000000", Mark(MetadataEntryType.CheckpointBegin) },
            { "21001000 00000000 0900000000000000", Mark(MetadataEntryType.CheckpointEnd, 9) },
            { "22000800 00000000", Mark(MetadataEntryType.BatchBegin) },
            { "23000800 00000000", Mark(MetadataEntryType.BatchEnd) },
            { "24001000 00000000 0900000000000000", Mark(MetadataEntryType.VaultMark, 9) },
        };
    }

    private static byte[] Condition(ReplicaCondition condition, ulong voidedIn) =>
        EntryMaker.Bytes(new ConditionEntry(condition, voidedIn));

    private static byte[] Mark(MetadataEntryType type, ulong record = 0) =>
        EntryMaker.Bytes(new MarkEntry(type, record));

    // Folded on a state of its own, every value comes back from a checkpoint; so encode and decode agree.
    [Fact]
    public void ACheckpointOfAnyStateIsThatState()
    {
        for (int seed = 0; seed < 60; seed++)
        {
            var random = new Random(seed);
            var maker = new EntryMaker(random, Size);
            var state = new MetadataState(Size);
            for (int i = random.Next(300); i > 0; i--)
            {
                Assert.Equal(FoldVerdict.Folded, EntryMaker.Fold(state, maker.Next()));
            }

            var restored = new MetadataState(Size);
            List<byte[]> entries = Checkpoint(state, random, () => { });
            entries.ForEach(entry => Assert.Equal(FoldVerdict.Folded, EntryMaker.Fold(restored, entry)));
            Assert.Equal(StateText.Of(state), StateText.Of(restored));
            Assert.True(entries.Sum(entry => entry.Length) <= CheckpointWriter.BytesOf(state));
        }
    }

    // Live entries between those of the checkpoint: from its begin on, the chain makes the same state.
    [Fact]
    public void AFuzzyCheckpointIsTheStateOfItsEnd()
    {
        for (int seed = 0; seed < 60; seed++)
        {
            var random = new Random(seed);
            var maker = new EntryMaker(random, Size);
            var state = new MetadataState(Size);
            for (int i = 0; i < 200; i++)
            {
                EntryMaker.Fold(state, maker.Next());
            }

            var chain = new List<byte[]>();
            chain.AddRange(Checkpoint(state, random, () =>
            {
                for (int i = random.Next(8); i > 0; i--)
                {
                    byte[] live = maker.Next();
                    EntryMaker.Fold(state, live);
                    chain.Add(live);
                }
            }, chain));
            var restored = new MetadataState(Size);
            chain.ForEach(entry => Assert.Equal(FoldVerdict.Folded, EntryMaker.Fold(restored, entry)));
            Assert.Equal(StateText.Of(state), StateText.Of(restored));
        }
    }

    [Fact]
    public void ScatteredIntentsAndRegionsTakeMaps()
    {
        const long Large = 64L << 30;
        var state = new MetadataState(Large);
        for (int i = 0; i < state.Intents.Grains; i += 2)
        {
            state.Intents.Add(i, 1);
        }

        for (int i = 0; i < state.Missing.Regions; i += 2)
        {
            state.Missing.TryAdd(i, 1, new HistoryPoint(1, (ulong)(i % 6)));
        }

        List<byte[]> entries = Checkpoint(state, new Random(1), () => { });
        int Bytes(MetadataEntryType type) =>
            entries.Where(entry => EntryMaker.TypeOf(entry) == type).Sum(entry => entry.Length);
        int intentBlocks = state.Intents.Grains / GrainMap.BlockGrains;
        Assert.Equal(520 * intentBlocks, Bytes(MetadataEntryType.IntentMap));
        Assert.Equal(0, Bytes(MetadataEntryType.IntentAdd));
        Assert.Equal(3 * 536 * state.Missing.UsedChunks, Bytes(MetadataEntryType.MissingMap));
        Assert.Equal(0, Bytes(MetadataEntryType.MissingAdd));
        Assert.True(entries.Sum(entry => entry.Length) <= CheckpointWriter.BytesOf(state));
        var restored = new MetadataState(Large);
        entries.ForEach(entry => EntryMaker.Fold(restored, entry));
        Assert.Equal(StateText.Of(state), StateText.Of(restored));
    }

    [Fact]
    public void WhatCannotBeIsNotFolded()
    {
        var state = new MetadataState(Size);
        uint grains = (uint)state.Intents.Grains, regions = (uint)state.Missing.Regions;
        void Refuse(byte[] entry) => Assert.Equal(FoldVerdict.Impossible, EntryMaker.Fold(state, entry));
        Refuse(EntryMaker.Bytes(new IntentAddEntry(grains, 1)));
        Refuse(EntryMaker.Bytes(new IntentAddEntry(grains - 1, 2)));
        Refuse(EntryMaker.Bytes(new IntentAddEntry(0, 0)));
        Refuse(EntryMaker.Bytes(new IntentClearEntry(1, uint.MaxValue)));
        Refuse(EntryMaker.Bytes(new IntentMapEntry(grains - grains % 64 + 64, [1ul])));
        Refuse(EntryMaker.Bytes(new IntentMapEntry(uint.MaxValue - 63, [1ul])));
        Refuse(EntryMaker.Bytes(new MissingAddEntry(regions, 1, default)));
        Refuse(EntryMaker.Bytes(new MissingMapEntry(0, default, [0, 0, 0, 0, 1ul << (int)regions % 64])));
        Refuse(EntryMaker.Bytes(new MissingMapEntry(5, default, [1ul])));
        Refuse(EntryMaker.Bytes(new MissingMapEntry(0, default, new ulong[65])));
        Refuse(EntryMaker.Bytes(new MissingRemoveEntry(regions, 1)));
        Refuse(EntryMaker.Bytes(new RegionVersionsEntry(regions, [1ul])));
        Refuse(EntryMaker.Bytes(new RegionVersionRunEntry(0, regions + 1, 1)));
        Refuse(EntryMaker.Bytes(new SizeEntry(Size - 512)));
        Refuse(EntryMaker.Bytes(new SizeEntry(StoreFormat.MaxVolumeBytes + 512)));
        Refuse(Condition(ReplicaCondition.Failed, 1));
        Refuse(Condition(ReplicaCondition.Sound, 1));
        byte[] node = EntryMaker.Bytes(new PromiseEntry(1, default, 1));
        node[20] = 1; // Above 2^32 − 1, as is the member's replica.
        Refuse(node);
        byte[] member = EntryMaker.Bytes(new ReplicaConfiguration(1, [default(ReplicaMember)], 1));
        member[20] = 1;
        Refuse(member);
        Refuse([1, 0, 8, 0, 0, 0, 0, 0]);
        Refuse([2, 0, 8, 0, 0, 0, 0, 0]);
        Assert.Equal(FoldVerdict.Unknown, EntryMaker.Fold(state, [99, 0, 8, 0, 0, 0, 0, 0]));
        Assert.Equal(StateText.Of(new MetadataState(Size)), StateText.Of(state));
    }

    [Fact]
    public void AVoidedReplicaTellsInWhichHistory()
    {
        var state = new MetadataState(Size);
        EntryMaker.Fold(state, Condition(ReplicaCondition.Voided, 6));
        Assert.Equal((ReplicaCondition.Voided, 6ul), (state.Condition, state.VoidedIn));
        EntryMaker.Fold(state, Condition(ReplicaCondition.Sound, 0));
        Assert.Equal((ReplicaCondition.Sound, 0ul), (state.Condition, state.VoidedIn));
    }

    [Fact]
    public void TheHistoryKeepsTheNewest()
    {
        var history = new EpochHistory();
        for (ulong epoch = 1; epoch <= StoreFormat.MaxHistory + 10; epoch++)
        {
            history.Set(epoch, 10 * epoch);
        }

        history.Set(5, 1); // Older than all that is kept.
        Assert.Equal(StoreFormat.MaxHistory, history.Points.Length);
        Assert.Equal(new HistoryPoint(11, 110), history.Points[0]);
        Assert.Equal(new HistoryPoint(StoreFormat.MaxHistory + 10, 10340), history.Last);
        history.Set(20, 7);
        Assert.Equal(new HistoryPoint(20, 7), history.Points[9]);
        Assert.Equal(StoreFormat.MaxHistory, history.Points.Length);
    }

    [Fact]
    public void TooManyClaimsAreRefused()
    {
        var missing = new MissingMap(3 * StoreFormat.MaxMissingClaims);
        for (int i = 0; i < StoreFormat.MaxMissingClaims; i++)
        {
            Assert.True(missing.TryAdd(i, 1, new HistoryPoint(1, (ulong)i + 1)));
        }

        Assert.False(missing.TryAdd(7000, 1, new HistoryPoint(2, 1)));
        Assert.True(missing.TryAdd(7000, 1, new HistoryPoint(1, 5)));
        missing.Remove(0, 1);
        Assert.True(missing.TryAdd(7001, 1, new HistoryPoint(2, 1)));
        Assert.True(missing.TryGetClaim(7001, out HistoryPoint claim));
        Assert.Equal(new HistoryPoint(2, 1), claim);
        Assert.False(missing.Contains(0));
    }

    // One call of the writer per record, with live entries after it, as the log does it.
    private static List<byte[]> Checkpoint(
        MetadataState state, Random random, Action between, List<byte[]>? chain = null)
    {
        var entries = new List<byte[]>();
        var writer = new CheckpointWriter(state);
        writer.Begin(9);
        while (writer.IsActive)
        {
            long promised = writer.RemainingBytes;
            byte[] room = new byte[
                random.Next(CheckpointWriter.MinRoomBytes, MetadataRecord.MaxPayloadBytes)];
            ReadOnlySpan<byte> left = room.AsSpan(0, writer.Fill(room));
            Assert.True(left.Length <= promised);
            while (MetadataEntry.TryTake(ref left, out _, out ReadOnlySpan<byte> entry))
            {
                (chain ?? entries).Add(entry.ToArray());
            }

            Assert.Equal(0, left.Length);
            between();
        }

        return entries;
    }
}
