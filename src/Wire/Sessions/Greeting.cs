using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Wire.Sessions;

/// <summary>
/// What the handshakes of both sides come to. Each side decides by itself, and both decide the same.
/// </summary>
/// <param name="Refusal">Why there is no session; null for none.</param>
/// <param name="Version">The version of the protocol.</param>
/// <param name="Features">The features that both offer.</param>
internal readonly record struct Greeting(GreetingRefusal? Refusal, byte Version, ulong Features)
{
    /// <summary>Decides.</summary>
    /// <param name="options">This side.</param>
    /// <param name="proved">Who is at the other end, if the connection knows.</param>
    /// <param name="theirs">What the peer says.</param>
    public static Greeting Of(SessionOptions options, NodeId? proved, in Handshake theirs)
    {
        byte version = Math.Min(options.Versions.Newest, theirs.NewestVersion);
        GreetingRefusal? refusal = null;
        if (theirs.Cluster != options.Cluster)
        {
            refusal = new(CloseReason.WrongCluster, $"this is cluster {options.Cluster}");
        }
        else if (version < options.Versions.Oldest || version < theirs.OldestVersion)
        {
            refusal = new(
                CloseReason.Version,
                $"versions {options.Versions.Oldest} to {options.Versions.Newest} are spoken here, " +
                $"{theirs.OldestVersion} to {theirs.NewestVersion} there; upgrade one version at a time");
        }
        else if (proved is { } node ? node != theirs.Node : !options.AllowsUnproved)
        {
            refusal = new(
                CloseReason.NotTrusted,
                proved is null ? "connections without TLS are not allowed here"
                    : $"node {theirs.Node} is spoken for with the certificate of node {proved}");
        }
        else if (options.Peer is { } wanted && wanted != theirs.Node)
        {
            refusal = new(CloseReason.NotTrusted, $"node {wanted} is wanted, and this is {theirs.Node}");
        }
        else if (theirs.Node == options.Node || theirs.Node.Value == 0)
        {
            refusal = new(CloseReason.NotTrusted, $"{theirs.Node} is this node itself, or none");
        }

        return new Greeting(refusal, version, options.Features & theirs.Features);
    }
}

/// <summary>Why a peer is refused.</summary>
/// <param name="Reason">The reason.</param>
/// <param name="Text">For people.</param>
internal readonly record struct GreetingRefusal(CloseReason Reason, string Text);
