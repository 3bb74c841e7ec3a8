using Ublk.Replication.Store;
using Ublk.Testing;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Store;

public sealed class IntentPolicyTests
{
    private const long MiB = 1 << 20;
    private const int Grain = StoreFormat.GrainBytes;

    private readonly MetadataState _state = new(1L << 30);
    private readonly ulong[] _versions = new ulong[1024];

    [Fact]
    public void ARandomWriteMarksItsRegion()
    {
        IntentPolicy policy = Policy();
        IntentNeed need = policy.Prepare(5 * MiB + 4096, 4096);
        Assert.Equal(new IntentNeed(IntentStep.Mark, 1, 80, 16), need);
        policy.Confirm(need);
        Assert.Equal(new IntentNeed(IntentStep.Wait, 1, 0, 0), policy.Prepare(5 * MiB + 900_000, 512));
        policy.MarkDurable(1);
        Assert.Equal(IntentStep.Ready, policy.Prepare(5 * MiB, 1 << 20).Step);
        need = policy.Prepare(6 * MiB - 4096, 8192);
        Assert.Equal((IntentStep.Mark, 96), (need.Step, need.First));
        Assert.Equal(16, policy.HotGrains);
        Assert.Equal((1, 1, 1, 16), (policy.Counters.Hits, policy.Counters.Waits,
            policy.Counters.Marks, policy.Counters.MarkedGrains));
    }

    [Fact]
    public void ASequentialWriterMarksMoreAndMore()
    {
        IntentPolicy policy = Policy();
        var lengths = new List<int>();
        for (long offset = 0; offset < 200 * MiB; offset += 64 * 1024)
        {
            IntentNeed need = policy.Prepare(100 * MiB + offset, 64 * 1024);
            if (need.Step == IntentStep.Mark)
            {
                policy.Confirm(need);
                policy.MarkDurable(need.Ticket);
                lengths.Add(need.Count / 16);
            }

            // A second writer, far away, does not disturb.
            IntentNeed other = policy.Prepare(700 * MiB + offset / 4, 4096);
            if (other.Step == IntentStep.Mark)
            {
                policy.Confirm(other);
                policy.MarkDurable(other.Ticket);
            }
        }

        Assert.Equal([1, 2, 4, 8, 16, 16], lengths.Take(6));
        Assert.True(lengths.Count < 20, $"{lengths.Count} marks for 200 MiB");
    }

    [Fact]
    public void HotGrainsAreBounded()
    {
        IntentPolicy policy = Policy(maxHotGrains: 40);
        for (int region = 0; region < 2; region++)
        {
            Mark(policy, region * 10 * MiB, 4096);
        }

        // Near the bound only what is needed is marked.
        for (int i = 0; i < 8; i++)
        {
            IntentNeed need = policy.Prepare(500 * MiB + i * 2 * MiB, 4096);
            Assert.Equal((IntentStep.Mark, 1), (need.Step, need.Count));
            policy.Confirm(need);
            policy.MarkDurable(need.Ticket);
        }

        Assert.True(policy.IsCrowded);
        Assert.Equal(IntentStep.Full, policy.Prepare(900 * MiB, 4096).Step);
        Assert.Equal(IntentStep.Ready, policy.Prepare(500 * MiB, 4096).Step);
        Assert.Equal(1, policy.Counters.Refusals);

        // A reconcile goes on, and marks no more than it needs.
        IntentNeed forced = policy.Prepare(900 * MiB, 4096, isForced: true);
        Assert.Equal((IntentStep.Mark, 900 * 16, 1), (forced.Step, forced.First, forced.Count));
        policy.Confirm(forced);
        policy.MarkDurable(forced.Ticket);
        Assert.Equal(IntentStep.Ready, policy.Prepare(900 * MiB, 4096).Step);
        Assert.Equal(IntentStep.Full, policy.Prepare(901 * MiB, 4096).Step);
        Assert.Equal(2, policy.Counters.Refusals);

        // A write larger than the bound goes on when nothing else is hot.
        Assert.Equal(IntentStep.Mark, Policy(maxHotGrains: 4).Prepare(0, MiB).Step);
    }

