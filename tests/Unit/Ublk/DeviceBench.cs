using Ublk.Frontend.Ublk;
using Ublk.Testing;
using Ublk.Uring;
using Ublk.Wire.Blocks;
using Xunit;

namespace Ublk.Tests.Unit.Ublk;

/// <summary>
/// A loop on its own thread with a fake kernel, and a check that whatever a device took is back.
/// The clock only moves when somebody polls.
/// </summary>
internal sealed class DeviceBench : IAsyncDisposable
{
    public const int Depth = 4;
    private const int MaxOperations = 64;
    private const int TableSlots = 32;

    private readonly LoopThread _thread;
    private readonly List<Exception> _faults;
    private int _freeSlots;

    private DeviceBench(
        LoopThread thread, List<Exception> faults, PollClock clock, KernelProfile profile)
    {
        _thread = thread;
        _faults = faults;
        Clock = clock;
        Driver = new FakeUblkDriver(profile) { PostsToLoops = true };
    }

    public Loop Loop => _thread.Loop;
    public PollClock Clock { get; }
    public FakeUblkDriver Driver { get; }
    public ModelTarget Target { get; set; } = null!;
    public PayloadPool Pool { get; private set; } = null!;
    public UblkCounters Counters { get; } = new();

    public static UblkDeviceOptions Options => new()
    {
        QueueDepth = Depth,
        MaxTransferBytes = 1 << 16,
    };

    public static async Task<DeviceBench> StartAsync(
        KernelProfile? profile = null, long sizeBytes = 1 << 20)
    {
        var clock = new PollClock();
        var faults = new List<Exception>();
        LoopThread thread = await LoopThread.StartAsync(
            new LoopOptions { MaxOperations = MaxOperations, BufferTableSlots = TableSlots },
            clock, faults.Add);
        var bench = new DeviceBench(thread, faults, clock, profile ?? KernelProfile.V7_3);
        await bench.OnLoop(() =>
        {
            bench.Pool = new PayloadPool(1 << 20, bench.Loop.Buffers);
            bench._freeSlots = bench.Loop.Buffers.FreeCount;
            bench.Target = bench.NewTarget(sizeBytes);
        });
        return bench;
    }

    public ModelTarget NewTarget(long sizeBytes, int maxRequests = 64) => new(sizeBytes,
        new BlockLimits
        {
            MaxRequests = maxRequests,
            ReadsIntoRegistered = true,
            DiscardGranularityBytes = 4096,
            MaxDiscardBytes = 1 << 30,
            MaxWriteZeroesBytes = 1 << 30,
        }, Driver, Loop);

    public Task<UblkDevice> CreateAsync(UblkDeviceOptions? options = null) =>
        UblkDevice.CreateAsync(Driver, Loop, Target, Pool, options ?? Options, Counters, Clock);

    public Task<UblkDevice> RecoverAsync(UblkDeviceOptions? options = null, int id = 0) =>
        UblkDevice.RecoverAsync(
            Driver, id, Loop, Target, Pool, options ?? Options, Counters, Clock);

    public Task OnLoop(Action action) => Loop.InvokeAsync(() =>
    {
        action();
        return true;
    });

    public Task<T> OnLoop<T>(Func<T> function) => Loop.InvokeAsync(function);

    /// <summary>Enters a request and waits for its end.</summary>
    public async Task<FakeBlockRequest> RunAsync(
        byte operation, long offset = 0, long length = 4096, byte[]? data = null, int id = 0)
    {
        FakeBlockRequest request = Driver.Submit(id, operation, offset, length, 0, data);
        await WaitAsync(() => request.IsDone);
        return request;
    }

    /// <summary>Waits, without sleeping, until the fake kernel is in some state.</summary>
    public async Task WaitAsync(Func<bool> condition) =>
        Assert.True(await Task.Run(() => Driver.WaitUntil(condition)), "waited in vain");

    /// <summary>Everything a device took from loop, pool and kernel is back.</summary>
    public async Task AssertNothingLeaksAsync(int devices = 0)
    {
        // The loop may still be on its way through what the kernel gave back.
        await OnLoop(() => Driver.Pump());
        await OnLoop(() =>
        {
            Assert.Equal(_freeSlots, Loop.Buffers.FreeCount);
            Loop.Reserve(MaxOperations - 1);
            Loop.Unreserve(MaxOperations - 1);
            Assert.Equal(Pool.CapacityBytes, Pool.FreeBytes);
            Assert.Equal(0, Target.InFlightCount);
        });
        Assert.Equal(0, Driver.OpenHandleCount);
        Assert.Equal(devices, Driver.ListDevices().Count);
        Assert.Equal(0, Counters[UblkCounter.InFlight]);
        Assert.False(Target.IsDisposed);
        Driver.AssertSound();
        Assert.Empty(_faults);
    }

    public async ValueTask DisposeAsync()
    {
        await OnLoop(Pool.Dispose);
        await _thread.StopAsync();
        Counters.Dispose();
        Driver.Dispose();
    }
}
