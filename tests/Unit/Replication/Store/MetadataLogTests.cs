using Ublk.Replication.Store;
using Ublk.Testing;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Ids;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Store;

public sealed class MetadataLogTests
{
    private const int Ring = 128;
    private const long Size = 300L << 20;

    [Fact]
    public void WhatComesDuringAWriteGoesIntoTheNextRecordTogether()
    {
        using var bench = new LogBench(Ring, Size);
        int writes = bench.Disk.WriteCount;
        bench.Append(Durable(1));
        bench.Log.Issue();
        for (ulong i = 2; i <= 100; i++)
        {
            bench.Append(Durable(i));
            bench.Log.Issue();
        }

        Assert.Equal(writes + 1, bench.Disk.WriteCount);
        bench.Step();
        Assert.Equal([1ul], bench.Completed);
        Assert.Equal(1ul, bench.Log.State.Durable.Sequence);
        bench.Step();
        Assert.Equal(100, bench.Completed.Count);
        Assert.True(bench.Log.IsIdle);
        Assert.Equal(writes + 2, bench.Disk.WriteCount);
        Assert.Equal(Enumerable.Range(1, 100).Select(i => (ulong)i), bench.Completed);
    }

    [Fact]
    public void PromisesCompleteWhenTheVaultHasThemToo()
    {
        using var bench = new LogBench(Ring, Size);
        bench.Told.Clear();
        bench.Append(Durable(1));
        bench.Append(new PromiseEntry(5, new Writer(new NodeId(2), 1), 1));
        bench.Append(Durable(2));
        bench.Log.Issue();
        bench.Step();
        Assert.Equal(["2"], bench.Told);
        Assert.Equal(5ul, bench.Log.State.Promise.Epoch);
        Assert.True(bench.Disk.IsBusy);
        bench.Append(Durable(3));
        bench.Step();
        Assert.Equal(["2", "=1", "=2", "=3"], bench.Told);
        bench.Run();
        Assert.Equal(["2", "=1", "=2", "=3", "3", "=4"], bench.Told);
        Assert.Equal(2ul, bench.Recover().Vault!.RingRecord);
        Assert.Equal(5ul, bench.Recover().Vault!.Promise.Epoch);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void AFailedWriteIsTheEnd(int writesBefore)
    {
        using var bench = new LogBench(Ring, Size);
        bench.Append(new PromiseEntry(5, default, 1));
        bench.Append(Durable(2));
        bench.Log.Issue();
        for (int i = 0; i < writesBefore; i++)
        {
            bench.Step();
        }

        bench.Step(-Errno.EIO);
        Assert.Equal(-Errno.EIO, bench.Failure);
        Assert.True(bench.Log.HasFailed);
        Assert.Empty(bench.Completed);
        Assert.Equal(AppendResult.Failed, bench.Append(Durable(3)));
        Assert.Equal(AppendResult.Failed, bench.Log.BeginBatch(100));
        bench.Log.Issue();
        Assert.False(bench.Disk.IsBusy);
    }

    [Fact]
    public void AnOwnerMayAppendWhileItHearsOfCompletions()
    {
        using var bench = new LogBench(Ring, Size);
        ulong next = 10;
        bench.OnCompleted = token =>
        {
            if (next < 60)
            {
                bench.Append(Durable(next++));
                bench.Log.Issue();
            }
        };
        bench.Append(Durable(1));
        bench.Append(Durable(2));
        bench.Run();
        Assert.Equal(52, bench.Completed.Count);
        Assert.Equal(bench.Completed.Order(), bench.Completed);
        Assert.Equal(59ul, bench.Log.State.Durable.Sequence);
    }

    [Fact]
    public void IntentsAreRefusedBeforeTheReserveIsTouched()
    {
        using var bench = new LogBench(Ring, Size);
        long intents = 0, promises = 0;
        while (bench.Append(new IntentAddEntry((uint)(intents % 4000), 1)) == AppendResult.Queued)
        {
            intents++;
        }

        Assert.Equal(AppendResult.NoRoom, bench.Append(new IntentClearEntry(0, 1)));
        long reserve = RingSpace.ReserveOf(MetadataState.RegionsOf(Size));
        while (bench.Append(new PromiseEntry((ulong)promises, default, 1)) == AppendResult.Queued)
        {
            promises++;
        }

        Assert.True(intents > 5000, $"{intents}");
        Assert.True(promises * 48 > reserve * 3500, $"{promises}");
        Assert.True(bench.Log.Counters.Refused == 3);

        // All of that is written, checkpoints and all, and there is room again.
        bench.Run();
        Assert.Equal(intents + promises, bench.Completed.Count);
        Assert.Equal(AppendResult.Queued, bench.Append(new IntentAddEntry(7, 1)));
        bench.Run();
        bench.CrashAndRecover(Tear.Dropped, new Random(1));
    }

    // One entry to a record is the most wasteful way to use the ring.
    [Theory]
    [InlineData(Ring)]
    [InlineData(StoreFormat.MinRingRecords)]
    public void TheRingGoesRoundManyTimes(int ring)
    {
        using var bench = new LogBench(ring, Size);
        var random = new Random(3);
        var maker = new EntryMaker(random, Size);
        long least = long.MaxValue;
        while (bench.Log.LastRecord < 30ul * (ulong)ring)
        {
            Assert.Equal(AppendResult.Queued, bench.Append(maker.Next()));
            bench.Log.Issue();
            while (bench.Disk.IsBusy)
            {
                least = Math.Min(least, bench.Log.FreeRecords);
                bench.Step();
            }
        }

        Assert.True(least > 10, $"only {least} records were free");
        Assert.True(bench.Log.Counters.CheckpointCount > 20);
        Assert.Equal(0, bench.Log.Counters.Refused);
        bench.CrashAndRecover(Tear.Dropped, random);
    }

    [Fact]
    public void AtRestThereAreNoCheckpoints()
    {
        using var bench = new LogBench(Ring, Size);
        for (ulong i = 0; i < Ring / 2; i++)
        {
            bench.Append(Durable(i));
            bench.Run();
        }

        long records = bench.Log.Counters.Records;
        bench.Run();
        Assert.True(bench.Log.IsIdle);
        Assert.Equal(records, bench.Log.Counters.Records);
    }

    [Fact]
    public void WhatCannotBeIsNotAppended()
    {
        using var bench = new LogBench(Ring, Size);
        uint regions = (uint)MetadataState.RegionsOf(Size);
        Assert.Throws<ArgumentException>(() => bench.Log.Append(new MissingRemoveEntry(regions, 1), 1));
        Assert.Equal(AppendResult.Queued, bench.Log.Append(new SizeEntry(Size + (1 << 20)), 1));
        Assert.Throws<ArgumentException>(() => bench.Log.Append(new SizeEntry(Size), 1));
        Assert.Equal(AppendResult.Queued, bench.Log.Append(new MissingAddEntry(regions, 1, default), 2));
        Assert.Equal(AppendResult.NoRoom, bench.Log.Append(new SizeEntry(1L << 40), 3));
        Assert.Equal(AppendResult.Queued, bench.Log.Append(new SizeEntry(Size + (2 << 20)), 3));
        bench.Run();
        Assert.Equal([1ul, 2ul, 3ul], bench.Completed);
        Assert.Equal(Size + (2 << 20), bench.Log.State.SizeBytes);
        Assert.True(bench.Log.State.Missing.Contains((int)regions));
    }

    [Fact]
    public void CallsOutOfOrderAreErrors()
    {
        using var bench = new LogBench(Ring, Size);
        Assert.Throws<InvalidOperationException>(() => bench.Log.WriteCompleted(0));
        Assert.Throws<InvalidOperationException>(() => bench.Log.EndBatch(1));
        Assert.Throws<InvalidOperationException>(() => bench.Log.AddToBatch(Durable(1)));
        Assert.Equal(AppendResult.Queued, bench.Log.BeginBatch(24));
        Assert.Throws<InvalidOperationException>(() => bench.Log.BeginBatch(24));
        Assert.Throws<InvalidOperationException>(() => bench.Log.Append(Durable(1), 1));
        Assert.Throws<InvalidOperationException>(bench.Log.Issue);
        bench.Log.AddToBatch(Durable(1));
        Assert.Throws<InvalidOperationException>(() => bench.Log.AddToBatch(Durable(2)));
        bench.Log.EndBatch(1);
        bench.Run();
        Assert.Equal([1ul], bench.Completed);
    }

    [Fact]
    public void TooManyClaimsFindNoRoom()
    {
        const long Large = 20_000L << 20;
        using var bench = new LogBench(1024, Large);
        for (uint i = 0; i < StoreFormat.MaxMissingClaims; i++)
        {
            Assert.Equal(AppendResult.Queued, bench.Append(new MissingAddEntry(i, 1, new(1, i))));
        }

        Assert.Equal(AppendResult.NoRoom, bench.Append(new MissingAddEntry(9000, 1, new(2, 0))));
        Assert.Equal(AppendResult.NoRoom, bench.Log.BeginBatch(100, claims: 1));
        bench.Append(new MissingRemoveEntry(0, 10));
        bench.Run();
        Assert.Equal(AppendResult.Queued, bench.Append(new MissingAddEntry(9000, 10, new(2, 0))));
        bench.Run();
        bench.CrashAndRecover(Tear.Dropped, new Random(1));
    }

    [Fact]
    public void NothingIsAllocatedPerAppend()
    {
        const long Large = 1L << 40;
        int ring = RingSpace.RingRecordsFor(Large);
        using MemoryMapping memory = MemoryMapping.Allocate(MetadataRecord.Bytes);
        var effects = new CountingEffects();
        var log = new MetadataLog(new MetadataState(Large), new RingLayout(default, ring),
            LogPosition.Empty, memory.Slice(0, MetadataRecord.Bytes), effects);
        ulong token = 0;
        void Round()
        {
            for (uint i = 0; i < 8; i++)
            {
                uint grain = (uint)(token * 7919 % 4_000_000);
                _ = log.Append(new IntentAddEntry(grain, 16), ++token);
                _ = log.Append(Durable(token), ++token);
                _ = log.Append(new RegionVersionsEntry(grain / 16, [token]), ++token);
                _ = log.Append(new IntentClearEntry(grain, 16), ++token);
            }

            log.Issue();
            effects.Finish(log);
        }

        for (int i = 0; i < 40_000; i++)
        {
            Round(); // Round the ring once, so that a checkpoint was made and all chunks are there.
        }

        long bytes = Allocation.Steady(() =>
        {
            for (int i = 0; i < 20_000; i++)
            {
                Round();
            }
        });
        Assert.True(log.Counters.CheckpointCount > 2, $"{log.Counters.CheckpointCount}");
        Assert.Equal(token, effects.Count);
        Assert.Equal(0, log.Counters.Refused);
        Assert.Equal(0, bytes);
    }

    private static DurableEntry Durable(ulong sequence) => new(new HistoryPoint(1, sequence));

    private sealed class CountingEffects : IMetadataLogEffects
    {
        private int _writes;

        public ulong Count { get; private set; }

        public void WriteDurably(long offsetBytes, in IoBuffer record) => _writes++;

        public void RecordDurable(ulong number)
        {
        }

        public void Completed(ulong token) => Count++;

        public void MetadataFailed(int result) => Assert.Fail("no write failed");

        public void Finish(MetadataLog log)
        {
            while (_writes > 0)
            {
                _writes--;
                log.WriteCompleted(0);
            }
        }
    }
}
