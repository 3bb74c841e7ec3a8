using Ublk.Replication.Store;
using Ublk.Testing.Replicas;
using Ublk.Wire.Ids;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Store;

/// <summary>What recovery makes of rings that are not as a crash leaves them.</summary>
public sealed class MetadataRecoveryTests
{
    private const int Ring = 112;
    private const long Size = 64L << 20;

    [Fact]
    public void AHoleIsDamageAnywhereFromTheCheckpointOn()
    {
        using LogBench bench = Lapped();
        ulong last = bench.Log.LastRecord, begin = bench.Recover().Position.CheckpointBegin;
        Assert.InRange(last - begin, 20ul, 90ul);
        for (ulong number = begin; number < last; number++)
        {
            foreach (Action<Span<byte>> harm in Harms(bench, number))
            {
                byte[] before = bench.Disk.Record(number).ToArray();
                harm(bench.Disk.Record(number));
                Expect(bench, MetadataDamage.Hole, number);
                before.CopyTo(bench.Disk.Record(number));
            }

            bench.Disk.Unreadable.Add(RingLayout.OffsetOfSlot(bench.Disk.Layout.SlotOf(number)));
            Expect(bench, MetadataDamage.Hole, number);
            bench.Disk.Unreadable.Clear();
        }

        Assert.Equal(MetadataDamage.None, bench.Recover().Damage);
    }

    [Fact]
    public void OlderRecordsAreNoLongerNeeded()
    {
        using LogBench bench = Lapped();
        RecoveryResult sound = bench.Recover();
        string state = StateText.Of(sound.State!);
        ulong first = bench.Log.LastRecord - Ring + 2;
        for (ulong number = first; number < sound.Position.CheckpointBegin; number++)
        {
            bench.Disk.Record(number)[100] ^= 1;
            RecoveryResult found = bench.Recover();
            Assert.Equal("", found.Text);
            Assert.Equal(state, StateText.Of(found.State!));
            StoreFinding finding = Assert.Single(found.Findings);
            RingLayout layout = bench.Disk.Layout;
            Assert.Equal(RingLayout.OffsetOfSlot(layout.SlotOf(number)), finding.OffsetBytes);
            bench.Disk.Record(number)[100] ^= 1;
        }
    }

    // Found by eng/fuzz: a record that is whole, and that no version of the program has written.
    [Theory]
    [InlineData("2100100000000000" + "0200000000000000")]
    [InlineData("2200080000000000" + "2100080000000000")]
    public void ACheckpointThatHasNotBegunDoesNotEnd(string entries)
    {
        var disk = new StoreDisk(new RingLayout(new Incarnation(1), Ring));
        Put(disk.Record(1), RecordKind.Ring, Convert.FromHexString(entries));
        byte[] mark = EntryMaker.Bytes(new MarkEntry(MetadataEntryType.VaultMark, 1));
        Put(disk.VaultSlot(1), RecordKind.Vault, mark);
        RecoveryResult found = MetadataRecovery.Run(disk, disk.Layout, Size);
        Assert.Equal((MetadataDamage.ImpossibleEntry, 1ul), (found.Damage, found.Record));

        void Put(Span<byte> record, RecordKind kind, byte[] payload)
        {
            payload.CopyTo(MetadataRecord.Payload(record));
            var header = new RecordHeader(kind, RecordFlags.None, 1, 0, 1, payload.Length);
            MetadataRecord.Seal(record, disk.Layout.Identity, header);
        }
    }

    [Fact]
    public void ATornLastRecordIsNormalUnlessItIsKnownToHaveBeenDurable()
    {
        using LogBench bench = Lapped();
        ulong last = bench.Log.LastRecord;
        bench.Disk.Record(last)[4000] ^= 1;
        RecoveryResult found = bench.Recover();
        Assert.Equal("", found.Text);
        Assert.True(found.HasTornTail);
        Assert.Equal(last - 1, found.Position.LastRecord);
        Assert.Equal(MetadataDamage.None, bench.Recover(last - 1).Damage);
        found = bench.Recover(last);
        Assert.Equal(MetadataDamage.LostRecord, found.Damage);
        Assert.Equal(last, found.Record);
        Assert.Contains($"record {last}", found.Text, StringComparison.Ordinal);
    }

