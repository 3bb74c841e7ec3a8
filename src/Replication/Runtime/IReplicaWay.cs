using Ublk.Uring;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Runtime;

/// <summary>
/// The way from a writer to one replica: one session after the other, each an ordered stream in both
/// directions. A session that ends takes along what was under way. Used on the loop's thread.
/// </summary>
internal interface IReplicaWay
{
    /// <summary>Whether a session is open.</summary>
    bool IsOpen { get; }

    /// <summary>Whether none is, and one can be opened.</summary>
    bool CanOpen { get; }

    /// <summary>Opens the next session.</summary>
    void Open();

    /// <summary>Sends a message without payload over the open session.</summary>
    /// <param name="message">The message.</param>
    /// <typeparam name="T">Its type.</typeparam>
    void Send<T>(in T message) where T : struct, IMessage<T>, allows ref struct;

    /// <summary>Sends a message with payload over the open session.</summary>
    /// <param name="message">The message.</param>
    /// <param name="payload">A share of the bytes, no longer the writer's.</param>
    /// <typeparam name="T">Type of the message.</typeparam>
    void Send<T>(in T message, in IoBuffer payload) where T : struct, IMessage<T>, allows ref struct;

    /// <summary>Ends the session, if there is one; the writer hears of it in its turn.</summary>
    /// <param name="reason">Why.</param>
    /// <param name="text">For people.</param>
    void Close(CloseReason reason, string text);

    /// <summary>Delivers what is under way within the process, and the end of a session.</summary>
    /// <param name="place">The replica's place.</param>
    /// <param name="writer">The writer.</param>
    /// <returns>Whether there was anything.</returns>
    bool TryDeliver(int place, WriterDriver writer);
}
