using System.Buffers.Binary;
using static MessagePack.MessagePackPrimitives;

namespace Ublk.Wire.Messages;

/// <summary>
/// Reads the fields of one message from contiguous bytes. The first field that is cut off, or wrong, ends the
/// reading; every later one then reads as zero, so a decoder has no branches of its own and asks at the end.
/// Integers are read here and not by the package, which throws at a negative one.
/// </summary>
public ref partial struct FieldReader
{
    // First bytes: integers that are their byte, short arrays, uint8 to uint64, int8 to int64, negative ones.
    private const byte LastOwn = 0x7f, FirstArray = 0x90, FirstUnsigned = 0xcc, FirstSigned = 0xd0;
    private const byte LastSigned = 0xd3, FirstNegative = 0xe0;

    private ReadOnlySpan<byte> _bytes;
    private int _position;

    /// <summary>
    /// Tokens read and tokens known to be in the message, heads of arrays among them; each has at least one
    /// byte.
    /// </summary>
    private int _readCount, _knownCount;

    /// <summary>Begins at the first byte of a message.</summary>
    /// <param name="bytes">What has come of it, and perhaps more.</param>
    internal FieldReader(ReadOnlySpan<byte> bytes)
    {
        _bytes = bytes;
        LimitBytes = MessageLimits.MaxHeadBytes;
        Kind = MessageKind.None;
    }

    /// <summary>Begins at the first field after the kind of a head that was found good.</summary>
    internal FieldReader(ReadOnlySpan<byte> head, MessageKind kind, int position)
        : this(head)
    {
        Kind = kind;
        _position = position;
    }

    /// <summary>Longest the head may be.</summary>
    internal int LimitBytes { get; private set; }

    /// <summary>The message; None until it is known.</summary>
    internal MessageKind Kind { get; private set; }

    /// <summary>Where the kind lies.</summary>
    internal int KindPosition { get; private set; }

    /// <summary>What is wrong; None while nothing is.</summary>
    internal ProtocolErrorReason Reason { get; private set; }

    /// <summary>Where the wrong field begins.</summary>
    internal int ErrorPosition { get; private set; }

    /// <summary>
    /// Bytes from the beginning of the message that must have come before it can be complete; 0 while the
    /// bytes suffice.
    /// </summary>
    internal int NeededBytes { get; private set; }

    /// <summary>Length of the payload.</summary>
    internal int PayloadBytes { get; private set; }

    /// <summary>Bytes read.</summary>
    internal readonly int Position => _position;

    /// <summary>All fields of the message have been read.</summary>
    internal readonly bool IsComplete => _readCount == _knownCount && !HasEnded;

    private readonly bool HasEnded => Reason != ProtocolErrorReason.None || NeededBytes != 0;

    /// <summary>Reads how many fields the message has, and its kind.</summary>
    /// <returns>The fields, with the kind.</returns>
    internal int Begin()
    {
        // What every peer is expected to write: one byte each.
        if (_bytes.Length > 1 && _bytes[0] - FirstArray is > 0 and <= MessageLimits.MaxFieldCount &&
            _bytes[1] <= LastOwn)
        {
            (_position, _readCount, KindPosition, Kind) = (2, 2, 1, (MessageKind)_bytes[1]);
            return _bytes[0] - FirstArray;
        }

        int count = ArrayHeader(ProtocolErrorReason.NotAMessage);
        if (count is 0 or > MessageLimits.MaxFieldCount)
        {
            Fail(count == 0 ? ProtocolErrorReason.NotAMessage : ProtocolErrorReason.WrongFieldCount, 0);
        }

        KindPosition = _position;
        ulong kind = Integer(ulong.MaxValue, ProtocolErrorReason.NotAMessage);
        Kind = kind <= byte.MaxValue ? (MessageKind)kind : MessageKind.None;

        return count;
    }

    /// <summary>Says how many fields the message has and how long it may be.</summary>
    internal void Expect(int fieldCount, int limitBytes)
    {
        _knownCount = 1 + fieldCount;
        LimitBytes = limitBytes;
        if (_bytes.Length > limitBytes)
        {
            _bytes = _bytes[..limitBytes];
        }
    }

    /// <summary>Reads a whole number.</summary>
    /// <param name="max">Largest that is allowed.</param>
    public ulong Integer(ulong max)
    {
        // What is nearly always there: one byte, or an unsigned form with enough bytes behind to read eight.
        ReadOnlySpan<byte> rest = _bytes[_position..];
        if (rest.Length > sizeof(ulong))
        {
            uint code = rest[0];
            ulong value = code;
            int size = 1;
            if (code - FirstUnsigned < 4)
            {
                int bytes = 1 << (int)(code & 3);
                value = BinaryPrimitives.ReadUInt64BigEndian(rest[1..]) >> (64 - (8 * bytes));
                size += bytes;
            }

            if ((code <= LastOwn || size > 1) && value <= max)
            {
                _position += size;
                _readCount++;
                return value;
            }
        }

        return Integer(max, ProtocolErrorReason.WrongType);
    }

    /// <summary>Ends the reading, unless it has ended before.</summary>
    /// <param name="reason">Why.</param>
    /// <param name="position">Where the wrong field begins.</param>
    internal void Fail(ProtocolErrorReason reason, int position)
    {
        if (!HasEnded)
        {
            Reason = reason;
            ErrorPosition = position;
            Stop();
        }
    }

    /// <summary>Ends the reading if fields contradict each other.</summary>
    /// <param name="isConsistent">They do not.</param>
    public void Require(bool isConsistent)
    {
        if (!isConsistent)
        {
            Fail(ProtocolErrorReason.Contradiction, _position);
        }
    }

    private ulong Integer(ulong max, ProtocolErrorReason mismatch)
    {
        int start = _position;
        if (start >= _bytes.Length)
        {
            NeedMore(1, followingCount: _knownCount - _readCount - 1);
            return 0;
        }

        ulong value = _bytes[start];
        int size = 1;
        if (value is >= FirstUnsigned and <= LastSigned)
        {
            // Both families lie in a row: 1, 2, 4 and 8 bytes, big-endian.
            size += 1 << (int)(value & 3);
            if (_bytes.Length - start < size)
            {
                NeedMore(size, followingCount: _knownCount - _readCount - 1);
                return 0;
            }

            bool isSigned = value >= FirstSigned;
            value = BigEndian(_bytes.Slice(start + 1, size - 1));
            if (isSigned && value >> (8 * (size - 1) - 1) != 0)
            {
                Fail(ProtocolErrorReason.OutOfRange, start);
                return 0;
            }
        }
        else if (value > LastOwn)
        {
            bool isNegative = value >= FirstNegative;
            Fail(isNegative ? ProtocolErrorReason.OutOfRange : mismatch, start);
            return 0;
        }

        if (value > max)
        {
            Fail(ProtocolErrorReason.OutOfRange, start);
            return 0;
        }

        _position = start + size;
        _readCount++;
        return value;
    }

    private static ulong BigEndian(ReadOnlySpan<byte> bytes) => bytes.Length switch
    {
        1 => bytes[0],
        2 => BinaryPrimitives.ReadUInt16BigEndian(bytes),
        4 => BinaryPrimitives.ReadUInt32BigEndian(bytes),
        _ => BinaryPrimitives.ReadUInt64BigEndian(bytes),
    };

    private bool Accept(DecodeResult result, int size, ProtocolErrorReason mismatch)
    {
        if (result == DecodeResult.Success)
        {
            _position += size;
            _readCount++;
            return true;
        }

        if (result == DecodeResult.TokenMismatch)
        {
            Fail(mismatch, _position);
        }
        else
        {
            NeedMore(size, followingCount: _knownCount - _readCount - 1);
        }

        return false;
    }

    private void NeedMore(int size, int followingCount)
    {
        if (HasEnded)
        {
            return;
        }

        int needed = _position + size + Math.Max(followingCount, 0);
        if (needed > LimitBytes)
        {
            Fail(ProtocolErrorReason.TooLong, _position);
            return;
        }

        NeededBytes = needed;
        Stop();
    }

    private void Stop()
    {
        _bytes = default;
        _position = 0;
    }
}
