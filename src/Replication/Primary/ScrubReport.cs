using Ublk.Replication.State;

namespace Ublk.Replication.Primary;

/// <summary>How fast a scrub goes.</summary>
public sealed record ScrubOptions
{
    /// <summary>
    /// Regions that are compared at once, 1 or more; writes to a region wait while it is read.
    /// </summary>
    public int RegionsAtOnce { get; init; } = 2;

    /// <summary>Shortest time from the beginning of one region to that of the next, in nanoseconds.</summary>
    public long IntervalNs { get; init; }
}

/// <summary>What became of blocks that differed.</summary>
public enum ScrubOutcome : byte
{
    /// <summary>What most replicas have was written again; all have it now.</summary>
    Repaired,
    /// <summary>No bytes are on more than half of the replicas: nobody knows which are right.</summary>
    NoMajority,
    /// <summary>A repair did not hold, or could not be made.</summary>
    NotRepaired,
}

/// <summary>Blocks that differed between replicas.</summary>
/// <param name="OffsetBytes">Start, a multiple of 4 KiB.</param>
/// <param name="LengthBytes">Length.</param>
/// <param name="Replicas">Who was wrong; without a majority, all that were compared.</param>
/// <param name="Outcome">What became of them.</param>
public readonly record struct ScrubDifference(
    long OffsetBytes, long LengthBytes, ReplicaMask Replicas, ScrubOutcome Outcome);

/// <summary>What a scrub has seen so far.</summary>
public sealed record ScrubReport
{
    /// <summary>Regions of 1 MiB that were compared.</summary>
    public long RegionsCompared { get; init; }

    /// <summary>Regions that were not: fewer than two replicas were in sync, or they had no time.</summary>
    public long RegionsNotCompared { get; init; }

    /// <summary>Replicas of the volume that were absent from at least one comparison.</summary>
    public ReplicaMask Absent { get; init; }

    /// <summary>Blocks of 4 KiB that differed and do no more.</summary>
    public long BlocksRepaired { get; init; }

    /// <summary>Blocks that still differ.</summary>
    public long BlocksNotRepaired { get; init; }

    /// <summary>The volume was given up before the scrub was through.</summary>
    public bool IsBrokenOff { get; init; }
}
