using Ublk.Uring;
using Ublk.Wire.Messages;

namespace Ublk.Wire.Sessions;

/// <summary>
/// What a session tells. Everything on the thread of its connection's transport, one after the other.
/// </summary>
public interface ISessionHandler
{
    /// <summary>Both sides know each other: messages may be sent.</summary>
    /// <param name="session">The session.</param>
    void OnOpened(Session session);

    /// <summary>A message has come.</summary>
    /// <param name="session">The session.</param>
    /// <param name="head">The message; valid during the call.</param>
    /// <param name="payload">Its payload, the handler's from now on; empty without.</param>
    void OnMessage(Session session, scoped in MessageHead head, in IoBuffer payload);

    /// <summary>
    /// The session has ended, or was never opened. The last call, and none at all where this side ended it
    /// with <see cref="Session.Close"/>.
    /// </summary>
    /// <param name="session">The session.</param>
    /// <param name="end">Why.</param>
    void OnEnded(Session session, SessionEnd end);
}

/// <summary>Memory for the payload of messages.</summary>
public interface ISessionMemory
{
    /// <summary>Gives memory; false when there is none now.</summary>
    /// <param name="lengthBytes">1 to 1 MiB.</param>
    /// <param name="buffer">The memory, of this length.</param>
    bool TryRent(int lengthBytes, out IoBuffer buffer);

    /// <summary>Stands in line for memory.</summary>
    /// <param name="waiter">Called when memory comes back.</param>
    void Wait(IPayloadWaiter waiter);

    /// <summary>Takes memory back: of a payload that was sent, or will not be delivered.</summary>
    /// <param name="buffer">The memory.</param>
    void Return(in IoBuffer buffer);
}
