using Ublk.Wire.Ids;

namespace Ublk.Wire.Messages;

// Fields by their meaning. FieldWriter.Typed has the other direction.
public ref partial struct FieldReader
{
    /// <summary>Reads an epoch.</summary>
    public Epoch Epoch() => new(Integer(MessageLimits.MaxInteger));

    /// <summary>Reads a sequence number.</summary>
    public Sequence Sequence() => new(Integer(MessageLimits.MaxInteger));

    /// <summary>Reads the number of a view.</summary>
    public View View() => new(Integer(MessageLimits.MaxInteger));

    /// <summary>Reads the number of a configuration.</summary>
    public ConfigurationNumber Configuration() => new(Integer(MessageLimits.MaxInteger));

    /// <summary>Reads the number of a node.</summary>
    public NodeId Node() => new((uint)Integer(uint.MaxValue));

    /// <summary>Reads the number of a replica.</summary>
    public ReplicaId Replica() => new((uint)Integer(uint.MaxValue));

    /// <summary>Reads a writer: two fields, node and nonce.</summary>
    public Writer Writer() => new(Node(), Integer(MessageLimits.MaxInteger));

    /// <summary>Reads the id of a question.</summary>
    public RequestId Request() => new((uint)Integer(uint.MaxValue));

    /// <summary>Reads a digest.</summary>
    public Digest Digest() => new(Bits128());

    /// <summary>Reads an incarnation.</summary>
    public Incarnation Incarnation() => new(Bits128());

    /// <summary>Reads a whole number that fits into 32 bits.</summary>
    public uint UInt32() => (uint)Integer(uint.MaxValue);

    /// <summary>Reads a whole number of 0 to a largest.</summary>
    /// <param name="max">The largest.</param>
    public int Int32(int max) => (int)Integer((ulong)max);

    /// <summary>Reads a whole number of 0 to a largest.</summary>
    /// <param name="max">The largest.</param>
    public long Int64(long max) => (long)Integer((ulong)max);

    /// <summary>Reads a power of two.</summary>
    /// <param name="min">Smallest that is allowed.</param>
    /// <param name="max">Largest that is allowed.</param>
    public int PowerOfTwo(int min, int max)
    {
        int start = _position;
        int value = Int32(max);
        if (value < min || (value & (value - 1)) != 0)
        {
            Fail(ProtocolErrorReason.OutOfRange, start);
        }

        return value;
    }

    /// <summary>Reads an offset or a length in bytes: a multiple of a unit.</summary>
    /// <param name="unitBytes">The unit, a power of two.</param>
    /// <param name="maxBytes">Largest that is allowed.</param>
    public long Bytes(int unitBytes, long maxBytes)
    {
        int start = _position;
        long value = Int64(maxBytes);
        if ((value & (unitBytes - 1)) != 0)
        {
            Fail(ProtocolErrorReason.OutOfRange, start);
        }

        return value;
    }

    /// <summary>Reads an offset in sectors' multiples, in bytes.</summary>
    public long Offset() => Bytes(MessageLimits.SectorBytes, MessageLimits.MaxVolumeBytes);

    /// <summary>Reads a length in sectors' multiples, in bytes; not 0.</summary>
    /// <param name="maxBytes">Longest that is allowed.</param>
    public long Length(long maxBytes)
    {
        int start = _position;
        long value = Bytes(MessageLimits.SectorBytes, maxBytes);
        if (value == 0)
        {
            Fail(ProtocolErrorReason.OutOfRange, start);
        }

        return value;
    }

    /// <summary>Reads a value of an enumeration without gaps.</summary>
    /// <param name="first">Lowest value.</param>
    /// <param name="last">Highest value.</param>
    public byte OneOf(byte first, byte last)
    {
        int start = _position;
        ulong value = Integer(ulong.MaxValue);
        if (value < first || value > last)
        {
            Fail(ProtocolErrorReason.UnknownValue, start);
            return 0;
        }

        return (byte)value;
    }

    /// <summary>Reads an outcome.</summary>
    public AnswerStatus Status() => (AnswerStatus)OneOf((byte)AnswerStatus.Ok, (byte)AnswerStatus.Corrupt);

    /// <summary>Reads what an operation does.</summary>
    public Mutation Mutation() =>
        (Mutation)OneOf((byte)Messages.Mutation.Write, (byte)Messages.Mutation.WriteZeroes);

    /// <summary>Reads what a replica says of itself.</summary>
    public ReplicaFlags ReplicaFlags() => (ReplicaFlags)OneOf(0, 15);
}
