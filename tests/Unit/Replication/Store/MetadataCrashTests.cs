using Ublk.Replication.Store;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Store;

/// <summary>
/// Crashes at every write: what was completed is there afterwards, in a state that is that of a prefix.
/// </summary>
public sealed class MetadataCrashTests
{
    private const long Size = 24L << 20;

    [Theory]
    [InlineData(Tear.Dropped)]
    [InlineData(Tear.Kept)]
    [InlineData(Tear.Torn)]
    internal void AtEveryWriteOfOneHistory(Tear tear)
    {
        int writes = int.MaxValue;
        for (int crashAt = 1; crashAt <= writes; crashAt++)
        {
            var random = new Random(11);
            using var bench = new LogBench(112, Size);
            int steps = Play(bench, random, crashAt);
            writes = steps < crashAt ? steps : writes;
            bench.CrashAndRecover(tear, random);
            Play(bench, random, 3);
            bench.CrashAndRecover(tear, random, isSameBoot: false);
        }

        Assert.InRange(writes, 100, 1000);
    }

    [Fact]
    public void AgainAndAgainByChance()
    {
        for (int seed = 0; seed < 40; seed++)
        {
            var random = new Random(seed);
            using var bench = new LogBench(random.Next(112, 200), Size);
            for (int crash = 0; crash < 12; crash++)
            {
                Play(bench, random, random.Next(1, 120));
                bench.CrashAndRecover((Tear)random.Next(3), random, random.Next(2) == 0);
            }
        }
    }

    // A batch of several records, with a checkpoint under way when it begins.
    [Theory]
    [InlineData(Tear.Dropped)]
    [InlineData(Tear.Kept)]
    [InlineData(Tear.Torn)]
    internal void ABatchIsThereAsAWholeOrNotAtAll(Tear tear)
    {
        bool wasWhole = false, wasNothing = false;
        for (int crashAt = 0; crashAt < 40; crashAt++)
        {
            var random = new Random(5);
            using var bench = new LogBench(112, Size);
            while (bench.Log.FreeRecords > 80)
            {
                bench.Append(EntryMaker.Bytes(new DurableEntry(new(1, (ulong)bench.Log.FreeRecords))));
                bench.Run();
            }

            var maker = new EntryMaker(random, Size);
            byte[][] batch = [.. Enumerable.Range(0, 700).Select(_ => maker.Missing())];
            Assert.Equal(AppendResult.Queued, bench.Append(batch));
            bench.Append(EntryMaker.Bytes(new DurableEntry(new(1, 1))));
            bench.Log.Issue();
            for (int i = 0; i < crashAt && bench.Disk.IsBusy; i++)
            {
                bench.Step();
            }

            bench.CrashAndRecover(tear, random);
            wasWhole |= bench.Log.State.Missing.Count > 0;
            wasNothing |= bench.Log.State.Missing.Count == 0;

            // What a crash cut off stays cut off when the log goes on behind it.
            Play(bench, random, crashAt);
            bench.CrashAndRecover(tear, random);
        }

        Assert.True(wasWhole && wasNothing);
    }

    [Fact]
    public void TheReadsAreBounded()
    {
        using var bench = new LogBench(128, Size);
        Play(bench, new Random(2), 500);
        bench.Run();
        int before = bench.Disk.ReadCount;
        Assert.Equal("", bench.Recover().Text);
        Assert.InRange(bench.Disk.ReadCount - before, 128, 2 * 128 + StoreFormat.VaultSlots);
    }

    // Appends by chance, several in flight, until a number of writes has ended. Answers how many have.
    private static int Play(LogBench bench, Random random, int writes)
    {
        var maker = new EntryMaker(random, bench.Log.State.SizeBytes, bench.AppendedCount);
        int done = 0;
        for (int step = 0; step < 400 && done < writes; step++)
        {
            for (int i = random.Next(12); i > 0; i--)
            {
                int entries = random.Next(20) == 0 ? 9 : 1;
                byte[][] unit = [.. Enumerable.Range(0, entries).Select(_ => maker.Next())];
                Assert.Equal(AppendResult.Queued, bench.Append(unit));
            }

            bench.Log.Issue();
            for (int i = random.Next(3); i > 0 && bench.Disk.IsBusy && done < writes; i--)
            {
                bench.Step();
                done++;
            }
        }

        return done;
    }
}
