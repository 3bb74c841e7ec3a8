using System.Diagnostics.Metrics;
using Ublk.Wire.Messages;

namespace Ublk.Wire.Sessions;

/// <summary>
/// What is counted of sessions, for whoever collects it: the meter <see cref="Name"/>. Nothing is counted for
/// a message.
/// </summary>
public static class WireMeters
{
    /// <summary>Name of the meter.</summary>
    public const string Name = "Ublk.Wire";

    private const string Reason = "reason";
    private const string Peer = "peer";

    private static readonly Meter s_meter = new(Name);

    private static readonly UpDownCounter<long> s_greetings = s_meter.CreateUpDownCounter<long>(
        "ublk.session.greetings", "{connection}", "Connections whose peer has not said yet who it is.");

    private static readonly UpDownCounter<long> s_sessions = s_meter.CreateUpDownCounter<long>(
        "ublk.session.open", "{session}", "Sessions that other nodes have opened here.");

    private static readonly Counter<long> s_refused = s_meter.CreateCounter<long>(
        "ublk.session.refused", "{connection}", "Connections that were refused.");

    private static readonly Counter<long> s_attempts = s_meter.CreateCounter<long>(
        "ublk.peer.attempts", "{attempt}", "Attempts to reach a peer.");

    private static readonly Counter<long> s_failures = s_meter.CreateCounter<long>(
        "ublk.peer.failures", "{attempt}", "Attempts to reach a peer that failed.");

    private static readonly Counter<long> s_ended = s_meter.CreateCounter<long>(
        "ublk.peer.ended", "{session}", "Sessions with a peer that have ended.");

    internal static void Greeting(int change) => s_greetings.Add(change);

    internal static void Session(int change) => s_sessions.Add(change);

    internal static void Refused(CloseReason reason) =>
        s_refused.Add(1, new KeyValuePair<string, object?>(Reason, reason.ToString()));

    internal static void Attempt(string peer) =>
        s_attempts.Add(1, new KeyValuePair<string, object?>(Peer, peer));

    internal static void Failure(string peer) =>
        s_failures.Add(1, new KeyValuePair<string, object?>(Peer, peer));

    internal static void Ended(string peer, CloseReason reason) => s_ended.Add(
        1, new KeyValuePair<string, object?>(Peer, peer),
        new KeyValuePair<string, object?>(Reason, reason.ToString()));
}
