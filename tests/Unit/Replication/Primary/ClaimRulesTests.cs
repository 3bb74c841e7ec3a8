using Ublk.Replication.Primary;
using Ublk.Replication.State;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Primary;

/// <summary>With which claims a recovery goes on: rule 1 of the design, case by case.</summary>
public sealed class ClaimRulesTests
{
    private static readonly VolumeConfiguration s_three = Configuration(3, 2);

    [Fact]
    public void RSoundClaimsAreEnough()
    {
        Assert.True(ClaimRules.AreEnough(s_three, [ClaimMaker.Of(1, 10), ClaimMaker.Of(1, 8), null]));
        Assert.False(ClaimRules.AreEnough(s_three, [ClaimMaker.Of(1, 10), null, null]));
    }

    // A write acknowledged on a and b; a loses power and is back; b is cut off: a and c must wait.
    [Fact]
    public void AVoidedOneDoesNotCount()
    {
        ReplicaClaim a = ClaimMaker.Voided(1, 5), c = ClaimMaker.Of(1, 5);
        Assert.False(ClaimRules.AreEnough(s_three, [a, null, c]));
        Assert.True(ClaimRules.AreEnough(s_three, [a, ClaimMaker.Of(1, 9), c]));
    }

    [Fact]
    public void AllClaimsAreEnoughWhateverTheyAre() => Assert.True(ClaimRules.AreEnough(
        s_three, [ClaimMaker.Voided(1, 5), ClaimMaker.Voided(0, 0), ClaimMaker.Of(1, 5)]));

    [Fact]
    public void AfterAnOutageOfWOnlyWhatWasFlushedIsOwed() => Assert.True(ClaimRules.AreEnough(
        s_three, [ClaimMaker.Voided(1, 5), ClaimMaker.Voided(1, 7), null]));

    // One of them had been out of sync before, and so in no quorum: this is not the outage of both.
    [Fact]
    public void AnOlderOutageIsNotThisOne()
    {
        var missing = new MissingRun(0, 1, new Epoch(1), new Sequence(3));
        Assert.False(ClaimRules.AreEnough(
            s_three, [ClaimMaker.Voided(1, 5), ClaimMaker.Voided(1, 7).WithMissing(missing), null]));
        Assert.False(ClaimRules.AreEnough(
            s_three, [ClaimMaker.Voided(2, 5), ClaimMaker.Of(2, 7, ReplicaFlags.Voided, voidedIn: 1), null]));
    }

    // c loses power; a and b go on without it; then a loses power too: what b alone has left is owed.
    [Fact]
    public void AnOutageThatOthersWentOnAfterIsNotThisOne()
    {
        ReplicaClaim a = ClaimMaker.Voided(1, 5, view: 2), c = ClaimMaker.Voided(1, 3, view: 1);
        Assert.False(ClaimRules.AreEnough(s_three, [a, null, c]));
        Assert.True(ClaimRules.AreEnough(s_three, [a, ClaimMaker.Of(1, 9, view: 2), c]));
        Assert.True(ClaimRules.AreEnough(s_three, [a, ClaimMaker.Voided(1, 4, view: 2), null]));
    }

    [Fact]
    public void AFailedOneCountsLikeAVoidedOne() => Assert.False(ClaimRules.AreEnough(
        s_three, [ClaimMaker.Of(1, 10, ReplicaFlags.Failed), ClaimMaker.Of(1, 8), null]));

    // N = 4, W = 2: two candidates could each have R = 3 of four, but none with fewer.
    [Fact]
    public void WhereRIsLargerRAreNeeded()
    {
        VolumeConfiguration four = Configuration(4, 2);
        Assert.False(ClaimRules.AreEnough(four, [ClaimMaker.Of(1, 1), ClaimMaker.Of(1, 1), null, null]));
        Assert.True(ClaimRules.AreEnough(
            four, [ClaimMaker.Of(1, 1), ClaimMaker.Of(1, 1), ClaimMaker.Of(1, 1), null]));
    }

    [Fact]
    public void AJointConfigurationNeedsBoth()
    {
        var rule = new QuorumRule(3, 2);
        var old = new ReplicaGroup(new ReplicaMask(0b00111), rule);
        var joint = new VolumeConfiguration(2, old, new ReplicaGroup(new ReplicaMask(0b11100), rule));
        ReplicaClaim claim = ClaimMaker.Of(1, 1);
        Assert.False(ClaimRules.AreEnough(joint, [claim, claim, null, null, null]));
        Assert.False(ClaimRules.AreEnough(joint, [claim, null, claim, null, null]));
        Assert.True(ClaimRules.AreEnough(joint, [claim, null, claim, claim, null]));
    }

    [Fact]
    public void TheFirstSequenceLeavesAGapBehindEverythingSeen()
    {
        var entry = new OutOfOrderEntry(new Sequence(40), Mutation.Write, 0, 4096);
        Assert.Equal(41 + ClaimRules.EpochGap, ClaimRules.FirstSequence(
            [ClaimMaker.Of(1, 10), null, ClaimMaker.Of(1, 12).WithOutOfOrder(entry)]));
    }

    private static VolumeConfiguration Configuration(int replicas, int quorum) => new(
        1, new ReplicaGroup(ReplicaMask.First(replicas), new QuorumRule(replicas, quorum)));
}
