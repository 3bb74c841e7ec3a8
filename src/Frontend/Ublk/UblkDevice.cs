using System.Diagnostics;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Blocks;

namespace Ublk.Frontend.Ublk;

/// <summary>
/// One ublk device that this process serves: made new or taken over, then stopped or left for the next
/// server. Control commands block, so its methods run on the thread pool; the queues run on the loop, see
/// <see cref="UblkQueueSet"/>.
/// Release order: stop, all tags back, descriptors unmapped, character device closed, places of the buffer
/// table that waited for that returned, deleted.
/// </summary>
public sealed class UblkDevice
{
    private static readonly TimeSpan s_nodeLimit = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan s_drainLimit = TimeSpan.FromSeconds(30);

    private readonly IUblkDriver _driver;
    private readonly Loop _loop;
    private readonly IBlockTarget _target;
    private readonly PayloadPool _pool;
    private readonly UblkDeviceOptions _options;
    private readonly TimeProvider _time;
    private readonly UblkQueueSet _queues;
    private IUblkCharDevice? _charDevice;
    private UblkDeviceInfo _info;

    private UblkDevice(
        IUblkDriver driver, Loop loop, IBlockTarget target, PayloadPool pool,
        UblkDeviceOptions options, UblkCounters counters, TimeProvider time)
    {
        _driver = driver;
        _loop = loop;
        _target = target;
        _pool = pool;
        _options = options;
        _time = time;
        _queues = new UblkQueueSet(loop);
        Counters = counters;
    }

    /// <summary>Number of the device.</summary>
    public int Id => (int)_info.DeviceId;

    /// <summary>Path of the block device.</summary>
    public string Path => KernelUblkDriver.BlockPath(Id);

    /// <summary>What the kernel granted.</summary>
    public UblkDeviceInfo Info => _info;

    /// <summary>Whether the kernel registers request pages for us.</summary>
    public bool UsesAutoBuffers { get; private set; }

    /// <summary>Counters.</summary>
    public UblkCounters Counters { get; }

    // On such a device every command names a place in the table, also when we want none.
    private bool HasAutoBuffers => _info.Flags.HasFlag(UblkFeatures.AutoBufferRegistration);

    /// <summary>Ends when the last tag came back, with how.</summary>
    public Task<UblkEnd> Ended => _queues.Ended;

    /// <summary>Why the device faulted; null otherwise.</summary>
    public string? Fault => _queues.Fault;

