namespace Ublk.Replication.Runtime;

/// <summary>How far a replica of a local volume is.</summary>
public enum LocalReplicaStage : byte
{
    /// <summary>Its files are not open: lost, held back, or about to be opened.</summary>
    Closed,
    /// <summary>Open, and not in the volume's stream of operations.</summary>
    Behind,
    /// <summary>In the stream, and being brought what it misses.</summary>
    Resyncing,
    /// <summary>Has everything that was acknowledged.</summary>
    InSync,
}

/// <summary>A replica of a local volume as others see it.</summary>
/// <param name="Image">Path of its image.</param>
/// <param name="Stage">How far it is.</param>
/// <param name="MissingRegions">Regions of 1 MiB that it misses; 0 while it is closed.</param>
/// <param name="Problem">Why it was closed or could not be opened; null when all is well.</param>
/// <param name="Damage">
/// What its disk did to its bytes, however far it is: until a scrub has found everything in order, or its
/// files are opened anew; null when nothing is known.
/// </param>
public sealed record LocalReplicaStatus(
    string Image, LocalReplicaStage Stage, int MissingRegions, string? Problem, string? Damage);