    // Every bit of the record that holds a promise: the vault knows that the promise was made.
    [Fact]
    public void APromiseIsNotForgottenWithTheLastRecord()
    {
        using LogBench bench = Lapped();
        bench.Append(new PromiseEntry(bench.AppendedCount + 1000, default, 1));
        bench.Run();
        ulong last = bench.Log.LastRecord;
        for (int at = 0; at < MetadataRecord.Bytes; at += 7)
        {
            bench.Disk.Record(last)[at] ^= 0x10;
            Expect(bench, MetadataDamage.VaultAhead, last);
            bench.Disk.Record(last)[at] ^= 0x10;
        }

        bench.Disk.Record(last).Clear();
        Expect(bench, MetadataDamage.VaultAhead, last);
    }

    [Fact]
    public void TwoDamagedRecordsAtTheEndAreNoTear()
    {
        using LogBench bench = Lapped();
        ulong last = bench.Log.LastRecord;
        bench.Disk.Record(last)[70] ^= 1;
        bench.Disk.Record(last - 1)[70] ^= 1;
        Expect(bench, MetadataDamage.UnclearTail, last);
        bench.Disk.Record(last).Clear();
        Expect(bench, MetadataDamage.UnclearTail, last);
    }

    [Fact]
    public void AMisdirectedRecordIsDamage()
    {
        using LogBench bench = Lapped();
        ulong last = bench.Log.LastRecord;
        bench.Disk.Record(last).CopyTo(bench.Disk.Record(last + 5));
        RecoveryResult found = bench.Recover();
        Assert.Equal(MetadataDamage.Misplaced, found.Damage);
        Assert.Equal(
            RingLayout.OffsetOfSlot(bench.Disk.Layout.SlotOf(last + 5)), found.OffsetBytes);
    }

    // Two logs of one identity, as when a file was copied and both went on.
    [Fact]
    public void ARecordOfAnotherHistoryBreaksTheChain()
    {
        using LogBench one = Lapped(), other = Lapped(seed: 8);
        ulong number = one.Log.LastRecord - 3;
        other.Disk.Record(number).CopyTo(one.Disk.Record(number));
        Expect(one, MetadataDamage.BrokenChain, number + 1);
    }

    [Fact]
    public void ADroppedWriteInTheMiddleIsAHole()
    {
        for (int drop = 1; drop < 20; drop++)
        {
            using LogBench bench = Lapped();
            ulong number = bench.Log.LastRecord + (ulong)drop;
            byte[] before = bench.Disk.Record(number).ToArray();
            for (int i = 0; i < 20; i++)
            {
                bench.Append(new DurableEntry(new(1, 1)));
                bench.Run();
            }

            bool isNeeded = number >= bench.Recover().Position.CheckpointBegin;
            before.CopyTo(bench.Disk.Record(number));
            if (isNeeded)
            {
                Expect(bench, MetadataDamage.Hole, number);
            }
            else
            {
                Assert.Single(bench.Recover().Findings);
            }
        }
    }

    [Fact]
    public void WithoutAVaultNobodyKnowsWhetherTheRingIsComplete()
    {
        using LogBench bench = Lapped();
        for (int slot = 0; slot < StoreFormat.VaultSlots; slot++)
        {
            bench.Disk.VaultSlot(slot)[50] ^= 1;
        }

        Assert.Equal(MetadataDamage.NoVault, bench.Recover().Damage);
        for (int slot = 0; slot < StoreFormat.VaultSlots; slot++)
        {
            bench.Disk.VaultSlot(slot).Clear();
        }

        Assert.Equal(MetadataDamage.NoVault, bench.Recover().Damage);
    }

