using Ublk.Wire.Ids;

namespace Ublk.Wire.Messages;

// Fields by their meaning. FieldReader.Typed has the other direction.
public ref partial struct FieldWriter
{
    /// <summary>Writes an epoch.</summary>
    public void Put(Epoch value) => Integer(value.Value, MessageLimits.MaxInteger);

    /// <summary>Writes a sequence number.</summary>
    public void Put(Sequence value) => Integer(value.Value, MessageLimits.MaxInteger);

    /// <summary>Writes the number of a view.</summary>
    public void Put(View value) => Integer(value.Value, MessageLimits.MaxInteger);

    /// <summary>Writes the number of a configuration.</summary>
    public void Put(ConfigurationNumber value) => Integer(value.Value, MessageLimits.MaxInteger);

    /// <summary>Writes the number of a node.</summary>
    public void Put(NodeId value) => Integer(value.Value, uint.MaxValue);

    /// <summary>Writes the number of a replica.</summary>
    public void Put(ReplicaId value) => Integer(value.Value, uint.MaxValue);

    /// <summary>Writes a writer: two fields, node and nonce.</summary>
    public void Put(Writer value)
    {
        Put(value.Node);
        Integer(value.Nonce, MessageLimits.MaxInteger);
    }

    /// <summary>Writes the id of a question.</summary>
    public void Put(RequestId value) => Integer(value.Value, uint.MaxValue);

    /// <summary>Writes a digest.</summary>
    public void Put(Digest value) => Bits128(value.Value);

    /// <summary>Writes an incarnation.</summary>
    public void Put(Incarnation value) => Bits128(value.Value);

    /// <summary>Writes an outcome.</summary>
    public void Put(AnswerStatus value) => OneOf((byte)value, 0, (byte)AnswerStatus.Corrupt);

    /// <summary>Writes what an operation does.</summary>
    public void Put(Mutation value) =>
        OneOf((byte)value, (byte)Mutation.Write, (byte)Mutation.WriteZeroes);

    /// <summary>Writes what a replica says of itself.</summary>
    public void Put(ReplicaFlags value) => OneOf((byte)value, 0, 15);

    /// <summary>Writes a whole number of 0 to a largest.</summary>
    public void Int64(long value, long max) => Integer((ulong)value, (ulong)max);

    /// <summary>Writes a power of two.</summary>
    public void PowerOfTwo(int value, int min, int max)
    {
        Require(value >= min && (value & (value - 1)) == 0);
        Int64(value, max);
    }

    /// <summary>Writes an offset or a length in bytes: a multiple of a unit.</summary>
    public void Bytes(long value, int unitBytes, long maxBytes)
    {
        Require((value & (unitBytes - 1)) == 0);
        Int64(value, maxBytes);
    }

    /// <summary>Writes an offset in sectors' multiples, in bytes.</summary>
    public void Offset(long value) =>
        Bytes(value, MessageLimits.SectorBytes, MessageLimits.MaxVolumeBytes);

    /// <summary>Writes a length in sectors' multiples, in bytes; not 0.</summary>
    public void Length(long value, long maxBytes)
    {
        Require(value != 0);
        Bytes(value, MessageLimits.SectorBytes, maxBytes);
    }

    /// <summary>Writes a value of an enumeration without gaps.</summary>
    public void OneOf(byte value, byte first, byte last)
    {
        Require(value >= first);
        Integer(value, last);
    }
}
