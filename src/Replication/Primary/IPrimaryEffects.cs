using Ublk.Uring;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Primary;

/// <summary>
/// What the writer of a volume asks of its surroundings; carried out in the order it was asked, never
/// answered from within the call. Replicas are named by their place in the volume's list; the local one is
/// spoken to like any other, over a session of its own.
/// </summary>
public interface IPrimaryEffects
{
    /// <summary>Send a message without payload.</summary>
    /// <param name="replica">To whom; without a session it is ignored.</param>
    /// <param name="message">The message.</param>
    /// <typeparam name="T">Its type.</typeparam>
    void Send<T>(int replica, in T message) where T : struct, IMessage<T>, allows ref struct;

    /// <summary>Send a message with payload.</summary>
    /// <param name="replica">To whom; without a session it is ignored.</param>
    /// <param name="message">The message.</param>
    /// <param name="payload">
    /// The bytes; as they are until the replica has answered, or its session has ended.
    /// </param>
    /// <typeparam name="T">Type of the message.</typeparam>
    void Send<T>(int replica, in T message, in IoBuffer payload)
        where T : struct, IMessage<T>, allows ref struct;

    /// <summary>Send a message with a short payload, which is copied.</summary>
    /// <param name="replica">To whom; without a session it is ignored.</param>
    /// <param name="message">The message.</param>
    /// <param name="payload">The bytes.</param>
    /// <typeparam name="T">Type of the message.</typeparam>
    void SendBytes<T>(int replica, in T message, ReadOnlySpan<byte> payload)
        where T : struct, IMessage<T>, allows ref struct;

    /// <summary>
    /// End a session; ends with <see cref="VolumePrimary.OnSessionEnded"/>. The driver opens the next one.
    /// </summary>
    /// <param name="replica">Whose.</param>
    /// <param name="reason">Why.</param>
    /// <param name="text">For people.</param>
    void Close(int replica, CloseReason reason, string text);

    /// <summary>Whether the local replica has the current bytes of a range.</summary>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="lengthBytes">Length.</param>
    bool CanReadLocally(long offsetBytes, long lengthBytes);

    /// <summary>
    /// Read from the local image; ends with <see cref="VolumePrimary.OnLocalReadEnded"/>, and with an error
    /// where the local replica no longer has the current bytes by then.
    /// </summary>
    /// <param name="read">Names the read.</param>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="buffer">Where the bytes go.</param>
    void ReadLocally(ulong read, long offsetBytes, in IoBuffer buffer);

    /// <summary>The bytes that came with a request or a message are no longer needed.</summary>
    /// <param name="payload">As they came.</param>
    void ReleasePayload(in IoBuffer payload);

    /// <summary>The writer has come to another stage of its life.</summary>
    /// <param name="stage">Which.</param>
    void StageChanged(PrimaryStage stage);

    /// <summary>
    /// What was copied to a replica reads back as something else, and is copied again: its disk or its memory
    /// cannot be trusted.
    /// </summary>
    /// <param name="replica">Which.</param>
    /// <param name="region">The region.</param>
    void StillDiffers(int replica, int region);

    /// <summary>
    /// A block is lost: who has it last cannot read it as it was written, and nobody else who is there can.
    /// Reads of it fail until the host writes it, or somebody comes who has it.
    /// </summary>
    /// <param name="replica">Whose it was.</param>
    /// <param name="offsetBytes">Start of the 4 KiB.</param>
    void BlockLost(int replica, long offsetBytes);

    /// <summary>A scrub has found that replicas differ, and has done about it what it could.</summary>
    /// <param name="difference">Where, and how it ended.</param>
    void Differs(in ScrubDifference difference);

    /// <summary>A scrub has come to its end, or was broken off.</summary>
    /// <param name="report">What it has seen.</param>
    void ScrubEnded(ScrubReport report);

    /// <summary>A configuration has come into force, or the old set of a joint one can be left.</summary>
    void ConfigurationChanged();
}
