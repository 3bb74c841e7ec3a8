using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Wire.Sessions;

/// <summary>What one side of a session is, and what it puts up with.</summary>
public sealed record SessionOptions
{
    /// <summary>The cluster; another one is refused.</summary>
    public required ClusterId Cluster { get; init; }

    /// <summary>This node.</summary>
    public required NodeId Node { get; init; }

    /// <summary>Whom the session is with; null for whoever comes.</summary>
    public NodeId? Peer { get; init; }

    /// <summary>Versions of the protocol spoken here.</summary>
    public (byte Oldest, byte Newest) Versions { get; init; } =
        (ProtocolVersion.Oldest, ProtocolVersion.Current);

    /// <summary>One bit for each optional feature offered.</summary>
    public ulong Features { get; init; }

    /// <summary>
    /// Whether a connection that has not proved who is at its other end will do. Only where the
    /// configuration says so.
    /// </summary>
    public bool AllowsUnproved { get; init; }

    /// <summary>
    /// Whether nothing more is taken while the peer does not take what it is sent: for the side that is
    /// asked, whose answers would pile up. Never on both sides: they would wait for each other.
    /// </summary>
    public bool StopsWhenBlocked { get; init; }

    /// <summary>
    /// Whether what is sent goes out between two looks at what has come, and not before: for transports whose
    /// callbacks come on any thread, where nothing else may happen meanwhile.
    /// </summary>
    public bool FlushesInTurn { get; init; }

    /// <summary>
    /// Longest time in nanoseconds until the peer has said who it is. Enough for a host that is busy; who
    /// connects and says nothing costs a connection for so long.
    /// </summary>
    public long GreetingLimitNs { get; init; } = 5_000_000_000;

    /// <summary>
    /// Longest time in nanoseconds between the first and the last byte of a message: the longest one has
    /// 1 MiB, so this is 100 KiB a second.
    /// </summary>
    public long MessageLimitNs { get; init; } = 10_000_000_000;

    /// <summary>Longest time in nanoseconds that the peer has to hang up after it was told the end.</summary>
    public long CloseLimitNs { get; init; } = 1_000_000_000;

    /// <summary>
    /// Longest time in nanoseconds that a peer may take nothing of what it is sent, while its connection
    /// stands: then the session ends. A peer that is gone is found out by the transport, about as soon.
    /// </summary>
    public long StallLimitNs { get; init; } = 20_000_000_000;

    /// <summary>
    /// Most bytes that wait for a peer that takes nothing. More than the window of a writer, which bounds
    /// what can be under way; beyond it the session ends.
    /// </summary>
    public long MaxUnsentBytes { get; init; } = 256L << 20;
}
