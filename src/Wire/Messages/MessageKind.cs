namespace Ublk.Wire.Messages;

/// <summary>Versions of the protocol this code speaks; one connection uses one of them.</summary>
public static class ProtocolVersion
{
    /// <summary>The newest: what this code was made for.</summary>
    public const byte Current = 1;

    /// <summary>
    /// The oldest still spoken: the one before, if there is one, so that a cluster is upgraded node by node.
    /// </summary>
    public const byte Oldest = 1;
}

/// <summary>The first field of every message. Numbers are grouped by tens and never used again.</summary>
public enum MessageKind : byte
{
    /// <summary>Not a message.</summary>
    None = 0,

    /// <summary><see cref="Messages.Handshake"/></summary>
    Handshake = 1,
    /// <summary><see cref="Messages.OpenSession"/></summary>
    OpenSession = 2,
    /// <summary><see cref="Messages.SessionState"/></summary>
    SessionState = 3,
    /// <summary><see cref="Messages.Close"/></summary>
    Close = 9,

    /// <summary><see cref="Messages.Write"/></summary>
    Write = 10,
    /// <summary><see cref="Messages.Applied"/></summary>
    Applied = 11,
    /// <summary><see cref="Messages.Flush"/></summary>
    Flush = 12,
    /// <summary><see cref="Messages.Flushed"/></summary>
    Flushed = 13,

    /// <summary><see cref="Messages.Heartbeat"/></summary>
    Heartbeat = 20,
    /// <summary><see cref="Messages.Grant"/></summary>
    Grant = 21,
    /// <summary><see cref="Messages.Release"/></summary>
    Release = 22,

    /// <summary><see cref="Messages.Promise"/></summary>
    Promise = 30,
    /// <summary><see cref="Messages.Claim"/></summary>
    Claim = 31,
    /// <summary><see cref="Messages.ClaimEntries"/></summary>
    ClaimEntries = 32,
    /// <summary><see cref="Messages.VersionsRequest"/></summary>
    VersionsRequest = 33,
    /// <summary><see cref="Messages.Versions"/></summary>
    Versions = 34,
    /// <summary><see cref="Messages.EpochStart"/></summary>
    EpochStart = 35,
    /// <summary><see cref="Messages.EpochStarted"/></summary>
    EpochStarted = 36,

    /// <summary><see cref="Messages.Read"/></summary>
    Read = 40,
    /// <summary><see cref="Messages.ReadReply"/></summary>
    ReadReply = 41,

    /// <summary><see cref="Messages.DigestsRequest"/></summary>
    DigestsRequest = 50,
    /// <summary><see cref="Messages.Digests"/></summary>
    Digests = 51,
    /// <summary><see cref="Messages.CopyRequest"/></summary>
    CopyRequest = 52,
    /// <summary><see cref="Messages.CopyChunk"/></summary>
    CopyChunk = 53,
    /// <summary><see cref="Messages.Copied"/></summary>
    Copied = 54,
    /// <summary><see cref="Messages.RegionDone"/></summary>
    RegionDone = 55,

    /// <summary><see cref="Messages.Configure"/></summary>
    Configure = 60,
    /// <summary><see cref="Messages.Configured"/></summary>
    Configured = 61,
}
