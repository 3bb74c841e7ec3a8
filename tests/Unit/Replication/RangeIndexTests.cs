using Ublk.Replication.State;
using Xunit;

namespace Ublk.Tests.Unit.Replication;

/// <summary>The index of ranges against a list that is searched from end to end.</summary>
public sealed class RangeIndexTests
{
    private const int Slots = 64;

    [Theory]
    [InlineData(1, 4L << 20, 64 << 10)]
    [InlineData(2, 1L << 30, 1 << 20)]
    [InlineData(3, 1L << 40, 300 << 20)]
    [InlineData(4, 64L << 20, 40 << 20)]
    public void FindsTheLatestOverlap(int seed, long volumeBytes, int longest)
    {
        var random = new Random(seed);
        var index = new RangeIndex(Slots);
        var model = new (ulong Sequence, long Start, long End)?[Slots];
        for (ulong step = 1; step < 20_000; step++)
        {
            int slot = random.Next(Slots);
            if (model[slot] is not null)
            {
                index.Remove(slot);
                model[slot] = null;
            }
            else
            {
                (long start, long length) = Range(random, volumeBytes, longest);
                index.Add(slot, step, start, length);
                model[slot] = (step, start, start + length);
            }

            (long from, long bytes) = Range(random, volumeBytes, longest);
            ulong before = step - (ulong)random.Next((int)Math.Min(step, 40));
            ulong? want = model
                .Where(entry => entry is { } e && e.Sequence < before)
                .Where(entry => entry!.Value.Start < from + bytes && entry.Value.End > from)
                .Max(entry => entry?.Sequence);
            bool found = index.TryFindOverlap(from, bytes, before, out int got);
            Assert.Equal(want is not null, found);
            Assert.Equal(want, found ? model[got]?.Sequence : null);
            Assert.Equal(model.Count(entry => entry is not null), index.Count);
        }
    }

    [Fact]
    public void WhatIsNotFiledCannotBeTakenOut()
    {
        var index = new RangeIndex(4);
        index.Add(2, 1, 0, 512);
        index.Remove(2);
        Assert.Throws<InvalidOperationException>(() => index.Remove(2));
    }

    private static (long Start, long Length) Range(Random random, long volumeBytes, int longest)
    {
        long length = 512L * random.NextInt64(1, longest / 512 + 1);
        return (512 * random.NextInt64(0, Math.Max(volumeBytes - length, 512) / 512), length);
    }
}
