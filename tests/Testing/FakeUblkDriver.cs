using System.Diagnostics;
using Ublk.Frontend.Ublk;
using Ublk.Uring;
using Ublk.Uring.Native;

namespace Ublk.Testing;

/// <summary>
/// The ublk driver in memory, behaving as the kernel of a profile is known to: negotiation, states,
/// tags and their owners, buffer places, stop, death and recovery. Control commands may be called
/// from any thread and wait for others up to <see cref="WaitLimit"/>. Requests reach the server
/// when somebody calls <see cref="Pump"/> on its thread, or by themselves with <see
/// cref="PostsToLoops"/>.
/// </summary>
public sealed partial class FakeUblkDriver(KernelProfile profile) : IUblkDriver
{
    private readonly SortedDictionary<int, FakeUblkDevice> _devices = [];
    private readonly Dictionary<Loop, FakeBufferTable> _tables = [];
    private readonly List<FakeCharDevice> _handles = [];
    private readonly List<string> _violations = [];

    /// <summary>The kernel this is.</summary>
    public KernelProfile Profile { get; } = profile;

    /// <summary>Processors: the most queues a device gets.</summary>
    public int ProcessorCount { get; init; } = 4;

    /// <summary>Longest wait of a control command before it answers −ETIME.</summary>
    public TimeSpan WaitLimit { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>Completions go to the queues' loops by themselves.</summary>
    public bool PostsToLoops { get; set; }

    /// <summary>Commits below the full length; a correct server makes none.</summary>
    public int ShortCommitCount { get; internal set; }

    /// <summary>Whether it was disposed.</summary>
    public bool IsDisposed { get; private set; }

    internal object Gate { get; } = new();

    /// <inheritdoc/>
    public int GetFeatures(out UblkFeatures features)
    {
        lock (Gate)
        {
            features = UblkFeatures.None;
            if (TakeInjected(FakeCommand.GetFeatures) is { } fault)
            {
                return fault;
            }

            if (!Profile.HasFeatureQuery)
            {
                return FakeErrno.NoDevice;
            }

            features = Profile.Features;
            return 0;
        }
    }

    /// <inheritdoc/>
    public int Add(ref UblkDeviceInfo info)
    {
        const int MaxDevices = 1 << 20;
        lock (Gate)
        {
            if (TakeInjected(FakeCommand.Add) is { } fault)
            {
                return fault;
            }

            if (info.QueueDepth is < 1 or > UblkAbi.MaxQueueDepth || info.QueueCount < 1 ||
                info.MaxIoBufferBytes < 4096)
            {
                return FakeErrno.Invalid;
            }

            int result = Profile.Negotiate(info.Flags, out UblkFeatures granted);
            if (result < 0)
            {
                return result;
            }

            int id = unchecked((int)info.DeviceId);
            if (id == -1)
            {
                id = Enumerable.Range(0, MaxDevices).First(free => !_devices.ContainsKey(free));
            }
            else if (_devices.ContainsKey(id))
            {
                return -Errno.EEXIST;
            }

            info.DeviceId = (uint)id;
            info.Flags = granted;
            info.QueueCount = (ushort)Math.Min(info.QueueCount, ProcessorCount);
            info.MaxIoBufferBytes = info.MaxIoBufferBytes / 4096 * 4096;
            info.State = UblkDeviceState.Dead;
            info.ServerPid = -1;
            _devices.Add(id, new FakeUblkDevice(this, info));
            return 0;
        }
    }

    /// <inheritdoc/>
    public int SetParameters(int deviceId, in UblkParameters parameters)
    {
        UblkParameters copy = parameters;
        return Control(FakeCommand.SetParameters, deviceId, device =>
        {
            if (device.State != UblkDeviceState.Dead)
            {
                return FakeErrno.Access;
            }

            if (!FakeParameterRules.Accepts(copy, device.Info.MaxIoBufferBytes))
            {
                return FakeErrno.Invalid;
            }

            device.Parameters = copy;
            return 0;
        });
    }

    /// <inheritdoc/>
    public int GetParameters(int deviceId, out UblkParameters parameters)
    {
        UblkParameters found = default;
        int result = Control(FakeCommand.GetParameters, deviceId, device =>
        {
            found = device.Parameters;
            return 0;
        });
        parameters = found;
        return result;
    }

    /// <inheritdoc/>
    public int GetInfo(int deviceId, out UblkDeviceInfo info)
    {
        UblkDeviceInfo found = default;
        int result = Control(FakeCommand.GetInfo, deviceId, device =>
        {
            found = device.Info;
            found.State = device.State;
            found.ServerPid = device.ServerPid;
            return 0;
        });
        info = found;
        return result;
    }

    /// <inheritdoc/>
    public int Start(int deviceId, int serverPid) => Control(FakeCommand.Start, deviceId, device =>
    {
        if (device.Opener is null || serverPid != device.ServerPid || device.Parameters.Types == 0)
        {
            return FakeErrno.Invalid;
        }

        if (device.State != UblkDeviceState.Dead)
        {
            return -Errno.EEXIST;
        }

        return AwaitFetches(device);
    });

    /// <inheritdoc/>
    public int Stop(int deviceId) => Control(FakeCommand.Stop, deviceId, StopAndWait);

    /// <inheritdoc/>
    public int TryStop(int deviceId) => Control(FakeCommand.TryStop, deviceId, device =>
    {
        if (!Profile.Features.HasFlag(UblkFeatures.SafeStop))
        {
            return FakeErrno.NotSupported;
        }

        return device.ClientOpens > 0 ? FakeErrno.Busy : StopAndWait(device);
    });

    /// <inheritdoc/>
    public int Delete(int deviceId, bool isAsync)
    {
        FakeCommand command = isAsync ? FakeCommand.DeleteAsync : FakeCommand.Delete;
        return Control(command, deviceId, device =>
        {
            if (isAsync && !Profile.HasDeleteAsync)
            {
                return FakeErrno.NotSupported;
            }

            int stopped = StopAndWait(device);
            if (stopped < 0)
            {
                return stopped;
            }

            device.IsDeleted = true;
            Forget(device);
            return isAsync || WaitFor(() => !_devices.ContainsValue(device)) ? 0 : FakeErrno.Time;
        });
    }

    /// <inheritdoc/>
    public int UpdateSize(int deviceId, ulong sectors) =>
        Control(FakeCommand.UpdateSize, deviceId, device =>
        {
            if (!Profile.Features.HasFlag(UblkFeatures.UpdateSize))
            {
                return FakeErrno.NotSupported;
            }

            if (device.State != UblkDeviceState.Live)
            {
                if (Profile.CrashesOnEarlyResize)
                {
                    Violate("UPDATE_SIZE before the device is live: the kernel would be dead now");
                }

                return FakeErrno.NoDevice;
            }

            UblkParameters parameters = device.Parameters;
            parameters.DeviceSectors = sectors;
            device.Parameters = parameters;
            return 0;
        });

    /// <inheritdoc/>
    public int Quiesce(int deviceId, TimeSpan limit) =>
        Control(FakeCommand.Quiesce, deviceId, device =>
        {
            if (!device.Has(UblkFeatures.Quiesce))
            {
                return FakeErrno.NotSupported;
            }

            if (device.State != UblkDeviceState.Live)
            {
                return FakeErrno.Busy;
            }

            device.BeginQuiesce();
            return 0;
        });

    /// <inheritdoc/>
    public int StartRecovery(int deviceId) =>
        Control(FakeCommand.StartRecovery, deviceId, device =>
        {
            if (!device.Has(UblkFeatures.UserRecovery))
            {
                return FakeErrno.Invalid;
            }

            bool isWaiting = device.State is UblkDeviceState.Quiesced or UblkDeviceState.FailIo;
            if (!isWaiting || device.HasReferences)
            {
                return FakeErrno.Busy;
            }

            device.IsRecovering = true;
            return 0;
        });

    /// <inheritdoc/>
    public int EndRecovery(int deviceId, int serverPid) =>
        Control(FakeCommand.EndRecovery, deviceId, device =>
        {
            if (device.Opener is null || serverPid != device.ServerPid || !device.IsRecovering)
            {
                return FakeErrno.Invalid;
            }

            return AwaitFetches(device);
        });

    /// <inheritdoc/>
    public int OpenDevice(int deviceId, out IUblkCharDevice? device)
    {
        IUblkCharDevice? opened = null;
        int result = Control(FakeCommand.Open, deviceId, found =>
        {
            if (found.Opener is not null || found.HasReferences)
            {
                return FakeErrno.Busy;
            }

            found.Opener = new FakeCharDevice(this, found);
            found.ServerPid = Environment.ProcessId;
            _handles.Add(found.Opener);
            opened = found.Opener;
            return 0;
        });
        device = opened;
        return result == FakeErrno.NoDevice ? -Errno.ENOENT : result;
    }

    /// <inheritdoc/>
    public IReadOnlyList<int> ListDevices()
    {
        lock (Gate)
        {
            return [.. _devices.Keys];
        }
    }

    /// <inheritdoc/>
    public bool IsInUse(int deviceId)
    {
        lock (Gate)
        {
            return _devices.TryGetValue(deviceId, out FakeUblkDevice? device) &&
                device.ClientOpens > 0;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => IsDisposed = true;

    private int Control(FakeCommand command, int deviceId, Func<FakeUblkDevice, int> action)
    {
        lock (Gate)
        {
            if (TakeInjected(command) is { } fault)
            {
                return fault;
            }

            return _devices.TryGetValue(deviceId, out FakeUblkDevice? device) && !device.IsDeleted
                ? action(device) : FakeErrno.NoDevice;
        }
    }

    private int StopAndWait(FakeUblkDevice device)
    {
        device.BeginStop();
        return WaitFor(() => !device.IsStopping) ? 0 : FakeErrno.Time;
    }

    private int AwaitFetches(FakeUblkDevice device)
    {
        if (WaitFor(device.IsFetched))
        {
            device.GoLive();
            return 0;
        }

        // Given up long after the server has heard of everything that was refused.
        _ = WaitFor(() => device.Opener is null ||
            device.Opener.Queues.TrueForAll(static queue => queue.UndeliveredCount == 0),
            TimeSpan.FromSeconds(5));
        return FakeErrno.Time;
    }

    private bool WaitFor(Func<bool> condition) => WaitFor(condition, WaitLimit);

    private bool WaitFor(Func<bool> condition, TimeSpan limit)
    {
        long start = Stopwatch.GetTimestamp();
        while (!condition())
        {
            TimeSpan left = limit - Stopwatch.GetElapsedTime(start);
            if (left <= TimeSpan.Zero)
            {
                return false;
            }

            Monitor.Wait(Gate, left);
        }

        return true;
    }
}
