namespace Ublk.Wire.Messages;

/// <summary>
/// A message of the protocol. Fields are read and written by one pair of methods each, next to the fields
/// themselves; the kind and the array around them are not theirs.
/// </summary>
/// <typeparam name="T">The message.</typeparam>
public interface IMessage<T>
    where T : struct, IMessage<T>, allows ref struct
{
    /// <summary>The message's number.</summary>
    static abstract MessageKind Kind { get; }

    /// <summary>Fields with the kind, and with the payload if there is one.</summary>
    static abstract int FieldCount { get; }

    /// <summary>
    /// Longest head in bytes: <see cref="MessageLimits.MaxHeadBytes"/> for data messages,
    /// <see cref="MessageLimits.MaxListMessageBytes"/> for list messages.
    /// </summary>
    static virtual int MaxBytes => MessageLimits.MaxHeadBytes;

    /// <summary>Reads the fields after the kind.</summary>
    /// <param name="fields">Where they come from.</param>
    static abstract T Decode(scoped ref FieldReader fields);

    /// <summary>Writes the fields after the kind; of a payload, its length.</summary>
    /// <param name="message">The message.</param>
    /// <param name="fields">Where they go.</param>
    static abstract void Encode<TSink>(in T message, ref TSink fields)
        where TSink : struct, IFieldSink, allows ref struct;
}

/// <summary>Writes messages.</summary>
public static class MessageWriter
{
    /// <summary>
    /// Writes a message up to its payload, which the caller sends behind it from where it lies.
    /// </summary>
    /// <param name="message">The message.</param>
    /// <param name="destination">
    /// At least <see cref="MessageLimits.MaxHeadBytes"/> long, for list messages
    /// <see cref="MessageLimits.MaxListMessageBytes"/>; shorter if the caller knows the message.
    /// </param>
    /// <returns>Bytes written.</returns>
    /// <exception cref="InvalidOperationException">
    /// A field is out of range or contradicts another, or the buffer is too short.
    /// </exception>
    public static int Write<T>(in T message, Span<byte> destination)
        where T : struct, IMessage<T>, allows ref struct
    {
        var fields = new FieldWriter(destination);
        fields.ArrayHeader(T.FieldCount);
        fields.Integer((ulong)T.Kind, byte.MaxValue);
        T.Encode(message, ref fields);
        return fields.Position;
    }
}
