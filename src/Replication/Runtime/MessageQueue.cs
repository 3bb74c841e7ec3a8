using Ublk.Uring;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Runtime;

/// <summary>
/// Messages on their way in one direction of a link within the process, in order: their heads as the bytes of
/// the protocol, so that both ends take what a peer far away would have sent, their payload by reference.
/// Used on one thread; no allocation once it has been as long as it gets.
/// </summary>
/// <param name="memory">Where payload is given back that nobody takes.</param>
internal sealed class MessageQueue(VolumeMemory memory)
{
    private const int InitialBytes = 16 << 10;

    private readonly Queue<Frame> _frames = new(64);
    private byte[] _bytes = new byte[InitialBytes];
    private int _end;

    /// <summary>Whether nothing is under way.</summary>
    public bool IsEmpty => _frames.Count == 0;

    /// <summary>Sends a message.</summary>
    /// <param name="message">The message.</param>
    /// <param name="payload">Its payload, no longer the sender's; empty without.</param>
    /// <typeparam name="T">Type of the message.</typeparam>
    public void Put<T>(in T message, in IoBuffer payload) where T : struct, IMessage<T>, allows ref struct
    {
        if (_bytes.Length - _end < T.MaxBytes)
        {
            Array.Resize(ref _bytes, Math.Max(2 * _bytes.Length, _end + T.MaxBytes));
        }

        int length = MessageWriter.Write(message, _bytes.AsSpan(_end));
        _frames.Enqueue(new Frame(_end, length, payload));
        _end += length;
    }

    /// <summary>Takes the oldest message; it is valid until <see cref="Done"/>.</summary>
    /// <param name="payload">Its payload, the taker's from now on.</param>
    /// <exception cref="InvalidOperationException">What was sent is no message: a bug.</exception>
    public MessageHead Take(out IoBuffer payload)
    {
        Frame frame = _frames.Dequeue();
        payload = frame.Payload;
        MessageHead head = MessageParser.Parse(_bytes.AsSpan(frame.At, frame.LengthBytes));
        return head.Outcome == ParseOutcome.Complete && head.PayloadBytes == payload.LengthBytes
            ? head
            : throw new InvalidOperationException(
                $"{head.Kind} with {payload.LengthBytes} bytes of payload is {head.Outcome}, " +
                $"{head.PayloadBytes}: {head.Error.Reason}");
    }

    /// <summary>The message that was taken has been dealt with.</summary>
    public void Done() => _end = IsEmpty ? 0 : _end;

    /// <summary>Nothing of what is under way arrives.</summary>
    public void Clear()
    {
        while (_frames.TryDequeue(out Frame frame))
        {
            if (frame.Payload.LengthBytes > 0)
            {
                memory.Return(frame.Payload);
            }
        }
    }

    private readonly record struct Frame(int At, int LengthBytes, IoBuffer Payload);
}
