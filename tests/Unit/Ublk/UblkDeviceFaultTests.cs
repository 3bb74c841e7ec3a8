using Ublk.Frontend.Ublk;
using Ublk.Testing;
using Ublk.Uring.Native;
using Xunit;
using static Ublk.Tests.Unit.Ublk.QueueBench;

namespace Ublk.Tests.Unit.Ublk;

/// <summary>
/// Every command failing or never answering, at every step; nothing may stay behind.
/// </summary>
public sealed class UblkDeviceFaultTests
{
    private const int TimedOut = -Errno.ETIME;

    public static TheoryData<FakeCommand, int, UblkError> CreateFailures => new()
    {
        { FakeCommand.GetFeatures, -Errno.EPERM, UblkError.NoPermission },
        { FakeCommand.GetFeatures, TimedOut, UblkError.TimedOut },
        { FakeCommand.GetFeatures, -Errno.EINVAL, UblkError.KernelTooOld },
        { FakeCommand.Add, -Errno.EPERM, UblkError.NoPermission },
        { FakeCommand.Add, -Errno.EEXIST, UblkError.IdTaken },
        { FakeCommand.Add, -Errno.ENOMEM, UblkError.Failed },
        { FakeCommand.Add, TimedOut, UblkError.TimedOut },
        { FakeCommand.SetParameters, -Errno.EINVAL, UblkError.Failed },
        { FakeCommand.SetParameters, TimedOut, UblkError.TimedOut },
        { FakeCommand.Open, -Errno.EACCES, UblkError.NoPermission },
        { FakeCommand.Open, -Errno.ENOMEM, UblkError.Failed },
        { FakeCommand.Start, -Errno.EINVAL, UblkError.Failed },
        { FakeCommand.Start, -Errno.ENODEV, UblkError.NoSuchDevice },
        { FakeCommand.Start, TimedOut, UblkError.TimedOut },
    };

    public static TheoryData<FakeCommand, int, UblkError> RecoverFailures => new()
    {
        { FakeCommand.GetInfo, -Errno.ENODEV, UblkError.NoSuchDevice },
        { FakeCommand.GetInfo, TimedOut, UblkError.TimedOut },
        { FakeCommand.GetParameters, -Errno.EPERM, UblkError.NoPermission },
        { FakeCommand.GetParameters, TimedOut, UblkError.TimedOut },
        { FakeCommand.StartRecovery, -Errno.EINVAL, UblkError.Failed },
        { FakeCommand.StartRecovery, TimedOut, UblkError.TimedOut },
        { FakeCommand.Open, -Errno.EACCES, UblkError.NoPermission },
        { FakeCommand.EndRecovery, -Errno.EINVAL, UblkError.Failed },
        { FakeCommand.EndRecovery, TimedOut, UblkError.TimedOut },
    };

