namespace Ublk.Wire.Messages;

/// <summary>Why bytes are not a message of this protocol.</summary>
public enum ProtocolErrorReason : byte
{
    /// <summary>Nothing is wrong.</summary>
    None,
    /// <summary>A message is an array that begins with its kind; this is something else.</summary>
    NotAMessage,
    /// <summary>No message has this kind.</summary>
    UnknownKind,
    /// <summary>The message, or an entry of its list, has another number of fields.</summary>
    WrongFieldCount,
    /// <summary>The field has another type.</summary>
    WrongType,
    /// <summary>The number is negative, too large, too small or not aligned.</summary>
    OutOfRange,
    /// <summary>An enumeration or a set of flags has no such value.</summary>
    UnknownValue,
    /// <summary>The head, or the list message, is longer than allowed.</summary>
    TooLong,
    /// <summary>The payload is longer than allowed.</summary>
    PayloadTooLong,
    /// <summary>The list has more entries than allowed.</summary>
    ListTooLong,
    /// <summary>Entries of a list are not in ascending order.</summary>
    NotAscending,
    /// <summary>Fields, or a field and the payload's length, contradict each other.</summary>
    Contradiction,
    /// <summary>The text is no UTF-8, or has control characters.</summary>
    BadText,
}

/// <summary>What is wrong with a message; its connection must be closed.</summary>
/// <param name="Reason">Why.</param>
/// <param name="Kind">The message, as far as it is known.</param>
/// <param name="PositionBytes">Where, from the beginning of the message.</param>
public readonly record struct ProtocolError(
    ProtocolErrorReason Reason, MessageKind Kind, int PositionBytes)
{
    /// <summary>What is wrong, without the place.</summary>
    public string Text => Kind == MessageKind.None ? What : $"{Kind}: {What}";

    private string What => Reason switch
    {
        ProtocolErrorReason.None => "nothing is wrong",
        ProtocolErrorReason.NotAMessage => "not an array that begins with a kind",
        ProtocolErrorReason.UnknownKind => "unknown kind of message",
        ProtocolErrorReason.WrongFieldCount => "wrong number of fields",
        ProtocolErrorReason.WrongType => "field of the wrong type",
        ProtocolErrorReason.OutOfRange => "number out of range",
        ProtocolErrorReason.UnknownValue => "unknown value of an enumeration",
        ProtocolErrorReason.TooLong => "message too long",
        ProtocolErrorReason.PayloadTooLong => "payload too long",
        ProtocolErrorReason.ListTooLong => "list too long",
        ProtocolErrorReason.NotAscending => "list not in ascending order",
        ProtocolErrorReason.Contradiction => "fields contradict each other",
        ProtocolErrorReason.BadText => "text is not UTF-8 without control characters",
        _ => Reason.ToString(),
    };

    /// <summary>A sentence for a log and for <see cref="Close"/>.</summary>
    public override string ToString() => $"{Text}, at byte {PositionBytes}";
}
