namespace Ublk.Replication.Store;

/// <summary>What a log has done since it was opened.</summary>
public sealed class MetadataLogCounters
{
    /// <summary>Entries appended.</summary>
    public long Entries { get; internal set; }

    /// <summary>Records of the ring that became durable.</summary>
    public long Records { get; internal set; }

    /// <summary>Records of the vault that became durable.</summary>
    public long VaultWrites { get; internal set; }

    /// <summary>Checkpoints completed.</summary>
    public long CheckpointCount { get; internal set; }

    /// <summary>Appends refused for want of room.</summary>
    public long Refused { get; internal set; }
}
