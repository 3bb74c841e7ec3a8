using Ublk.Tests.Simulation.Judge;
using Ublk.Wire.Blocks;
using Xunit;

namespace Ublk.Tests.Simulation.Tests;

/// <summary>What the judge accepts and refuses while nobody loses power.</summary>
public sealed class HistoryCheckerTests
{
    private readonly MiniHistory _history = new();

    [Fact]
    public void WhatWasWrittenIsRead()
    {
        _history.Read(-1);
        _history.Read(_history.Write());
        int last = _history.Write();
        _history.Flush();
        _history.Read(last);
        _history.Accept();
    }

    [Fact]
    public void AnAcknowledgedWriteIsNotLost()
    {
        int first = _history.Write();
        _ = _history.Write();
        _history.Read(first);
        Assert.Contains("block 0", _history.Refuse(), StringComparison.Ordinal);
    }

    [Fact]
    public void AnAcknowledgedWriteIsNotLostToZeros()
    {
        _ = _history.Write();
        _history.Read(-1);
        _ = _history.Refuse();
    }

    [Fact]
    public void WritesAtOnceMayHaveHappenedInEitherOrder()
    {
        int one = _history.Begin(BlockOperation.Write);
        int other = _history.Begin(BlockOperation.Write);
        _history.End(one);
        _history.End(other);
        _history.Read(one);
        _history.Accept();
    }

    [Fact]
    public void ButNotInBoth()
    {
        int one = _history.Begin(BlockOperation.Write);
        int other = _history.Begin(BlockOperation.Write);
        _history.End(one);
        _history.End(other);
        _history.Read(one);
        _history.Read(other);
        _ = _history.Refuse();
    }

    [Fact]
    public void AReadAtTheSameTimeMayShowEither()
    {
        int old = _history.Write();
        int fresh = _history.Begin(BlockOperation.Write);
        _history.Read(old);
        _history.Read(fresh);
        _history.End(fresh);
        _history.Read(fresh);
        _history.Accept();
    }

    [Fact]
    public void WhatWasShownIsNotUnread()
    {
        int old = _history.Write();
        int fresh = _history.Begin(BlockOperation.Write);
        _history.Read(fresh);
        _history.Read(old);
        _history.End(fresh);
        _ = _history.Refuse();
    }

    [Fact]
    public void ReadsAtOnceMayShowEither()
    {
        int old = _history.Write();
        int fresh = _history.Begin(BlockOperation.Write);
        int one = _history.Begin(BlockOperation.Read);
        int other = _history.Begin(BlockOperation.Read);
        _history.EndRead(one, fresh);
        _history.EndRead(other, old);
        _history.Accept();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void AFailedWriteMayHaveHappenedOrNot(bool hasHappened)
    {
        int old = _history.Write();
        int failed = _history.Fail();
        _history.Read(hasHappened ? failed : old);
        _history.Read(hasHappened ? failed : old);
        _history.Accept();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void ButThatDoesNotChange(bool isShownFirst)
    {
        int old = _history.Write();
        int failed = _history.Fail();
        _history.Read(isShownFirst ? failed : old);
        _history.Read(isShownFirst ? old : failed);
        _ = _history.Refuse();
    }

    [Fact]
    public void AFailedWriteDoesNotComeBackOverALaterOne()
    {
        int failed = _history.Fail();
        int later = _history.Write();
        _history.Read(later);
        _history.Read(failed);
        _ = _history.Refuse();
    }

    [Fact]
    public void AFailedWriteDoesNotComeBackEvenUnseen()
    {
        int failed = _history.Fail();
        _ = _history.Write();
        _history.Read(failed);
        _ = _history.Refuse();
    }

    [Fact]
    public void WhatWasAskedAgainMayHappenTwice()
    {
        int one = _history.Begin(BlockOperation.Write);
        int other = _history.Begin(BlockOperation.Write);
        _history.Read(one);
        _history.End(other);
        _history.Read(other);
        _history.Checker.Reissue(one);
        _history.End(one);
        _history.Read(one);
        _history.Accept();
    }

    [Fact]
    public void AnOlderValueDoesNotRise()
    {
        int oldest = _history.Write();
        int old = _history.Write();
        _history.Read(old);
        int fresh = _history.Begin(BlockOperation.Write);
        _history.Read(oldest);
        _history.End(fresh);
        _ = _history.Refuse();
    }

    [Fact]
    public void ZerosAreTakenForAnyWriteOfZeros()
    {
        _history.Zero();
        int late = _history.Begin(BlockOperation.Discard);
        int write = _history.Begin(BlockOperation.Write);
        _history.Read(-1);
        _history.Read(write);
        _history.Read(-1);
        _history.End(late);
        _history.End(write);
        _history.Accept();
    }

    [Fact]
    public void ButNotForMoreThanThereAre()
    {
        _history.Zero();
        int late = _history.Begin(BlockOperation.Discard);
        int one = _history.Begin(BlockOperation.Write);
        int other = _history.Begin(BlockOperation.Write);
        _history.Read(-1);
        _history.Read(one);
        _history.Read(-1);
        _history.Read(other);
        _history.Read(-1);
        _history.End(late);
        _ = _history.Refuse();
    }

    [Fact]
    public void ABlockIsNeverTorn()
    {
        int one = _history.Write();
        int other = _history.Write();
        int read = _history.Begin(BlockOperation.Read);
        byte[] mixed = MiniHistory.Mixed(_history.BytesOf(one), _history.BytesOf(other));
        HistoryException torn = Assert.Throws<HistoryException>(
            () => _history.Checker.Complete(0, read, BlockStatus.Ok, mixed));
        Assert.Contains("torn", torn.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void WhatBelongsElsewhereIsNotShown()
    {
        int elsewhere = _history.Write(block: 3);
        int read = _history.Begin(BlockOperation.Read);
        byte[] bytes = _history.BytesOf(elsewhere).ToArray();
        _ = Assert.Throws<HistoryException>(
            () => _history.Checker.Complete(0, read, BlockStatus.Ok, bytes));
    }

    [Fact]
    public void NothingIsAnsweredTwice()
    {
        int write = _history.Write();
        _ = Assert.Throws<HistoryException>(() => _history.End(write));
    }

    [Fact]
    public void NothingIsShownBeforeItWasWritten()
    {
        int read = _history.Begin(BlockOperation.Read);
        int write = _history.Begin(BlockOperation.Write);
        _history.EndRead(read, write);
        _history.Accept();

        var other = new MiniHistory();
        other.Read(-1);
        Assert.Equal(0ul, MiniHistory.FirstWord(other.BytesOf(-1)));
        other.Accept();
    }
}