    // The I-rule: nothing leaves I above D or above C, and nothing that is under way.
    [Fact]
    public void OnlyWhatIsDurableEverywhereIsCleared()
    {
        IntentPolicy policy = Policy();
        Mark(policy, 0, 4096);
        Mark(policy, 10 * MiB, 4096);
        Mark(policy, 20 * MiB, 4096);
        _versions[0] = 5;
        _versions[10] = 7;
        _versions[20] = RegionVersions.Unknown;
        Assert.Empty(Clear(policy, bound: 4));
        Assert.Equal([new IntentClearing(0, 0, 16, 5)], Clear(policy, bound: 6));
        Assert.Equal(IntentStep.Mark, policy.Prepare(0, 4096).Step);
        Assert.Equal([new IntentClearing(10, 160, 16, 7)], Clear(policy, bound: ulong.MaxValue - 1));
        Assert.Empty(Clear(policy, bound: ulong.MaxValue - 1));
        Assert.Equal(16, policy.HotGrains);
    }

    [Fact]
    public void WhatIsWrittenAgainIsKeptForAnotherRound()
    {
        IntentPolicy policy = Policy();
        Mark(policy, 0, 4096);
        Mark(policy, 10 * MiB, 4096);
        _versions[0] = 5;
        Assert.Equal([10], Clear(policy, 100, isIdle: false).Select(clearing => clearing.Region));
        _versions[0] = 6;
        Assert.Empty(Clear(policy, 100, isIdle: false));
        Assert.Equal([0], Clear(policy, 100, isIdle: false).Select(clearing => clearing.Region));
    }

    [Fact]
    public void AMarkUnderWayIsNotCleared()
    {
        IntentPolicy policy = Policy();
        IntentNeed need = policy.Prepare(0, 4096);
        policy.Confirm(need);
        Assert.Empty(Clear(policy, 100));
        policy.MarkDurable(need.Ticket);
        Assert.Single(Clear(policy, 100));
    }

    [Fact]
    public void AClearingThatFindsNoRoomIsTriedAgain()
    {
        IntentPolicy policy = Policy();
        Mark(policy, 0, 4096);
        int budget = 10;
        Assert.True(policy.TryFindClearable(100, true, ref budget, out IntentClearing clearing));
        policy.Kept(clearing);
        Assert.Equal(16, policy.HotGrains);
        Assert.Single(Clear(policy, 100));
    }

    [Fact]
    public void IntentsOfTheRingAreHotFromTheBeginning()
    {
        _state.Intents.Add(30, 5);
        IntentPolicy policy = Policy();
        Assert.Equal(5, policy.HotGrains);
        Assert.Equal(IntentStep.Ready, policy.Prepare(30 * Grain, 5 * Grain).Step);
        Assert.Equal([1, 2], Clear(policy, 100).Select(clearing => clearing.Region));
    }

    [Fact]
    public void GrowsWithTheVolume()
    {
        var state = new MetadataState(MiB);
        var policy = new IntentPolicy(state, region => _versions[region], new IntentPolicyOptions());
        EntryMaker.Fold(state, EntryMaker.Bytes(new SizeEntry(10 * MiB)));
        policy.Grow();
        Assert.Equal(new IntentNeed(IntentStep.Mark, 1, 144, 16), policy.Prepare(9 * MiB, 4096));
    }

    [Fact]
    public void CallsOutOfOrderAreErrors()
    {
        IntentPolicy policy = Policy();
        IntentNeed first = policy.Prepare(0, 4096), second = policy.Prepare(10 * MiB, 4096);
        policy.Confirm(first);
        Assert.Throws<InvalidOperationException>(() => policy.Confirm(second));
        Assert.Throws<InvalidOperationException>(() => policy.MarkDurable(2));
        Assert.Throws<InvalidOperationException>(() => policy.MarkDurable(1));
    }

