using System.Net.Sockets;
using Microsoft.AspNetCore.Connections;
using Ublk.Uring;

namespace Ublk.Frontend.Nbd;

/// <summary>
/// Serves exports to NBD clients. Connections may come from any listener whose connections belong to the
/// loop; everything about them happens on its thread. Requests of all connections to an export meet in its
/// target, in the order in which they were read.
/// </summary>
public sealed class NbdServer
{
    /// <summary>Most exports of a server.</summary>
    public const int MaxExports = 256;

    /// <summary>Zeros for targets that have no other way of writing them; so many bytes at a time.</summary>
    private const int ZeroBytes = 256 << 10;

    private static readonly TimeSpan s_tick = TimeSpan.FromMilliseconds(500);

    /// <summary>Pause where the system has no descriptors for another connection.</summary>
    private static readonly TimeSpan s_acceptPause = TimeSpan.FromMilliseconds(100);

    private readonly Loop _loop;
    private readonly TimeProvider _time;
    private readonly List<NbdConnection> _connections = [];
    private readonly LoopTimer _timer;
    private bool _isStopping;

    /// <summary>Makes a server that has no connection yet; on the loop's thread.</summary>
    /// <param name="loop">The loop of the targets.</param>
    /// <param name="pool">
    /// Memory for payload, 2 MiB or more, shared by all connections; where a target keeps what is written,
    /// the pool it needs. Lives longer than the server.
    /// </param>
    /// <param name="exports">
    /// 1 to <see cref="MaxExports"/>; the first is the default. All on this loop.
    /// </param>
    /// <param name="options">Limits.</param>
    /// <param name="time">Clock of the pause between attempts to accept.</param>
    /// <exception cref="ArgumentException">
    /// The exports are too many, two have one name, or memory or TLS lacks.
    /// </exception>
    public NbdServer(
        Loop loop, PayloadPool pool, IReadOnlyList<NbdExport> exports, NbdServerOptions options,
        TimeProvider time)
    {
        loop.AssertOwner();
        CheckExports(exports);
        if (Math.Min(pool.CapacityBytes / 2, options.MaxPayloadMemoryBytes) < PayloadPool.MaxBlockBytes)
        {
            throw new ArgumentException("too little memory for payload", nameof(pool));
        }

        if (options.TlsPolicy != NbdTlsPolicy.None && options.Tls is null)
        {
            throw new ArgumentException("clients are offered TLS, and there is none", nameof(options));
        }

        if (!pool.TryRent(ZeroBytes, out IoBuffer zeros))
        {
            throw new InvalidOperationException("the payload memory is in use by others");
        }

        zeros.Span.Clear();
        _loop = loop;
        _time = time;
        _timer = new LoopTimer(OnTick);
        Pool = pool;
        Zeros = zeros;
        Exports = exports;
        Options = options;

        // The zeros lie in one of the largest blocks, which so is not there for payload.
        long usable = Math.Min(options.MaxPayloadMemoryBytes, pool.CapacityBytes - PayloadPool.MaxBlockBytes);
        int longest = (int)Math.Min(NbdProtocol.MaxPayloadBytes,
            usable / PayloadPool.MaxBlockBytes * PayloadPool.MaxBlockBytes);
        NegotiationOptions = new NbdNegotiationOptions { Tls = options.TlsPolicy, MaxPayloadBytes = longest };
        TransmissionOptions = new NbdTransmissionOptions
        {
            MaxRequests = options.MaxRequests,
            MaxHeldBytes = usable,
            MaxPayloadBytes = longest,
            StallLimitNs = Nanoseconds(options.StallLimit),
            IdleLimitNs = Nanoseconds(options.IdleLimit),
        };
    }

    /// <summary>Connections that are open, as of a moment.</summary>
    public int ConnectionCount => _connections.Count;

    /// <summary>Connections so far.</summary>
    public long AcceptedCount { get; private set; }

    /// <summary>Connections hung up on because there were too many.</summary>
    public long RefusedCount { get; private set; }

    /// <summary>Connections that broke, or were ended because of what the client did or did not do.</summary>
    public long FaultCount { get; private set; }

    /// <summary>Why the last of these was ended; null before any.</summary>
    public string? LastFault { get; private set; }

