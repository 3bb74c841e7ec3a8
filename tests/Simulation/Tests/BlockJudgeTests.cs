using System.Runtime.InteropServices;
using Ublk.Tests.Simulation.Judge;
using Ublk.Tests.Simulation.World;
using Xunit;

namespace Ublk.Tests.Simulation.Tests;

/// <summary>The judge of a block against one that tries every order.</summary>
public sealed class BlockJudgeTests
{
    [Theory]
    [InlineData(0, 0)]
    [InlineData(0, 2)]
    [InlineData(1, 0)]
    [InlineData(2, 0)]
    [InlineData(1, 2)]
    public void AgreesWithEveryOrder(int outages, int zeros)
    {
        int accepted = 0, refused = 0, undecided = 0;
        for (ulong seed = 1; seed <= 3000; seed++)
        {
            (List<BlockRecord> records, List<Outage> losses) = Draw(seed, outages, zeros);
            bool isLegal = new SlowJudge(records, losses).Accepts();
            var judge = new BlockJudge(number => $"{number}");
            Exception? complaint = Record.Exception(
                () => judge.Judge(0, CollectionsMarshal.AsSpan(records), records.Count - 1, losses));
            bool isAccepted = complaint is null;
            if (judge.UndecidedCount == 0)
            {
                Assert.True(isLegal == isAccepted, $"seed {seed}: {isLegal}, {complaint?.Message}\n" +
                    string.Join('\n', records.Select(Text)) + "\n" + string.Join('\n', losses));
            }

            undecided += judge.UndecidedCount;
            accepted += isLegal ? 1 : 0;
            refused += isLegal ? 0 : 1;
        }

        Assert.True(accepted > 100 && refused > 100 && undecided < 60,
            $"{accepted} accepted, {refused} refused, {undecided} undecided");
    }

    private static string Text(BlockRecord record) =>
        $"{(record.IsRead ? "read" : "write")} {record.Value}, {record.Begin} to {record.End}, " +
        $"ok {record.IsOk}, durable {record.IsDurable}";

    // Begins and ends in any order; the last written values are read more often than others.
    private static (List<BlockRecord> Records, List<Outage> Outages) Draw(ulong seed, int outages, int zeros)
    {
        var random = new SimulationRandom(seed);
        var records = new List<BlockRecord>();
        var open = new List<int>();
        var losses = new List<Outage>();
        int now = 0, writes = 0;
        int outageEvery = outages == 0 ? int.MaxValue : 14 / (outages + 1);
        for (int step = 1; step <= 14; step++)
        {
            now += 2;
            if (step % outageEvery == 0)
            {
                losses.Add(new Outage(now, random.Below(now), random.Chance(500) ? random.Below(now) : 0));
            }
            else if (records.Count < 7 && (open.Count == 0 || random.Chance(500)))
            {
                open.Add(records.Count);
                records.Add(Begin(random, records.Count, now, ref writes, zeros));
            }
            else if (open.Count > 0)
            {
                int index = random.Below(open.Count);
                ref BlockRecord record = ref CollectionsMarshal.AsSpan(records)[open[index]];
                record.End = now;
                record.IsOk = record.IsRead || random.Chance(750);
                open.RemoveAt(index);
            }
        }

        // A read is known only once it has ended.
        _ = records.RemoveAll(record => record.IsRead && record.End == BlockRecord.Never);
        for (int i = 0; i < records.Count; i++)
        {
            records[i] = records[i] with { Previous = i - 1 };
        }

        return (records, losses);
    }

    private static BlockRecord Begin(
        SimulationRandom random, int number, int now, ref int writes, int zeros)
    {
        bool isRead = random.Chance(500);
        if (!isRead)
        {
            writes++;
        }

        int value = isRead ? Math.Max(0, writes - random.Below(3)) : writes;
        return new BlockRecord
        {
            Operation = number,
            Begin = now,
            End = BlockRecord.Never,
            Value = value <= zeros ? 0 : (ulong)value << 32,
            IsRead = isRead,
            IsDurable = !isRead && random.Chance(200),
        };
    }
}
