using Ublk.Replication.State;
using Ublk.Replication.Store;

namespace Ublk.Replication.Primary;

/// <summary>How far a replica is that came while the volume serves.</summary>
internal enum JoinStage : byte
{
    /// <summary>It is asked for its promise.</summary>
    Claiming,
    /// <summary>It is told the configuration.</summary>
    Configuring,
    /// <summary>It waits for a source.</summary>
    Waiting,
    /// <summary>What it misses is found out.</summary>
    Comparing,
    /// <summary>It records the epoch's start, and what it misses.</summary>
    Starting,
    /// <summary>It follows the stream, and has the rest pushed underneath.</summary>
    Copying,
}

/// <summary>A replica on its way into the stream, and to being current.</summary>
/// <param name="stage">Where it begins.</param>
internal sealed class Join(JoinStage stage)
{
    /// <summary>How far it is.</summary>
    public JoinStage Stage { get; set; } = stage;

    /// <summary>What it has told, while it is asked for its promise.</summary>
    public ReplicaClaim? Claim { get; set; }

    /// <summary>Where it stood when its session was opened, if the promise was ours already.</summary>
    public Standing? Standing { get; init; }

    /// <summary>Last number that it and the volume have in common.</summary>
    public ulong Common { get; set; }

    /// <summary>Whether it failed to bring data to stable media.</summary>
    public bool HasFailed { get; set; }

    /// <summary>Whom it is compared with.</summary>
    public int Source { get; set; } = -1;

    /// <summary>Pages of versions that were compared.</summary>
    public int Pages { get; set; }

    /// <summary>Regions that it misses, as far as is known.</summary>
    public GrainMap? Missing { get; set; }

    /// <summary>Whether it has told all that it misses.</summary>
    public bool IsListed { get; set; }

    /// <summary>Regions that are still missing.</summary>
    public int Left { get; set; }

    /// <summary>Questions whether a region is whole, not answered yet.</summary>
    public HashSet<uint> Closing { get; } = [];

    /// <summary>It misses what an operation touches.</summary>
    /// <param name="operation">The operation.</param>
    public void Miss(in WindowOperation operation)
    {
        if (!Mistakes.Make(Mistake.JoinWithoutOperations))
        {
            (int first, int last) = StoreFormat.RegionsOf(operation.OffsetBytes, operation.LengthBytes);
            Missing!.Add(first, last - first + 1);
        }
    }

    /// <summary>
    /// It misses what its source may not have received when it tells its versions: the source's session may
    /// have been renewed.
    /// </summary>
    /// <param name="window">Operations.</param>
    /// <param name="applied">A of the source.</param>
    public void Miss(WriteWindow window, ulong applied)
    {
        for (ulong sequence = Math.Max(window.Base, applied + 1); sequence < window.Next; sequence++)
        {
            Miss(window[sequence]);
        }
    }
}

/// <summary>Where a replica stands in this epoch.</summary>
/// <param name="Applied">A.</param>
/// <param name="Durable">D.</param>
/// <param name="IsReconciled">Whether it is of this epoch's history, and nothing is wrong with it.</param>
/// <param name="IsCurrent">Whether nothing is missing.</param>
internal sealed record Standing(ulong Applied, ulong Durable, bool IsReconciled, bool IsCurrent);
