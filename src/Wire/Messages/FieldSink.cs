using System.Runtime.CompilerServices;
using Ublk.Wire.Ids;

namespace Ublk.Wire.Messages;

/// <summary>Fields by their meaning. FieldReader.Typed has the other direction.</summary>
public static class FieldSink
{
    /// <summary>Puts an epoch.</summary>
    public static void Put<TSink>(
        this ref TSink fields, Epoch value, [CallerArgumentExpression(nameof(value))] string name = "")
        where TSink : struct, IFieldSink, allows ref struct =>
        fields.Integer(value.Value, MessageLimits.MaxInteger, name);

    /// <summary>Puts a sequence number.</summary>
    public static void Put<TSink>(
        this ref TSink fields, Sequence value, [CallerArgumentExpression(nameof(value))] string name = "")
        where TSink : struct, IFieldSink, allows ref struct =>
        fields.Integer(value.Value, MessageLimits.MaxInteger, name);

    /// <summary>Puts the number of a view.</summary>
    public static void Put<TSink>(
        this ref TSink fields, View value, [CallerArgumentExpression(nameof(value))] string name = "")
        where TSink : struct, IFieldSink, allows ref struct =>
        fields.Integer(value.Value, MessageLimits.MaxInteger, name);

    /// <summary>Puts the number of a configuration.</summary>
    public static void Put<TSink>(
        this ref TSink fields, ConfigurationNumber value,
        [CallerArgumentExpression(nameof(value))] string name = "")
        where TSink : struct, IFieldSink, allows ref struct =>
        fields.Integer(value.Value, MessageLimits.MaxInteger, name);

    /// <summary>Puts the number of a node.</summary>
    public static void Put<TSink>(
        this ref TSink fields, NodeId value, [CallerArgumentExpression(nameof(value))] string name = "")
        where TSink : struct, IFieldSink, allows ref struct =>
        fields.Integer(value.Value, uint.MaxValue, name);

    /// <summary>Puts the number of a replica.</summary>
    public static void Put<TSink>(
        this ref TSink fields, ReplicaId value, [CallerArgumentExpression(nameof(value))] string name = "")
        where TSink : struct, IFieldSink, allows ref struct =>
        fields.Integer(value.Value, uint.MaxValue, name);

    /// <summary>Puts the id of a question.</summary>
    public static void Put<TSink>(
        this ref TSink fields, RequestId value, [CallerArgumentExpression(nameof(value))] string name = "")
        where TSink : struct, IFieldSink, allows ref struct =>
        fields.Integer(value.Value, uint.MaxValue, name);

    /// <summary>Puts the name of a cluster.</summary>
    public static void Put<TSink>(
        this ref TSink fields, ClusterId value, [CallerArgumentExpression(nameof(value))] string name = "")
        where TSink : struct, IFieldSink, allows ref struct =>
        fields.Bits128(value.Value, name);

    /// <summary>Puts the name of a volume.</summary>
    public static void Put<TSink>(
        this ref TSink fields, VolumeId value, [CallerArgumentExpression(nameof(value))] string name = "")
        where TSink : struct, IFieldSink, allows ref struct =>
        fields.Bits128(value.Value, name);

    /// <summary>Puts a digest.</summary>
    public static void Put<TSink>(
        this ref TSink fields, Digest value, [CallerArgumentExpression(nameof(value))] string name = "")
        where TSink : struct, IFieldSink, allows ref struct =>
        fields.Bits128(value.Value, name);

    /// <summary>Puts an incarnation.</summary>
    public static void Put<TSink>(
        this ref TSink fields, Incarnation value, [CallerArgumentExpression(nameof(value))] string name = "")
        where TSink : struct, IFieldSink, allows ref struct =>
        fields.Bits128(value.Value, name);

    /// <summary>Puts an outcome.</summary>
    public static void Put<TSink>(
        this ref TSink fields, AnswerStatus value, [CallerArgumentExpression(nameof(value))] string name = "")
        where TSink : struct, IFieldSink, allows ref struct =>
        fields.OneOf(value, AnswerStatus.Ok, AnswerStatus.Corrupt, name);

    /// <summary>Puts what an operation does.</summary>
    public static void Put<TSink>(
        this ref TSink fields, Mutation value, [CallerArgumentExpression(nameof(value))] string name = "")
        where TSink : struct, IFieldSink, allows ref struct =>
        fields.OneOf(value, Mutation.Write, Mutation.WriteZeroes, name);

    /// <summary>Puts what a replica says of itself.</summary>
    public static void Put<TSink>(
        this ref TSink fields, ReplicaFlags value, [CallerArgumentExpression(nameof(value))] string name = "")
        where TSink : struct, IFieldSink, allows ref struct =>
        fields.OneOf(value, ReplicaFlags.None, (ReplicaFlags)15, name);

    /// <summary>Puts a whole number of 0 to a largest.</summary>
    public static void Int64<TSink>(
        this ref TSink fields, long value, long max,
        [CallerArgumentExpression(nameof(value))] string name = "")
        where TSink : struct, IFieldSink, allows ref struct =>
        fields.Integer((ulong)value, (ulong)max, name);

    /// <summary>Puts a power of two.</summary>
    public static void PowerOfTwo<TSink>(
        this ref TSink fields, int value, int min, int max,
        [CallerArgumentExpression(nameof(value))] string name = "")
        where TSink : struct, IFieldSink, allows ref struct
    {
        FieldWriter.Require(value >= min && (value & (value - 1)) == 0);
        fields.Int64(value, max, name);
    }

    /// <summary>Puts an offset or a length in bytes: a multiple of a unit.</summary>
    public static void Bytes<TSink>(
        this ref TSink fields, long value, int unitBytes, long maxBytes,
        [CallerArgumentExpression(nameof(value))] string name = "")
        where TSink : struct, IFieldSink, allows ref struct
    {
        FieldWriter.Require((value & (unitBytes - 1)) == 0);
        fields.Int64(value, maxBytes, name);
    }

    /// <summary>Puts an offset in sectors' multiples, in bytes.</summary>
    public static void Offset<TSink>(
        this ref TSink fields, long value, [CallerArgumentExpression(nameof(value))] string name = "")
        where TSink : struct, IFieldSink, allows ref struct =>
        fields.Bytes(value, MessageLimits.SectorBytes, MessageLimits.MaxVolumeBytes, name);

    /// <summary>Puts a length in sectors' multiples, in bytes; not 0.</summary>
    public static void Length<TSink>(
        this ref TSink fields, long value, long maxBytes,
        [CallerArgumentExpression(nameof(value))] string name = "")
        where TSink : struct, IFieldSink, allows ref struct
    {
        FieldWriter.Require(value != 0);
        fields.Bytes(value, MessageLimits.SectorBytes, maxBytes, name);
    }
}