    [Theory]
    [MemberData(nameof(CreateFailures))]
    public async Task AFailedCreationLeavesNothingBehind(
        FakeCommand command, int result, UblkError error)
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        bench.Driver.Inject(command, result);
        UblkException failure = await Assert.ThrowsAsync<UblkException>(() => bench.CreateAsync());
        Assert.Equal(error, failure.Error);
        await bench.AssertNothingLeaksAsync();
        await CreateUseAndStopAsync(bench);
    }

    [Theory]
    [InlineData(-Errno.ENOENT, UblkError.Failed)]
    [InlineData(-Errno.EBUSY, UblkError.Busy)]
    public async Task TheNodeMayAppearLateButNotTooLate(int result, UblkError error)
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        bench.Driver.Inject(FakeCommand.Open, result, count: 20);
        await CreateUseAndStopAsync(bench);
        Assert.Equal(20, bench.Clock.PollCount);

        bench.Driver.Inject(FakeCommand.Open, result, count: 2000);
        UblkException late = await Assert.ThrowsAsync<UblkException>(() => bench.CreateAsync());
        Assert.Equal(error, late.Error);
        await bench.AssertNothingLeaksAsync();
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public async Task AQueueThatCannotBeMappedLeavesNothingBehind(int skip)
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        bench.Driver.Inject(FakeCommand.OpenQueue, -Errno.ENOMEM, skip);
        await Assert.ThrowsAsync<SystemCallException>(
            () => bench.CreateAsync(DeviceBench.Options with { QueueCount = 2 }));
        await bench.AssertNothingLeaksAsync();
        await CreateUseAndStopAsync(bench);
    }

    [Theory]
    [InlineData(0, "7.3")]
    [InlineData(3, "7.3")]
    [InlineData(7, "7.2")]
    [InlineData(2, "6.18")]
    public async Task ARefusedFetchIsToldAndLeavesNothingBehind(int skip, string kernel)
    {
        await using DeviceBench bench = await DeviceBench.StartAsync(KernelProfile.Of(kernel));
        bench.Driver.WaitLimit = TimeSpan.Zero;
        bench.Driver.Inject(FakeCommand.Fetch, -Errno.EINVAL, skip);
        UblkException failure = await Assert.ThrowsAsync<UblkException>(
            () => bench.CreateAsync(DeviceBench.Options with { QueueCount = 2 }));
        Assert.Equal(UblkError.Failed, failure.Error);
        Assert.Contains("fetch of tag", failure.Message, StringComparison.Ordinal);
        await bench.AssertNothingLeaksAsync();
    }

    [Theory]
    [MemberData(nameof(RecoverFailures))]
    public async Task AFailedRecoveryLeavesTheDeviceForTheNext(
        FakeCommand command, int result, UblkError error)
    {
        await using DeviceBench old = await DeviceBench.StartAsync();
        await old.CreateAsync();
        old.Driver.KillServer();
        await using DeviceBench next = await DeviceBench.StartAsync();
        old.Driver.Inject(command, result);
        UblkException failure = await Assert.ThrowsAsync<UblkException>(
            () => RecoverOnAsync(old, next));
        Assert.Equal(error, failure.Error);
        Assert.Equal(UblkDeviceState.Quiesced, old.Driver.StateOf(0));
        Assert.Equal(0, old.Driver.OpenHandleCount);

        // The commands that were under way end with the process.
        old.Driver.KillServer();
        await using DeviceBench third = await DeviceBench.StartAsync();
        UblkDevice device = await RecoverOnAsync(old, third);
        await device.StopAsync(force: false);
        Assert.Empty(old.Driver.ListDevices());
        await third.AssertNothingLeaksAsync();
    }

    [Theory]
    [InlineData(FakeCommand.TryStop, -Errno.EPERM, UblkError.NoPermission)]
    [InlineData(FakeCommand.TryStop, TimedOut, UblkError.TimedOut)]
    [InlineData(FakeCommand.TryStop, -Errno.EBUSY, UblkError.Busy)]
    [InlineData(FakeCommand.Stop, -Errno.EPERM, UblkError.NoPermission)]
    [InlineData(FakeCommand.Stop, TimedOut, UblkError.TimedOut)]
    public async Task AFailedStopCanBeTriedAgain(FakeCommand command, int result, UblkError error)
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        UblkDevice device = await bench.CreateAsync();
        bench.Driver.Inject(command, result);
        bool force = command == FakeCommand.Stop;
        UblkException failure = await Assert.ThrowsAsync<UblkException>(
            () => device.StopAsync(force));
        Assert.Equal(error, failure.Error);
        Assert.Equal(0, (await bench.RunAsync(Read)).Result);
        await device.StopAsync(force);
        await bench.AssertNothingLeaksAsync();
    }

    [Theory]
    [InlineData(-Errno.EOPNOTSUPP)]
    [InlineData(-Errno.EINVAL)]
    public async Task OlderDriversAreDeletedSynchronously(int result)
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        UblkDevice device = await bench.CreateAsync();
        bench.Driver.Inject(FakeCommand.TryStop, result);
        bench.Driver.Inject(FakeCommand.DeleteAsync, result);
        await device.StopAsync(force: false);
        FakeCommand[] expected =
            [FakeCommand.TryStop, FakeCommand.Stop, FakeCommand.DeleteAsync, FakeCommand.Delete];
        Assert.Equal(expected, bench.Driver.Log.TakeLast(4));
        await bench.AssertNothingLeaksAsync();
    }

    [Theory]
    [InlineData(-Errno.EPERM, UblkError.NoPermission)]
    [InlineData(TimedOut, UblkError.TimedOut)]
    public async Task AFailedDeleteIsToldAndCanBeTriedAgain(int result, UblkError error)
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        UblkDevice device = await bench.CreateAsync();
        bench.Driver.Inject(FakeCommand.DeleteAsync, result);
        UblkException failure = await Assert.ThrowsAsync<UblkException>(
            () => device.StopAsync(force: false));
        Assert.Equal(error, failure.Error);
        await bench.AssertNothingLeaksAsync(devices: 1);
        await device.RemoveAsync();
        await bench.AssertNothingLeaksAsync();
    }

    [Fact]
    public async Task AStopWithARequestThatNeverEndsTimesOut()
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        UblkDevice device = await bench.CreateAsync();
        await bench.OnLoop(() => bench.Target.IsManual = true);
        bench.Driver.Submit(0, Flush);
        await bench.WaitAsync(() => bench.Driver.InHandCount(0) == 1);
        bench.Driver.WaitLimit = TimeSpan.Zero;
        UblkException late = await Assert.ThrowsAsync<UblkException>(
            () => device.StopAsync(force: true));
        Assert.Equal(UblkError.TimedOut, late.Error);
        bench.Driver.WaitLimit = TimeSpan.FromSeconds(10);
        await bench.OnLoop(() => bench.Target.CompleteAll());
        await device.StopAsync(force: true);
        await bench.AssertNothingLeaksAsync();
    }

    private static Task<UblkDevice> RecoverOnAsync(DeviceBench old, DeviceBench next) =>
        UblkDevice.RecoverAsync(old.Driver, 0, next.Loop, next.Target, next.Pool,
            DeviceBench.Options, next.Counters, next.Clock);

    private static async Task CreateUseAndStopAsync(DeviceBench bench)
    {
        UblkDevice device = await bench.CreateAsync();
        Assert.Equal(0, (await bench.RunAsync(Write)).Result);
        await device.StopAsync(force: false);
        await bench.AssertNothingLeaksAsync();
    }
}