    /// <summary>Makes a new device and starts it.</summary>
    /// <param name="driver">The driver.</param>
    /// <param name="loop">The loop that will own the queues; the caller is not its thread.</param>
    /// <param name="target">The target, on that loop; stays the caller's.</param>
    /// <param name="pool">Payload memory of that loop.</param>
    /// <param name="options">Options.</param>
    /// <param name="counters">Counters; stay the caller's.</param>
    /// <param name="time">Clock.</param>
    /// <exception cref="UblkException">With cause and mend; nothing is left behind.</exception>
    public static async Task<UblkDevice> CreateAsync(
        IUblkDriver driver, Loop loop, IBlockTarget target, PayloadPool pool,
        UblkDeviceOptions options, UblkCounters counters, TimeProvider time)
    {
        options.Validate();
        var device = new UblkDevice(driver, loop, target, pool, options, counters, time);
        device.CheckTarget();
        device.Add(UblkSupport.Require(driver));
        try
        {
            UblkParameters parameters = UblkParametersBuilder.Build(target.Limits,
                target.SizeBytes, (int)device._info.MaxIoBufferBytes, device.UsesAutoBuffers);
            Check(driver.SetParameters(device.Id, parameters), $"set the parameters of {device.Id}");
            await device.OpenAsync().ConfigureAwait(false);
            await device.FetchAsync().ConfigureAwait(false);
            await device.GoLiveAsync($"start device {device.Id}", driver.Start).ConfigureAwait(false);
            return device;
        }
        catch
        {
            await device.AbandonAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Takes over a device whose server is gone.</summary>
    /// <param name="driver">The driver.</param>
    /// <param name="deviceId">Number of the device.</param>
    /// <param name="loop">As for <see cref="CreateAsync"/>.</param>
    /// <param name="target">The target; its size must be at least the device's.</param>
    /// <param name="pool">Payload memory of that loop.</param>
    /// <param name="options">Serving options; shape and limits come from the device.</param>
    /// <param name="counters">Counters.</param>
    /// <param name="time">Clock.</param>
    /// <exception cref="UblkException">The device is foreign, alive, or does not fit.</exception>
    public static async Task<UblkDevice> RecoverAsync(
        IUblkDriver driver, int deviceId, Loop loop, IBlockTarget target, PayloadPool pool,
        UblkDeviceOptions options, UblkCounters counters, TimeProvider time)
    {
        UblkDeviceInfo info = UblkSupport.InspectForRecovery(driver, deviceId, target);
        UblkDeviceOptions actual = options with
        {
            DeviceId = deviceId,
            QueueCount = info.QueueCount,
            QueueDepth = info.QueueDepth,
            MaxTransferBytes = (int)info.MaxIoBufferBytes,
        };
        actual.Validate();
        var device = new UblkDevice(driver, loop, target, pool, actual, counters, time)
        {
            _info = info,
        };
        device.UsesAutoBuffers = options.UsesAutoBuffers && device.HasAutoBuffers;
        device.CheckTarget();
        await device.StartRecoveryAsync().ConfigureAwait(false);
        try
        {
            await device.OpenAsync().ConfigureAwait(false);
            await device.FetchAsync().ConfigureAwait(false);
            await device.GoLiveAsync($"take over device {deviceId}", driver.EndRecovery)
                .ConfigureAwait(false);
            return device;
        }
        catch
        {
            // The device stays as it is, for the next attempt.
            await device.CloseAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Stops and deletes the device.</summary>
    /// <param name="force">Also while it is open: its users get errors.</param>
    /// <exception cref="UblkException">Busy, without force; or the driver does not answer.</exception>
    public async Task StopAsync(bool force)
    {
        await Task.Run(() => UblkSupport.Stop(_driver, Id, force)).ConfigureAwait(false);
        await DrainAsync(s_drainLimit).ConfigureAwait(false);
        await RemoveAsync().ConfigureAwait(false);
    }

    /// <summary>
    /// Holds new requests back and answers those in hand; afterwards the process ends, and the next
    /// server takes the device over. Without the feature (before 6.16) requests in hand are given to the
    /// next server by the driver.
    /// </summary>
    /// <returns>Whether every request in hand was answered in time.</returns>
    public async Task<bool> QuiesceAsync()
    {
        if (!_info.Flags.HasFlag(UblkFeatures.Quiesce))
        {
            return false;
        }

        _queues.IsQuiescing = true;
        int result = await Task.Run(() => _driver.Quiesce(Id, s_drainLimit)).ConfigureAwait(false);
        _queues.IsQuiescing = result >= 0;
        Check(result, $"quiesce device {Id}");
        // With every tag busy the driver says nothing, so we count ourselves.
        int inFlight = await Polling.AskAsync(
            _queues.InFlightAsync, static count => count > 0, s_drainLimit, _time).ConfigureAwait(false);
        if (inFlight > 0)
        {
            return false;
        }

        _queues.EndQuiesced();
        return true;
    }

    /// <summary>
    /// Lets the device go without stopping it, for the next server; it waits for that one as soon as the
    /// loop is disposed as well.
    /// </summary>
    public Task LetGoAsync() => CloseAsync();

    /// <summary>Frees a device that was stopped from outside, and deletes it if it is still there.</summary>
    public async Task RemoveAsync()
    {
        await CloseAsync().ConfigureAwait(false);
        int result = await Task.Run(() => UblkSupport.Delete(_driver, Id)).ConfigureAwait(false);
        if (result != -Errno.ENODEV)
        {
            Check(result, $"delete device {Id}");
        }
    }

    private void Add(UblkFeatures features)
    {
        _info = new UblkDeviceInfo
        {
            DeviceId = unchecked((uint)_options.DeviceId),
            QueueCount = (ushort)_options.QueueCount,
            QueueDepth = (ushort)_options.QueueDepth,
            MaxIoBufferBytes = (uint)_options.MaxTransferBytes,
            Flags = UblkSupport.WantedFlags(features, _options),
            ServerFlags = UblkDeviceOptions.Mark,
        };
        string name = _options.DeviceId < 0 ? "a device" : $"device {_options.DeviceId}";
        Check(_driver.Add(ref _info), $"add {name}");
        UsesAutoBuffers = HasAutoBuffers;
    }

    private void CheckTarget()
    {
        if (_target.Limits.MaxRequests < _options.RequiredTargetRequests)
        {
            throw new UblkException(UblkError.Mismatch,
                $"the target takes {_target.Limits.MaxRequests} requests at once, " +
                $"the device needs {_options.RequiredTargetRequests}");
        }
    }

    // The node may appear late, and after a kill the old opener may still be on its way out.
    private async Task OpenAsync()
    {
        int result = await Polling.AskAsync(
            () => _driver.OpenDevice(Id, out _charDevice),
            static result => result is -Errno.ENOENT or -Errno.EBUSY, s_nodeLimit, _time)
            .ConfigureAwait(false);
        Check(result, $"open {KernelUblkDriver.CharPath(Id)}");
    }

    private Task FetchAsync()
    {
        var options = new UblkQueueOptions
        {
            Depth = _info.QueueDepth,
            MaxTransferBytes = (int)_info.MaxIoBufferBytes,
            UsesAutoBuffers = HasAutoBuffers,
            FallsBack = _options.FallsBack,
            CopiesWrites = _options.CopiesWrites,
            RequestTimeout = _options.RequestTimeout,
        };
        BufferTable? table = UsesAutoBuffers ? _loop.Buffers : null;
        return _queues.FetchAsync(_charDevice!, _info.QueueCount, options, driver => new UblkQueue(
            options, driver, _target, _pool, table, Counters, _queues, _time));
    }

    // The driver says busy until the old server is entirely gone.
    private async Task StartRecoveryAsync()
    {
        int result = await Polling.AskAsync(
            () => _driver.StartRecovery(Id), static result => result == -Errno.EBUSY,
            _options.RecoveryLimit, _time).ConfigureAwait(false);
        Check(result, $"take over device {Id}");
    }

    private async Task DrainAsync(TimeSpan limit)
    {
        if (!await _queues.DrainAsync(limit, _time).ConfigureAwait(false))
        {
            throw new UblkException(UblkError.TimedOut,
                $"device {Id} was stopped, but the driver did not give all tags back");
        }
    }

    private async Task CloseAsync()
    {
        await _queues.LeaveAsync().ConfigureAwait(false);
        _charDevice?.Dispose();
        _charDevice = null;
        await _queues.ReturnWithheldPlacesAsync().ConfigureAwait(false);
    }

    // A device that never went live: whatever exists of it is removed; the first error is the one told.
    private async Task AbandonAsync()
    {
        try
        {
            await Task.Run(() => _driver.Stop(Id)).ConfigureAwait(false);
            await DrainAsync(s_nodeLimit).ConfigureAwait(false);
        }
        catch (UblkException)
        {
            // Deleting below does what can still be done.
        }

        await CloseAsync().ConfigureAwait(false);
        _ = await Task.Run(() => UblkSupport.Delete(_driver, Id)).ConfigureAwait(false);
    }

    // The driver waits until every tag is fetched; one that it refused would make it wait for nothing.
    private async Task GoLiveAsync(string what, Func<int, int, int> command)
    {
        Task<int> live = Task.Run(() => command(Id, Environment.ProcessId));
        await Task.WhenAny(live, _queues.Ended).ConfigureAwait(false);
        if (Fault is { } fault)
        {
            throw new UblkException(UblkError.Failed, $"device {Id}: {fault}");
        }

        Check(await live.ConfigureAwait(false), what);
    }

    [StackTraceHidden]
    private static void Check(int result, string what)
    {
        if (result < 0)
        {
            throw UblkException.ForCommand(what, result);
        }
    }
}
