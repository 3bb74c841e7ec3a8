using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Serialization;
using Ublk.Node.Cli;
using Ublk.Replication.Runtime;

namespace Ublk.Node.Local;

/// <summary>What is asked of the process that serves a mirror: one line of JSON.</summary>
/// <param name="GrowTo">Size in bytes that the volume is to have.</param>
internal sealed record ControlRequest(long GrowTo);

/// <summary>The answer: one line of JSON.</summary>
/// <param name="Code">How it went.</param>
/// <param name="Message">What is wrong; null when all is well.</param>
internal sealed record ControlAnswer(ExitCode Code, string? Message);

/// <summary>
/// The door of the process that serves a mirror, for other processes of this host: a socket in the run
/// directory, which belongs to root alone. One request and one answer for each connection.
/// </summary>
internal sealed class LocalControl : IAsyncDisposable
{
    private const int MaxLineBytes = 4096;
    private const int Backlog = 4;
    private static readonly TimeSpan s_requestLimit = TimeSpan.FromSeconds(5);

    /// <summary>
    /// Longest time that an operator waits. Growing takes moments, but for block devices that must be filled
    /// with zeros; and it waits where replicas go away in the middle.
    /// </summary>
    private static readonly TimeSpan s_answerLimit = TimeSpan.FromSeconds(60);

    private readonly string _path;
    private readonly ReplicatedTarget _target;
    private readonly TimeProvider _time;
    private readonly Socket _listener;
    private readonly CancellationTokenSource _end = new();
    private readonly Task _running;

    private LocalControl(string path, Socket listener, ReplicatedTarget target, TimeProvider time)
    {
        _path = path;
        _listener = listener;
        _target = target;
        _time = time;
        _running = Task.Run(AcceptAsync);
    }

    /// <summary>Opens the door; what a process that died has left of one is replaced.</summary>
    /// <param name="path">Path of the socket.</param>
    /// <param name="target">The volume.</param>
    /// <param name="time">Clock.</param>
    /// <exception cref="CommandException">The path is too long for a socket.</exception>
    public static LocalControl Open(string path, ReplicatedTarget target, TimeProvider time)
    {
        UnixDomainSocketEndPoint place = PlaceOf(path);
        File.Delete(path);
        var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(place);
        listener.Listen(Backlog);
        return new LocalControl(path, listener, target, time);
    }

    /// <summary>Closes the door; who has asked gets an answer, if there is one.</summary>
    public async ValueTask DisposeAsync()
    {
        await _end.CancelAsync().ConfigureAwait(false);
        await _running.ConfigureAwait(false);
        _listener.Dispose();
        File.Delete(_path);
        _end.Dispose();
    }

    /// <summary>Asks the process that serves a mirror to make it larger.</summary>
    /// <param name="path">Path of its socket.</param>
    /// <param name="sizeBytes">The new size.</param>
    /// <param name="time">Clock.</param>
    /// <exception cref="CommandException">It cannot, or there is nobody who answers.</exception>
    public static async Task GrowAsync(string path, long sizeBytes, TimeProvider time)
    {
        using var limit = new CancellationTokenSource(s_answerLimit, time);
        ControlAnswer? answer = null;
        try
        {
            using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            await socket.ConnectAsync(PlaceOf(path), limit.Token).ConfigureAwait(false);
            await SendAsync(socket, JsonSerializer.SerializeToUtf8Bytes(
                new ControlRequest(sizeBytes), ControlJson.Default.ControlRequest)).ConfigureAwait(false);
            byte[] line = await ReceiveAsync(socket, limit.Token).ConfigureAwait(false);
            answer = JsonSerializer.Deserialize(line, ControlJson.Default.ControlAnswer);
        }
        catch (OperationCanceledException)
        {
            throw new CommandException(ExitCode.TimedOut,
                $"the mirror has not grown within {s_answerLimit.TotalSeconds} s, and will when it can; " +
                "see 'qublk local show', and then ask for the same size once more");
        }
        catch (Exception failure) when (failure is SocketException or JsonException)
        {
            throw new CommandException(ExitCode.Failure,
                $"the process that serves the mirror does not answer at {path}: {failure.Message}");
        }

        if (answer is not { Code: ExitCode.Success })
        {
            throw new CommandException(answer?.Code ?? ExitCode.Failure,
                answer?.Message ?? "the process that serves the mirror has gone away without an answer");
        }
    }

    private static UnixDomainSocketEndPoint PlaceOf(string path)
    {
        try
        {
            return new UnixDomainSocketEndPoint(path);
        }
        catch (ArgumentOutOfRangeException)
        {
            throw new CommandException(ExitCode.Usage,
                $"{path} is too long for the name of a socket; choose a shorter QUBLK_RUN_DIR");
        }
    }

    private async Task AcceptAsync()
    {
        var answering = new List<Task>();
        try
        {
            while (true)
            {
                Socket socket = await _listener.AcceptAsync(_end.Token).ConfigureAwait(false);
                answering.RemoveAll(task => task.IsCompleted);
                answering.Add(AnswerAsync(socket));
            }
        }
        catch (OperationCanceledException)
        {
            await Task.WhenAll(answering).ConfigureAwait(false);
        }
    }

    private async Task AnswerAsync(Socket socket)
    {
        using Socket owned = socket;
        try
        {
            using var limit = new CancellationTokenSource(s_requestLimit, _time);
            byte[] line = await ReceiveAsync(socket, limit.Token).ConfigureAwait(false);
            ControlRequest? request = JsonSerializer.Deserialize(line, ControlJson.Default.ControlRequest);
            ControlAnswer answer = await TryGrowAsync(request?.GrowTo ?? 0).ConfigureAwait(false);
            await SendAsync(socket, JsonSerializer.SerializeToUtf8Bytes(
                answer, ControlJson.Default.ControlAnswer)).ConfigureAwait(false);
        }
        catch (Exception failure) when (
            failure is SocketException or JsonException or OperationCanceledException)
        {
            // Who asked has gone away, or speaks something else: the connection's end is the answer.
        }
    }

    private async Task<ControlAnswer> TryGrowAsync(long sizeBytes)
    {
        try
        {
            await _target.GrowAsync(sizeBytes).WaitAsync(_end.Token).ConfigureAwait(false);
            return new ControlAnswer(ExitCode.Success, null);
        }
        catch (IOException refusal)
        {
            return new ControlAnswer(ExitCodes.Of(refusal) ?? ExitCode.Failure, refusal.Message);
        }
    }

    private static async Task SendAsync(Socket socket, byte[] line)
    {
        byte[] bytes = [.. line, (byte)'\n'];
        for (int sent = 0; sent < bytes.Length;)
        {
            sent += await socket.SendAsync(bytes.AsMemory(sent)).ConfigureAwait(false);
        }
    }

    // Up to the end of the line; an end of the connection is one as well.
    private static async Task<byte[]> ReceiveAsync(Socket socket, CancellationToken limit)
    {
        byte[] bytes = new byte[MaxLineBytes];
        int length = 0;
        while (length < bytes.Length)
        {
            int received = await socket.ReceiveAsync(bytes.AsMemory(length), limit).ConfigureAwait(false);
            length += received;
            if (received == 0 || bytes[length - 1] == (byte)'\n')
            {
                break;
            }
        }

        return bytes[..length];
    }
}

[JsonSerializable(typeof(ControlRequest))]
[JsonSerializable(typeof(ControlAnswer))]
internal sealed partial class ControlJson : JsonSerializerContext;
