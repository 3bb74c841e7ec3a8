using Ublk.Wire.Messages;

namespace Ublk.Wire.Sessions;

/// <summary>How a session has ended.</summary>
/// <param name="Cause">Who or what ended it.</param>
/// <param name="Reason">
/// Why, where a side said so; with <see cref="SessionEndCause.Lost"/> it is Failed.
/// </param>
/// <param name="Text">The same for people.</param>
public sealed record SessionEnd(SessionEndCause Cause, CloseReason Reason, string Text);

/// <summary>Who or what ended a session.</summary>
public enum SessionEndCause : byte
{
    /// <summary>Not ended.</summary>
    None,
    /// <summary>This side said so.</summary>
    Here,
    /// <summary>This side found something wrong with the peer, and told it.</summary>
    Refused,
    /// <summary>The peer said so.</summary>
    Peer,
    /// <summary>The connection broke, or the peer hung up without a word.</summary>
    Lost,
}

/// <summary>How far a session is.</summary>
public enum SessionStage : byte
{
    /// <summary>The sides have not said yet who they are.</summary>
    Greeting,
    /// <summary>Messages go both ways.</summary>
    Open,
    /// <summary>The end was said, and is on its way; what still comes is dropped.</summary>
    Closing,
    /// <summary>Nothing of it is left.</summary>
    Ended,
}
