namespace Ublk.Replication.State;

/// <summary>One set of replicas and the rule they decide by.</summary>
/// <param name="Members">Who.</param>
/// <param name="Rule">N and W; N is the number of members.</param>
public readonly record struct ReplicaGroup(ReplicaMask Members, QuorumRule Rule)
{
    /// <summary>Whether W of the group are in a set.</summary>
    /// <param name="replicas">The set; who is not of the group does not count.</param>
    public bool HasWriteQuorum(ReplicaMask replicas) => (replicas & Members).Count >= Rule.WriteQuorum;

    /// <summary>Whether R of the group are in a set.</summary>
    /// <param name="replicas">The set.</param>
    public bool HasRecoveryQuorum(ReplicaMask replicas) => (replicas & Members).Count >= Rule.RecoveryQuorum;

    /// <summary>Whether max(R, W) of the group are in a set.</summary>
    /// <param name="replicas">The set.</param>
    public bool HasPromiseQuorum(ReplicaMask replicas) => (replicas & Members).Count >= Rule.PromiseQuorum;
}

/// <summary>
/// Who decides for a volume: one group, or during a change of membership two, which must both agree to
/// everything (replication design, rule 18). Its number orders configurations; replicas keep it.
/// </summary>
public sealed class VolumeConfiguration
{
    /// <summary>Makes a configuration of one group.</summary>
    /// <param name="number">Its number, above that of the one before.</param>
    /// <param name="group">Who decides.</param>
    public VolumeConfiguration(ulong number, ReplicaGroup group)
        : this(number, group, next: null)
    {
    }

    /// <summary>Makes a joint configuration.</summary>
    /// <param name="number">Its number, above that of the one before.</param>
    /// <param name="group">The old group.</param>
    /// <param name="next">The new group; null for a configuration of one group.</param>
    public VolumeConfiguration(ulong number, ReplicaGroup group, ReplicaGroup? next)
    {
        ThrowUnlessComplete(group);
        if (next is { } other)
        {
            ThrowUnlessComplete(other);
        }

        Number = number;
        Group = group;
        Next = next;
    }

    /// <summary>Its number.</summary>
    public ulong Number { get; }

    /// <summary>The group, in a joint configuration the old one.</summary>
    public ReplicaGroup Group { get; }

    /// <summary>The new group of a joint configuration.</summary>
    public ReplicaGroup? Next { get; }

    /// <summary>Everybody who decides.</summary>
    public ReplicaMask Members => Next is { } next ? Group.Members | next.Members : Group.Members;

    /// <summary>Whether a set is enough to acknowledge, to grant a lease, to be durable on.</summary>
    /// <param name="replicas">The set.</param>
    public bool HasWriteQuorum(ReplicaMask replicas) =>
        Group.HasWriteQuorum(replicas) && (Next is not { } next || next.HasWriteQuorum(replicas));

    /// <summary>Whether a set meets every write quorum there may have been.</summary>
    /// <param name="replicas">The set.</param>
    public bool HasRecoveryQuorum(ReplicaMask replicas) =>
        Group.HasRecoveryQuorum(replicas) && (Next is not { } next || next.HasRecoveryQuorum(replicas));

    /// <summary>Whether a set is enough for a candidate to change a byte.</summary>
    /// <param name="replicas">The set.</param>
    public bool HasPromiseQuorum(ReplicaMask replicas) =>
        Group.HasPromiseQuorum(replicas) && (Next is not { } next || next.HasPromiseQuorum(replicas));

    /// <summary>
    /// The highest value that a write quorum has reached: every one of them holds it or a higher one.
    /// </summary>
    /// <param name="values">One for each place.</param>
    /// <param name="eligible">Whose values count.</param>
    /// <returns>The value; the lowest there is when the eligible ones are no write quorum.</returns>
    public long HighestHeld(ReadOnlySpan<long> values, ReplicaMask eligible)
    {
        // From the highest value down, until those who have it are enough. At most fourteen, so a search for
        // the next lower one is cheaper than sorting.
        ReplicaMask holders = default;
        ReplicaMask left = eligible & Members;
        while (!left.IsEmpty)
        {
            int best = -1;
            for (int place = 0; place < values.Length; place++)
            {
                if (left.Has(place) && (best < 0 || values[place] > values[best]))
                {
                    best = place;
                }
            }

            holders = holders.With(best);
            left = left.Without(best);
            if (HasWriteQuorum(holders))
            {
                return values[best];
            }
        }

        return long.MinValue;
    }

    private static void ThrowUnlessComplete(ReplicaGroup group)
    {
        if (group.Members.Count != group.Rule.Replicas)
        {
            throw new ArgumentException(
                $"a group of {group.Members.Count} with a rule for {group.Rule.Replicas}", nameof(group));
        }
    }
}
