namespace Ublk.Tests.Simulation.World;

/// <summary>How long something takes: mostly the usual time, now and then much longer.</summary>
/// <param name="LeastNs">Shortest time in nanoseconds.</param>
/// <param name="UsualNs">Longest of the usual times.</param>
/// <param name="SlowPermille">How often it takes longer, in a thousand.</param>
/// <param name="SlowestNs">Longest time.</param>
internal readonly record struct LatencyModel(
    long LeastNs, long UsualNs, int SlowPermille = 0, long SlowestNs = 0)
{
    public const long Microsecond = 1_000;
    public const long Millisecond = 1_000_000;
    public const long Second = 1_000_000_000;

    /// <summary>A solid-state disk.</summary>
    public static LatencyModel Disk => new(20 * Microsecond, 200 * Microsecond);

    /// <summary>A network within a room.</summary>
    public static LatencyModel Network => new(10 * Microsecond, 100 * Microsecond);

    /// <summary>The next time.</summary>
    /// <param name="random">Where chance comes from.</param>
    public long Draw(SimulationRandom random)
    {
        if (!random.Chance(SlowPermille))
        {
            return random.Between(LeastNs, UsualNs);
        }

        // Evenly over the orders of magnitude: between a little late and as good as dead.
        long longest = UsualNs;
        while (longest < SlowestNs && random.Chance(750))
        {
            longest *= 4;
        }

        return random.Between(UsualNs, Math.Max(UsualNs, Math.Min(longest, SlowestNs)));
    }
}
