using Ublk.Frontend.Targets;
using Ublk.Frontend.Ublk;
using Ublk.Uring;
using Ublk.Wire.Blocks;

namespace Ublk.Node.Local;

/// <summary>
/// Serves one local device from attach or take-over to its end: one loop thread, one target, one device,
/// and their word in the run directory.
/// </summary>
internal sealed class LocalServer : IAsyncDisposable
{
    private readonly IUblkDriver _driver;
    private readonly RunDirectory _run;
    private readonly TimeProvider _time;
    private readonly LocalOptions _options;
    private LoopThread? _thread;
    private PayloadPool? _pool;
    private IBlockTarget? _target;
    private UblkCounters? _counters;

    private LocalServer(
        IUblkDriver driver, RunDirectory run, LocalOptions options, TimeProvider time)
    {
        _driver = driver;
        _run = run;
        _options = options;
        _time = time;
    }

    /// <summary>The device, once it is up.</summary>
    public UblkDevice Device { get; private set; } = null!;

    /// <summary>Size of the target in bytes.</summary>
    public long SizeBytes => _target!.SizeBytes;

    /// <summary>0, or −errno when payload memory could not be locked.</summary>
    public int PoolLockResult => _pool!.LockResult;

    /// <summary>Attaches a new device.</summary>
    /// <param name="driver">The driver; stays the caller's.</param>
    /// <param name="run">The run directory.</param>
    /// <param name="options">What to serve and how.</param>
    /// <param name="time">Clock.</param>
    /// <param name="onFault">The loop died: the process must end.</param>
    public static Task<LocalServer> AttachAsync(
        IUblkDriver driver, RunDirectory run, LocalOptions options, TimeProvider time,
        Action<Exception> onFault) =>
        StartAsync(new LocalServer(driver, run, options, time), null, onFault);

    /// <summary>Takes over a device whose server is gone.</summary>
    /// <param name="driver">The driver; stays the caller's.</param>
    /// <param name="run">The run directory.</param>
    /// <param name="deviceId">Device.</param>
    /// <param name="options">As its last server had them.</param>
    /// <param name="time">Clock.</param>
    /// <param name="onFault">The loop died: the process must end.</param>
    public static Task<LocalServer> RecoverAsync(
        IUblkDriver driver, RunDirectory run, int deviceId, LocalOptions options, TimeProvider time,
        Action<Exception> onFault) =>
        StartAsync(new LocalServer(driver, run, options, time), deviceId, onFault);

    /// <summary>Removes what the server left in the run directory.</summary>
    public void ForgetDevice() => _run.Remove(Device.Id);

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_thread is { } thread)
        {
            _ = await thread.Loop.InvokeAsync(() =>
            {
                _target?.Dispose();
                _pool?.Dispose();
                return true;
            }).ConfigureAwait(false);
            await thread.StopAsync().ConfigureAwait(false);
        }

        _counters?.Dispose();
        File.Delete(_run.PendingCounterPath());
    }

    private static async Task<LocalServer> StartAsync(
        LocalServer server, int? deviceId, Action<Exception> onFault)
    {
        try
        {
            await server.StartAsync(deviceId, onFault).ConfigureAwait(false);
            return server;
        }
        catch
        {
            await server.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    private async Task StartAsync(int? deviceId, Action<Exception> onFault)
    {
        _run.Create();
        UblkDeviceOptions options = deviceId is { } id ? ShapeOf(id) : DeviceOptions();
        _counters = UblkCounters.Create(_run.PendingCounterPath());
        _thread = await LoopThread.StartAsync(
            new LoopOptions { Name = "qublk-loop", Processor = _options.Processor },
            _time, onFault).ConfigureAwait(false);
        Loop loop = _thread.Loop;
        int requests = options.RequiredTargetRequests;
        _target = await loop.InvokeAsync(() => CreateTarget(loop, requests)).ConfigureAwait(false);
        _pool = await loop.InvokeAsync(() => new PayloadPool(_options.PoolBytes, loop.Buffers))
            .ConfigureAwait(false);
        Device = deviceId is { } known
            ? await UblkDevice.RecoverAsync(
                _driver, known, loop, _target, _pool, options, _counters, _time).ConfigureAwait(false)
            : await UblkDevice.CreateAsync(
                _driver, loop, _target, _pool, options, _counters, _time).ConfigureAwait(false);
        File.Move(_run.PendingCounterPath(), _run.CounterPath(Device.Id), overwrite: true);
        _run.Write(new LocalDeviceState
        {
            DeviceId = Device.Id,
            Pid = Environment.ProcessId,
            Options = _options with { DeviceId = Device.Id, SizeBytes = SizeBytes },
        });
    }

    private UblkDeviceOptions DeviceOptions() => new()
    {
        DeviceId = _options.DeviceId,
        QueueCount = _options.Queues,
        QueueDepth = _options.Depth,
        UsesAutoBuffers = _options.AutoBuffers,
        CopiesWrites = _options.WriteCopy,
        RequestTimeout = TimeSpan.FromSeconds(_options.RequestTimeoutSeconds),
    };

    // The driver, not the state file, knows how deep the device's queues are.
    private UblkDeviceOptions ShapeOf(int deviceId)
    {
        UblkDeviceInfo info = UblkSupport.Inspect(_driver, deviceId);
        return DeviceOptions() with
        {
            QueueCount = info.QueueCount,
            QueueDepth = info.QueueDepth,
        };
    }

    private IBlockTarget CreateTarget(Loop loop, int requests)
    {
        switch (_options.Target)
        {
            case LocalTargetKind.Memory:
                return new MemoryTarget(_options.SizeBytes, requests);
            case LocalTargetKind.Null:
                return new NullTarget(loop, _options.SizeBytes, requests);
            default:
                BlockImage image = BlockImage.Open(_options.Image, _options.ReadOnly, _options.Direct);
                try
                {
                    BlockLimits limits =
                        ImageTarget.LimitsOf(image, _options.BlockBytes, requests);
                    return ImageTarget.Create(image, limits, loop);
                }
                catch
                {
                    image.Dispose();
                    throw;
                }
        }
    }
}
