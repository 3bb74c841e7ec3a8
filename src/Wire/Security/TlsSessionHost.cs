using Microsoft.AspNetCore.Connections;
using Ublk.Wire.Messages;
using Ublk.Wire.Sessions;

namespace Ublk.Wire.Security;

/// <summary>
/// Lets others begin sessions over TLS only: what comes to the host behind it has passed the handshake. Any
/// thread.
/// </summary>
/// <param name="options">This side.</param>
/// <param name="host">Has the sessions.</param>
/// <param name="time">The clock of the handshake's limit.</param>
public sealed class TlsSessionHost(TlsOptions options, ISessionHost host, TimeProvider time) : ISessionHost
{
    /// <inheritdoc/>
    public async Task<SessionEnd> RunAsync(ConnectionContext connection, Action onOpened)
    {
        TlsConnection tls;
        try
        {
            tls = await TlsConnection.AcceptAsync(connection, options, time).ConfigureAwait(false);
        }
        catch (PeerRefusedException refused)
        {
            return refused.End;
        }
        catch (Exception lost) when (lost is IOException or ConnectionAbortedException)
        {
            return new SessionEnd(
                SessionEndCause.Lost, CloseReason.Failed, $"in the TLS handshake: {lost.Message}");
        }

        return await host.RunAsync(tls, onOpened).ConfigureAwait(false);
    }
}
