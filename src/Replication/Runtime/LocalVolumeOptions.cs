using Ublk.Uring;
using Ublk.Wire.Ids;

namespace Ublk.Replication.Runtime;

/// <summary>Settings of a volume whose replicas all lie in this process.</summary>
public sealed record LocalVolumeOptions
{
    /// <summary>Paths of the images, one a replica: 1 to 7.</summary>
    public required IReadOnlyList<string> Images { get; init; }

    /// <summary>W, 1 to the number of images; 0 for a majority.</summary>
    public int WriteQuorum { get; init; }

    /// <summary>Whether images go past the page cache.</summary>
    public DirectMode Direct { get; init; }

    /// <summary>Where live pages lie: a directory of a memory filesystem.</summary>
    public required string LiveDirectory { get; init; }

    /// <summary>This life of this process.</summary>
    public required Writer Writer { get; init; }

    /// <summary>Requests of the host at once.</summary>
    public int MaxRequests { get; init; } = 256;

    /// <summary>Time between two looks at everything that waits for time to pass.</summary>
    public TimeSpan Tick { get; init; } = TimeSpan.FromMilliseconds(50);

    /// <summary>Longest time an orderly stop takes to finish what the host has asked for.</summary>
    public TimeSpan StopLimit { get; init; } = TimeSpan.FromSeconds(20);
}
