using Ublk.Replication.Primary;
using Ublk.Replication.State;
using Ublk.Replication.Store;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Primary;

/// <summary>Which regions a recovery compares, and whose bytes it takes.</summary>
public sealed class ReconcilePlanTests
{
    private const long Size = 8L << 20;

    [Fact]
    public void NothingIsUncertainBetweenEqualReplicas() =>
        Assert.Empty(UncertainOf(ClaimMaker.Of(1, 5), ClaimMaker.Of(1, 7)));

    [Fact]
    public void IntentsMissingRegionsAndDifferentVersionsAre()
    {
        ReplicaClaim one = ClaimMaker.Of(1, 5)
            .WithIntents(new IntentRun(17, 16)) // Grains 17 to 32: regions 1 and 2.
            .WithVersions(0, new VersionRun(6, 1, new Sequence(4)));
        ReplicaClaim other = ClaimMaker.Of(1, 5)
            .WithMissing(new MissingRun(4, 1, new Epoch(1), new Sequence(2)))
            .WithVersions(0, new VersionRun(6, 1, new Sequence(3)));
        Assert.Equal([1, 2, 4, 6], UncertainOf(one, other));
    }

    // Numbers that were given after histories had parted may be the same and stand for different operations.
    [Fact]
    public void EqualVersionsOfPartedHistoriesSayNothing()
    {
        ReplicaClaim one = ClaimMaker.Of(2, 50).WithVersions(0, new VersionRun(6, 1, new Sequence(40)));
        ReplicaClaim other = ClaimMaker.Of(3, 60).WithVersions(0, new VersionRun(6, 1, new Sequence(40)));
        Assert.Equal([6], UncertainOf(one, other));
    }

    // The named history of the design: 95 was flushed on r and t; s was being reconciled when r died.
    [Fact]
    public void TheHighestClaimOfARegionIsItsSource()
    {
        ReplicaClaim s = ClaimMaker.Of(1, 90).WithIntents(new IntentRun(0, 1));
        ReplicaClaim t = ClaimMaker.Of(1, 95);
        Assert.Equal(1, PlanOf(s, t).SourceOf(0));
    }

    [Fact]
    public void AMissingRegionHasOnlyItsOldClaim()
    {
        ReplicaClaim newer = ClaimMaker.Of(2, 90)
            .WithMissing(new MissingRun(3, 1, new Epoch(1), new Sequence(50)));
        ReplicaClaim older = ClaimMaker.Of(1, 60);
        ReconcilePlan plan = PlanOf(newer, older);
        Assert.Equal(1, plan.SourceOf(3));
        Assert.Equal(0, plan.SourceOf(2));
    }

    [Fact]
    public void OfEqualClaimsTheOneWithItsMemoryIsTaken() => Assert.Equal(
        1, PlanOf(ClaimMaker.Voided(1, 9), ClaimMaker.Of(1, 9)).SourceOf(0));

    [Fact]
    public void WhatOnlyAnotherHasIsLaidOverTheSourceInOrder()
    {
        ReplicaClaim source = ClaimMaker.Of(1, 95);
        ReplicaClaim other = ClaimMaker.Of(1, 90).WithOutOfOrder(
            new OutOfOrderEntry(new Sequence(93), Mutation.Write, 0, 4096),
            new OutOfOrderEntry(new Sequence(97), Mutation.Write, (1 << 20) - 4096, 8192),
            new OutOfOrderEntry(new Sequence(98), Mutation.Discard, 512, 512));
        ReconcilePlan plan = PlanOf(source, other);
        Assert.Equal(
            [
                new Overlay(1, ReplicaMask.Of(1), 97, (1 << 20) - 4096, 4096),
                new Overlay(1, ReplicaMask.Of(1), 98, 512, 512),
            ],
            plan.OverlaysOf(0, source: 0));
        Assert.Equal([new Overlay(1, ReplicaMask.Of(1), 97, 1 << 20, 4096)], plan.OverlaysOf(1, source: 0));
    }

    // Two have it, and the second may have a later one over it already: neither is overwritten.
    [Fact]
    public void WhoHasItIsNotOverwritten()
    {
        var entry = new OutOfOrderEntry(new Sequence(97), Mutation.Write, 0, 4096);
        ReconcilePlan plan = PlanOf(
            ClaimMaker.Of(1, 95), ClaimMaker.Of(1, 90).WithOutOfOrder(entry),
            ClaimMaker.Of(1, 91).WithOutOfOrder(entry));
        Assert.Equal(new ReplicaMask(0b110), Assert.Single(plan.OverlaysOf(0, source: 0)).Holders);
    }

    // What was applied in another history is no part of this one.
    [Fact]
    public void OperationsOfAnotherHistoryAreNotLaidOver()
    {
        ReplicaClaim other = ClaimMaker.Of(1, 90).WithOutOfOrder(
            new OutOfOrderEntry(new Sequence(200), Mutation.Write, 0, 4096));
        ReconcilePlan plan = PlanOf(ClaimMaker.Of(2, 100), other);
        Assert.Empty(plan.OverlaysOf(0, source: 0));
    }

    private static ReconcilePlan PlanOf(params ReplicaClaim[] claims) => new(
        claims, Lineage.Of(claims, new HistoryPoint(9, 1000 + ClaimRules.EpochGap)), local: 0, Size);

    private static List<int> UncertainOf(params ReplicaClaim[] claims)
    {
        ReconcilePlan plan = PlanOf(claims);
        plan.Find(plan.PagesToCompare());
        var regions = new List<int>();
        for (int region = plan.Uncertain.NextIn(0); region < plan.Uncertain.Grains;
            region = plan.Uncertain.NextIn(region + 1))
        {
            regions.Add(region);
        }

        return regions;
    }
}
