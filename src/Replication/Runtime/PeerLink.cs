using System.Net;
using Microsoft.AspNetCore.Connections;
using Ublk.Uring;
using Ublk.Wire.Messages;
using Ublk.Wire.Sessions;

namespace Ublk.Replication.Runtime;

/// <summary>
/// The way from a writer to a replica of another node. A connector keeps a connection whose two sides know
/// each other; the writer opens the replica's session over it when it wants to, and each connection serves
/// one such session. Used on the loop's thread, where its connections have to be.
/// </summary>
internal sealed class PeerLink : IReplicaWay, ISessionHandler, ISessionMemory, IAsyncDisposable
{
    // What waits for memory waits for other replicas, each of which may wait for this one.
    private const long MemoryLimitNs = 5_000_000_000;

    private readonly Loop _loop;
    private readonly EventTurn _turn;
    private readonly VolumeMemory _memory;
    private readonly SessionOptions _options;
    private readonly PeerConnector _connector;
    private WriterDriver? _writer;
    private int _place;
    private Session? _running;
    private TaskCompletionSource? _opened;
    private bool _isThere;
    private bool _hasEnded;
    private bool _isReceiving;
    private long _waitsSince = long.MaxValue;
    private Task _run = Task.CompletedTask;

    /// <summary>Connects to nobody before <see cref="Start"/>.</summary>
    /// <param name="peer">Who and where.</param>
    /// <param name="loop">The loop; the factory's connections are of it.</param>
    /// <param name="turn">The turn of the volume.</param>
    /// <param name="memory">Memory of the volume's payload.</param>
    /// <param name="time">The clock of pauses.</param>
    public PeerLink(
        ReplicaPeerOptions peer, Loop loop, EventTurn turn, VolumeMemory memory, TimeProvider time)
    {
        _loop = loop;
        _turn = turn;
        _memory = memory;
        _options = peer.Session;
        EndPoint = peer.EndPoint;
        _connector = new PeerConnector(peer.Connector, peer.Factory, peer.EndPoint, Begin, time);
    }

    /// <summary>Where the replica is.</summary>
    public EndPoint EndPoint { get; }

    /// <inheritdoc/>
    public bool IsOpen { get; private set; }

    /// <inheritdoc/>
    public bool CanOpen => _isThere && !IsOpen && !_hasEnded;

    /// <summary>Called when a session can be opened.</summary>
    public Action? OnReachable { get; init; }

    /// <summary>How the connection stands; any thread.</summary>
    public PeerSnapshot Snapshot => _connector.Snapshot;

    /// <summary>Begins to connect.</summary>
    /// <param name="place">The replica's place.</param>
    /// <param name="writer">The writer.</param>
    public void Start(int place, WriterDriver writer)
    {
        _place = place;
        _writer = writer;
        _connector.Start();
    }

    /// <summary>Time passes.</summary>
    public void OnTick()
    {
        _running?.OnTick(_loop.NowNs);
        if (_waitsSince < _loop.NowNs - MemoryLimitNs)
        {
            _waitsSince = long.MaxValue;
            LoseSession(CloseReason.Overloaded, "there was no memory for an answer");
        }
    }

