using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Connections;
using Ublk.Uring;

namespace Ublk.Wire.Transport;

/// <summary>Limits of a listener.</summary>
public sealed record RingListenerOptions
{
    /// <summary>Connections that wait in the kernel to be accepted.</summary>
    public int Backlog { get; init; } = 128;

    /// <summary>Accepted connections that are open; more are closed at once and counted.</summary>
    public int MaxConnections { get; init; } = 256;
}

/// <summary>Makes listeners whose connections live on a loop, over TCP and unix sockets.</summary>
/// <param name="transport">What the connections belong to.</param>
/// <param name="options">Limits of each listener.</param>
public sealed class RingConnectionListenerFactory(RingTransport transport, RingListenerOptions options)
    : IConnectionListenerFactory
{
    /// <summary>Binds an address and listens. From any thread.</summary>
    /// <param name="endpoint"><see cref="IPEndPoint"/> or <see cref="UnixDomainSocketEndPoint"/>.</param>
    /// <param name="cancellationToken">Not looked at: binding does not wait.</param>
    /// <exception cref="AddressInUseException">
    /// Someone listens there, or a unix socket was left there.
    /// </exception>
    public ValueTask<IConnectionListener> BindAsync(
        EndPoint endpoint, CancellationToken cancellationToken = default)
    {
        Socket socket = TransportSockets.Create(endpoint);
        try
        {
            socket.Bind(endpoint);
            socket.Listen(options.Backlog);
        }
        catch (SocketException exception) when (exception.SocketErrorCode == SocketError.AddressAlreadyInUse)
        {
            socket.Dispose();
            throw new AddressInUseException($"{endpoint} is in use", exception);
        }
        catch
        {
            socket.Dispose();
            throw;
        }

        return new ValueTask<IConnectionListener>(new RingConnectionListener(transport, options, socket));
    }
}

/// <summary>Accepts connections for a loop. From any thread, one accept at a time.</summary>
public sealed class RingConnectionListener : IConnectionListener
{
    private readonly RingTransport _transport;
    private readonly RingListenerOptions _options;
    private readonly Socket _socket;
    private volatile bool _isUnbound;
    private int _openCount;
    private long _refusedCount;

    internal RingConnectionListener(RingTransport transport, RingListenerOptions options, Socket socket)
    {
        _transport = transport;
        _options = options;
        _socket = socket;
        EndPoint = socket.LocalEndPoint!;
    }

    /// <summary>The address it is bound to; with the port that was given where none was asked for.</summary>
    public EndPoint EndPoint { get; }

    /// <summary>Accepted connections that are open.</summary>
    public int OpenCount => Volatile.Read(ref _openCount);

    /// <summary>
    /// Connections closed at once because this listener, the transport or the loop was full.
    /// </summary>
    public long RefusedCount => Volatile.Read(ref _refusedCount);

    /// <summary>
    /// Waits for a connection. Null when the listener was unbound. The caller goes to the loop's thread to
    /// use its pipes.
    /// </summary>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <exception cref="SocketException">The system cannot accept now (no descriptors left).</exception>
    /// <exception cref="ObjectDisposedException">The loop or the transport ended.</exception>
    public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default)
    {
        while (await TryAcceptSocketAsync(cancellationToken).ConfigureAwait(false) is { } socket)
        {
            if (await TryTakeAsync(socket).ConfigureAwait(false) is { } connection)
            {
                return connection;
            }
        }

        return null;
    }

    /// <summary>Ends listening; an accept under way answers null. Connections stay.</summary>
    /// <param name="cancellationToken">Not looked at: it does not wait.</param>
    public ValueTask UnbindAsync(CancellationToken cancellationToken = default)
    {
        _isUnbound = true;
        _socket.Dispose();
        return default;
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => UnbindAsync();

    /// <summary>A connection of this listener was closed.</summary>
    internal void OnClosed() => Interlocked.Decrement(ref _openCount);

    private async ValueTask<Socket?> TryAcceptSocketAsync(CancellationToken cancellationToken)
    {
        while (!_isUnbound)
        {
            try
            {
                return await _socket.AcceptAsync(cancellationToken).ConfigureAwait(false);
            }
            catch (Exception exception) when (
                _isUnbound && exception is ObjectDisposedException or SocketException)
            {
                return null;
            }
            catch (SocketException exception) when (
                exception.SocketErrorCode == SocketError.ConnectionAborted)
            {
                // That peer gave up while it waited; others may be there.
            }
        }

        return null;
    }

    private async Task<RingConnection?> TryTakeAsync(Socket socket)
    {
        if (Interlocked.Increment(ref _openCount) > _options.MaxConnections)
        {
            return Refuse(socket);
        }

        try
        {
            if (socket.AddressFamily != AddressFamily.Unix)
            {
                socket.NoDelay = true;
            }

            return await _transport.Loop.InvokeAsync(() => _transport.Attach(socket, this))
                .ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is LoopFullException or SocketException)
        {
            return Refuse(socket); // Full, or reset already.
        }
        catch
        {
            Refuse(socket);
            throw;
        }
    }

    private RingConnection? Refuse(Socket socket)
    {
        OnClosed();
        Interlocked.Increment(ref _refusedCount);
        socket.Dispose();
        return null;
    }
}
