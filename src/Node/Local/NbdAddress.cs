using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Ublk.Node.Local;

/// <summary>Where an export listens: a unix socket by its path, or a host and a port of TCP.</summary>
/// <param name="SocketPath">Absolute path; null for TCP.</param>
/// <param name="Host">Name or address; empty for a unix socket.</param>
/// <param name="Port">Port, 0 lets the system choose.</param>
internal sealed record NbdAddress(string? SocketPath, string Host, int Port)
{
    /// <summary>Longest path in bytes. Source: unix(7), sun_path with its zero byte.</summary>
    private const int MaxPathBytes = 107;

    /// <summary>
    /// Reads what the user wrote: HOST:PORT or [IPV6]:PORT where it has a colon and no slash, else a path.
    /// </summary>
    /// <param name="text">The text.</param>
    /// <param name="address">The address.</param>
    /// <param name="problem">What is wrong with it, for people; null when it was read.</param>
    public static bool TryParse(string text, out NbdAddress? address, out string? problem)
    {
        address = null;
        problem = null;
        int colon = text.LastIndexOf(':');
        if (colon < 0 || text.Contains('/'))
        {
            string path = text.Length == 0 ? text : Path.GetFullPath(text);
            if (path.Length == 0 || Encoding.UTF8.GetByteCount(path) > MaxPathBytes)
            {
                problem = $"the path of a socket has 1 to {MaxPathBytes} bytes: '{path}'";
                return false;
            }

            address = new NbdAddress(path, "", 0);
            return true;
        }

        string host = text[..colon];
        host = host.StartsWith('[') && host.EndsWith(']') ? host[1..^1] : host;
        bool isPort = int.TryParse(text[(colon + 1)..], NumberStyles.None, null, out int port);
        if (host.Length == 0 || !isPort || port > IPEndPoint.MaxPort)
        {
            problem = $"'{text}' is neither HOST:PORT nor a path (write ./{text} for a path with a colon)";
            return false;
        }

        address = new NbdAddress(null, host, port);
        return true;
    }

    /// <summary>What to bind.</summary>
    /// <exception cref="SocketException">The host is not known.</exception>
    public EndPoint Resolve() => SocketPath is { } path
        ? new UnixDomainSocketEndPoint(path)
        : new IPEndPoint(Dns.GetHostAddresses(Host)[0], Port);

    /// <summary>
    /// How clients name an export. Source: the NBD URI specification (uri.md of the nbd project).
    /// </summary>
    /// <param name="exportName">The export's name.</param>
    /// <param name="bound">What was bound: tells the port where the system chose it.</param>
    /// <param name="hasTls">Whether clients have to use TLS.</param>
    public string UriOf(string exportName, EndPoint bound, bool hasTls)
    {
        string scheme = hasTls ? "nbds" : "nbd";
        string name = Uri.EscapeDataString(exportName);
        if (SocketPath is { } path)
        {
            return $"{scheme}+unix:///{name}?socket={Uri.EscapeDataString(path).Replace("%2F", "/")}";
        }

        string host = Host.Contains(':') ? $"[{Host}]" : Host;
        int port = bound is IPEndPoint ip ? ip.Port : Port;
        return $"{scheme}://{host}:{port}/{name}";
    }
}