    /// <summary>
    /// Connects no more, and ends what there is: until the kernel has nothing of it. Any thread.
    /// </summary>
    public async ValueTask DisposeAsync()
    {
        await _connector.DisposeAsync().ConfigureAwait(false);
        Task run = await _loop.InvokeAsync(() =>
        {
            _running?.Close(CloseReason.Shutdown, "the volume is closed");
            _isThere = false;
            return _run;
        }).ConfigureAwait(false);
        await run.ConfigureAwait(false);
        _ = await _loop.InvokeAsync(() => _running = null).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public void Open() => IsOpen = true;

    /// <inheritdoc/>
    public void Send<T>(in T message) where T : struct, IMessage<T>, allows ref struct
    {
        _running!.Send(message);
        FlushLater();
    }

    /// <inheritdoc/>
    public void Send<T>(in T message, in IoBuffer payload) where T : struct, IMessage<T>, allows ref struct
    {
        _running!.Send(message, payload);
        FlushLater();
    }

    /// <inheritdoc/>
    public void Close(CloseReason reason, string text)
    {
        if (IsOpen)
        {
            LoseSession(reason, text);
        }
    }

    /// <inheritdoc/>
    public bool TryDeliver(int place, WriterDriver writer)
    {
        if (!_hasEnded)
        {
            return false;
        }

        _hasEnded = false;
        writer.OnSessionEnded(place);
        return true;
    }

    void ISessionHandler.OnOpened(Session session)
    {
        _turn.Begin();
        _isThere = true;
        _opened?.TrySetResult();
        OnReachable?.Invoke();
        _turn.End();
    }

    void ISessionHandler.OnMessage(Session session, scoped in MessageHead head, in IoBuffer payload)
    {
        if (!IsOpen)
        {
            // Nothing was asked yet.
            session.Close(CloseReason.ProtocolError, $"{head.Kind} before a session was opened");
            _isThere = false;
            if (payload.LengthBytes > 0)
            {
                _memory.Return(payload);
            }

            return;
        }

        _turn.Begin();
        _isReceiving = true;
        _writer!.OnMessage(_place, head, payload);
        _turn.End();
        _isReceiving = false;
    }

    void ISessionHandler.OnEnded(Session session, SessionEnd end)
    {
        _turn.Begin();
        _isThere = false;
        _hasEnded = IsOpen;
        IsOpen = false;
        _turn.End();
    }

    bool ISessionMemory.TryRent(int lengthBytes, out IoBuffer buffer)
    {
        bool isRented = _memory.TryRentAnswer(lengthBytes, out buffer);
        _waitsSince = isRented ? long.MaxValue : Math.Min(_waitsSince, _loop.NowNs);
        return isRented;
    }

    void ISessionMemory.Wait(IPayloadWaiter waiter) => _memory.Answers.Wait(waiter);

    void ISessionMemory.Return(in IoBuffer buffer) => _memory.Return(buffer);

    // What is sent while a message is taken goes out with the session's own flush.
    private void FlushLater()
    {
        if (!_isReceiving)
        {
            _turn.FlushAtEnd(_running!);
        }
    }

    private void LoseSession(CloseReason reason, string text)
    {
        _turn.Begin();
        _running!.Close(reason, text);
        _isThere = false;
        _hasEnded |= IsOpen;
        IsOpen = false;
        _turn.End();
    }

    // On the thread pool.
    private PeerAttempt Begin(ConnectionContext connection)
    {
        var opened = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var ended = new TaskCompletionSource<SessionEnd>(TaskCreationOptions.RunContinuationsAsynchronously);
        if (!_loop.Post(() => Begin(connection, opened, ended)))
        {
            connection.Abort();
            var refused = new SessionEnd(SessionEndCause.Refused, CloseReason.Overloaded, "the loop is full");
            opened.SetException(new PeerRefusedException(refused));
        }

        return new PeerAttempt(
            opened.Task, ended.Task,
            () => connection.Abort(new ConnectionAbortedException("the peer did not say in time who it is")));
    }

    private void Begin(
        ConnectionContext connection, TaskCompletionSource opened, TaskCompletionSource<SessionEnd> ended)
    {
        _opened = opened;
        _running = new Session(connection, _options, this, this);
        _run = RunAsync(_running, opened, ended);
    }

    private static async Task RunAsync(
        Session session, TaskCompletionSource opened, TaskCompletionSource<SessionEnd> ended)
    {
        SessionEnd end = await session.RunAsync().ConfigureAwait(false);
        _ = opened.TrySetException(new PeerRefusedException(end));
        _ = ended.TrySetResult(end);
    }
}

/// <summary>A replica of another node: who it is and how it is reached.</summary>
public sealed record ReplicaPeerOptions
{
    /// <summary>What this side says of itself, and whom it wants.</summary>
    public required SessionOptions Session { get; init; }

    /// <summary>Makes connections that belong to the volume's loop.</summary>
    public required IConnectionFactory Factory { get; init; }

    /// <summary>Where the node listens.</summary>
    public required EndPoint EndPoint { get; init; }

    /// <summary>How often it is tried.</summary>
    public PeerConnectorOptions Connector { get; init; } = new();
}
