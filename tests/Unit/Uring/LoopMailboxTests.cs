using Ublk.Uring;
using Xunit;

namespace Ublk.Tests.Unit.Uring;

public sealed class LoopMailboxTests
{
    [Fact]
    public void PostFromTheOwnThreadRunsInTheNextRound()
    {
        using Loop loop = TestLoop.Create();
        bool hasRun = false;
        Assert.True(loop.Post(() => hasRun = true));
        Assert.False(hasRun);
        loop.Until(() => hasRun);
    }

    [Fact]
    public void PostThatPostsItselfLeavesTheLoopItsTurn()
    {
        using Loop loop = TestLoop.Create();
        int count = 0;
        void Again()
        {
            count++;
            Assert.True(count < 100, "the post ran again and again within one round");
            loop.Post(Again);
        }

        loop.Post(Again);
        loop.Drain();
        Assert.Equal(1, count);
        loop.Drain();
        Assert.Equal(2, count);
    }

    [Fact]
    public void FullMailboxRefuses()
    {
        using Loop loop = TestLoop.Create();
        int count = 0;
        for (int i = 0; i < Loop.MailboxLimit; i++)
        {
            Assert.True(loop.Post(() => count++));
        }

        Assert.False(loop.Post(() => count++));
        loop.Until(() => count == Loop.MailboxLimit);
        Assert.True(loop.Post(() => count++));
    }

    [Fact]
    public void NoPostIsLostUnderStress()
    {
        const int Threads = 4;
        const int PostsPerThread = 20_000;
        using Loop loop = TestLoop.Create();
        var last = new int[Threads];
        int count = 0;
        var threads = new Thread[Threads];
        for (int t = 0; t < Threads; t++)
        {
            int own = t;
            threads[t] = new Thread(() =>
            {
                for (int i = 1; i <= PostsPerThread; i++)
                {
                    int number = i;
                    while (!loop.Post(() =>
                    {
                        Assert.Equal(number, ++last[own]);
                        count++;
                    }))
                    {
                        Thread.Yield();
                    }
                }
            });
            threads[t].Start();
        }

        // A lost wake-up would leave the loop waiting with posts in its mailbox.
        int stalls = 0;
        while (count < Threads * PostsPerThread)
        {
            stalls = loop.DrainOrWait(TimeSpan.FromSeconds(5)) == 0 ? stalls + 1 : 0;
            Assert.True(stalls < 2, $"no wake-up after {count} posts");
        }

        Array.ForEach(threads, thread => thread.Join());
        Assert.All(last, number => Assert.Equal(PostsPerThread, number));
    }

    [Fact]
    public async Task InvokeAnswersTheResult()
    {
        using LoopThread thread = await Start();
        Assert.Equal(5, await thread.Loop.InvokeAsync(() => 5));
        string? name = await thread.Loop.InvokeAsync(() => Thread.CurrentThread.Name);
        Assert.Equal("loop", name);
        await thread.StopAsync();
    }

    [Fact]
    public async Task InvokeHandsTheExceptionOver()
    {
        using LoopThread thread = await Start();
        await Assert.ThrowsAsync<FormatException>(
            () => thread.Loop.InvokeAsync<int>(() => throw new FormatException()));
        Assert.Equal(1, await thread.Loop.InvokeAsync(() => 1));
        await thread.StopAsync();
    }

    [Fact]
    public void InvokeIntoAFullMailboxFails()
    {
        using Loop loop = TestLoop.Create();
        while (loop.Post(() => { }))
        {
        }

        Task<int> refused = loop.InvokeAsync(() => 1);
        Assert.IsType<LoopFullException>(refused.Exception?.InnerException);
    }

    [Fact]
    public void ClosedLoopTakesNoPosts()
    {
        Loop loop = TestLoop.Create();
        loop.Dispose();
        Assert.False(loop.Post(() => { }));
    }

    [Fact]
    public void InvocationsLeftBehindFailInsteadOfWaitingForEver()
    {
        Loop loop = TestLoop.Create();
        bool hasRun = false;
        Task<int> before = loop.InvokeAsync(() =>
        {
            hasRun = true;
            return 1;
        });
        loop.Dispose();
        Task<int> after = loop.InvokeAsync(() => 1);
        Assert.IsType<ObjectDisposedException>(before.Exception?.InnerException);
        Assert.IsType<ObjectDisposedException>(after.Exception?.InnerException);
        Assert.False(hasRun);
    }

    private static Task<LoopThread> Start() => LoopThread.StartAsync(
        new LoopOptions { MaxOperations = 64, BufferTableSlots = 0, FileTableSlots = 0 },
        TimeProvider.System, exception => Assert.Fail(exception.ToString()));
}
