using Ublk.Tests.Simulation.World;

namespace Ublk.Tests.Simulation;

/// <summary>The history that eng/sim runs for a seed.</summary>
internal static class SimulatedHistory
{
    /// <summary>Runs it.</summary>
    /// <param name="seed">The seed.</param>
    /// <param name="pools">Memory; may be used by one history at a time.</param>
    /// <returns>Equal for two runs of one seed.</returns>
    public static ulong Run(ulong seed, WorldPools pools) =>
        SingleDiskHistory.Run(SimulationOptions.Draw(seed), pools);
}
