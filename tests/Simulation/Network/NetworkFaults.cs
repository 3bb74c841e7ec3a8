using Ublk.Tests.Simulation.World;

namespace Ublk.Tests.Simulation.Network;

/// <summary>How the network behaves.</summary>
internal sealed record NetworkFaults
{
    /// <summary>Nothing goes wrong.</summary>
    public static NetworkFaults None { get; } = new();

    /// <summary>A message ends its session, so many times in a hundred thousand.</summary>
    public int ResetPerHundredThousand { get; init; }

    /// <summary>Longest time until an end hears that its session was reset.</summary>
    public long LatestNewsNs { get; init; } = LatencyModel.Millisecond;

    /// <summary>After so long without a way through, a session is given up.</summary>
    public long TimeoutNs { get; init; } = 5 * LatencyModel.Second;
}
