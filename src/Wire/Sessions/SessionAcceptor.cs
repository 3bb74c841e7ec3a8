using System.Net;
using Microsoft.AspNetCore.Connections;
using Ublk.Wire.Messages;

namespace Ublk.Wire.Sessions;

/// <summary>Begins the sessions that others open: on the thread their connection belongs to.</summary>
public interface ISessionHost
{
    /// <summary>A connection has come.</summary>
    /// <param name="connection">It; the host's from now on.</param>
    /// <param name="onOpened">To be called when the peer has said who it is.</param>
    /// <returns>Ends with the session.</returns>
    Task<SessionEnd> RunAsync(ConnectionContext connection, Action onOpened);
}

/// <summary>How many connections are taken.</summary>
public sealed record SessionAcceptorOptions
{
    /// <summary>Most sessions at once. Beyond that, whoever comes is hung up on.</summary>
    public int MaxSessions { get; init; } = 1024;

    /// <summary>
    /// Most connections whose peer has not said yet who it is: they cost little, and strangers cannot keep
    /// those out who have.
    /// </summary>
    public int MaxGreetings { get; init; } = 64;

    /// <summary>Refusals kept, so that each is told once: a peer, and a reason.</summary>
    public int MaxKnownRefusals { get; init; } = 1024;
}

/// <summary>
/// Takes connections, from whichever transport: no more than so many, and fewer of strangers. What is refused
/// is counted by reason, and told once for each peer and reason. Any thread.
/// </summary>
/// <param name="options">How many.</param>
/// <param name="host">Has the sessions.</param>
/// <param name="onRefused">Is told of the first refusal of a kind: the peer's address, and why.</param>
public sealed class SessionAcceptor(
    SessionAcceptorOptions options, ISessionHost host, Action<string, SessionEnd> onRefused)
    : ConnectionHandler
{
    private readonly Lock _lock = new();
    private readonly Dictionary<CloseReason, long> _refused = [];
    private readonly HashSet<(string Peer, CloseReason Reason)> _told = [];
    private int _sessions;
    private int _greetings;

    /// <summary>Sessions whose peer is known.</summary>
    public int SessionCount
    {
        get
        {
            lock (_lock)
            {
                return _sessions;
            }
        }
    }

    /// <summary>Connections whose peer has not said yet who it is.</summary>
    public int GreetingCount
    {
        get
        {
            lock (_lock)
            {
                return _greetings;
            }
        }
    }

    /// <summary>How often connections were refused for a reason.</summary>
    /// <param name="reason">The reason.</param>
    public long RefusedCount(CloseReason reason)
    {
        lock (_lock)
        {
            return _refused.GetValueOrDefault(reason);
        }
    }

    /// <summary>Takes what a listener accepts, until it is unbound.</summary>
    /// <param name="listener">The listener.</param>
    public async Task ListenAsync(IConnectionListener listener)
    {
        while (await listener.AcceptAsync().ConfigureAwait(false) is { } connection)
        {
            _ = OnConnectedAsync(connection);
        }
    }

    /// <inheritdoc/>
    public override async Task OnConnectedAsync(ConnectionContext connection)
    {
        string peer = PeerOf(connection.RemoteEndPoint);
        if (!TryBegin())
        {
            const string Text = "too many connections";
            Count(peer, new SessionEnd(SessionEndCause.Refused, CloseReason.Overloaded, Text));
            connection.Abort(new ConnectionAbortedException(Text));
            await connection.DisposeAsync().ConfigureAwait(false);
            return;
        }

        bool isOpened = false;
        SessionEnd? end = null;
        try
        {
            end = await host.RunAsync(connection, () => Open(ref isOpened)).ConfigureAwait(false);
        }
        finally
        {
            End(isOpened);
        }

        if (end.Cause == SessionEndCause.Refused)
        {
            Count(peer, end);
        }
    }

    private bool TryBegin()
    {
        lock (_lock)
        {
            bool hasRoom = _greetings < options.MaxGreetings && _sessions + _greetings < options.MaxSessions;
            Move(hasRoom ? 1 : 0, 0);
            return hasRoom;
        }
    }

    private void Move(int greetings, int sessions)
    {
        _greetings += greetings;
        _sessions += sessions;
        WireMeters.Greeting(greetings);
        WireMeters.Session(sessions);
    }

    private void Open(ref bool isOpened)
    {
        lock (_lock)
        {
            if (!isOpened)
            {
                isOpened = true;
                Move(-1, 1);
            }
        }
    }

    private void End(bool isOpened)
    {
        lock (_lock)
        {
            Move(isOpened ? 0 : -1, isOpened ? -1 : 0);
        }
    }

    private void Count(string peer, SessionEnd end)
    {
        WireMeters.Refused(end.Reason);
        bool isNew;
        lock (_lock)
        {
            _refused[end.Reason] = _refused.GetValueOrDefault(end.Reason) + 1;
            isNew = _told.Count < options.MaxKnownRefusals && _told.Add((peer, end.Reason));
        }

        if (isNew)
        {
            onRefused(peer, end);
        }
    }

    // Without the port: that is another one each time.
    private static string PeerOf(EndPoint? endPoint) =>
        endPoint is IPEndPoint address ? address.Address.ToString() : endPoint?.ToString() ?? "unknown";
}
