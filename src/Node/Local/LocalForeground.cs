using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text.Json;
using Ublk.Frontend.Ublk;
using Ublk.Node.Cli;
using Ublk.Uring;
using Ublk.Uring.Native;

namespace Ublk.Node.Local;

/// <summary>
/// The life of a serving process after its device is up: it says so, serves until a signal or the end of
/// the device, and goes in a way that loses nothing. A device that is in use is never torn away by a
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
    private readonly System.Threading.Channels.Channel<PosixSignal> _signals =
        System.Threading.Channels.Channel.CreateBounded<PosixSignal>(4);

    /// <summary>Attaches or takes over, serves, and answers the exit code.</summary>
    /// <param name="options">What to serve.</param>
    /// <param name="recoverId">Device to take over; null makes a new one.</param>
    public async Task<int> RunAsync(LocalOptions options, int? recoverId)
    {
        using PosixSignalRegistration interrupt = Catch(PosixSignal.SIGINT);
        using PosixSignalRegistration terminate = Catch(PosixSignal.SIGTERM);
        using PosixSignalRegistration hangUp = Catch(PosixSignal.SIGHUP);
        PrepareProcess();
        LocalServer server = recoverId is { } id
            ? await LocalServer.RecoverAsync(driver, run, id, options, time, OnFault)
                .ConfigureAwait(false)
            : await LocalServer.AttachAsync(driver, run, options, time, OnFault)
                .ConfigureAwait(false);
        if (server.PoolLockResult < 0)
        {
            Output.Note("qublk: payload memory is not locked " +
                $"({Errno.Describe(server.PoolLockResult)}); under memory pressure I/O may stall");
        }

        Announce(server);
        return await ServeAsync(server).ConfigureAwait(false);
    }

    private async Task<int> ServeAsync(LocalServer server)
    {
        UblkDevice device = server.Device;
        bool wasInterrupted = false;
        while (true)
        {
            Task<PosixSignal> signal = _signals.Reader.ReadAsync().AsTask();
            Task first = await Task.WhenAny(signal, device.Ended, _fault.Task).ConfigureAwait(false);
            if (first == _fault.Task)
            {
                Exception cause = await _fault.Task.ConfigureAwait(false);
                return output.Fail(ExitCode.Failure,
                    $"serving {device.Path} failed: {cause.Message}; the device waits, take it over " +
                    $"with 'qublk local recover {device.Id}'");
            }

            if (first == device.Ended)
            {
                return await AfterEndAsync(server, await device.Ended.ConfigureAwait(false))
                    .ConfigureAwait(false);
            }

            bool isInterrupt = await signal.ConfigureAwait(false) == PosixSignal.SIGINT;
            if (await TryStopAsync(server).ConfigureAwait(false))
            {
                return (int)ExitCode.Success;
            }

            if (isInterrupt && !wasInterrupted)
            {
                wasInterrupted = true;
                Output.Note($"qublk: {device.Path} is in use and stays; unmount it first, or press " +
                    "Ctrl-C again to leave it waiting for the next server");
                continue;
            }

            return await LeaveAsync(server).ConfigureAwait(false);
        }
    }

    private async Task<bool> TryStopAsync(LocalServer server)
    {
        try
        {
            await server.Device.StopAsync(force: false).ConfigureAwait(false);
        }
        catch (UblkException exception) when (exception.Error == UblkError.Busy)
        {
            return false;
        }

        server.ForgetDevice();
        await server.DisposeAsync().ConfigureAwait(false);
        output.Say($"{server.Device.Path} detached");
        return true;
    }

    // The process ends with its ring open: closing it is what tells the driver that the server is gone.
    private static async Task<int> LeaveAsync(LocalServer server)
    {
        bool isQuiet = await server.Device.QuiesceAsync().ConfigureAwait(false);
        Output.Note($"qublk: {server.Device.Path} waits for its next server" +
            (isQuiet ? "" : " (with requests in hand, which it will get again)") +
            $"; take it over with 'qublk local recover {server.Device.Id}'");
        return (int)ExitCode.Success;
    }

    private async Task<int> AfterEndAsync(LocalServer server, UblkEnd end)
    {
        if (end == UblkEnd.Faulted)
        {
            return output.Fail(ExitCode.Failure,
                $"{server.Device.Path}: {server.Device.Fault}; take it over with " +
                $"'qublk local recover {server.Device.Id}'");
        }

        await server.Device.RemoveAsync().ConfigureAwait(false);
        server.ForgetDevice();
        await server.DisposeAsync().ConfigureAwait(false);
        output.Say($"{server.Device.Path} was detached");
        return (int)ExitCode.Success;
    }

    private void Announce(LocalServer server)
    {
        DeviceReport report = new LocalOperations(driver, run, time).Show(server.Device.Id);
        string json = JsonSerializer.Serialize(report, ReportJson.Default.DeviceReport);
        if (Environment.GetEnvironmentVariable(ReportVariable) is { } path)
        {
            WriteReport(path, json);
            return;
        }

        if (output.IsJson)
        {
            Output.Json(json);
        }
        else
        {
            output.Say($"{report.Path} serves {report.Image ?? report.Target} " +
                $"({Sizes.Format(report.SizeBytes)}, {report.DataPath}); Ctrl-C detaches");
        }

        NotifySystemd();
    }

    /// <summary>Leaves a report where the starter looks; complete or not there at all.</summary>
    public static void WriteReport(string path, string json)
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
    }

    // Source: sd_notify(3): a datagram to the socket in NOTIFY_SOCKET, '@' standing for a zero byte.
    private static void NotifySystemd()
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

    private void OnFault(Exception exception) => _fault.TrySetResult(exception);
}
