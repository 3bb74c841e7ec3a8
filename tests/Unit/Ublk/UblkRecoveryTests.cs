using Ublk.Frontend.Ublk;
using Ublk.Testing;
using Ublk.Uring.Native;
using Ublk.Wire.Blocks;
using Xunit;
using static Ublk.Tests.Unit.Ublk.QueueBench;

namespace Ublk.Tests.Unit.Ublk;

/// <summary>Servers that die, and servers that hand over.</summary>
public sealed class UblkRecoveryTests
{
    [Theory]
    [InlineData("6.12")]
    [InlineData("6.16")]
    [InlineData("7.3")]
    public async Task RequestsOfADeadServerGoToTheNextOne(string kernel)
    {
        await using DeviceBench bench = await DeviceBench.StartAsync(KernelProfile.Of(kernel));
        await bench.CreateAsync();
        FakeBlockRequest[] writes = await DieWithWritesInHandAsync(bench, 2);
        Assert.Equal(UblkDeviceState.Quiesced, bench.Driver.StateOf(0));
        FakeBlockRequest queued = bench.Driver.Submit(0, Write, 3 * 4096, 4096, 0, Filled(3));

        await using DeviceBench next = await DeviceBench.StartAsync();
        var counters = new UblkCounters();
        ModelTarget target = new(1 << 20,
            new BlockLimits { MaxRequests = 64, ReadsIntoRegistered = true }, bench.Driver,
            next.Loop);
        UblkDevice device = await UblkDevice.RecoverAsync(bench.Driver, 0, next.Loop, target,
            next.Pool, DeviceBench.Options, counters, next.Clock);
        await bench.WaitAsync(() => queued.IsDone && writes.All(static write => write.IsDone));
        Assert.All(writes,
            static write => Assert.Equal((0, 2), (write.Result, write.DeliveryCount)));
        Assert.Equal(Filled(3), target.Bytes[(3 * 4096)..(4 * 4096)]);
        Assert.Equal(Filled(1), target.Bytes[..4096]);
        Assert.Equal(DeviceBench.Depth, device.Info.QueueDepth);
        await device.StopAsync(force: false);
        Assert.Empty(bench.Driver.ListDevices());
        Assert.Equal(0, bench.Driver.OpenHandleCount);
        await next.AssertNothingLeaksAsync();
    }

