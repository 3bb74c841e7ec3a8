using Ublk.Frontend.Ublk;
using Ublk.Testing;
using Ublk.Uring.Native;
using Xunit;
using static Ublk.Tests.Unit.Ublk.QueueBench;

namespace Ublk.Tests.Unit.Ublk;

/// <summary>A device's life from creation to removal, on every kernel.</summary>
public sealed class UblkDeviceTests
{
    public static TheoryData<string> Kernels => [.. KernelProfile.Usable.Select(p => p.Name)];

    [Theory]
    [MemberData(nameof(Kernels))]
    public async Task ServesFromCreationToStop(string kernel)
    {
        await using DeviceBench bench = await DeviceBench.StartAsync(KernelProfile.Of(kernel));
        UblkDevice device = await bench.CreateAsync();
        Assert.Equal("/dev/ublkb0", device.Path);
        Assert.Equal(kernel != "6.12", device.UsesAutoBuffers);
        Assert.Equal(UblkDeviceState.Live, bench.Driver.StateOf(0));
        Assert.Equal(UblkDeviceOptions.Mark, device.Info.ServerFlags);
        Assert.Equal(0, (await bench.RunAsync(Write, 4096, 4096, Filled(4))).Result);
        Assert.Equal(Filled(4), (await bench.RunAsync(Read, 4096)).Data);
        await device.StopAsync(force: false);
        Assert.Equal(UblkEnd.Stopped, await device.Ended);
        Assert.Null(device.Fault);
        await bench.AssertNothingLeaksAsync();
    }