    internal NbdServerOptions Options { get; }

    internal IReadOnlyList<NbdExport> Exports { get; }

    internal PayloadPool Pool { get; }

    internal IoBuffer Zeros { get; }

    internal NbdNegotiationOptions NegotiationOptions { get; }

    internal NbdTransmissionOptions TransmissionOptions { get; }

    /// <summary>
    /// Takes what a listener accepts, until it is unbound. From any thread; once for each listener.
    /// </summary>
    /// <param name="listener">Its connections belong to the loop.</param>
    public async Task ListenAsync(IConnectionListener listener)
    {
        while (true)
        {
            ConnectionContext? connection;
            try
            {
                connection = await listener.AcceptAsync().ConfigureAwait(false);
            }
            catch (SocketException)
            {
                await Task.Delay(s_acceptPause, _time).ConfigureAwait(false);
                continue;
            }

            if (connection is null)
            {
                return;
            }

            await _loop.InvokeAsync(() => Begin(connection)).ConfigureAwait(false);
        }
    }

    /// <summary>
    /// Ends all connections: what is in hand is finished and answered, what comes meanwhile gets ESHUTDOWN,
    /// then they are hung up on. From any thread; the listeners were unbound before.
    /// </summary>
    /// <param name="limit">
    /// After that, connections are aborted; the target's requests still end first.
    /// </param>
    public async Task StopAsync(TimeSpan limit)
    {
        Task ended = Task.WhenAll(await _loop.InvokeAsync(() => Stop()).ConfigureAwait(false));
        await Task.WhenAny(ended, Task.Delay(limit, _time)).ConfigureAwait(false);
        await _loop.InvokeAsync(AbortAll).ConfigureAwait(false);
        await ended.ConfigureAwait(false);
        await _loop.InvokeAsync(End).ConfigureAwait(false);
    }

    /// <summary>The connection is closed.</summary>
    internal Task ForgetAsync(NbdConnection connection) => _loop.InvokeAsync(() =>
    {
        if (connection.Complaint is { } complaint)
        {
            FaultCount++;
            LastFault = complaint;
        }

        return _connections.Remove(connection);
    });

    private static void CheckExports(IReadOnlyList<NbdExport> exports)
    {
        if (exports.Count is < 1 or > MaxExports)
        {
            throw new ArgumentException($"{exports.Count} exports; 1 to {MaxExports}", nameof(exports));
        }

        var names = new HashSet<string>(StringComparer.Ordinal);
        foreach (NbdExport export in exports)
        {
            if (!names.Add(export.Name))
            {
                throw new ArgumentException($"two exports have the name '{export.Name}'", nameof(exports));
            }
        }
    }

    private static long Nanoseconds(TimeSpan time) => (long)time.TotalMicroseconds * 1000;

    private bool Begin(ConnectionContext connection)
    {
        if (_isStopping || _connections.Count >= Options.MaxConnections)
        {
            RefusedCount++;
            connection.Abort(new ConnectionAbortedException("too many connections, or the server stops"));
            _ = connection.DisposeAsync().AsTask();
            return false;
        }

        AcceptedCount++;
        var client = new NbdConnection(this, connection);
        _connections.Add(client);
        client.Start();
        if (!_timer.IsScheduled)
        {
            _loop.Schedule(_timer, s_tick);
        }

        return true;
    }

    private void OnTick()
    {
        long now = _loop.NowNs;
        for (int i = _connections.Count - 1; i >= 0; i--)
        {
            _connections[i].OnTick(now);
        }

        if (_connections.Count > 0)
        {
            _loop.Schedule(_timer, s_tick);
        }
    }

    private Task[] Stop()
    {
        _isStopping = true;
        var ends = new Task[_connections.Count];
        for (int i = 0; i < ends.Length; i++)
        {
            ends[i] = _connections[i].Ended;
            _connections[i].Stop();
        }

        return ends;
    }

    private bool AbortAll()
    {
        foreach (NbdConnection connection in _connections)
        {
            connection.Abort("the server stops");
        }

        return true;
    }

    private bool End()
    {
        _timer.Cancel();
        Pool.Return(Zeros);
        return true;
    }
}
