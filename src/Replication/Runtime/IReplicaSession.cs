using Ublk.Uring;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Runtime;

/// <summary>The way from a replica to one of those who speak with it, for one session.</summary>
internal interface IReplicaSession
{
    /// <summary>Sends a message without payload.</summary>
    /// <param name="message">The message.</param>
    /// <typeparam name="T">Its type.</typeparam>
    void Answer<T>(in T message) where T : struct, IMessage<T>, allows ref struct;

    /// <summary>Sends a message with payload.</summary>
    /// <param name="message">The message.</param>
    /// <param name="payload">A share of the bytes, no longer the replica's.</param>
    /// <typeparam name="T">Type of the message.</typeparam>
    void Answer<T>(in T message, in IoBuffer payload) where T : struct, IMessage<T>, allows ref struct;

    /// <summary>Ends the session; the replica hears nothing of it any more.</summary>
    /// <param name="reason">Why.</param>
    /// <param name="text">For people.</param>
    void End(CloseReason reason, string text);
}
