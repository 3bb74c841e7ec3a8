using Ublk.Replication.State;
using Ublk.Wire.Messages;

namespace Ublk.Tests.Simulation.Cluster;

/// <summary>What the cluster metadata says of the volume: one of its configurations.</summary>
/// <param name="Configuration">Who decides.</param>
/// <param name="SizeBytes">How large it is, or is to become.</param>
/// <param name="Members">Who is in which place; also who learns before it decides.</param>
/// <param name="GivenUp">Replicas that an operator knows to be lost for good.</param>
internal sealed record VolumeRecord(
    VolumeConfiguration Configuration, long SizeBytes, IReadOnlyList<ReplicaMember?> Members,
    ReplicaMask GivenUp)
{
    /// <summary>The groups that decide, as the judge takes them.</summary>
    public IReadOnlyList<(int[] Nodes, int WriteQuorum)> Groups
    {
        get
        {
            ReplicaGroup? next = Configuration.Next;
            return next is { } other ? [Of(Configuration.Group), Of(other)] : [Of(Configuration.Group)];
        }
    }

    private static (int[] Nodes, int WriteQuorum) Of(ReplicaGroup group)
    {
        var nodes = new List<int>();
        foreach (int place in group.Members)
        {
            nodes.Add(place);
        }

        return ([.. nodes], group.Rule.WriteQuorum);
    }
}
