using Ublk.Replication.Store;
using Ublk.Wire.Ids;

namespace Ublk.Replication.Replica;

/// <summary>Settings of one replica.</summary>
public sealed record ReplicaOptions
{
    /// <summary>The volume.</summary>
    public required VolumeId Volume { get; init; }

    /// <summary>Logical block in bytes: what the image's store writes atomically.</summary>
    public required int BlockBytes { get; init; }

    /// <summary>
    /// Operations that may be under way at once, a power of two up to
    /// <see cref="StoreFormat.MaxOutOfOrder"/>; not fewer than a writer's window has.
    /// </summary>
    public int MaxOperations { get; init; } = 4096;

    /// <summary>
    /// Operations that a replica with checksums has with its image at once; others wait.
    /// </summary>
    public int MaxImageOperations { get; init; } = 256;

    /// <summary>Sessions at once; another one is refused.</summary>
    public int MaxSessions { get; init; } = 32;

    /// <summary>Reads for peers under way at once; others wait.</summary>
    public int MaxReads { get; init; } = 64;

    /// <summary>
    /// Reads for peers that may wait, so that nobody who only asks fills the memory: more than the requests
    /// and the regions that one writer has under way. Who asks for one more loses its session.
    /// </summary>
    public int MaxWaitingReads { get; init; } = 8192;

    /// <summary>
    /// Added to every grant, in parts of 1024 of it: how far the clocks of two nodes drift apart.
    /// </summary>
    public int DriftPer1024 { get; init; } = 16;

    /// <summary>
    /// Longest time to drain what was accepted before a claim, in nanoseconds; then the replica has failed.
    /// </summary>
    public long DrainLimitNs { get; init; } = 30_000_000_000;

    /// <summary>
    /// A volume at rest for so long, in nanoseconds, clears its intents: a power cut does not void it then.
    /// </summary>
    public long IdleNs { get; init; } = 2_000_000_000;

    /// <summary>
    /// The process that had the replica before is proved dead and was of this node: its grants are void, and
    /// the first promise need not wait for them.
    /// </summary>
    public bool FormerGrantsAreVoid { get; init; }

    /// <summary>Bounds of intents.</summary>
    public IntentPolicyOptions Intents { get; init; } = new();
}
