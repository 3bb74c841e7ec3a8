using Ublk.Replication.Store;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Store;

public sealed class GrainMapTests
{
    // Against a plain array of booleans.
    [Fact]
    public void IsASet()
    {
        var random = new Random(7);
        for (int round = 0; round < 20; round++)
        {
            int grains = random.Next(1, 20_000); // Several blocks, some of them empty or full.
            var map = new GrainMap(grains);
            bool[] model = new bool[grains];
            for (int step = 0; step < 60; step++)
            {
                int first = random.Next(grains);
                int count = random.Next(1, Math.Min(grains - first, random.Next(3) == 0 ? 12_000 : 70) + 1);
                bool isIn = random.Next(2) == 0;
                model.AsSpan(first, count).Fill(isIn);
                if (isIn)
                {
                    map.Add(first, count);
                }
                else
                {
                    map.Remove(first, count);
                }

                Compare(model, map, random.Next(grains));
            }
        }
    }

    [Theory]
    [InlineData(-1, 1)]
    [InlineData(0, 0)]
    [InlineData(0, 101)]
    [InlineData(100, 1)]
    public void RangesOutsideAreRefused(int first, int count)
    {
        var map = new GrainMap(100);
        Assert.Throws<ArgumentOutOfRangeException>(() => map.Add(first, count));
    }

    [Fact]
    public void GrowsWithItsContent()
    {
        var map = new GrainMap(70);
        map.Add(60, 10);
        map.Grow(5000);
        Assert.Equal(5000, map.NextIn(70));
        map.Add(70, 4930);
        Assert.Equal(1, map.Runs);
        Assert.Equal(2, map.UsedBlocks);
    }

    private static void Compare(bool[] model, GrainMap map, int from)
    {
        Assert.Equal(model.Count(isIn => isIn), map.Count);
        Assert.Equal(model.Where((isIn, i) => isIn && (i == 0 || !model[i - 1])).Count(), map.Runs);
        Assert.Equal(model.Chunk(GrainMap.BlockGrains).Count(block => block.Contains(true)), map.UsedBlocks);
        int next = Array.IndexOf(model, true, from), nextOut = Array.IndexOf(model, false, from);
        Assert.Equal(next < 0 ? model.Length : next, map.NextIn(from));
        Assert.Equal(nextOut < 0 ? model.Length : nextOut, map.NextOut(from));
        Assert.Equal(model[from], map.Contains(from));
        int end = Math.Min(model.Length, from + 40);
        Assert.Equal(model[from..end].All(isIn => isIn), map.ContainsAll(from, end - from));
        Assert.Equal(model[from..end].Any(isIn => isIn), map.ContainsAny(from, end - from));
        Assert.Equal(model[from..].All(isIn => isIn), map.ContainsAll(from, model.Length - from));
        Assert.Equal(model[from..].Any(isIn => isIn), map.ContainsAny(from, model.Length - from));
    }
}
