namespace Ublk.Replication.State;

/// <summary>
/// How many of a volume's replicas must agree. Any set of <see cref="WriteQuorum"/> replicas and any set
/// of <see cref="RecoveryQuorum"/> replicas share at least one, which is why no acknowledged write can be
/// missed by a recovery.
/// </summary>
public readonly record struct QuorumRule
{
    /// <summary>Most replicas of one volume.</summary>
    public const int MaxReplicas = 7;

    /// <summary>Makes a rule.</summary>
    /// <param name="replicas">N, 1 to 7.</param>
    /// <param name="writeQuorum">W, 1 to N.</param>
    /// <exception cref="ArgumentOutOfRangeException">Outside these ranges.</exception>
    public QuorumRule(int replicas, int writeQuorum)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(replicas, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(replicas, MaxReplicas);
        ArgumentOutOfRangeException.ThrowIfLessThan(writeQuorum, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(writeQuorum, replicas);
        Replicas = replicas;
        WriteQuorum = writeQuorum;
    }

    /// <summary>N: replicas of the volume.</summary>
    public int Replicas { get; }

    /// <summary>W: replicas that must have applied a write before it is acknowledged.</summary>
    public int WriteQuorum { get; }

    /// <summary>R = N − W + 1: replicas whose claims a recovery needs.</summary>
    public int RecoveryQuorum => Replicas - WriteQuorum + 1;

    /// <summary>
    /// Promises that must be in before a new primary changes a byte: max(R, W), so that two candidates
    /// cannot both have them where W is a majority.
    /// </summary>
    public int PromiseQuorum => Math.Max(RecoveryQuorum, WriteQuorum);

    /// <summary>The usual rule: a majority, N/2 + 1.</summary>
    /// <param name="replicas">N, 1 to 7.</param>
    public static QuorumRule Majority(int replicas) => new(replicas, replicas / 2 + 1);
}
