using Ublk.Testing;
using Ublk.Uring;
using Xunit;

namespace Ublk.Tests.Unit.Uring;

public sealed class PollingTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(1);

    [Fact]
    public async Task AFinalAnswerIsAskedForOnce()
    {
        var clock = new PollClock();
        Assert.Equal(7, await Polling.AskAsync(() => 7, static _ => false, s_limit, clock));
        Assert.Equal(0, clock.PollCount);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(50)]
    public async Task APendingAnswerIsAskedForAgain(int polls)
    {
        var clock = new PollClock();
        int asked = 0;
        int answer = await Polling.AskAsync(
            () => asked++, count => count < polls, s_limit, clock);
        Assert.Equal(polls, answer);
        Assert.Equal(polls, clock.PollCount);
    }

    [Fact]
    public async Task TheLastAnswerIsGivenWhenTheTimeIsOver()
    {
        var clock = new PollClock();
        int asked = 0;
        long start = clock.GetTimestamp();
        int answer = await Polling.AskAsync<int>(
            () => Task.FromResult(++asked), static _ => true, s_limit, clock);
        Assert.Equal(asked, answer);
        TimeSpan took = clock.GetElapsedTime(start);
        Assert.InRange(took, s_limit, s_limit + 2 * Polling.Interval);
        Assert.Equal(asked - 1, clock.PollCount);
    }

    [Fact]
    public async Task WithoutTimeItIsAskedOnceMore()
    {
        var clock = new PollClock();
        int asked = 0;
        Assert.Equal(2, await Polling.AskAsync(
            () => ++asked, static _ => true, TimeSpan.Zero, clock));
    }

    [Fact]
    public async Task WhatTheQuestionThrowsEndsIt()
    {
        var clock = new PollClock();
        int asked = 0;
        await Assert.ThrowsAsync<InvalidOperationException>(() => Polling.AskAsync<int>(
            () => ++asked < 3 ? asked : throw new InvalidOperationException(), static _ => true,
            s_limit, clock));
        Assert.Equal(2, clock.PollCount);
    }
}
