using Ublk.Wire.Ids;

namespace Ublk.Wire.Messages;

/// <summary>
/// Asks an in-sync replica for a range that is stale at the primary. Answered by <see cref="ReadReply"/>.
/// </summary>
/// <param name="Epoch">Epoch of the primary.</param>
/// <param name="Id">Comes back with the answer.</param>
/// <param name="OffsetBytes">Start, in sectors' multiples.</param>
/// <param name="LengthBytes">Length, in sectors' multiples, above 0 and up to 1 MiB.</param>
/// <param name="Acknowledged">Highest acknowledged operation that overlaps the range.</param>
public readonly record struct Read(
    Epoch Epoch, RequestId Id, long OffsetBytes, int LengthBytes, Sequence Acknowledged) : IMessage<Read>
{
    private bool IsConsistent => OffsetBytes + LengthBytes <= MessageLimits.MaxVolumeBytes;

    static MessageKind IMessage<Read>.Kind => MessageKind.Read;

    static int IMessage<Read>.FieldCount => 6;

    static Read IMessage<Read>.Decode(scoped ref FieldReader fields)
    {
        var message = new Read(
            fields.Epoch(), fields.Request(), fields.Offset(),
            (int)fields.Length(MessageLimits.MaxPayloadBytes), fields.Sequence());
        fields.Require(message.IsConsistent);
        return message;
    }

    static void IMessage<Read>.Encode<TSink>(in Read message, ref TSink fields)
    {
        FieldWriter.Require(message.IsConsistent);
        fields.Put(message.Epoch);
        fields.Put(message.Id);
        fields.Offset(message.OffsetBytes);
        fields.Length(message.LengthBytes, MessageLimits.MaxPayloadBytes);
        fields.Put(message.Acknowledged);
    }
}

/// <summary>Answer to a <see cref="Read"/>; with Ok the bytes follow as payload.</summary>
/// <param name="Epoch">From the question.</param>
/// <param name="Id">From the question.</param>
/// <param name="Status">Outcome.</param>
/// <param name="Issued">
/// Highest operation issued here that overlaps the range: the bytes may hold it, and may be returned to the
/// host only once it is acknowledged.
/// </param>
/// <param name="Crc32C">Checksum of the payload; 0 without one.</param>
/// <param name="PayloadBytes">Length of the payload: what was asked for, or 0 unless Ok.</param>
public readonly record struct ReadReply(
    Epoch Epoch, RequestId Id, AnswerStatus Status, Sequence Issued, uint Crc32C, int PayloadBytes)
    : IMessage<ReadReply>
{
    private bool IsConsistent => Status == AnswerStatus.Ok
        ? PayloadBytes > 0 && PayloadBytes % MessageLimits.SectorBytes == 0
        : PayloadBytes == 0 && Crc32C == 0;

    static MessageKind IMessage<ReadReply>.Kind => MessageKind.ReadReply;

    static int IMessage<ReadReply>.FieldCount => 7;

    static ReadReply IMessage<ReadReply>.Decode(scoped ref FieldReader fields)
    {
        var message = new ReadReply(
            fields.Epoch(), fields.Request(), fields.Status(), fields.Sequence(), fields.UInt32(),
            fields.Payload());
        fields.Require(message.IsConsistent);
        return message;
    }

    static void IMessage<ReadReply>.Encode<TSink>(in ReadReply message, ref TSink fields)
    {
        FieldWriter.Require(message.IsConsistent);
        fields.Put(message.Epoch);
        fields.Put(message.Id);
        fields.Put(message.Status);
        fields.Put(message.Issued);
        fields.Checksum(message.Crc32C);
        fields.Payload(message.PayloadBytes);
    }
}
