using Ublk.Uring;

namespace Ublk.Replication.State;

/// <summary>Why a replica leaves the stream.</summary>
public enum LeaveReason : byte
{
    /// <summary>Its session ended.</summary>
    Disconnected,
    /// <summary>It alone holds more than half of the write window.</summary>
    TooSlow,
    /// <summary>It could not apply an operation.</summary>
    Failed,
}

/// <summary>
/// What a volume's primary asks of its surroundings; carried out in the order it was asked. The driver
/// turns these into messages and ring entries, the simulator into events of its world.
/// </summary>
public interface IVolumeEffects
{
    /// <summary>Sends an operation of the window; the local replica is one like the others.</summary>
    /// <param name="replica">To whom.</param>
    /// <param name="operation">The operation, kept in the window until the replica has answered.</param>
    /// <param name="committed">C, to go with it.</param>
    void SendOperation(int replica, in WindowOperation operation, ulong committed);

    /// <summary>Asks for everything up to a sequence to be brought to stable media.</summary>
    /// <param name="replica">Whom.</param>
    /// <param name="through">The sequence.</param>
    void SendFlush(int replica, ulong through);

    /// <summary>Asks for a grant.</summary>
    /// <param name="replica">Whom.</param>
    /// <param name="sentAt">The primary's clock now; comes back with the grant.</param>
    /// <param name="acknowledged">Highest acknowledged sequence.</param>
    /// <param name="committed">C.</param>
    void SendHeartbeat(int replica, long sentAt, ulong acknowledged, ulong committed);

    /// <summary>Whether the local replica has the current bytes of a range.</summary>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="lengthBytes">Length.</param>
    bool CanReadLocally(long offsetBytes, long lengthBytes);

    /// <summary>Reads from the local image; ends with <see cref="VolumeMachine.OnReadEnded"/>.</summary>
    /// <param name="read">Names the read.</param>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="buffer">Where the bytes go.</param>
    void ReadLocally(ulong read, long offsetBytes, in IoBuffer buffer);

    /// <summary>Reads from a peer; ends with <see cref="VolumeMachine.OnReadEnded"/>.</summary>
    /// <param name="replica">The peer.</param>
    /// <param name="read">Names the read.</param>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="buffer">Where the bytes go.</param>
    /// <param name="acknowledged">The peer must have applied everything up to this.</param>
    void ReadFromPeer(int replica, ulong read, long offsetBytes, in IoBuffer buffer, ulong acknowledged);

    /// <summary>A replica is sent nothing more; it has to come back by itself.</summary>
    /// <param name="replica">Whom.</param>
    /// <param name="reason">Why.</param>
    void LeaveStream(int replica, LeaveReason reason);

    /// <summary>The window no longer needs the bytes of a write.</summary>
    /// <param name="payload">As they came with the request.</param>
    void ReleasePayload(in IoBuffer payload);

    /// <summary>Another writer was promised, or the volume was released: serving has ended.</summary>
    /// <param name="stage">Fenced or released.</param>
    void Ended(VolumeStage stage);
}

/// <summary>The life of a volume at its primary.</summary>
public enum VolumeStage : byte
{
    /// <summary>Serves requests, or holds them while too few replicas are there.</summary>
    Serving,
    /// <summary>Takes nothing new and finishes what it has, for a planned switchover.</summary>
    Releasing,
    /// <summary>Finished and flushed: the next primary may come.</summary>
    Released,
    /// <summary>A replica has promised another writer: every request fails.</summary>
    Fenced,
}

/// <summary>What happens to requests while fewer than a write quorum of replicas are there.</summary>
public enum QuorumLoss : byte
{
    /// <summary>They wait, up to a limit.</summary>
    Suspend,
    /// <summary>They fail at once.</summary>
    Error,
}

/// <summary>How a replica answered an operation.</summary>
public enum ApplyStatus : byte
{
    /// <summary>Applied.</summary>
    Applied,
    /// <summary>Its copy of the range is stale; the operation does not count there.</summary>
    Stale,
    /// <summary>It could not: its medium failed or is full.</summary>
    Failed,
}

/// <summary>Settings of a volume at its primary.</summary>
public sealed record VolumeOptions
{
    /// <summary>Operations of the window, a power of two; less than the gap between epochs.</summary>
    public int WindowOperations { get; init; } = 4096;

    /// <summary>Bytes of the window.</summary>
    public long WindowBytes { get; init; } = 64L << 20;

    /// <summary>Requests of the host at once.</summary>
    public int MaxRequests { get; init; } = 256;

    /// <summary>Whether every write is completed only when it is on stable media of a quorum.</summary>
    public bool AcknowledgesDurable { get; init; }

    /// <summary>
    /// Whether the window keeps what a replica misses that was current and whose session ended, as long as
    /// there is room: back soon, it follows at once, without a resync.
    /// </summary>
    public bool KeepsForAbsent { get; init; } = true;

    /// <summary>What happens while too few replicas are there.</summary>
    public QuorumLoss OnQuorumLoss { get; init; }

    /// <summary>Longest time a request waits, in ticks of the machine's clock; 0 for ever.</summary>
    public long RequestLimit { get; init; }

    /// <summary>
    /// Whether local reads are asked of the local replica like a peer's, through memory: it has checksums,
    /// and compares what it reads.
    /// </summary>
    public bool ChecksLocalReads { get; init; }

    /// <summary>Time between heartbeats, in ticks; at most a quarter of the lease.</summary>
    public long HeartbeatInterval { get; init; } = 500_000_000;

    /// <summary>After so long without a flush on an idle volume there is one, in ticks.</summary>
    public long IdleFlushInterval { get; init; } = 1_000_000_000;
}
