using System.Security.Cryptography.X509Certificates;
using Ublk.Wire.Ids;

namespace Ublk.Wire.Sessions;

/// <summary>
/// Says whose a certificate is. Given by whoever runs the cluster's certificates; any thread.
/// </summary>
public interface IPeerTrust
{
    /// <summary>Looks at the certificate of a peer, whose key the peer has.</summary>
    /// <param name="certificate">The certificate.</param>
    /// <param name="chain">What else the peer sent; not trusted by itself.</param>
    PeerIdentity Identify(X509Certificate2 certificate, X509Certificate2Collection chain);
}

/// <summary>Who a peer is.</summary>
/// <param name="Node">The node; none when it is not trusted.</param>
/// <param name="Refusal">Why not; null when it is.</param>
public readonly record struct PeerIdentity(NodeId Node, string? Refusal);

/// <summary>A feature of connections that know who is at their other end.</summary>
/// <param name="Node">Who.</param>
public sealed record ProvedPeer(NodeId Node);
