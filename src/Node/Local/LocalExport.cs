using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Threading.Channels;
using Microsoft.AspNetCore.Connections;
using Ublk.Node.Cli;

namespace Ublk.Node.Local;

/// <summary>
/// The life of a process that exports an image over NBD: it listens, says so, serves until a signal, finishes
/// what it has in hand, and goes. A second signal ends it at once.
/// </summary>
internal sealed class LocalExport(Output output, TimeProvider time)
{
    /// <summary>Longest wait for clients and the medium after the first signal.</summary>
    private static readonly TimeSpan s_stopLimit = TimeSpan.FromSeconds(30);

    private readonly TaskCompletionSource<Exception> _fault =
        new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Channel<PosixSignal> _signals = Channel.CreateBounded<PosixSignal>(4);

    /// <summary>Serves, and answers the exit code.</summary>
    /// <param name="options">What to export and where.</param>
    public async Task<int> RunAsync(LocalExportOptions options)
    {
        using PosixSignalRegistration interrupt = Catch(PosixSignal.SIGINT);
        using PosixSignalRegistration terminate = Catch(PosixSignal.SIGTERM);
        using PosixSignalRegistration hangUp = Catch(PosixSignal.SIGHUP);
        System.Runtime.GCSettings.LatencyMode = System.Runtime.GCLatencyMode.SustainedLowLatency;
        ExportServer server = await ExportServer.StartAsync(
            options, time, exception => _fault.TrySetResult(exception)).ConfigureAwait(false);
        IConnectionListener listener;
        try
        {
            listener = await BindAsync(server, options.Address).ConfigureAwait(false);
        }
        catch
        {
            await server.StopAsync(TimeSpan.Zero).ConfigureAwait(false);
            throw;
        }

        Task listening = server.Server.ListenAsync(listener);
        Announce(server, options, listener.EndPoint);
        await Task.WhenAny(SignalAsync(), _fault.Task, listening).ConfigureAwait(false);
        await listener.UnbindAsync().ConfigureAwait(false);
        if (options.Address.SocketPath is { } path)
        {
            File.Delete(path);
        }

        if (!_fault.Task.IsCompleted)
        {
            await listening.ConfigureAwait(false);

            // Both go on in the background when another signal comes; the process ends with them.
            Task stopped = server.StopAsync(s_stopLimit);
            await Task.WhenAny(stopped, SignalAsync(), _fault.Task).ConfigureAwait(false);
            if (stopped.IsCompleted)
            {
                await stopped.ConfigureAwait(false);
                output.Say($"{options.Image} is no longer exported");
                return (int)ExitCode.Success;
            }
        }

        return output.Fail(ExitCode.Failure, _fault.Task.IsCompleted
            ? $"serving failed: {(await _fault.Task.ConfigureAwait(false)).Message}"
            : "ended with requests in hand; their clients have no answer");
    }

    private static async Task<IConnectionListener> BindAsync(ExportServer server, NbdAddress address)
    {
        if (address.SocketPath is { } path && Path.GetDirectoryName(path) is { } directory &&
            !Directory.Exists(directory))
        {
            throw new CommandException(ExitCode.NotFound, $"there is no directory {directory}");
        }

        try
        {
            EndPoint endPoint = address.Resolve();
            try
            {
                return await server.Listeners.BindAsync(endPoint).ConfigureAwait(false);
            }
            catch (AddressInUseException) when (IsLeftBehind(endPoint))
            {
                File.Delete(address.SocketPath!);
                return await server.Listeners.BindAsync(endPoint).ConfigureAwait(false);
            }
        }
        catch (AddressInUseException)
        {
            throw new CommandException(ExitCode.Busy,
                $"{address.SocketPath ?? $"{address.Host}:{address.Port}"} is in use");
        }
        catch (SocketException exception)
        {
            ExitCode code = exception.SocketErrorCode switch
            {
                SocketError.AccessDenied => ExitCode.NoPermission,
                SocketError.HostNotFound => ExitCode.NotFound,
                _ => ExitCode.Failure,
            };
            throw new CommandException(code,
                $"cannot listen at {address.SocketPath ?? $"{address.Host}:{address.Port}"}: " +
                exception.Message);
        }
    }

    // The socket of a server that was killed stays in the filesystem, and nobody answers there.
    private static bool IsLeftBehind(EndPoint endPoint)
    {
        if (endPoint is not UnixDomainSocketEndPoint)
        {
            return false;
        }

        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            socket.Connect(endPoint);
            return false;
        }
        catch (SocketException exception)
        {
            return exception.SocketErrorCode == SocketError.ConnectionRefused;
        }
    }

    private void Announce(ExportServer server, LocalExportOptions options, EndPoint bound)
    {
        var report = new ExportReport
        {
            Uri = options.Address.UriOf(options.Name, bound, options.Tls is not null),
            Name = options.Name,
            Image = options.Image,
            SizeBytes = server.Target.SizeBytes,
            BlockBytes = server.Target.Limits.LogicalBlockBytes,
            IsReadOnly = server.Target.Limits.IsReadOnly,
            Pid = Environment.ProcessId,
        };
        if (output.IsJson)
        {
            Output.Json(JsonSerializer.Serialize(report, ReportJson.Default.ExportReport));
        }
        else
        {
            string access = report.IsReadOnly ? ", read-only" : "";
            output.Say($"{report.Uri} serves {report.Image} " +
                $"({Sizes.Format(report.SizeBytes)}{access}); Ctrl-C ends");
        }

        LocalForeground.NotifySystemd();
    }

    private Task<PosixSignal> SignalAsync() => _signals.Reader.ReadAsync().AsTask();

    private PosixSignalRegistration Catch(PosixSignal signal) =>
        PosixSignalRegistration.Create(signal, context =>
        {
            context.Cancel = true;
            _signals.Writer.TryWrite(context.Signal);
        });
}
