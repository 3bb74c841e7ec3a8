using System.IO.Pipelines;
using System.Net.Sockets;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http.Features;
using Ublk.Uring;

namespace Ublk.Wire.Transport;

/// <summary>
/// One connected socket on a loop. Its pipes and <see cref="Payloads"/> are used on the loop's thread only;
/// <see cref="Abort(ConnectionAbortedException)"/> and <see cref="DisposeAsync"/> from any. The socket is
/// closed when both directions have ended and the kernel has nothing of it any more: ended in order (the
/// peer said that nothing follows, or the reader was completed; the output was completed and all of it
/// sent), or by the first failure, which is the reason that readers and writers see from then on.
/// </summary>
public sealed class RingConnection : ConnectionContext, IDuplexPipe, ITransportMember
{
    private static long s_lastNumber;

    private readonly RingTransport _transport;
    private readonly Loop _loop;
    private readonly Socket _socket;
    private readonly RingConnectionListener? _listener;
    private readonly RingPipeReader _reader;
    private readonly RingPipeWriter _writer;
    private readonly CancellationTokenSource _closedSource = new();
    private readonly TaskCompletionSource _closed =
        new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly long _number = Interlocked.Increment(ref s_lastNumber);
    private string? _id;
    private FeatureCollection? _features;
    private IDictionary<object, object?>? _items;
    private bool _isAborted;
    private bool _isClosed;

    internal RingConnection(RingTransport transport, Socket socket, RingConnectionListener? listener)
    {
        _transport = transport;
        _loop = transport.Loop;
        _socket = socket;
        _listener = listener;
        File = RingFile.Of(socket.SafeHandle);
        LocalEndPoint = socket.LocalEndPoint;
        RemoteEndPoint = socket.RemoteEndPoint;
        ConnectionClosed = _closedSource.Token;
        _reader = new RingPipeReader(this, transport);
        _writer = new RingPipeWriter(this, transport);
        Transport = this;
    }

    /// <summary>What is received.</summary>
    public PipeReader Input => _reader;

    /// <summary>What is sent.</summary>
    public PipeWriter Output => _writer;

    /// <summary>The output again, for payload that is sent from where it lies.</summary>
    public IPayloadOutput Payloads => _writer;

    /// <summary>Why the connection ended; null while it has not, and when it ended in order.</summary>
    public Exception? CloseReason { get; private set; }

    /// <summary>Number of the connection in this process, unless another was set.</summary>
    public override string ConnectionId
    {
        get => _id ??= $"{_loop.Options.Name}-{_number}";
        set => _id = value;
    }

    /// <summary>Among them the <see cref="Loop"/>.</summary>
    public override IFeatureCollection Features
    {
        get
        {
            if (_features is null)
            {
                _features = new FeatureCollection();
                _features.Set(_loop);
            }

            return _features;
        }
    }

    /// <inheritdoc/>
    public override IDictionary<object, object?> Items
    {
        get => _items ??= new Dictionary<object, object?>();
        set => _items = value;
    }

    /// <inheritdoc/>
    public override IDuplexPipe Transport { get; set; }

    internal RingFile File { get; }

    /// <summary>Buffers and blocks that the reader holds.</summary>
    internal int HeldCount => _reader.HeldCount;

    /// <summary>
    /// Ends the connection without sending what waits; the peer sees a reset. From any thread; on another
    /// than the loop's it happens soon. The first reason counts.
    /// </summary>
    /// <param name="abortReason">What readers and writers see.</param>
    /// <exception cref="LoopFullException">From another thread, when the loop's mailbox is full.</exception>
    public override void Abort(ConnectionAbortedException abortReason)
    {
        if (!_loop.IsOwner)
        {
            Post(() => Abort(abortReason));
            return;
        }

        if (CloseReason is null && !_isClosed)
        {
            _isAborted = true;
            Fail(abortReason);
        }
    }

    /// <summary>
    /// Completes both pipes: what was flushed is still sent, which takes as long as the peer lets it (abort
    /// first to end at once), then the socket is closed. Bytes of the peer that nobody has read make that a
    /// reset, which may overtake what was sent last: read to the end where it matters. From any thread, any
    /// number of times; the continuation runs on the thread pool.
    /// </summary>
    /// <exception cref="LoopFullException">From another thread, when the loop's mailbox is full.</exception>
#pragma warning disable CA2215 // What it overrides does nothing.
    public override ValueTask DisposeAsync()
    {
        if (_loop.IsOwner)
        {
            CompletePipes();
        }
        else
        {
            Post(CompletePipes);
        }

        return new ValueTask(_closed.Task);
    }
#pragma warning restore CA2215

    /// <inheritdoc/>
    void ITransportMember.End(ConnectionAbortedException reason) => Abort(reason);

    /// <summary>Begins to receive; after it joined the transport.</summary>
    internal void Start() => _reader.Pump();

    /// <summary>Ends the connection for a reason; the first one counts.</summary>
    internal void Fail(Exception reason)
    {
        if (CloseReason is not null || _isClosed)
        {
            return;
        }

        CloseReason = reason;
        _reader.End(reason);
        _writer.End(reason);
        CloseIfQuiet();
    }

    internal void ShutDownSending()
    {
        try
        {
            _socket.Shutdown(SocketShutdown.Send);
        }
        catch (SocketException)
        {
            // The peer has reset the connection meanwhile; nothing is left to be told.
        }
    }

    /// <summary>
    /// Closes the socket when nothing of it is in the kernel's hands and nothing is to come.
    /// </summary>
    internal void CloseIfQuiet()
    {
        if (_isClosed || !_reader.IsQuiet || !_writer.IsQuiet)
        {
            return;
        }

        _isClosed = true;
        if (_isAborted)
        {
            ResetAtClose();
        }

        _socket.Dispose();
        _transport.Leave(this);
        _listener?.OnClosed();
        _writer.Close();
        _closed.TrySetResult();

        // Whoever registered there is unknown, and must not run on the loop's thread.
        ThreadPool.UnsafeQueueUserWorkItem(
            static source => source.Cancel(), _closedSource, preferLocal: false);
    }

    private void CompletePipes()
    {
        _reader.Complete();
        _writer.Complete();
    }

    private void ResetAtClose()
    {
        try
        {
            _socket.LingerState = new LingerOption(enable: true, seconds: 0);
        }
        catch (SocketException)
        {
            // Then the peer sees an end instead of a reset.
        }
    }

    private void Post(Action action)
    {
        if (!_closed.Task.IsCompleted && !_loop.Post(action) && !_closed.Task.IsCompleted)
        {
            throw new LoopFullException($"loop {_loop.Options.Name} takes no more work, or has ended");
        }
    }
}
