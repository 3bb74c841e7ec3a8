using System.Net.Security;
using Ublk.Wire.Sessions;

namespace Ublk.Wire.Security;

/// <summary>What one side of a TLS connection is, and whom it trusts.</summary>
public sealed record TlsOptions
{
    /// <summary>
    /// This side's certificate with its key and what leads to the root. Asked for at each handshake, so that
    /// it can be renewed meanwhile; from any thread. Made with <c>offline: true</c>: nothing is to be
    /// fetched for it.
    /// </summary>
    public required Func<SslStreamCertificateContext> Certificate { get; init; }

    /// <summary>Says whose the peer's certificate is; nothing else is trusted.</summary>
    public required IPeerTrust Trust { get; init; }

    /// <summary>
    /// Longest time of a handshake, above 0. Who connects and says nothing, or little at a time, costs a
    /// connection for so long.
    /// </summary>
    public TimeSpan HandshakeLimit { get; init; } = TimeSpan.FromSeconds(5);
}