    [Fact]
    public async Task TheKernelMayGrantFewerQueues()
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        UblkDevice device = await bench.CreateAsync(
            DeviceBench.Options with { QueueCount = 9, DeviceId = 7 });
        Assert.Equal(4, device.Info.QueueCount);
        Assert.Equal(7, device.Id);
        Assert.Equal([7], bench.Driver.ListDevices());
        Assert.Equal(0, (await bench.RunAsync(Write, id: 7)).Result);
        await device.StopAsync(force: true);
        await bench.AssertNothingLeaksAsync();
    }

    [Fact]
    public async Task TwoDevicesShareALoopAndItsTable()
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        UblkDevice first = await bench.CreateAsync();
        UblkDevice second = await bench.CreateAsync();
        await bench.OnLoop(() => bench.Target.IsManual = true);
        FakeBlockRequest[] reads = [.. Enumerable.Range(0, 8).Select(
            i => bench.Driver.Submit(i % 2, Read, i * 4096, 4096))];
        await bench.WaitAsync(() => bench.Driver.RegisteredCount == 8);
        await bench.OnLoop(() => { });
        await bench.OnLoop(() => Assert.Equal(8, bench.Target.InFlightCount));
        await bench.OnLoop(() => bench.Target.CompleteAll());
        await bench.WaitAsync(() => reads.All(static read => read.IsDone));
        Assert.All(reads, static read => Assert.True(read.WasRegistered && read.Result == 0));
        await bench.OnLoop(() => bench.Target.IsManual = false);
        await first.StopAsync(force: false);
        Assert.Equal(0, (await bench.RunAsync(Read, id: 1)).Result);
        await second.StopAsync(force: false);
        await bench.AssertNothingLeaksAsync();
    }

    [Theory]
    [MemberData(nameof(Kernels))]
    public async Task ABusyDeviceIsStoppedOnlyByForce(string kernel)
    {
        await using DeviceBench bench = await DeviceBench.StartAsync(KernelProfile.Of(kernel));
        UblkDevice device = await bench.CreateAsync();
        bench.Driver.SetClientOpens(0, 1);
        UblkException busy = await Assert.ThrowsAsync<UblkException>(
            () => device.StopAsync(force: false));
        Assert.Equal(UblkError.Busy, busy.Error);
        Assert.Contains("--force", busy.Message, StringComparison.Ordinal);
        Assert.Equal(0, (await bench.RunAsync(Read)).Result);
        await device.StopAsync(force: true);
        await bench.AssertNothingLeaksAsync();
    }

    [Fact]
    public async Task AStopWaitsForRequestsInHand()
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        UblkDevice device = await bench.CreateAsync();
        await bench.OnLoop(() => bench.Target.IsManual = true);
        FakeBlockRequest write = bench.Driver.Submit(0, Write, 0, 4096);
        await bench.WaitAsync(() => bench.Driver.InHandCount(0) == 1);
        Task stop = device.StopAsync(force: true);
        await bench.OnLoop(() => Assert.Equal(1, bench.Target.InFlightCount));
        Assert.False(stop.IsCompleted);
        await bench.OnLoop(() => bench.Target.CompleteAll());
        await stop;
        Assert.Equal(0, write.Result);
        await bench.AssertNothingLeaksAsync();
    }

    [Fact]
    public async Task AStopFromOutsideEndsTheServiceAndIsCleanedUp()
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        UblkDevice device = await bench.CreateAsync();
        UblkSupport.Stop(bench.Driver, 0, force: false);
        Assert.Equal(UblkEnd.Stopped, await device.Ended);
        await device.RemoveAsync();
        await bench.AssertNothingLeaksAsync();

        device = await bench.CreateAsync();
        UblkSupport.Stop(bench.Driver, 0, force: true);
        Assert.Equal(0, UblkSupport.Delete(bench.Driver, 0));
        await device.Ended;
        await device.RemoveAsync();
        await bench.AssertNothingLeaksAsync();
    }

    [Fact]
    public async Task ASynchronousDeleteWaitsForTheServer()
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        UblkDevice device = await bench.CreateAsync();
        UblkSupport.Stop(bench.Driver, 0, force: true);
        await device.Ended;
        bench.Driver.WaitLimit = TimeSpan.Zero;
        Assert.Equal(FakeErrno.Time, bench.Driver.Delete(0, isAsync: false));
        await device.RemoveAsync();
        await bench.AssertNothingLeaksAsync();
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    public async Task ARefusedCommitEndsTheDeviceAsFaulted(int depth)
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        UblkDevice device = await bench.CreateAsync(
            DeviceBench.Options with { QueueDepth = depth });
        bench.Driver.Inject(FakeCommand.Commit, -Errno.EINVAL, count: 2);
        bench.Driver.Submit(0, Flush);
        Assert.Equal(UblkEnd.Faulted, await device.Ended);
        Assert.Contains("commit of tag", device.Fault, StringComparison.Ordinal);
    }

    [Fact]
    public async Task TheWatchdogGivesUpOverdueRequests()
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        UblkDevice device = await bench.CreateAsync(
            DeviceBench.Options with
            {
                RequestTimeout = TimeSpan.FromSeconds(8),
                UsesAutoBuffers = false,
            });
        await bench.OnLoop(() => bench.Target.IsManual = true);
        FakeBlockRequest[] writes = [.. Enumerable.Range(0, DeviceBench.Depth).Select(
            i => bench.Driver.Submit(0, Write, i * 4096, 4096))];
        await bench.WaitAsync(() => bench.Driver.InHandCount(0) == DeviceBench.Depth);
        await bench.OnLoop(() => { });
        bench.Clock.Advance(TimeSpan.FromSeconds(9));
        await bench.OnLoop(() => { });
        await bench.WaitAsync(() => writes.All(static write => write.IsDone));
        Assert.All(writes, static write => Assert.Equal(ETIMEDOUT, write.Result));
        await device.StopAsync(force: true);
        await bench.OnLoop(() => bench.Target.CompleteAll());
        await bench.AssertNothingLeaksAsync();
    }

    [Fact]
    public async Task ADeviceThatNeedsMoreThanTheTargetTakesIsRefused()
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        UblkException wrong = await Assert.ThrowsAsync<UblkException>(() => UblkDevice.CreateAsync(
            bench.Driver, bench.Loop, bench.NewTarget(1 << 20, maxRequests: 4), bench.Pool,
            DeviceBench.Options with { RequestTimeout = TimeSpan.FromSeconds(1) }, bench.Counters,
            bench.Clock));
        Assert.Equal(UblkError.Mismatch, wrong.Error);
        await bench.AssertNothingLeaksAsync();
    }

    [Fact]
    public async Task ALoopWithoutRoomRefusesTheDeviceAtOnce()
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        await Assert.ThrowsAsync<global::Ublk.Uring.LoopFullException>(() => bench.CreateAsync(
            DeviceBench.Options with { QueueDepth = 64 }));
        await bench.AssertNothingLeaksAsync();
        await bench.OnLoop(() => bench.Target = bench.NewTarget(1 << 20, 256));
        await Assert.ThrowsAsync<global::Ublk.Uring.LoopFullException>(() => bench.CreateAsync(
            DeviceBench.Options with { QueueDepth = 40, QueueCount = 2 }));
        await bench.AssertNothingLeaksAsync();
    }

    [Theory]
    [InlineData(UblkError.IdTaken)]
    [InlineData(UblkError.Failed)]
    public async Task WrongNumbersAndDepthsAreRefused(UblkError error)
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        UblkDevice device = await bench.CreateAsync();
        UblkDeviceOptions wrong = error == UblkError.IdTaken
            ? DeviceBench.Options with { DeviceId = 0 }
            : DeviceBench.Options with { QueueDepth = 4097 };
        UblkException refused = await Assert.ThrowsAsync<UblkException>(
            () => bench.CreateAsync(wrong));
        Assert.Equal(error, refused.Error);
        await device.StopAsync(force: false);
        await bench.AssertNothingLeaksAsync();
    }

    [Fact]
    public async Task AKernelWithoutUserCopyIsTooOld()
    {
        await using DeviceBench bench = await DeviceBench.StartAsync(KernelProfile.V6_4);
        UblkException old = await Assert.ThrowsAsync<UblkException>(() => bench.CreateAsync());
        Assert.Equal(UblkError.KernelTooOld, old.Error);
        await bench.AssertNothingLeaksAsync();
    }
}
