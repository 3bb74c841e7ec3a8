using Ublk.Frontend.Targets;
using Ublk.Frontend.Ublk;
using Ublk.Uring;
using Ublk.Wire.Blocks;

namespace Ublk.Node.Local;

/// <summary>
/// One loop thread with its payload memory, and the devices on it. Devices share the ring, its buffer
/// table and the memory.
/// </summary>
internal sealed class LocalServer : IAsyncDisposable
{
    private static readonly TimeSpan s_takeOverLimit = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan s_leavingLimit = TimeSpan.FromMilliseconds(500);

    private readonly IUblkDriver _driver;
    private readonly RunDirectory _run;
    private readonly TimeProvider _time;
    private readonly LoopThread _thread;
    private readonly PayloadPool _pool;
    private readonly List<LocalDevice> _devices = [];

    private LocalServer(
        IUblkDriver driver, RunDirectory run, TimeProvider time, LoopThread thread, PayloadPool pool)
    {
        _driver = driver;
        _run = run;
        _time = time;
        _thread = thread;
        _pool = pool;
    }

    /// <summary>The devices that are up.</summary>
    public IReadOnlyList<LocalDevice> Devices => _devices;

    /// <summary>0, or −errno when payload memory could not be locked.</summary>
    public int PoolLockResult => _pool.LockResult;

