using System.Buffers;

namespace Ublk.Wire.Messages;

/// <summary>How far a parser came.</summary>
public enum ParseOutcome : byte
{
    /// <summary>The head is not complete; wait for <see cref="MessageHead.NeededBytes"/>.</summary>
    NeedMore,
    /// <summary>The head is complete and every field in it is allowed.</summary>
    Complete,
    /// <summary>This is no message; close the connection.</summary>
    Refused,
}

/// <summary>
/// What a parser found at the beginning of a stream: a message up to its payload, already checked. Valid
/// until the parser's next call and as long as the input is.
/// </summary>
public readonly ref struct MessageHead
{
    private readonly ReadOnlySpan<byte> _bytes;
    private readonly int _firstField;

    private MessageHead(ParseOutcome outcome, MessageKind kind)
    {
        Outcome = outcome;
        Kind = kind;
    }

    private MessageHead(MessageKind kind, ReadOnlySpan<byte> head, int firstField, int payloadBytes)
        : this(ParseOutcome.Complete, kind)
    {
        _bytes = head;
        _firstField = firstField;
        PayloadBytes = payloadBytes;
    }

    /// <summary>How far the parser came.</summary>
    public ParseOutcome Outcome { get; }

    /// <summary>The message, as far as it is known.</summary>
    public MessageKind Kind { get; }

    /// <summary>Length of the head in bytes; the payload begins behind it.</summary>
    public int HeadBytes => _bytes.Length;

    /// <summary>Length of the payload in bytes; 0 for messages without.</summary>
    public int PayloadBytes { get; }

    /// <summary>Length of the whole message in bytes.</summary>
    public int TotalBytes => HeadBytes + PayloadBytes;

    /// <summary>
    /// With <see cref="ParseOutcome.NeedMore"/>: before so many bytes of the message are there, asking again
    /// is in vain. At most the limit of the message's kind.
    /// </summary>
    public int NeededBytes { get; private init; }

    /// <summary>With <see cref="ParseOutcome.Refused"/>: what is wrong.</summary>
    public ProtocolError Error { get; private init; }

    /// <summary>The fields. Lists of a list message lie in the memory of this head.</summary>
    /// <typeparam name="T">The message, the one that <see cref="Kind"/> says.</typeparam>
    /// <exception cref="InvalidOperationException">This is another message, or none.</exception>
    public T Read<T>()
        where T : struct, IMessage<T>, allows ref struct
    {
        if (Outcome != ParseOutcome.Complete || T.Kind != Kind)
        {
            throw new InvalidOperationException($"a {T.Kind} was asked for, and this is {Kind}, {Outcome}");
        }

        var fields = new FieldReader(_bytes, Kind, _firstField);
        return T.Decode(ref fields);
    }

    /// <summary>The payload, uncopied; false before all of it has come.</summary>
    /// <param name="input">What was given to the parser, or the same with more behind it.</param>
    /// <param name="payload">The payload.</param>
    public bool TryPayload(in ReadOnlySequence<byte> input, out ReadOnlySequence<byte> payload)
    {
        bool isThere = Outcome == ParseOutcome.Complete && input.Length >= TotalBytes;
        payload = isThere ? input.Slice(HeadBytes, PayloadBytes) : default;
        return isThere;
    }

    /// <summary>With <see cref="ParseOutcome.NeedMore"/>: longest the head may become.</summary>
    internal int LimitBytes { get; private init; }

    internal static MessageHead NeedMore(MessageKind kind, int neededBytes, int limitBytes) =>
        new(ParseOutcome.NeedMore, kind) { NeededBytes = neededBytes, LimitBytes = limitBytes };

    internal static MessageHead Refused(ProtocolError error) =>
        new(ParseOutcome.Refused, error.Kind) { Error = error };

    internal static MessageHead Complete(
        MessageKind kind, ReadOnlySpan<byte> head, int firstField, int payloadBytes) =>
        new(kind, head, firstField, payloadBytes);
}
