using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Threading.Channels;
using Ublk.Frontend.Ublk;
using Ublk.Node.Cli;
using Ublk.Uring;
using Ublk.Uring.Native;

namespace Ublk.Node.Local;

/// <summary>One device to bring up.</summary>
/// <param name="Options">What to serve.</param>
/// <param name="RecoverId">Device to take over; null makes a new one.</param>
internal readonly record struct LocalOrder(LocalOptions Options, int? RecoverId);

/// <summary>
/// The life of a serving process: it brings its devices up, says so, serves until a signal or the end of
/// the last device, and goes in a way that loses nothing. A device that is in use is never torn away by a
/// signal: it is left waiting for its next server.
/// </summary>
internal sealed class LocalForeground(
    Output output, IUblkDriver driver, RunDirectory run, TimeProvider time)
{
    /// <summary>Set by a starter that waits for our report (see <see cref="LocalBackground"/>).</summary>
    public const string ReportVariable = "QUBLK_START_REPORT";

    private const int OomScore = -1000;

    private readonly TaskCompletionSource<Exception> _fault =
        new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Channel<PosixSignal> _signals = Channel.CreateBounded<PosixSignal>(4);

    /// <summary>Brings devices up, all or none, serves them, and answers the exit code.</summary>
    /// <param name="orders">The devices; they share one loop.</param>
    public async Task<int> RunAsync(IReadOnlyList<LocalOrder> orders)
    {
        using PosixSignalRegistration interrupt = Catch(PosixSignal.SIGINT);
        using PosixSignalRegistration terminate = Catch(PosixSignal.SIGTERM);
        using PosixSignalRegistration hangUp = Catch(PosixSignal.SIGHUP);
        PrepareProcess();
        LocalServer server = await LocalServer.StartAsync(
            driver, run, orders[0].Options, time, exception => _fault.TrySetResult(exception))
            .ConfigureAwait(false);
        await BringUpAsync(server, orders).ConfigureAwait(false);
        if (server.PoolLockResult < 0)
        {
            Output.Note("qublk: payload memory is not locked " +
                $"({Errno.Describe(server.PoolLockResult)}); under memory pressure I/O may stall");
        }

        Announce(server);
        return await ServeAsync(server).ConfigureAwait(false);
    }

    private static async Task BringUpAsync(LocalServer server, IReadOnlyList<LocalOrder> orders)
    {
        try
        {
            foreach (LocalOrder order in orders)
            {
                await server.AddAsync(order.Options, order.RecoverId).ConfigureAwait(false);
            }
        }
        catch
        {
            // New devices go again; those taken over stay for the next attempt.
            foreach (LocalDevice local in server.Devices.ToArray())
            {
                bool isNew = orders.Any(order => order.RecoverId is null);
                if (isNew && await TryStopAsync(server, local).ConfigureAwait(false))
                {
                    continue;
                }

                await local.Device.QuiesceAsync().ConfigureAwait(false);
            }

            if (server.Devices.Count == 0)
            {
                await server.DisposeAsync().ConfigureAwait(false);
            }

            throw;
        }
    }

    private async Task<int> ServeAsync(LocalServer server)
    {
        bool wasInterrupted = false;
        Task<PosixSignal> signal = _signals.Reader.ReadAsync().AsTask();
        while (server.Devices.Count > 0)
        {
            var ends = new List<Task> { signal, _fault.Task };
            ends.AddRange(server.Devices.Select(local => local.Device.Ended));
            await Task.WhenAny(ends).ConfigureAwait(false);
            if (_fault.Task.IsCompleted)
            {
                Exception cause = await _fault.Task.ConfigureAwait(false);
                return output.Fail(ExitCode.Failure,
                    $"serving failed: {cause.Message}; take the devices over with 'qublk local recover'");
            }

            if (await ReapEndedAsync(server).ConfigureAwait(false) is { } failure)
            {
                return failure;
            }

            if (!signal.IsCompleted)
            {
                continue;
            }

            bool isInterrupt = await signal.ConfigureAwait(false) == PosixSignal.SIGINT;
            signal = _signals.Reader.ReadAsync().AsTask();
            if (await TryStopAllAsync(server).ConfigureAwait(false))
            {
                break;
            }

            if (!isInterrupt || wasInterrupted)
            {
                return await LeaveAsync(server).ConfigureAwait(false);
            }

            wasInterrupted = true;
            Output.Note($"qublk: {Names(server)} in use, still served; unmount first, or press " +
                "Ctrl-C again to leave it waiting for the next server");
        }

        await server.DisposeAsync().ConfigureAwait(false);
        return (int)ExitCode.Success;
    }

    // Devices that ended without us: stopped from outside, or given up by the driver.
    private async Task<int?> ReapEndedAsync(LocalServer server)
    {
        foreach (LocalDevice local in server.Devices.Where(l => l.Device.Ended.IsCompleted).ToArray())
        {
            UblkDevice device = local.Device;
            if (await device.Ended.ConfigureAwait(false) == UblkEnd.Faulted)
            {
                return output.Fail(ExitCode.Failure,
                    $"{device.Path}: {device.Fault}; take it over with 'qublk local recover {device.Id}'");
            }

            await device.RemoveAsync().ConfigureAwait(false);
            await server.ForgetAsync(local).ConfigureAwait(false);
            output.Say($"{device.Path} was detached");
        }

        return null;
    }

    private async Task<bool> TryStopAllAsync(LocalServer server)
    {
        bool all = true;
        foreach (LocalDevice local in server.Devices.ToArray())
        {
            bool isStopped = await TryStopAsync(server, local).ConfigureAwait(false);
            all &= isStopped;
            if (isStopped)
            {
                output.Say($"{local.Device.Path} detached");
            }
        }

        return all;
    }

    private static async Task<bool> TryStopAsync(LocalServer server, LocalDevice local)
    {
        try
        {
            await local.Device.StopAsync(force: false).ConfigureAwait(false);
        }
        catch (UblkException exception) when (exception.Error == UblkError.Busy)
        {
            return false;
        }

        await server.ForgetAsync(local).ConfigureAwait(false);
        return true;
    }

    // The process ends with its ring open: closing it is what tells the driver that the server is gone.
    private static async Task<int> LeaveAsync(LocalServer server)
    {
        bool isQuiet = true;
        foreach (LocalDevice local in server.Devices)
        {
            isQuiet &= await local.Device.QuiesceAsync().ConfigureAwait(false);
        }

        Output.Note($"qublk: {Names(server)} waits for the next server" +
            (isQuiet ? "" : ", which will get the requests in hand again") +
            "; take over with 'qublk local recover'");
        return (int)ExitCode.Success;
    }

    private static string Names(LocalServer server) =>
        string.Join(", ", server.Devices.Select(local => local.Device.Path));

    private void Announce(LocalServer server)
    {
        var operations = new LocalOperations(driver, run, time);
        List<DeviceReport> reports =
            [.. server.Devices.Select(local => operations.Show(local.Device.Id))];
        if (Environment.GetEnvironmentVariable(ReportVariable) is { } path)
        {
            WriteReport(path, JsonSerializer.Serialize(reports, ReportJson.Default.ListDeviceReport));
            return;
        }

        output.Attached(reports, "Ctrl-C detaches");
        NotifySystemd();
    }

    // Complete, or not there at all.
    private static void WriteReport(string path, string json)
    {
        File.WriteAllText($"{path}.new", json);
        File.Move($"{path}.new", path, overwrite: true);
    }

    // Memory that is paged out, or a process that is killed to free memory, could make the write-back
    // that needs us wait for itself.
    private static void PrepareProcess()
    {
        System.Runtime.GCSettings.LatencyMode = System.Runtime.GCLatencyMode.SustainedLowLatency;
        bool isProtected = ProcessSetup.TrySetOomScore(OomScore);
        int locked = ProcessSetup.LockMemory();
        if (!isProtected || locked < 0 || !ProcessSetup.IsIoFlusher)
        {
            Output.Note("qublk: this process is not fully protected from memory pressure " +
                "(see 'qublk doctor'); run as root without limits on locked memory");
        }

        if (Environment.GetEnvironmentVariable(ReportVariable) is not null)
        {
            ProcessSetup.LeaveTerminal();
        }
    }

    /// <summary>
    /// Tells a service manager that all is up. Source: sd_notify(3): a datagram to the socket in
    /// NOTIFY_SOCKET, '@' standing for a zero byte.
    /// </summary>
    internal static void NotifySystemd()
    {
        if (Environment.GetEnvironmentVariable("NOTIFY_SOCKET") is not { Length: > 0 } name)
        {
            return;
        }

        string address = name[0] == '@' ? '\0' + name[1..] : name;
        using var socket = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        socket.SendTo("READY=1"u8, new UnixDomainSocketEndPoint(address));
    }

    private PosixSignalRegistration Catch(PosixSignal signal) =>
        PosixSignalRegistration.Create(signal, context =>
        {
            context.Cancel = true;
            _signals.Writer.TryWrite(context.Signal);
        });
}
