using Ublk.Tests.Simulation.Judge;
using Ublk.Tests.Simulation.World;
using Xunit;

namespace Ublk.Tests.Simulation.Tests;

/// <summary>The parts of the world together: histories of one disk.</summary>
public sealed class HistoryTests : IDisposable
{
    private readonly WorldPools _pools = new();

    public void Dispose() => _pools.Dispose();

    [Fact]
    public void ADiskThatIsDrivenWellKeepsItsPromises()
    {
        for (ulong seed = 1; seed <= 300; seed++)
        {
            _ = Run(seed, _pools);
        }
    }

    [Fact]
    public void OneSeedIsOneHistory()
    {
        using var others = new WorldPools();
        for (ulong seed = 1; seed <= 50; seed++)
        {
            Assert.Equal(Run(seed, _pools), Run(seed, others));
        }

        Assert.NotEqual(Run(1, _pools), Run(2, _pools));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void ADefectIsFound(int defect)
    {
        int found = 0;
        for (ulong seed = 1; seed <= 200; seed++)
        {
            // A sync that fails is rare otherwise.
            SimulationOptions options = SimulationOptions.Draw(seed);
            options = options with { Image = options.Image with { SyncErrorPermille = 100 } };
            try
            {
                _ = SingleDiskHistory.Run(options, _pools, (DiskDefect)defect);
            }
            catch (HistoryException)
            {
                found++;
            }
        }

        Assert.True(found > 0, $"{(DiskDefect)defect} was never found");
    }

    private static ulong Run(ulong seed, WorldPools pools) =>
        SingleDiskHistory.Run(SimulationOptions.Draw(seed), pools);
}
