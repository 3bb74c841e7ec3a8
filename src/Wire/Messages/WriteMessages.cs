using Ublk.Wire.Ids;

namespace Ublk.Wire.Messages;

/// <summary>
/// One sequenced operation; the payload of a write follows, other operations have an empty one. Answered by
/// <see cref="Applied"/>.
/// </summary>
/// <param name="Epoch">Epoch of the primary.</param>
/// <param name="Sequence">Number of the operation: one more than the last in this session.</param>
/// <param name="Operation">What to do.</param>
/// <param name="Flags">How.</param>
/// <param name="OffsetBytes">Start, in sectors' multiples.</param>
/// <param name="LengthBytes">
/// Length, in sectors' multiples, above 0; up to 1 MiB for a write, else up to 1 GiB.
/// </param>
/// <param name="Crc32C">Checksum of the payload; 0 without one.</param>
/// <param name="Committed">C: everything up to it is durable on W replicas.</param>
/// <param name="View">
/// The view of the primary: durable at the replica before it answers. It tells losses of power of one moment
/// from those that the volume had noted before.
/// </param>
public readonly record struct Write(
    Epoch Epoch, Sequence Sequence, Mutation Operation, MutationFlags Flags, long OffsetBytes,
    int LengthBytes, uint Crc32C, Sequence Committed, View View)
    : IMessage<Write>
{
    /// <summary>Length of the payload.</summary>
    public int PayloadBytes => Operation == Mutation.Write ? LengthBytes : 0;

    private bool IsConsistent =>
        OffsetBytes + LengthBytes <= MessageLimits.MaxVolumeBytes &&
        (Operation == Mutation.Write ? LengthBytes <= MessageLimits.MaxPayloadBytes : Crc32C == 0) &&
        (Operation == Mutation.WriteZeroes || (Flags & MutationFlags.NoUnmap) == MutationFlags.None);

    static MessageKind IMessage<Write>.Kind => MessageKind.Write;

    static int IMessage<Write>.FieldCount => 11;

    static Write IMessage<Write>.Decode(scoped ref FieldReader fields)
    {
        var message = new Write(
            fields.Epoch(), fields.Sequence(), fields.Mutation(), (MutationFlags)fields.OneOf(0, 3),
            fields.Offset(), (int)fields.Length(MessageLimits.MaxMutationBytes), fields.UInt32(),
            fields.Sequence(), fields.View());
        int payloadBytes = fields.Payload();
        fields.Require(payloadBytes == message.PayloadBytes && message.IsConsistent);
        return message;
    }

    static void IMessage<Write>.Encode<TSink>(in Write message, ref TSink fields)
    {
        FieldWriter.Require(message.IsConsistent);
        fields.Put(message.Epoch);
        fields.Put(message.Sequence);
        fields.Put(message.Operation);
        fields.OneOf(
            message.Flags, MutationFlags.None, MutationFlags.ForceUnitAccess | MutationFlags.NoUnmap);
        fields.Offset(message.OffsetBytes);
        fields.Length(message.LengthBytes, MessageLimits.MaxMutationBytes);
        fields.Checksum(message.Crc32C);
        fields.Put(message.Committed);
        fields.Put(message.View);
        fields.Payload(message.PayloadBytes);
    }
}

/// <summary>Answer to a <see cref="Write"/>, in any order.</summary>
/// <param name="Epoch">From the write.</param>
/// <param name="Sequence">From the write.</param>
/// <param name="Status">Outcome; only Ok counts towards W.</param>
/// <param name="AppliedThrough">A: everything up to it is applied here.</param>
/// <param name="Durable">D: everything up to it is on stable media here.</param>
public readonly record struct Applied(
    Epoch Epoch, Sequence Sequence, AnswerStatus Status, Sequence AppliedThrough, Sequence Durable)
    : IMessage<Applied>
{
    static MessageKind IMessage<Applied>.Kind => MessageKind.Applied;

    static int IMessage<Applied>.FieldCount => 6;

    static Applied IMessage<Applied>.Decode(scoped ref FieldReader fields) => new(
        fields.Epoch(), fields.Sequence(), fields.Status(), fields.Sequence(), fields.Sequence());

    static void IMessage<Applied>.Encode<TSink>(in Applied message, ref TSink fields)
    {
        fields.Put(message.Epoch);
        fields.Put(message.Sequence);
        fields.Put(message.Status);
        fields.Put(message.AppliedThrough);
        fields.Put(message.Durable);
    }
}

/// <summary>Asks for everything up to a number on stable media. Answered by <see cref="Flushed"/>.</summary>
/// <param name="Epoch">Epoch of the primary.</param>
/// <param name="Through">b: the highest acknowledged number.</param>
/// <param name="Committed">C: everything up to it is durable on W replicas.</param>
public readonly record struct Flush(Epoch Epoch, Sequence Through, Sequence Committed) : IMessage<Flush>
{
    static MessageKind IMessage<Flush>.Kind => MessageKind.Flush;

    static int IMessage<Flush>.FieldCount => 4;

    static Flush IMessage<Flush>.Decode(scoped ref FieldReader fields) =>
        new(fields.Epoch(), fields.Sequence(), fields.Sequence());

    static void IMessage<Flush>.Encode<TSink>(in Flush message, ref TSink fields)
    {
        fields.Put(message.Epoch);
        fields.Put(message.Through);
        fields.Put(message.Committed);
    }
}

/// <summary>Answer to a <see cref="Flush"/>.</summary>
/// <param name="Epoch">From the flush.</param>
/// <param name="Through">From the flush.</param>
/// <param name="Status">Outcome; only Ok counts towards W, and then D is at least that number.</param>
/// <param name="Applied">A: everything up to it is applied here.</param>
/// <param name="Durable">D: everything up to it is on stable media here.</param>
public readonly record struct Flushed(
    Epoch Epoch, Sequence Through, AnswerStatus Status, Sequence Applied, Sequence Durable)
    : IMessage<Flushed>
{
    private bool IsConsistent => Status != AnswerStatus.Ok || Durable >= Through;

    static MessageKind IMessage<Flushed>.Kind => MessageKind.Flushed;

    static int IMessage<Flushed>.FieldCount => 6;

    static Flushed IMessage<Flushed>.Decode(scoped ref FieldReader fields)
    {
        var message = new Flushed(
            fields.Epoch(), fields.Sequence(), fields.Status(), fields.Sequence(), fields.Sequence());
        fields.Require(message.IsConsistent);
        return message;
    }

    static void IMessage<Flushed>.Encode<TSink>(in Flushed message, ref TSink fields)
    {
        FieldWriter.Require(message.IsConsistent);
        fields.Put(message.Epoch);
        fields.Put(message.Through);
        fields.Put(message.Status);
        fields.Put(message.Applied);
        fields.Put(message.Durable);
    }
}