    // Random writes and clearings against the rule itself, with the state folded as the log does it.
    [Fact]
    public void ARandomHistoryKeepsTheRule()
    {
        for (int seed = 0; seed < 10; seed++)
        {
            var random = new Random(seed);
            var state = new MetadataState(64 * MiB);
            ulong[] versions = new ulong[64];
            ulong[] appliedInGrain = new ulong[1024];
            var policy = new IntentPolicy(
                state, region => versions[region], new IntentPolicyOptions { MaxHotGrains = 200 });
            ulong sequence = 0, bound = 0;
            for (int step = 0; step < 3000; step++)
            {
                int grain = random.Next(1024), count = Math.Min(1024 - grain, random.Next(1, 5));
                IntentNeed need = policy.Prepare((long)grain * Grain, (long)count * Grain);
                if (need.Step == IntentStep.Mark)
                {
                    policy.Confirm(need);
                    var mark = new IntentAddEntry((uint)need.First, (uint)need.Count);
                    Assert.Equal(FoldVerdict.Folded, EntryMaker.Fold(state, EntryMaker.Bytes(mark)));
                    policy.MarkDurable(need.Ticket);
                }

                Assert.True(policy.HotGrains <= 200);
                if (need.Step != IntentStep.Full)
                {
                    sequence++;
                    Assert.True(state.Intents.ContainsAll(grain, count));
                    Array.Fill(appliedInGrain, sequence, grain, count);
                    Array.Fill(versions, sequence, grain / 16, (grain + count - 1) / 16 - grain / 16 + 1);
                }

                bound = random.Next(10) == 0 ? sequence - sequence / 50 : bound;
                foreach (IntentClearing clearing in Clear(policy, bound, random.Next(2) == 0))
                {
                    ulong newest = appliedInGrain.AsSpan(clearing.First, clearing.Count).ToArray().Max();
                    Assert.True(newest <= bound && newest <= clearing.Version);
                    var clear = new IntentClearEntry((uint)clearing.First, (uint)clearing.Count);
                    Assert.Equal(FoldVerdict.Folded, EntryMaker.Fold(state, EntryMaker.Bytes(clear)));
                }

                Assert.Equal(state.Intents.Count, policy.HotGrains);
            }

            Assert.True(policy.Counters.ClearedRegions > 100);
        }
    }

    [Fact]
    public void NothingIsAllocatedPerWrite()
    {
        IntentPolicy policy = Policy(maxHotGrains: 2000);
        var random = new Random(4);
        ulong sequence = 0;
        long bytes = Allocation.Steady(() =>
        {
            for (int i = 0; i < 20_000; i++)
            {
                long offset = random.Next(1 << 18) * 4096L;
                IntentNeed need = policy.Prepare(offset, 4096);
                if (need.Step == IntentStep.Mark)
                {
                    policy.Confirm(need);
                    policy.MarkDurable(need.Ticket);
                }

                _versions[offset / MiB] = ++sequence;
                int budget = 4;
                while (policy.TryFindClearable(sequence - 50, true, ref budget, out IntentClearing clearing))
                {
                    policy.Cleared(clearing);
                }
            }
        });
        Assert.Equal(0, bytes);
        Assert.True(policy.Counters.Marks > 1000);
    }

    private static void Mark(IntentPolicy policy, long offset, long length)
    {
        IntentNeed need = policy.Prepare(offset, length);
        Assert.Equal(IntentStep.Mark, need.Step);
        policy.Confirm(need);
        policy.MarkDurable(need.Ticket);
    }

    private static List<IntentClearing> Clear(IntentPolicy policy, ulong bound, bool isIdle = true)
    {
        var found = new List<IntentClearing>();
        int budget = policy.HotRegions;
        while (policy.TryFindClearable(bound, isIdle, ref budget, out IntentClearing clearing))
        {
            policy.Cleared(clearing);
            found.Add(clearing);
        }

        return found;
    }

    private IntentPolicy Policy(int maxHotGrains = 32 * 1024) => new(
        _state, region => _versions[region], new IntentPolicyOptions { MaxHotGrains = maxHotGrains });
}
