using System.Buffers.Binary;
using MessagePack;
using static MessagePack.MessagePackPrimitives;

namespace Ublk.Wire.Messages;

// What is no whole number: bits, truth, text, payload and lists.
public ref partial struct FieldReader
{
    private const int Bits128Bytes = 16;

    /// <summary>Reads 128 bits.</summary>
    public UInt128 Bits128()
    {
        int start = _position;
        int length = BinHeader(Bits128Bytes, ProtocolErrorReason.WrongType);
        if (HasEnded)
        {
            return default;
        }

        if (length != Bits128Bytes)
        {
            Fail(ProtocolErrorReason.WrongType, start);
            return default;
        }

        if (_bytes.Length - _position < Bits128Bytes)
        {
            NeedMore(Bits128Bytes, followingCount: _knownCount - _readCount);
            return default;
        }

        UInt128 value = BinaryPrimitives.ReadUInt128BigEndian(_bytes[_position..]);
        _position += Bits128Bytes;
        return value;
    }

    /// <summary>Reads true or false.</summary>
    public bool Boolean()
    {
        DecodeResult result = MessagePackPrimitives.TryReadBool(
            _bytes[_position..], out bool value, out int size);
        return Accept(result, size, ProtocolErrorReason.WrongType) && value;
    }

    /// <summary>Reads a text, which stays where it is.</summary>
    /// <param name="maxBytes">Longest that is allowed.</param>
    public ReadOnlySpan<byte> Text(int maxBytes)
    {
        int start = _position;
        DecodeResult result = MessagePackPrimitives.TryReadStringHeader(
            _bytes[_position..], out uint length, out int size);
        if (!Accept(result, size, ProtocolErrorReason.WrongType))
        {
            return default;
        }

        if (length > maxBytes)
        {
            Fail(ProtocolErrorReason.BadText, start);
            return default;
        }

        if (_bytes.Length - _position < length)
        {
            NeedMore((int)length, followingCount: _knownCount - _readCount);
            return default;
        }

        ReadOnlySpan<byte> text = _bytes.Slice(_position, (int)length);
        _position += (int)length;
        if (!MessageText.IsAllowed(text))
        {
            Fail(ProtocolErrorReason.BadText, start);
        }

        return text;
    }

    /// <summary>
    /// Reads the length of the payload, the last field; the payload itself is not looked at.
    /// </summary>
    /// <returns>Length in bytes.</returns>
    public int Payload()
    {
        PayloadBytes = BinHeader(MessageLimits.MaxPayloadBytes, ProtocolErrorReason.PayloadTooLong);
        return PayloadBytes;
    }

    /// <summary>Reads a list; its entries are checked, and stay where they are.</summary>
    /// <param name="maxCount">Most entries.</param>
    public MessageList<T> List<T>(int maxCount)
        where T : struct, IListEntry<T>
    {
        int start = _position;
        int count = ArrayHeader(ProtocolErrorReason.WrongType);
        if (count > maxCount)
        {
            Fail(ProtocolErrorReason.ListTooLong, start);
        }

        if (HasEnded)
        {
            return default;
        }

        int first = _position;
        _knownCount += count * (1 + T.FieldCount);
        T previous = default;
        for (int i = 0; i < count && !HasEnded; i++)
        {
            start = _position;
            T entry = Entry<T>();
            if (i > 0 && !HasEnded && !T.IsAfter(entry, previous))
            {
                Fail(ProtocolErrorReason.NotAscending, start);
            }

            previous = entry;
        }

        return HasEnded ? default : new MessageList<T>(_bytes[first.._position], count);
    }

    /// <summary>Reads one entry of a list.</summary>
    internal T Entry<T>()
        where T : struct, IListEntry<T>
    {
        int start = _position;
        int fields = ArrayHeader(ProtocolErrorReason.WrongType);
        if (fields != T.FieldCount)
        {
            Fail(ProtocolErrorReason.WrongFieldCount, start);
        }

        return T.Decode(ref this);
    }

    private int ArrayHeader(ProtocolErrorReason mismatch)
    {
        DecodeResult result = MessagePackPrimitives.TryReadArrayHeader(
            _bytes[_position..], out uint count, out int size);
        return Accept(result, size, mismatch) ? (int)Math.Min(count, int.MaxValue) : 0;
    }

    private int BinHeader(int maxBytes, ProtocolErrorReason tooLong)
    {
        int start = _position;
        DecodeResult result = MessagePackPrimitives.TryReadBinHeader(
            _bytes[_position..], out uint length, out int size);
        if (!Accept(result, size, ProtocolErrorReason.WrongType))
        {
            return 0;
        }

        if (length > maxBytes)
        {
            Fail(tooLong, start);
            return 0;
        }

        return (int)length;
    }
}
