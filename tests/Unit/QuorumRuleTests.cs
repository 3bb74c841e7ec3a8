using Ublk.Replication.State;
using Xunit;

namespace Ublk.Tests.Unit;

public sealed class QuorumRuleTests
{
    [Theory]
    [InlineData(1, 1, 1, 1)]
    [InlineData(2, 2, 1, 2)]
    [InlineData(3, 2, 2, 2)]
    [InlineData(4, 3, 2, 3)]
    [InlineData(5, 3, 3, 3)]
    [InlineData(7, 4, 4, 4)]
    public void MajorityIsTheUsualRule(int replicas, int write, int recovery, int promise)
    {
        QuorumRule rule = QuorumRule.Majority(replicas);
        Assert.Equal(write, rule.WriteQuorum);
        Assert.Equal(recovery, rule.RecoveryQuorum);
        Assert.Equal(promise, rule.PromiseQuorum);
    }

    [Fact]
    public void AnyWriteQuorumMeetsAnyRecoveryQuorum()
    {
        for (int n = 1; n <= QuorumRule.MaxReplicas; n++)
        {
            for (int w = 1; w <= n; w++)
            {
                Assert.True(w + new QuorumRule(n, w).RecoveryQuorum > n);
            }
        }
    }

    [Theory]
    [InlineData(0, 1)]
    [InlineData(8, 4)]
    [InlineData(3, 0)]
    [InlineData(3, 4)]
    public void RefusesWhatIsNoQuorum(int replicas, int write) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => new QuorumRule(replicas, write));
}