    [Fact]
    public async Task TheNextServerWaitsUntilTheOldOneIsGone()
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        await bench.CreateAsync();
        bench.Clock.Polled = poll =>
        {
            if (poll == 5)
            {
                bench.Driver.KillServer();
            }
        };
        await using DeviceBench next = await DeviceBench.StartAsync();
        UblkDevice device = await UblkDevice.RecoverAsync(bench.Driver, 0, next.Loop, next.Target,
            next.Pool, DeviceBench.Options, next.Counters, bench.Clock);
        Assert.True(bench.Clock.PollCount >= 5);
        await device.StopAsync(force: false);
        await next.AssertNothingLeaksAsync();
    }

    [Fact]
    public async Task AServerThatLivesIsNotReplaced()
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        UblkDevice device = await bench.CreateAsync();
        UblkException busy = await Assert.ThrowsAsync<UblkException>(() => bench.RecoverAsync());
        Assert.Equal(UblkError.Busy, busy.Error);
        Assert.Equal(0, (await bench.RunAsync(Read)).Result);
        await device.StopAsync(force: false);
        await bench.AssertNothingLeaksAsync();
    }

    [Fact]
    public async Task ForeignStoppedAndMissingDevicesAreRefused()
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        var info = new UblkDeviceInfo
        {
            DeviceId = uint.MaxValue,
            QueueCount = 1,
            QueueDepth = 4,
            MaxIoBufferBytes = 4096,
            Flags = UblkFeatures.UserRecovery,
        };
        Assert.Equal(0, bench.Driver.Add(ref info));
        Assert.Equal(UblkError.Foreign, await ErrorAsync(0));
        info.ServerFlags = UblkDeviceOptions.Mark;
        info.DeviceId = uint.MaxValue;
        Assert.Equal(0, bench.Driver.Add(ref info));
        Assert.Equal(UblkError.Failed, await ErrorAsync(1));
        Assert.Equal(UblkError.NoSuchDevice, await ErrorAsync(2));

        async Task<UblkError> ErrorAsync(int id) => (await Assert.ThrowsAsync<UblkException>(
            () => bench.RecoverAsync(id: id))).Error;
    }

    [Fact]
    public async Task AnImageThatIsTooSmallIsRefused()
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        await bench.CreateAsync();
        bench.Driver.KillServer();
        UblkException wrong = await Assert.ThrowsAsync<UblkException>(() => UblkDevice.RecoverAsync(
            bench.Driver, 0, bench.Loop, bench.NewTarget((1 << 20) - 4096), bench.Pool,
            DeviceBench.Options, bench.Counters, bench.Clock));
        Assert.Equal(UblkError.Mismatch, wrong.Error);
        Assert.DoesNotContain(FakeCommand.StartRecovery, bench.Driver.Log);
    }

    [Fact]
    public async Task ARecoveryWithoutAutoBuffersServesAnAutoBufferDevice()
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        await bench.CreateAsync();
        bench.Driver.KillServer();
        await using DeviceBench next = await DeviceBench.StartAsync();
        ModelTarget target = new(1 << 20,
            new BlockLimits { MaxRequests = 64, ReadsIntoRegistered = true }, bench.Driver,
            next.Loop);
        UblkDevice device = await UblkDevice.RecoverAsync(bench.Driver, 0, next.Loop, target,
            next.Pool, DeviceBench.Options with { UsesAutoBuffers = false }, next.Counters,
            next.Clock);
        Assert.False(device.UsesAutoBuffers);
        await next.OnLoop(() => target.IsManual = true);
        FakeBlockRequest[] reads =
            [.. Enumerable.Range(0, 4).Select(i => bench.Driver.Submit(0, Read, i * 4096, 4096))];
        await bench.WaitAsync(() => bench.Driver.InHandCount(0) == 4 || reads[3].IsDone);
        await next.OnLoop(() => { });
        await next.OnLoop(() => target.CompleteAll());
        await bench.WaitAsync(() => reads.All(static read => read.IsDone));
        Assert.All(reads, static read => Assert.True(!read.WasRegistered && read.Result == 0));
        await next.OnLoop(() => target.IsManual = false);
        await device.StopAsync(force: false);
        await next.AssertNothingLeaksAsync();
    }

    [Fact]
    public async Task QuiesceWithIdleTagsHandsOver()
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        UblkDevice device = await bench.CreateAsync();
        await bench.OnLoop(() => bench.Target.IsManual = true);
        FakeBlockRequest inHand = bench.Driver.Submit(0, Write, 0, 4096, 0, Filled(1));
        await bench.WaitAsync(() => bench.Driver.InHandCount(0) == 1);
        await bench.OnLoop(() => { });
        bench.Clock.Polled = _ => bench.Loop.Post(() => bench.Target.CompleteAll());
        Assert.True(await device.QuiesceAsync());
        Assert.Equal(UblkEnd.Quiesced, await device.Ended);
        Assert.Equal(0, inHand.Result);
        Assert.True(inHand.IsDone);
        FakeBlockRequest later = bench.Driver.Submit(0, Flush);
        Assert.Equal(0, bench.Driver.InHandCount(0));
        bench.Driver.KillServer();
        await ServeAgainAsync(bench, later);
    }

    [Fact]
    public async Task QuiesceWithEveryTagBusyHandsOver()
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        UblkDevice device = await bench.CreateAsync();
        await bench.OnLoop(() => bench.Target.IsManual = true);
        FakeBlockRequest[] inHand = [.. Enumerable.Range(0, DeviceBench.Depth).Select(
            i => bench.Driver.Submit(0, Write, i * 4096, 4096))];
        await bench.WaitAsync(() => bench.Driver.InHandCount(0) == DeviceBench.Depth);
        await bench.OnLoop(() => { });
        bench.Clock.Polled = _ => bench.Loop.Post(() => bench.Target.CompleteAll());
        Assert.True(await device.QuiesceAsync());
        Assert.Equal(UblkEnd.Quiesced, await device.Ended);
        Assert.All(inHand, static write => Assert.True(write.IsDone && write.Result == 0));
        FakeBlockRequest later = bench.Driver.Submit(0, Flush);
        bench.Driver.KillServer();
        await ServeAgainAsync(bench, later);
    }

    [Fact]
    public async Task QuiesceEndsWhenTheTargetDoesNotAnswer()
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        UblkDevice device = await bench.CreateAsync();
        await bench.OnLoop(() => bench.Target.IsManual = true);
        bench.Driver.Submit(0, Flush);
        await bench.WaitAsync(() => bench.Driver.InHandCount(0) == 1);
        await bench.OnLoop(() => { });
        Assert.False(await device.QuiesceAsync());
        await bench.OnLoop(() => bench.Target.CompleteAll());
    }

    [Fact]
    public async Task WithoutTheFeatureQuiesceAnswersNo()
    {
        await using DeviceBench bench = await DeviceBench.StartAsync(KernelProfile.V6_12);
        UblkDevice device = await bench.CreateAsync();
        Assert.False(await device.QuiesceAsync());
        Assert.DoesNotContain(FakeCommand.Quiesce, bench.Driver.Log);
        await device.StopAsync(force: false);
        await bench.AssertNothingLeaksAsync();
    }

    [Fact]
    public async Task ARefusedQuiesceChangesNothing()
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        UblkDevice device = await bench.CreateAsync();
        bench.Driver.Inject(FakeCommand.Quiesce, -Errno.ETIME);
        UblkException late = await Assert.ThrowsAsync<UblkException>(device.QuiesceAsync);
        Assert.Equal(UblkError.TimedOut, late.Error);
        await device.StopAsync(force: false);
        Assert.Equal(UblkEnd.Stopped, await device.Ended);
        await bench.AssertNothingLeaksAsync();
    }

    private static async Task<FakeBlockRequest[]> DieWithWritesInHandAsync(
        DeviceBench bench, int count)
    {
        await bench.OnLoop(() => bench.Target.IsManual = true);
        FakeBlockRequest[] writes = [.. Enumerable.Range(0, count).Select(
            i => bench.Driver.Submit(0, Write, i * 4096, 4096, 0, Filled((byte)(i + 1))))];
        await bench.WaitAsync(() => bench.Driver.InHandCount(0) == count);
        await bench.OnLoop(() => { });
        bench.Driver.KillServer();
        Assert.All(writes, static write => Assert.False(write.IsDone));
        return writes;
    }

    private static async Task ServeAgainAsync(DeviceBench old, FakeBlockRequest waiting)
    {
        await using DeviceBench next = await DeviceBench.StartAsync();
        ModelTarget target = new(1 << 20,
            new BlockLimits { MaxRequests = 64, ReadsIntoRegistered = true }, old.Driver,
            next.Loop);
        UblkDevice device = await UblkDevice.RecoverAsync(old.Driver, 0, next.Loop, target,
            next.Pool, DeviceBench.Options, next.Counters, next.Clock);
        await old.WaitAsync(() => waiting.IsDone);
        Assert.Equal(0, waiting.Result);
        await device.StopAsync(force: false);
        old.Driver.AssertSound();
        await next.AssertNothingLeaksAsync();
    }
}
