using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Connections;
using Ublk.Uring;

namespace Ublk.Wire.Transport;

/// <summary>Makes connections of a loop, over TCP and unix sockets. From any thread.</summary>
/// <param name="transport">What the connections belong to.</param>
public sealed class RingConnectionFactory(RingTransport transport) : IConnectionFactory
{
    /// <summary>
    /// Connects. The caller goes to the loop's thread to use the pipes of the connection; the answer comes
    /// on the thread pool.
    /// </summary>
    /// <param name="endpoint"><see cref="IPEndPoint"/> or <see cref="UnixDomainSocketEndPoint"/>.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="IOException">Nobody answers there; carries the kernel's error number.</exception>
    /// <exception cref="LoopFullException">No room in the loop or the transport.</exception>
    /// <exception cref="ObjectDisposedException">The transport was stopped.</exception>
    public async ValueTask<ConnectionContext> ConnectAsync(
        EndPoint endpoint, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        Socket socket = TransportSockets.Create(endpoint);
        var connector = new RingConnector(transport, socket, endpoint);
        Loop loop = transport.Loop;
        try
        {
            await loop.InvokeAsync(() =>
            {
                connector.Start();
                return true;
            }).ConfigureAwait(false);
        }
        catch
        {
            connector.Release();
            throw;
        }

        using CancellationTokenRegistration registration = cancellationToken.UnsafeRegister(
            _ => loop.Post(() => connector.Cancel(new OperationCanceledException(cancellationToken))),
            state: null);
        return await connector.Done.ConfigureAwait(false);
    }
}

/// <summary>Sockets as the transport wants them.</summary>
internal static class TransportSockets
{
    /// <summary>A socket for an address, neither bound nor connected.</summary>
    public static Socket Create(EndPoint endPoint)
    {
        switch (endPoint)
        {
            case IPEndPoint ip:
                var tcp = new Socket(ip.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
                tcp.NoDelay = true;
                GiveUpOnSilence(tcp);
                if (ip.Address.Equals(IPAddress.IPv6Any))
                {
                    tcp.DualMode = true;
                }

                return tcp;
            case UnixDomainSocketEndPoint:
                return new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            default:
                throw new NotSupportedException($"{endPoint} is neither an IP nor a unix socket address");
        }
    }

    // A peer that is gone without a word is found out within about 20 s, whether something is on its way to
    // it (TCP_USER_TIMEOUT of tcp(7), in milliseconds) or not. What a listener accepts has its options.
    private static void GiveUpOnSilence(Socket tcp)
    {
        const int ProtocolTcp = 6, UserTimeout = 18, LimitMs = 20_000;
        tcp.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, optionValue: true);
        tcp.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveTime, 10);
        tcp.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveInterval, 2);
        tcp.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveRetryCount, 5);
        tcp.SetRawSocketOption(ProtocolTcp, UserTimeout, BitConverter.GetBytes(LimitMs));
    }
}
