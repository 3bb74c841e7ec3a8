using System.Net;
using Microsoft.AspNetCore.Connections;
using Ublk.Wire.Sessions;

namespace Ublk.Wire.Security;

/// <summary>Makes connections with TLS of those of another factory. From any thread.</summary>
/// <param name="factory">Makes the connections beneath.</param>
/// <param name="options">This side.</param>
/// <param name="time">The clock of the handshake's limit.</param>
public sealed class TlsConnectionFactory(IConnectionFactory factory, TlsOptions options, TimeProvider time)
    : IConnectionFactory
{
    /// <summary>
    /// Connects, and proves both sides to each other; whether the peer takes this side's certificate shows
    /// only when it is read from.
    /// </summary>
    /// <param name="endpoint">As the factory beneath has it.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="PeerRefusedException">The peer does not prove that it belongs here.</exception>
    /// <exception cref="IOException">Nobody answers there, or hangs up in the handshake.</exception>
    public async ValueTask<ConnectionContext> ConnectAsync(
        EndPoint endpoint, CancellationToken cancellationToken = default)
    {
        ConnectionContext connection = await factory.ConnectAsync(endpoint, cancellationToken)
            .ConfigureAwait(false);
        return await TlsConnection.ConnectAsync(connection, options, time, cancellationToken)
            .ConfigureAwait(false);
    }
}
