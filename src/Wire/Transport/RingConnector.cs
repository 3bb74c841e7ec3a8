using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Connections;
using Ublk.Uring;
using Ublk.Uring.Abi;
using Ublk.Uring.Native;

namespace Ublk.Wire.Transport;

/// <summary>
/// One attempt to connect, by the ring itself: the runtime's asynchronous connect would leave the socket in
/// its event loop, and a thread of it would be woken by everything that is ever received.
/// </summary>
internal sealed class RingConnector : IRingCompletion, ITransportMember
{
    private readonly RingTransport _transport;
    private readonly Socket _socket;
    private readonly EndPoint _endPoint;
    private readonly SocketAddress _socketAddress;
    private readonly MemoryMapping _address = MemoryMapping.Allocate(Environment.SystemPageSize);
    private readonly TaskCompletionSource<RingConnection> _done =
        new(TaskCreationOptions.RunContinuationsAsynchronously);
    private OperationId _connect;
    private Exception? _reason;

    public RingConnector(RingTransport transport, Socket socket, EndPoint endPoint)
    {
        _transport = transport;
        _socket = socket;
        _endPoint = endPoint;
        _socketAddress = endPoint.Serialize();
    }

    /// <summary>The connection, or why there is none.</summary>
    public Task<RingConnection> Done => _done.Task;

    /// <summary>Begins, on the loop's thread. When it throws, the attempt is to be released.</summary>
    public void Start()
    {
        _transport.Join(this);
        int length = _socketAddress.Size;
        IoBuffer buffer = _address.Slice(0, length);
        _socketAddress.Buffer.Span[..length].CopyTo(buffer.Span);
        _connect = _transport.Loop.Submit(
            Entries.Connect(RingFile.Of(_socket.SafeHandle), buffer), this, 0);
    }

    /// <summary>Closes the socket of an attempt that did not begin, or has failed.</summary>
    public void Release()
    {
        _address.Dispose();
        _socket.Dispose();
    }

    /// <inheritdoc/>
    public void End(ConnectionAbortedException reason) => Cancel(reason);

    /// <summary>Gives up, unless it has ended; on the loop's thread.</summary>
    /// <param name="reason">What <see cref="Done"/> fails with.</param>
    public void Cancel(Exception reason)
    {
        _reason ??= reason;
        _transport.Loop.Cancel(_connect);
    }

    /// <inheritdoc/>
    void IRingCompletion.OnCompletion(ulong token, int result, CompletionFlags flags)
    {
        _connect = default;
        _transport.Leave(this);
        if (result < 0 || _reason is not null)
        {
            Release();
            _done.TrySetException(_reason ?? TransportErrors.Of($"connect {_endPoint}", result));
            return;
        }

        _address.Dispose();
        try
        {
            _done.TrySetResult(_transport.Attach(Connected()));
        }
        catch (Exception exception)
        {
            _done.TrySetException(exception);
        }
    }

    // The first object does not know that it is connected; a second one of the same descriptor does. The
    // first would close it when it is collected.
    private Socket Connected()
    {
#pragma warning disable CA1816 // Not a way to dispose of it, but to give its descriptor away.
        GC.SuppressFinalize(_socket);
#pragma warning restore CA1816
        return new Socket(_socket.SafeHandle);
    }
}