    [Fact]
    public void OneOrTwoSlotsOfTheVault()
    {
        using LogBench bench = Lapped();
        int newest = (int)(bench.Recover().Position.LastVaultRecord % StoreFormat.VaultSlots);
        int Slot(int after) => (newest + after) % StoreFormat.VaultSlots;
        bench.Disk.VaultSlot(Slot(1))[50] ^= 1;
        Assert.Empty(bench.Recover().Findings);
        bench.Disk.VaultSlot(Slot(3))[50] ^= 1;
        Assert.Single(bench.Recover().Findings);
        bench.Disk.VaultSlot(Slot(2))[50] ^= 1;
        Assert.Equal(MetadataDamage.NoVault, bench.Recover().Damage);
    }

    [Fact]
    public void AnEmptyRingIsNoReplica()
    {
        using LogBench bench = Lapped();
        for (int slot = 0; slot < Ring; slot++)
        {
            bench.Disk.Slot(slot).Clear();
        }

        Assert.Equal(MetadataDamage.NoRecord, bench.Recover().Damage);
    }

    [Fact]
    public void RecordsOfAnEarlierFormatAreNeverTaken()
    {
        using LogBench old = Lapped();
        var layout = new RingLayout(new Incarnation(9), Ring);
        RecoveryResult found = MetadataRecovery.Run(old.Disk, layout, Size);
        Assert.Equal(MetadataDamage.NoRecord, found.Damage);
    }

    [Theory]
    [InlineData(8, 7, MetadataDamage.Newer)] // version
    [InlineData(64, 99, MetadataDamage.Newer)] // type of an entry
    [InlineData(66, 12, MetadataDamage.ImpossibleEntry)] // length of an entry
    [InlineData(52, 1, MetadataDamage.ImpossibleEntry)] // begin of the checkpoint
    internal void WholeRecordsThatSayTheWrongThing(int offset, byte value, MetadataDamage damage)
    {
        using LogBench bench = Lapped();
        Span<byte> record = bench.Disk.Record(bench.Log.LastRecord);
        record[offset] = value;
        StoreBytes.SetCrc(record, 44);
        Assert.Equal(damage, bench.Recover().Damage);
    }

    [Fact]
    public void AnEntryOutsideOfTheVolumeIsImpossible()
    {
        using LogBench bench = Lapped();
        bench.Append(new IntentAddEntry(3, 4));
        bench.Run();
        Span<byte> record = bench.Disk.Record(bench.Log.LastRecord);
        record[70] = 1;
        StoreBytes.SetCrc(record, 44);
        RecoveryResult found = bench.Recover();
        Assert.Equal(MetadataDamage.ImpossibleEntry, found.Damage);
        Assert.Equal(bench.Log.LastRecord, found.Record);
        Assert.Contains("type 16", found.Text, StringComparison.Ordinal);
    }

    private static void Expect(LogBench bench, MetadataDamage damage, ulong number)
    {
        RecoveryResult found = bench.Recover();
        Assert.Equal(damage, found.Damage);
        Assert.Null(found.State);
        Assert.Equal(number, found.Record);
        Assert.Equal(RingLayout.OffsetOfSlot(bench.Disk.Layout.SlotOf(number)), found.OffsetBytes);
        Assert.NotEmpty(found.Text);
    }

    private static List<Action<Span<byte>>> Harms(LogBench bench, ulong number)
    {
        byte[] older = bench.Disk.Record(number).ToArray();
        return
        [
            record => record[(int)(number * 97 % MetadataRecord.Bytes)] ^= 4,
            record => record[512..1024].Fill(0xEE),
            record => record.Clear(),
            record => older.AsSpan(0, 2048).CopyTo(record[2048..]),
        ];
    }

    // A ring that went round more than once and has room before the next checkpoint.
    private static LogBench Lapped(int seed = 7)
    {
        var bench = new LogBench(Ring, Size);
        var random = new Random(seed);
        for (ulong i = 0; i < Ring + 70; i++)
        {
            bench.Append(new DurableEntry(new HistoryPoint(1, (ulong)random.NextInt64())));
            if (i % 20 == 0)
            {
                bench.Append(new PromiseEntry(i + 1, default, 1));
            }

            bench.Run();
        }

        return bench;
    }
}
