using Ublk.Replication.State;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Primary;

/// <summary>Where a writer is in its life.</summary>
public enum PrimaryStage : byte
{
    /// <summary>Asks for promises. Nothing has been changed anywhere.</summary>
    Claiming,
    /// <summary>Has enough claims: tells the configuration and the size to who does not know them.</summary>
    Configuring,
    /// <summary>Asks which regions differ.</summary>
    Comparing,
    /// <summary>Makes the replicas agree.</summary>
    Reconciling,
    /// <summary>The epoch's start is being recorded.</summary>
    Starting,
    /// <summary>Serves the host.</summary>
    Serving,
    /// <summary>Serves no more: released, or another writer was promised.</summary>
    Ended,
    /// <summary>
    /// This attempt is over before it served: a higher epoch is promised, or a replica it was copying from
    /// is gone. Try again with a higher epoch.
    /// </summary>
    Failed,
}

/// <summary>One attachment of a volume: who writes, in which epoch, over which replicas.</summary>
public sealed record PrimaryOptions
{
    /// <summary>The volume.</summary>
    public required VolumeId Volume { get; init; }

    /// <summary>Number of the attachment, from the cluster metadata.</summary>
    public required Epoch Epoch { get; init; }

    /// <summary>This life of this process.</summary>
    public required Writer Writer { get; init; }

    /// <summary>Who decides.</summary>
    public required VolumeConfiguration Configuration { get; init; }

    /// <summary>
    /// Who is in which place, null for nobody. Who decides nothing yet learns what the volume holds.
    /// </summary>
    public required IReadOnlyList<ReplicaMember?> Members { get; init; }

    /// <summary>
    /// Replicas that an operator has declared lost for good: recovery does not wait for what they might hold.
    /// </summary>
    public ReplicaMask GivenUp { get; init; }

    /// <summary>Place of the local replica; −1 without one.</summary>
    public int Local { get; init; } = -1;

    /// <summary>Size of the volume in bytes.</summary>
    public required long SizeBytes { get; init; }

    /// <summary>Logical block in bytes.</summary>
    public required int BlockBytes { get; init; }

    /// <summary>Lease in milliseconds.</summary>
    public int LeaseMs { get; init; } = 2000;

    /// <summary>
    /// With enough claims, so long in nanoseconds others are waited for, so that they need no resync.
    /// </summary>
    public long ClaimGraceNs { get; init; } = 200_000_000;

    /// <summary>Regions that are compared and copied at once.</summary>
    public int RegionsAtOnce { get; init; } = 8;

    /// <summary>How the volume serves.</summary>
    public VolumeOptions Serving { get; init; } = new();
}
