using Ublk.Uring;
using Ublk.Uring.Native;
using Xunit;

namespace Ublk.Tests.Unit.Uring;

public sealed class LoopThreadTests
{
    private static readonly LoopOptions s_options = new()
    {
        Name = "test-loop",
        MaxOperations = 64,
        BufferTableSlots = 16,
        FileTableSlots = 4,
    };

    [Fact]
    public async Task StartsAndStops()
    {
        var faults = new List<Exception>();
        using LoopThread thread = await LoopThread.StartAsync(s_options, TimeProvider.System, faults.Add);
        Assert.Equal("test-loop", await thread.Loop.InvokeAsync(() => Thread.CurrentThread.Name));
        await thread.StopAsync();
        await thread.StopAsync();
        Assert.Empty(faults);
        Assert.False(thread.Loop.Post(() => { }));
    }

    [Fact]
    public async Task DisposeEndsTheThread()
    {
        LoopThread thread = await LoopThread.StartAsync(s_options, TimeProvider.System, _ => { });
        thread.Dispose();
        await thread.StopAsync();
    }

    [Fact]
    public async Task StaysOnItsProcessor()
    {
        using LoopThread thread = await LoopThread.StartAsync(
            s_options with { Processor = 0 }, TimeProvider.System, _ => { });
        Assert.Equal(0, await thread.Loop.InvokeAsync(Thread.GetCurrentProcessorId));
        await thread.StopAsync();
    }

    [Fact]
    public async Task ReportsAFaultOnce()
    {
        var faults = new List<Exception>();
        var told = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using LoopThread thread = await LoopThread.StartAsync(s_options, TimeProvider.System, exception =>
        {
            faults.Add(exception);
            told.SetResult();
        });
        Assert.True(thread.Loop.Post(() => throw new FormatException("broken")));
        await told.Task;
        await thread.StopAsync();
        Assert.IsType<FormatException>(Assert.Single(faults));
    }

    [Fact]
    public async Task StopAfterAFaultReturns()
    {
        using LoopThread thread = await LoopThread.StartAsync(
            s_options, TimeProvider.System, _ => { });
        Assert.True(thread.Loop.Post(() => throw new FormatException("broken")));
        await thread.StopAsync();
    }

    [Fact]
    public async Task StartThatFailsThrows()
    {
        SystemCallException error = await Assert.ThrowsAsync<SystemCallException>(() =>
            LoopThread.StartAsync(s_options with { Processor = 1023 }, TimeProvider.System,
                _ => Assert.Fail("a start that failed is no fault")));
        Assert.Equal(Errno.EINVAL, error.Number);
    }
}
