using Ublk.Replication.State;
using Xunit;

namespace Ublk.Tests.Unit.Replication;

/// <summary>Who is enough, with one group and with two.</summary>
public sealed class VolumeConfigurationTests
{
    [Fact]
    public void JointConfigurationNeedsBothGroups()
    {
        var old = new ReplicaGroup(ReplicaMask.First(3), QuorumRule.Majority(3));
        var next = new ReplicaGroup(new ReplicaMask(0b11100), QuorumRule.Majority(3));
        var joint = new VolumeConfiguration(2, old, next);

        Assert.False(joint.HasWriteQuorum(new ReplicaMask(0b00011)));
        Assert.False(joint.HasWriteQuorum(new ReplicaMask(0b11000)));
        Assert.True(joint.HasWriteQuorum(new ReplicaMask(0b01101)));
        Assert.Equal(new ReplicaMask(0b11111), joint.Members);
    }

    [Fact]
    public void HighestHeldIsWhatAQuorumHasReached()
    {
        var random = new Random(1);
        Span<long> values = stackalloc long[ReplicaMask.Places];
        for (int round = 0; round < 5000; round++)
        {
            int n = random.Next(1, QuorumRule.MaxReplicas + 1);
            var group = new ReplicaGroup(ReplicaMask.First(n), new QuorumRule(n, random.Next(1, n + 1)));
            ReplicaGroup? next = null;
            if (random.Next(2) == 0)
            {
                var members = new ReplicaMask((uint)random.Next(1, 1 << 10));
                int m = members.Count;
                next = m > QuorumRule.MaxReplicas
                    ? null : new ReplicaGroup(members, new QuorumRule(m, random.Next(1, m + 1)));
            }

            var configuration = new VolumeConfiguration(1, group, next);
            var eligible = new ReplicaMask((uint)random.Next(1 << ReplicaMask.Places));
            for (int i = 0; i < values.Length; i++)
            {
                values[i] = random.Next(8);
            }

            long want = Slowly(configuration, values, eligible);
            Assert.Equal(want, configuration.HighestHeld(values, eligible));
        }
    }

    [Fact]
    public void AGroupThatIsNotWhole()
    {
        Assert.Throws<ArgumentException>(() => new VolumeConfiguration(
            1, new ReplicaGroup(ReplicaMask.First(2), QuorumRule.Majority(3))));
    }

    private static long Slowly(
        VolumeConfiguration configuration, ReadOnlySpan<long> values, ReplicaMask eligible)
    {
        for (long value = 7; value >= 0; value--)
        {
            ReplicaMask holders = default;
            for (int place = 0; place < values.Length; place++)
            {
                if (eligible.Has(place) && values[place] >= value)
                {
                    holders = holders.With(place);
                }
            }

            if (configuration.HasWriteQuorum(holders))
            {
                return value;
            }
        }

        return long.MinValue;
    }
}
