using Ublk.Tests.Simulation.World;

namespace Ublk.Tests.Simulation;

/// <summary>What kind of host it is.</summary>
internal sealed record WorkloadOptions
{
    /// <summary>Operations in all.</summary>
    public int Operations { get; init; } = 200;

    /// <summary>Most operations in flight.</summary>
    public int QueueDepth { get; init; } = 8;

    /// <summary>How often it reads, in a thousand.</summary>
    public int ReadPermille { get; init; } = 400;

    /// <summary>How often it flushes.</summary>
    public int FlushPermille { get; init; } = 50;

    /// <summary>How often it writes zeros.</summary>
    public int ZeroPermille { get; init; } = 30;

    /// <summary>How often it discards.</summary>
    public int DiscardPermille { get; init; } = 30;

    /// <summary>How many of its changes are FUA.</summary>
    public int DurablePermille { get; init; } = 50;

    /// <summary>How many operations go to the hot spot.</summary>
    public int HotPermille { get; init; } = 500;

    /// <summary>Length of the hot spot in blocks.</summary>
    public int HotBlocks { get; init; } = 8;

    /// <summary>How many operations begin where the last one ended.</summary>
    public int AdjacentPermille { get; init; } = 100;

    /// <summary>How many operations begin inside the last one.</summary>
    public int OverlappingPermille { get; init; } = 100;

    /// <summary>How many operations are of one block.</summary>
    public int SinglePermille { get; init; } = 500;

    /// <summary>Longest operation in bytes.</summary>
    public int MaxBytes { get; init; } = 64 << 10;

    /// <summary>Longest pause before an operation in nanoseconds.</summary>
    public long MaxPauseNs { get; init; } = LatencyModel.Millisecond;

    /// <summary>Another kind of host for every seed: each habit is there or not.</summary>
    /// <param name="random">Where chance comes from.</param>
    public static WorkloadOptions Draw(SimulationRandom random)
    {
        int Maybe(int most) => random.Chance(500) ? random.Between(1, most) : 0;

        return new WorkloadOptions
        {
            Operations = random.Between(200, 300),
            QueueDepth = random.Chance(250) ? 1 : random.Between(2, 32),
            ReadPermille = random.Between(100, 600),
            FlushPermille = Maybe(150),
            ZeroPermille = Maybe(80),
            DiscardPermille = Maybe(80),
            DurablePermille = Maybe(300),
            HotPermille = Maybe(950),
            HotBlocks = 1 << random.Below(7),
            AdjacentPermille = Maybe(500),
            OverlappingPermille = Maybe(500),
            SinglePermille = random.Between(200, 900),
            MaxBytes = 4096 << random.Below(7),
            MaxPauseNs = LatencyModel.Microsecond << random.Below(20),
        };
    }
}
