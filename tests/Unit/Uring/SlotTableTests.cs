using CsCheck;
using Ublk.Testing;
using Ublk.Uring;
using Xunit;

namespace Ublk.Tests.Unit.Uring;

public sealed class SlotTableTests
{
    [Fact]
    public void EverySlotIsGivenOutOnce()
    {
        var table = new SlotTable<Item>(5, "items");
        var seen = new HashSet<int>();
        for (int i = 0; i < 5; i++)
        {
            table.Rent(out int index).Value = i;
            Assert.InRange(index, 0, 4);
            Assert.True(seen.Add(index));
            Assert.Equal(i + 1, table.RentedCount);
        }

        InvalidOperationException full =
            Assert.Throws<InvalidOperationException>(() => table.Rent(out _));
        Assert.Contains("all 5 slots for items", full.Message, StringComparison.Ordinal);
        Assert.Equal(5, table.RentedCount);
        Assert.Equal(5, table.Capacity);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void TheSmallestTablesEnd(int capacity)
    {
        var table = new SlotTable<Item>(capacity, "items");
        for (int i = 0; i < capacity; i++)
        {
            table.Rent(out _);
        }

        Assert.Throws<InvalidOperationException>(() => table.Rent(out _));
    }

    [Fact]
    public void AReturnedSlotIsClearedAndTheNextOne()
    {
        var table = new SlotTable<Item>(3, "items");
        table.Rent(out _);
        ref Item item = ref table.Rent(out int index);
        item = new Item { Value = 7, Owner = this };
        Assert.Same(this, table[index].Owner);
        table.Return(index);
        Assert.Null(table[index].Owner);
        Assert.Equal(default, table.Rent(out int again));
        Assert.Equal(index, again);
    }

    [Fact]
    public void ASlotReturnedTwiceIsAnError()
    {
        var table = new SlotTable<Item>(2, "items");
        table.Rent(out int index);
        table.Return(index);
        InvalidOperationException twice =
            Assert.Throws<InvalidOperationException>(() => table.Return(index));
        Assert.Contains("returned twice", twice.Message, StringComparison.Ordinal);
        Assert.Throws<InvalidOperationException>(() => table.Return(1));
        Assert.Throws<IndexOutOfRangeException>(() => table.Return(2));
        Assert.Equal(0, table.RentedCount);
        table.Rent(out int first);
        table.Rent(out int second);
        Assert.NotEqual(first, second);
    }

    [Fact]
    public void AnIdEndsWithItsSlot()
    {
        var table = new SlotTable<Item>(2, "items");
        table.Rent(out int index);
        ulong id = table.IdOf(index);
        Assert.True(table.TryFind(id, out int found));
        Assert.Equal(index, found);
        table.Return(index);
        Assert.False(table.TryFind(id, out _));
        table.Rent(out int again);
        Assert.Equal(index, again);
        Assert.False(table.TryFind(id, out _));
        Assert.True(table.TryFind(table.IdOf(again), out _));
    }

    [Fact]
    public void IdsThatWereNeverGivenOutAreNotFound()
    {
        var table = new SlotTable<Item>(2, "items");
        Assert.False(table.TryFind(0, out _));
        table.Rent(out int index);
        Assert.Equal(0, index);
        ulong id = table.IdOf(index);
        Assert.NotEqual(0UL, id);
        foreach (ulong other in new[] { 0UL, 1UL, 2UL, id + 1, id + 2, id + (1UL << 32), ulong.MaxValue })
        {
            Assert.False(table.TryFind(other, out _));
        }
    }

    [Fact]
    public void BehavesLikeASetOfIndexes()
    {
        const int Capacity = 6;
        Gen.Int[-4, Capacity - 1].Array[1, 200].Sample(steps =>
        {
            var table = new SlotTable<Item>(Capacity, "items");
            var rented = new Dictionary<int, (int Value, ulong Id)>();
            for (int step = 0; step < steps.Length; step++)
            {
                int index = steps[step];
                if (index < 0 && rented.Count < Capacity)
                {
                    table.Rent(out index).Value = step;
                    rented.Add(index, (step, table.IdOf(index)));
                }
                else if (index >= 0 && rented.Remove(index, out (int Value, ulong Id) old))
                {
                    Assert.Equal(old.Value, table[index].Value);
                    table.Return(index);
                    Assert.False(table.TryFind(old.Id, out _));
                }
            }

            Assert.Equal(rented.Count, table.RentedCount);
            Assert.All(rented, pair => Assert.True(
                table.TryFind(pair.Value.Id, out int found) && found == pair.Key &&
                table[found].Value == pair.Value.Value));
        }, threads: 1);
    }

    [Fact]
    public void NothingIsAllocated()
    {
        var table = new SlotTable<Item>(8, "items");
        Assert.Equal(0, Allocation.Steady(() =>
        {
            for (int i = 0; i < 10_000; i++)
            {
                table.Rent(out int index).Value = i;
                Assert.True(table.TryFind(table.IdOf(index), out _));
                table.Return(index);
            }
        }));
    }

    private struct Item
    {
        public int Value;
        public object? Owner;
    }
}
