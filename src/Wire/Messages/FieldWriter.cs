using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using MessagePack;
using Ublk.Wire.Ids;

namespace Ublk.Wire.Messages;

/// <summary>
/// Writes the fields of one message, each in its shortest form; only the length of a payload always has four
/// bytes. Fields out of range are our own mistake, and throw.
/// </summary>
public ref struct FieldWriter : IFieldSink
{
    private const byte Bin32 = 0xc6;

    private readonly Span<byte> _destination;
    private int _position;

    /// <summary>Begins at the start of a buffer.</summary>
    internal FieldWriter(Span<byte> destination) => _destination = destination;

    /// <summary>Bytes written.</summary>
    internal readonly int Position => _position;

    /// <summary>Writes the head of an array: a message, a list or an entry.</summary>
    internal void ArrayHeader(int count)
    {
        Span<byte> rest = _destination[_position..];
        Advance(MessagePackPrimitives.TryWriteArrayHeader(rest, (uint)count, out int size), size);
    }

    /// <summary>Writes a whole number.</summary>
    /// <param name="value">The number.</param>
    /// <param name="max">Largest that is allowed.</param>
    /// <param name="name">Not looked at, here and below.</param>
    /// <exception cref="InvalidOperationException">It is larger.</exception>
    public void Integer(ulong value, ulong max, string name = "")
    {
        Require(value <= max);
        Advance(MessagePackPrimitives.TryWrite(_destination[_position..], value, out int size), size);
    }

    /// <inheritdoc/>
    public void Checksum(uint value, string name = "") => Integer(value, uint.MaxValue);

    /// <inheritdoc/>
    /// <exception cref="InvalidOperationException">It is none of them.</exception>
    public void OneOf<T>(T value, T first, T last, string name = "")
        where T : struct, Enum
    {
        byte number = Unsafe.BitCast<T, byte>(value);
        Require(number >= Unsafe.BitCast<T, byte>(first));
        Integer(number, Unsafe.BitCast<T, byte>(last));
    }

    /// <inheritdoc/>
    public void Put(Writer value, string name = "")
    {
        Integer(value.Node.Value, uint.MaxValue);
        Integer(value.Nonce, MessageLimits.MaxInteger);
    }

    /// <inheritdoc/>
    public void Bits128(UInt128 value, string name = "")
    {
        const int Bytes = 16;
        Advance(
            MessagePackPrimitives.TryWriteBinHeader(_destination[_position..], Bytes, out int size), size);
        Advance(BinaryPrimitives.TryWriteUInt128BigEndian(_destination[_position..], value), Bytes);
    }

    /// <inheritdoc/>
    public void Boolean(bool value, string name = "") =>
        Advance(MessagePackPrimitives.TryWrite(_destination[_position..], value, out int size), size);

    /// <inheritdoc/>
    /// <exception cref="InvalidOperationException">It is longer, or not allowed in a message.</exception>
    public void Text(scoped ReadOnlySpan<byte> text, int maxBytes, string name = "")
    {
        Require(text.Length <= maxBytes && MessageText.IsAllowed(text));
        Advance(
            MessagePackPrimitives.TryWriteStringHeader(
                _destination[_position..], (uint)text.Length, out int size),
            size);
        Advance(text.TryCopyTo(_destination[_position..]), text.Length);
    }

    /// <summary>Writes the length of the payload, the last field, always in four bytes.</summary>
    /// <param name="lengthBytes">Length; the payload itself is sent by the caller.</param>
    public void Payload(int lengthBytes)
    {
        Require((uint)lengthBytes <= MessageLimits.MaxPayloadBytes);
        Span<byte> rest = _destination[_position..];
        Advance(rest.Length >= 5, 5);
        rest[0] = Bin32;
        BinaryPrimitives.WriteInt32BigEndian(rest[1..], lengthBytes);
    }

    /// <inheritdoc/>
    /// <exception cref="InvalidOperationException">There are more, or they are in no order.</exception>
    public void List<T>(scoped MessageList<T> list, int maxCount, string name = "")
        where T : struct, IListEntry<T>
    {
        Require(list.Count <= maxCount);
        ArrayHeader(list.Count);
        T previous = default;
        bool isFirst = true;
        foreach (T entry in list)
        {
            Require(isFirst || T.IsAfter(entry, previous));
            ArrayHeader(T.FieldCount);
            T.Encode(entry, ref this);
            previous = entry;
            isFirst = false;
        }
    }

    /// <summary>Holds our own messages to the rules that a reader checks.</summary>
    /// <param name="isAllowed">They are kept.</param>
    /// <exception cref="InvalidOperationException">They are not.</exception>
    public static void Require(bool isAllowed)
    {
        if (!isAllowed)
        {
            throw new InvalidOperationException(
                "a field of an own message is out of range or contradicts another");
        }
    }

    private void Advance(bool isWritten, int size)
    {
        if (!isWritten)
        {
            throw new InvalidOperationException("the buffer is shorter than the longest message of its kind");
        }

        _position += size;
    }
}