    /// <summary>Starts the loop.</summary>
    /// <param name="driver">The driver; stays the caller's.</param>
    /// <param name="run">The run directory.</param>
    /// <param name="options">Memory and processor.</param>
    /// <param name="time">Clock.</param>
    /// <param name="onFault">The loop died: the process must end.</param>
    public static async Task<LocalServer> StartAsync(
        IUblkDriver driver, RunDirectory run, LocalOptions options, TimeProvider time,
        Action<Exception> onFault)
    {
        run.Create();
        LoopThread thread = await LoopThread.StartAsync(
            new LoopOptions { Name = "qublk-loop", Processor = options.Processor, MaxOperations = 16384 },
            time, onFault).ConfigureAwait(false);
        try
        {
            Loop loop = thread.Loop;
            PayloadPool pool = await loop.InvokeAsync(
                () => new PayloadPool(SharedBytes(options), loop.Buffers)).ConfigureAwait(false);
            return new LocalServer(driver, run, time, thread, pool);
        }
        catch
        {
            await thread.StopAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Attaches a new device, or takes one over whose server is gone.</summary>
    /// <param name="options">What to serve and how.</param>
    /// <param name="recoverId">Device to take over; null makes a new one.</param>
    public async Task<LocalDevice> AddAsync(LocalOptions options, int? recoverId)
    {
        UblkDeviceOptions shape = recoverId is { } id ? ShapeOf(id, options) : ShapeOf(options);
        Loop loop = _thread.Loop;
        int requests = shape.RequiredTargetRequests;
        UblkCounters counters = UblkCounters.Create(_run.PendingCounterPath());
        LocalMirror? mirror = null;
        IBlockTarget? target = null;
        try
        {
            if (options.Target == LocalTargetKind.Mirror)
            {
                mirror = await LocalMirror.StartAsync(
                    options, loop, _run, requests, LockLimit(recoverId is not null), _time)
                    .ConfigureAwait(false);
            }

            BlockImage? image = options.Target == LocalTargetKind.Image
                ? await OpenImageAsync(options, LockLimit(recoverId is not null)).ConfigureAwait(false)
                : null;
            target = mirror?.Target ?? await loop.InvokeAsync(
                () => CreateTarget(options, image, loop, requests)).ConfigureAwait(false);
            PayloadPool pool = mirror?.Pool ?? _pool;
            UblkDevice device = recoverId is { } known
                ? await UblkDevice.RecoverAsync(
                    _driver, known, loop, target, pool, shape, counters, _time).ConfigureAwait(false)
                : await UblkDevice.CreateAsync(
                    _driver, loop, target, pool, shape, counters, _time).ConfigureAwait(false);
            var local = new LocalDevice(device, target, counters, mirror);
            _devices.Add(local);
            File.Move(_run.PendingCounterPath(), _run.CounterPath(device.Id), overwrite: true);
            _run.Write(new LocalDeviceState
            {
                DeviceId = device.Id,
                Pid = Environment.ProcessId,
                Options = options with { DeviceId = device.Id, SizeBytes = target.SizeBytes },
            });
            if (mirror is not null)
            {
                await mirror.ReportAsync(device.Id).ConfigureAwait(false);
            }

            return local;
        }
        catch
        {
            if (mirror is not null)
            {
                await mirror.StopAsync().ConfigureAwait(false);
            }
            else if (target is not null)
            {
                await DisposeOnLoopAsync(target).ConfigureAwait(false);
            }

            counters.Dispose();
            File.Delete(_run.PendingCounterPath());
            throw;
        }
    }

    /// <summary>Forgets a device that was stopped and removed.</summary>
    /// <param name="local">The device.</param>
    public async Task ForgetAsync(LocalDevice local)
    {
        _devices.Remove(local);
        if (local.Mirror is { } mirror)
        {
            await mirror.StopAsync().ConfigureAwait(false);
        }
        else
        {
            await DisposeOnLoopAsync(local.Target).ConfigureAwait(false);
        }

        _run.Remove(local.Device.Id);
        local.Counters.Dispose();
    }

    /// <summary>Ends the loop; the devices are gone by now.</summary>
    public async ValueTask DisposeAsync()
    {
        await DisposeOnLoopAsync(_pool).ConfigureAwait(false);
        await _thread.StopAsync().ConfigureAwait(false);
    }

    // A mirror has memory of its own, because its window may fill all of it.
    private static long SharedBytes(LocalOptions options) =>
        options.Target == LocalTargetKind.Mirror ? PayloadPool.MaxBlockBytes : options.PoolBytes;

    private Task<bool> DisposeOnLoopAsync(IDisposable resource) => _thread.Loop.InvokeAsync(() =>
    {
        resource.Dispose();
        return true;
    });

    private static UblkDeviceOptions ShapeOf(LocalOptions options) => new()
    {
        DeviceId = options.DeviceId,
        QueueCount = options.Queues,
        QueueDepth = options.Depth,
        UsesAutoBuffers = options.AutoBuffers,
        CopiesWrites = options.WriteCopy,
        RequestTimeout = TimeSpan.FromSeconds(options.RequestTimeoutSeconds),
    };

    // The driver, not the state file, knows how deep the device's queues are.
    private UblkDeviceOptions ShapeOf(int deviceId, LocalOptions options)
    {
        UblkDeviceInfo info = UblkSupport.Inspect(_driver, deviceId);
        if (info.State == UblkDeviceState.Live && ServerProcess.IsAlive(info.ServerPid))
        {
            throw new UblkException(UblkError.Busy,
                $"device {deviceId} is served by process {info.ServerPid}");
        }

        return ShapeOf(options) with
        {
            QueueCount = info.QueueCount,
            QueueDepth = info.QueueDepth,
        };
    }

    // The lock of a server that was killed stays until the kernel has finished its requests; who takes
    // over waits for that. Others get a moment only, for one that is just going.
    private static TimeSpan LockLimit(bool isTakeOver) => isTakeOver ? s_takeOverLimit : s_leavingLimit;

    private async Task<BlockImage> OpenImageAsync(LocalOptions options, TimeSpan limit)
    {
        BlockImage? image = await Polling.AskAsync(
            () => TryOpenImage(options), static image => image is null, limit, _time)
            .ConfigureAwait(false);
        return image ?? Open(options); // The last attempt tells what is wrong.
    }

    private static BlockImage? TryOpenImage(LocalOptions options)
    {
        try
        {
            return Open(options);
        }
        catch (BlockImageException exception) when (exception.Error == BlockImageError.Busy)
        {
            return null;
        }
    }

    private static BlockImage Open(LocalOptions options) =>
        BlockImage.Open(options.Image, options.ReadOnly, options.Direct);

    private static IBlockTarget CreateTarget(
        LocalOptions options, BlockImage? image, Loop loop, int requests)
    {
        if (image is null)
        {
            return options.Target == LocalTargetKind.Memory
                ? new MemoryTarget(options.SizeBytes, requests)
                : new NullTarget(loop, options.SizeBytes, requests);
        }

        try
        {
            BlockLimits limits = ImageTarget.LimitsOf(image, options.BlockBytes, requests);
            return ImageTarget.Create(image, limits, loop);
        }
        catch
        {
            image.Dispose();
            throw;
        }
    }
}

/// <summary>One device of a server, with what stands behind it.</summary>
/// <param name="Device">The device.</param>
/// <param name="Target">Where its requests go.</param>
/// <param name="Counters">What it counts.</param>
/// <param name="Mirror">The replicated volume behind it; null for other targets.</param>
internal sealed record LocalDevice(
    UblkDevice Device, IBlockTarget Target, UblkCounters Counters, LocalMirror? Mirror);
