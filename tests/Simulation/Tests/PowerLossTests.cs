using Ublk.Wire.Blocks;
using Xunit;

namespace Ublk.Tests.Simulation.Tests;

/// <summary>What is owed after nodes have lost power.</summary>
public sealed class PowerLossTests
{
    private readonly MiniHistory _history = new();

    [Fact]
    public void AnyFewerThanAWriteQuorumLoseNothing()
    {
        int old = _history.Write();
        _ = _history.Write();
        _history.LosePower(0);
        _history.Checker.Recovered();
        _history.Read(old);
        _ = _history.Refuse();
    }

    [Fact]
    public void AWriteQuorumMayLoseWhatWasNotFlushed()
    {
        int old = _history.Write();
        _ = _history.Write();
        _history.LosePower(0, 1);
        _history.Checker.Recovered();
        _history.Read(old);
        _history.Accept();
    }

    [Fact]
    public void EvenWhatWasShown()
    {
        _history.Read(_history.Write());
        _history.LosePower(0, 1, 2);
        _history.Checker.Recovered();
        _history.Read(-1);
        _history.Accept();
    }

    [Fact]
    public void WhatWasFlushedIsKept()
    {
        int old = _history.Write();
        _ = _history.Write();
        _history.Flush();
        _history.LosePower(0, 1, 2);
        _history.Checker.Recovered();
        _history.Read(old);
        _ = _history.Refuse();
    }

    [Fact]
    public void OrSomethingLater()
    {
        int flushed = _history.Write();
        _history.Flush();
        int middle = _history.Write();
        _ = _history.Write();
        _history.LosePower(0, 1, 2);
        _history.Checker.Recovered();
        _history.Read(middle);
        _history.Read(middle);
        _history.Accept();
        Assert.NotEqual(flushed, middle);
    }

    [Fact]
    public void AFlushCoversOnlyWhatWasAcknowledgedBefore()
    {
        int old = _history.Write();
        int flush = _history.Begin(BlockOperation.Flush);
        _ = _history.Write();
        _history.End(flush);
        _history.LosePower(0, 1, 2);
        _history.Checker.Recovered();
        _history.Read(old);
        _history.Accept();
    }

    [Fact]
    public void AFailedFlushCoversNothing()
    {
        _ = _history.Write();
        _history.End(_history.Begin(BlockOperation.Flush), BlockStatus.IoError);
        _history.LosePower(0, 1, 2);
        _history.Checker.Recovered();
        _history.Read(-1);
        _history.Accept();
    }

    [Fact]
    public void ADurableWriteIsKept()
    {
        _ = _history.Write(isDurable: true);
        _history.LosePower(0, 1, 2);
        _history.Checker.Recovered();
        _history.Read(-1);
        _ = _history.Refuse();
    }

    [Fact]
    public void WhatSurvivedIsTheSameFromThenOn()
    {
        int one = _history.Write();
        int other = _history.Write();
        _history.LosePower(0, 1, 2);
        _history.Checker.Recovered();
        _history.Read(one);
        _history.Read(other);
        _ = _history.Refuse();
    }

    [Fact]
    public void WhatSurvivedIsKeptAtTheNextLoss()
    {
        int one = _history.Write();
        _ = _history.Write();
        _history.LosePower(0, 1, 2);
        _history.Checker.Recovered();
        _history.Read(one);
        _history.LosePower(0, 1, 2);
        _history.Checker.Recovered();
        _history.Read(-1);
        _ = _history.Refuse();
    }

    [Fact]
    public void WhatWasNotLookedAtMayStillBeAny()
    {
        int one = _history.Write();
        _ = _history.Write();
        _history.LosePower(0, 1, 2);
        _history.Checker.Recovered();
        _history.LosePower(0, 1, 2);
        _history.Checker.Recovered();
        _history.Read(one);
        _history.Accept();
    }

    [Fact]
    public void WhoIsInSyncAgainDoesNotCount()
    {
        int old = _history.Write();
        _ = _history.Write();
        _history.LosePower(0);
        _history.Checker.InSync(0);
        _history.LosePower(1);
        _history.Checker.Recovered();
        _history.Read(old);
        _ = _history.Refuse();
    }

    // Between the loss and its noting nobody knows whether the write came before or after it.
    [Fact]
    public void ALossThatIsNotNotedYetCountsAsOfNow()
    {
        int old = _history.Write();
        _history.Checker.Lost(0);
        _ = _history.Write();
        _history.LosePower(1);
        _history.Checker.Recovered();
        _history.Read(old);
        _history.Accept();
    }

    [Fact]
    public void OnlyLossesAfterAWriteCount()
    {
        int old = _history.Write();
        _history.LosePower(0);
        int fresh = _history.Write();
        _history.LosePower(1);
        _history.Checker.Recovered();
        _history.Read(old);
        string complaint = _history.Refuse();
        Assert.Contains("shows a value", complaint, StringComparison.Ordinal);
        Assert.NotEqual(old, fresh);
    }

    [Fact]
    public void AFailedWriteMaySurvive()
    {
        int failed = _history.Fail();
        _history.LosePower(0, 1, 2);
        _history.Checker.Recovered();
        _history.Read(failed);
        _history.Accept();
    }

    [Fact]
    public void ButNotWhenItWasSeenNotToBeThere()
    {
        int failed = _history.Fail();
        _history.Read(-1);
        _history.LosePower(0, 1, 2);
        _history.Checker.Recovered();
        _history.Read(failed);
        _ = _history.Refuse();
    }

    [Fact]
    public void WhatIsUnderWayMayHappenBeforeOrAfter()
    {
        int open = _history.Begin(BlockOperation.Write);
        _history.LosePower(0, 1, 2);
        _history.Checker.Recovered();
        _history.Read(-1);
        _history.Read(open);
        _history.End(open);
        _history.Read(open);
        _history.Accept();
    }

    [Fact]
    public void WhatTheHostWroteAfterwardsIsKept()
    {
        int old = _history.Write();
        _history.LosePower(0, 1, 2);
        _history.Checker.Recovered();
        _ = _history.Write();
        _history.Read(old);
        _ = _history.Refuse();
    }
}
