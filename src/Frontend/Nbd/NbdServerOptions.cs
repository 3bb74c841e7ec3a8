using Microsoft.AspNetCore.Connections;

namespace Ublk.Frontend.Nbd;

/// <summary>Secures connections, after a client asked for that by STARTTLS.</summary>
public interface INbdTls
{
    /// <summary>
    /// Does the handshake of TLS as the server, and checks the client. On the loop's thread, where it also
    /// has to answer, and where the pipes of what it answers have to continue.
    /// </summary>
    /// <param name="connection">The connection; what is answered owns it.</param>
    /// <returns>The connection to go on with.</returns>
    /// <exception cref="IOException">The handshake failed; the connection is closed.</exception>
    ValueTask<ConnectionContext> SecureAsync(ConnectionContext connection);
}

/// <summary>Limits of a server. Each is per connection unless it says otherwise.</summary>
public sealed record NbdServerOptions
{
    /// <summary>Whether clients secure the connection; anything but none needs <see cref="Tls"/>.</summary>
    public NbdTlsPolicy TlsPolicy { get; init; }

    /// <summary>Secures connections; null where they are not.</summary>
    public INbdTls? Tls { get; init; }

    /// <summary>
    /// Connections at once, over all listeners; one more is hung up on. Those that have not chosen an export
    /// count, too, but only until <see cref="NegotiationLimit"/>.
    /// </summary>
    public int MaxConnections { get; init; } = 256;

    /// <summary>Requests in hand: 1 or more. The next is read when one is answered.</summary>
    public int MaxRequests { get; init; } = 128;

    /// <summary>
    /// Memory for payload in bytes: 1 MiB or more, so that one client cannot have all of it. The longest read
    /// or write is 32 MiB, this, or what the server's memory holds, whichever is least.
    /// </summary>
    public long MaxPayloadMemoryBytes { get; init; } = NbdProtocol.MaxPayloadBytes;

    /// <summary>Longest time until a client has chosen an export.</summary>
    public TimeSpan NegotiationLimit { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Longest time in which a client that owes bytes, or should take some, does neither.</summary>
    public TimeSpan StallLimit { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>
    /// Longest time without a request; zero for any. A mounted filesystem may be quiet for days.
    /// </summary>
    public TimeSpan IdleLimit { get; init; }

    /// <summary>Longest time a client has to hang up after the end.</summary>
    public TimeSpan CloseLimit { get; init; } = TimeSpan.FromSeconds(1);
}
