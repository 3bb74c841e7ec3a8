using Ublk.Replication.State;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Runtime;

/// <summary>One place of a volume: a replica of this node, of another one, or one that is not known where.
/// </summary>
/// <param name="Member">Who is there; null for nobody.</param>
/// <param name="Local">The replica of this node, on the volume's loop; null elsewhere.</param>
/// <param name="Peer">How a replica of another node is reached; null for one that is not.</param>
public sealed record VolumePlace(ReplicaMember? Member, ServedReplica? Local, ReplicaPeerOptions? Peer);

/// <summary>One attachment of a volume to this node.</summary>
public sealed record AttachedVolumeOptions
{
    /// <summary>The volume.</summary>
    public required VolumeId Volume { get; init; }

    /// <summary>This life of this process.</summary>
    public required Writer Writer { get; init; }

    /// <summary>Who decides: places of <see cref="Places"/>.</summary>
    public required VolumeConfiguration Configuration { get; init; }

    /// <summary>Every place: 1 to 7.</summary>
    public required IReadOnlyList<VolumePlace> Places { get; init; }

    /// <summary>Size in bytes.</summary>
    public required long SizeBytes { get; init; }

    /// <summary>Logical block in bytes.</summary>
    public required int BlockBytes { get; init; }

    /// <summary>Whether replicas keep checksums.</summary>
    public bool HasChecksums { get; init; }

    /// <summary>
    /// Gives an epoch of its own to every attempt, above the one named and every one given before: the
    /// cluster metadata does. Called on the thread pool, and again where it fails with an IOException, a
    /// TimeoutException or an InvalidOperationException.
    /// </summary>
    public required Func<Epoch, Task<Epoch>> NextEpoch { get; init; }

    /// <summary>Lease in milliseconds.</summary>
    public int LeaseMs { get; init; } = 2000;

    /// <summary>Requests of the host at once.</summary>
    public int MaxRequests { get; init; } = 256;

    /// <summary>Time between two looks at everything that waits for time to pass.</summary>
    public TimeSpan Tick { get; init; } = TimeSpan.FromMilliseconds(50);

    /// <summary>Longest time an orderly stop takes to finish what the host has asked for.</summary>
    public TimeSpan StopLimit { get; init; } = TimeSpan.FromSeconds(20);
}

/// <summary>A place of an attached volume as others see it.</summary>
/// <param name="Stage">How far its replica is.</param>
/// <param name="Address">Where it is; null for one of this node.</param>
/// <param name="Problem">Why there is no session, or was not before; null when all is well.</param>
/// <param name="Damage">What its disk did to its bytes, as far as the writer knows; null for nothing.</param>
public sealed record VolumePlaceStatus(
    LocalReplicaStage Stage, string? Address, string? Problem, string? Damage);
