using Ublk.Wire.Messages;

namespace Ublk.Node.Capture;

/// <summary>A captured stream has bytes that are no message, or ends in the middle of one.</summary>
/// <param name="positionBytes">The first byte that is wrong, or the end.</param>
/// <param name="message">What is wrong, and where.</param>
internal sealed class CaptureException(long positionBytes, string message) : Exception(message)
{
    public long PositionBytes { get; } = positionBytes;
}

/// <summary>
/// Reads a captured stream of the protocol, one direction of a connection from its first byte on, message by
/// message. Its memory is one buffer for the longest message, however long the stream is.
/// </summary>
/// <param name="input">The stream.</param>
/// <param name="name">Its name, for errors.</param>
/// <param name="beforeRead">Called before more is read, which may have to be waited for.</param>
internal sealed class CaptureReader(Stream input, string name, Action beforeRead)
{
    // The longest head and the longest payload; no message has both, so it is a little longer than needed.
    private const int BufferBytes = MessageLimits.MaxListMessageBytes + MessageLimits.MaxPayloadBytes;

    private readonly byte[] _buffer = new byte[BufferBytes];

    // What has been read and is not behind us: the message that was answered last, and what follows it.
    private int _start, _end;
    private int _messageBytes;

    /// <summary>Where the message that was answered last begins in the stream.</summary>
    public long OffsetBytes { get; private set; }

    private ReadOnlySpan<byte> Rest => _buffer.AsSpan(_start, _end - _start);

    /// <summary>Goes to the next message.</summary>
    /// <param name="head">Its head; holds until the next call, like the payload.</param>
    /// <param name="payload">Its payload; empty for messages without.</param>
    /// <returns>False at the end of the stream.</returns>
    /// <exception cref="CaptureException">What follows is no message, or only the begin of one.</exception>
    public bool MoveNext(out MessageHead head, out ReadOnlySpan<byte> payload)
    {
        _start += _messageBytes;
        OffsetBytes += _messageBytes;
        _messageBytes = 0;
        head = default;
        payload = default;
        if (Rest.IsEmpty && !TryFill(1))
        {
            return false;
        }

        // What came before the end is looked at too: it may be wrong already.
        bool hasEnded = false;
        head = MessageParser.Parse(Rest);
        while (NeededBytes(head) is var needed && needed > Rest.Length)
        {
            if (hasEnded)
            {
                throw CutOff(head.Kind, needed);
            }

            hasEnded = !TryFill(needed);
            head = MessageParser.Parse(Rest);
        }

        payload = Rest.Slice(head.HeadBytes, head.PayloadBytes);
        _messageBytes = head.TotalBytes;
        return true;
    }

    private int NeededBytes(in MessageHead head) => head.Outcome switch
    {
        ParseOutcome.Complete => head.TotalBytes,
        ParseOutcome.NeedMore => head.NeededBytes,
        _ => throw Refused(head.Error),
    };

    // Reads as much as there is room for, at least until so many bytes of the message are there.
    private bool TryFill(int neededBytes)
    {
        if (_start > 0)
        {
            Rest.CopyTo(_buffer);
            (_start, _end) = (0, _end - _start);
        }

        beforeRead();
        int missing = neededBytes - _end;
        int read = input.ReadAtLeast(_buffer.AsSpan(_end), missing, throwOnEndOfStream: false);
        _end += read;
        return read >= missing;
    }

    private CaptureException Refused(ProtocolError error)
    {
        long position = OffsetBytes + error.PositionBytes;
        return new CaptureException(position,
            $"{name}: byte {position}: {error.Text} (the message begins at byte {OffsetBytes})");
    }

    private CaptureException CutOff(MessageKind kind, int neededBytes)
    {
        long end = OffsetBytes + Rest.Length;
        string what = kind == MessageKind.None ? "a message" : $"a message of kind {kind}";
        return new CaptureException(end,
            $"{name}: ends at byte {end}, in the middle of {what} that begins at byte {OffsetBytes} " +
            $"and has at least {neededBytes} bytes");
    }
}
