using Ublk.Uring;
using Ublk.Wire.Messages;

namespace Ublk.Tests.Simulation.Network;

/// <summary>What a process hears of a session.</summary>
internal interface ISessionHandler
{
    /// <summary>The session that this process asked for is there; messages may be sent.</summary>
    void OnOpened(SessionEnd session);

    /// <summary>A message has come.</summary>
    /// <param name="session">The own end of the session.</param>
    /// <param name="head">The message.</param>
    /// <param name="payload">Its payload; belongs to the handler, who returns it to the memory.</param>
    void OnMessage(SessionEnd session, in MessageHead head, in IoBuffer payload);

    /// <summary>The session has ended, or could not be opened; nothing of it comes afterwards.</summary>
    void OnEnded(SessionEnd session);
}

/// <summary>Who takes the sessions that others open to a process.</summary>
internal interface ISessionListener
{
    /// <summary>Another process has opened a session.</summary>
    /// <param name="session">The own end.</param>
    /// <returns>Who hears of it.</returns>
    ISessionHandler OnSession(SessionEnd session);
}
