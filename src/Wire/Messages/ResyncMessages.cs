using Ublk.Wire.Ids;

namespace Ublk.Wire.Messages;

/// <summary>
/// Asks for digests of a range, one for each unit of it. Answered by <see cref="Digests"/>.
/// </summary>
/// <param name="Epoch">Epoch of the session.</param>
/// <param name="Id">Comes back with the answer.</param>
/// <param name="OffsetBytes">Start, a multiple of 4 KiB.</param>
/// <param name="LengthBytes">
/// Length, in sectors' multiples, above 0: at most 65,536 units. The last unit may be shorter.
/// </param>
/// <param name="UnitBytes">Bytes per digest: a power of two, 4 KiB to 64 MiB.</param>
/// <param name="Position">
/// The last operation that was sent over this session: the digests are of the range with everything up to it
/// and nothing behind it, so that those of several replicas can be compared while the host writes. None: of
/// the range as it is found.
/// </param>
public readonly record struct DigestsRequest(
    Epoch Epoch, RequestId Id, long OffsetBytes, long LengthBytes, int UnitBytes, Sequence Position)
    : IMessage<DigestsRequest>
{
    private const int MinUnit = MessageLimits.CopyBlockBytes, MaxUnit = MessageLimits.MaxRegionBytes;

    private bool IsConsistent =>
        OffsetBytes + LengthBytes <= MessageLimits.MaxVolumeBytes &&
        LengthBytes <= (long)UnitBytes * MessageLimits.MaxDigests;

    static MessageKind IMessage<DigestsRequest>.Kind => MessageKind.DigestsRequest;

    static int IMessage<DigestsRequest>.FieldCount => 7;

    static DigestsRequest IMessage<DigestsRequest>.Decode(scoped ref FieldReader fields)
    {
        var message = new DigestsRequest(
            fields.Epoch(), fields.Request(),
            fields.Bytes(MessageLimits.CopyBlockBytes, MessageLimits.MaxVolumeBytes),
            fields.Length(MessageLimits.MaxVolumeBytes), fields.PowerOfTwo(MinUnit, MaxUnit),
            fields.Sequence());
        fields.Require(message.IsConsistent);
        return message;
    }

    static void IMessage<DigestsRequest>.Encode<TSink>(in DigestsRequest message, ref TSink fields)
    {
        FieldWriter.Require(message.IsConsistent);
        fields.Put(message.Epoch);
        fields.Put(message.Id);
        fields.Bytes(message.OffsetBytes, MessageLimits.CopyBlockBytes, MessageLimits.MaxVolumeBytes);
        fields.Length(message.LengthBytes, MessageLimits.MaxVolumeBytes);
        fields.PowerOfTwo(message.UnitBytes, MinUnit, MaxUnit);
        fields.Put(message.Position);
    }
}

/// <summary>
/// Answer to a <see cref="DigestsRequest"/>; with Ok the digests follow as payload, 16 bytes each.
/// </summary>
/// <param name="Epoch">From the question.</param>
/// <param name="Id">From the question.</param>
/// <param name="Status">Outcome.</param>
/// <param name="Issued">Highest operation issued in the range when it had read the last byte.</param>
/// <param name="PayloadBytes">Length of the payload: 16 for each unit, or 0 unless Ok.</param>
public readonly record struct Digests(
    Epoch Epoch, RequestId Id, AnswerStatus Status, Sequence Issued, int PayloadBytes) : IMessage<Digests>
{
    private bool IsConsistent => Status == AnswerStatus.Ok
        ? PayloadBytes > 0 && PayloadBytes % Digest.SizeBytes == 0
        : PayloadBytes == 0;

    static MessageKind IMessage<Digests>.Kind => MessageKind.Digests;

    static int IMessage<Digests>.FieldCount => 6;

    static Digests IMessage<Digests>.Decode(scoped ref FieldReader fields)
    {
        var message = new Digests(
            fields.Epoch(), fields.Request(), fields.Status(), fields.Sequence(), fields.Payload());
        fields.Require(message.IsConsistent);
        return message;
    }

    static void IMessage<Digests>.Encode<TSink>(in Digests message, ref TSink fields)
    {
        FieldWriter.Require(message.IsConsistent);
        fields.Put(message.Epoch);
        fields.Put(message.Id);
        fields.Put(message.Status);
        fields.Put(message.Issued);
        fields.Payload(message.PayloadBytes);
    }
}

/// <summary>
/// Asks for the blocks of a range that differ; which ones is the payload: one bit for each 4 KiB, block k in
/// bit k mod 8 (from the lowest) of byte k / 8, bits behind the last block 0. Answered by one or more
/// <see cref="CopyChunk"/>.
/// </summary>
/// <param name="Epoch">Epoch of the session.</param>
/// <param name="Id">Comes back with the answers.</param>
/// <param name="OffsetBytes">Start, a multiple of 4 KiB.</param>
/// <param name="LengthBytes">
/// Length, in sectors' multiples, above 0 and up to 1 MiB; within one region. The last block may be shorter.
/// </param>
public readonly record struct CopyRequest(
    Epoch Epoch, RequestId Id, long OffsetBytes, int LengthBytes) : IMessage<CopyRequest>
{
    /// <summary>Blocks of the range.</summary>
    public int Blocks =>
        (LengthBytes + MessageLimits.CopyBlockBytes - 1) / MessageLimits.CopyBlockBytes;

    /// <summary>Length of the payload.</summary>
    public int PayloadBytes => (Blocks + 7) / 8;

    private bool IsConsistent => OffsetBytes + LengthBytes <= MessageLimits.MaxVolumeBytes;

    static MessageKind IMessage<CopyRequest>.Kind => MessageKind.CopyRequest;

    static int IMessage<CopyRequest>.FieldCount => 6;

    static CopyRequest IMessage<CopyRequest>.Decode(scoped ref FieldReader fields)
    {
        var message = new CopyRequest(
            fields.Epoch(), fields.Request(),
            fields.Bytes(MessageLimits.CopyBlockBytes, MessageLimits.MaxVolumeBytes),
            (int)fields.Length(MessageLimits.MaxPayloadBytes));
        int payloadBytes = fields.Payload();
        fields.Require(payloadBytes == message.PayloadBytes && message.IsConsistent);
        return message;
    }

    static void IMessage<CopyRequest>.Encode<TSink>(in CopyRequest message, ref TSink fields)
    {
        FieldWriter.Require(message.IsConsistent);
        fields.Put(message.Epoch);
        fields.Put(message.Id);
        fields.Bytes(message.OffsetBytes, MessageLimits.CopyBlockBytes, MessageLimits.MaxVolumeBytes);
        fields.Length(message.LengthBytes, MessageLimits.MaxPayloadBytes);
        fields.Payload(message.PayloadBytes);
    }
}

/// <summary>
/// Part of the answer to a <see cref="CopyRequest"/>: wanted blocks in a row. The request is answered when
/// every block of it was, or with the first chunk that is not Ok. While reconciling, the writer also pushes
/// chunks that nobody asked for; each is answered by <see cref="Copied"/>.
/// </summary>
/// <param name="Epoch">From the question.</param>
/// <param name="Id">From the question; of a chunk that is pushed, chosen by the writer.</param>
/// <param name="Status">Outcome; unless Ok the range is the question's and there is no payload.</param>
/// <param name="OffsetBytes">Start, in sectors' multiples; of 4 KiB where it answers a request.</param>
/// <param name="LengthBytes">Length, in sectors' multiples, above 0 and up to 1 MiB.</param>
/// <param name="Issued">
/// Highest operation issued in the range when it had been read: the region is current only when A and D of
/// the target reach it.
/// </param>
/// <param name="Crc32C">
/// Checksum of the payload; 0 without one, unless <see cref="CopyFlags.ChecksumOnly"/> says otherwise.
/// </param>
/// <param name="Flags">Whether the range is all zeros, or one block that is lost.</param>
public readonly record struct CopyChunk(
    Epoch Epoch, RequestId Id, AnswerStatus Status, long OffsetBytes, int LengthBytes, Sequence Issued,
    uint Crc32C, CopyFlags Flags) : IMessage<CopyChunk>
{
    /// <summary>Length of the payload.</summary>
    public int PayloadBytes => Status == AnswerStatus.Ok && Flags == CopyFlags.None ? LengthBytes : 0;

    private bool IsConsistent =>
        OffsetBytes + LengthBytes <= MessageLimits.MaxVolumeBytes &&
        (PayloadBytes > 0 || Crc32C == 0 || Flags == CopyFlags.ChecksumOnly) &&
        (Status == AnswerStatus.Ok || Flags == CopyFlags.None) &&
        (Flags != CopyFlags.ChecksumOnly || OffsetBytes % MessageLimits.CopyBlockBytes == 0 &&
            LengthBytes <= MessageLimits.CopyBlockBytes);

    static MessageKind IMessage<CopyChunk>.Kind => MessageKind.CopyChunk;

    static int IMessage<CopyChunk>.FieldCount => 10;

    static CopyChunk IMessage<CopyChunk>.Decode(scoped ref FieldReader fields)
    {
        var message = new CopyChunk(
            fields.Epoch(), fields.Request(), fields.Status(),
            fields.Offset(),
            (int)fields.Length(MessageLimits.MaxPayloadBytes), fields.Sequence(), fields.UInt32(),
            (CopyFlags)fields.OneOf(0, (byte)CopyFlags.ChecksumOnly));
        int payloadBytes = fields.Payload();
        fields.Require(payloadBytes == message.PayloadBytes && message.IsConsistent);
        return message;
    }

    static void IMessage<CopyChunk>.Encode<TSink>(in CopyChunk message, ref TSink fields)
    {
        FieldWriter.Require(message.IsConsistent);
        fields.Put(message.Epoch);
        fields.Put(message.Id);
        fields.Put(message.Status);
        fields.Offset(message.OffsetBytes);
        fields.Length(message.LengthBytes, MessageLimits.MaxPayloadBytes);
        fields.Put(message.Issued);
        fields.Checksum(message.Crc32C);
        fields.OneOf(message.Flags, CopyFlags.None, CopyFlags.ChecksumOnly);
        fields.Payload(message.PayloadBytes);
    }
}

/// <summary>
/// A replica's answer to a <see cref="CopyChunk"/> that the writer pushed to it while reconciling.
/// </summary>
/// <param name="Epoch">From the chunk.</param>
/// <param name="Id">From the chunk.</param>
/// <param name="Status">Outcome; Ok means that the range's bytes are the chunk's here.</param>
public readonly record struct Copied(Epoch Epoch, RequestId Id, AnswerStatus Status) : IMessage<Copied>
{
    static MessageKind IMessage<Copied>.Kind => MessageKind.Copied;

    static int IMessage<Copied>.FieldCount => 4;

    static Copied IMessage<Copied>.Decode(scoped ref FieldReader fields) =>
        new(fields.Epoch(), fields.Request(), fields.Status());

    static void IMessage<Copied>.Encode<TSink>(in Copied message, ref TSink fields)
    {
        fields.Put(message.Epoch);
        fields.Put(message.Id);
        fields.Put(message.Status);
    }
}

/// <summary>
/// The primary has pushed all of a region that is missing at a replica. Answered by <see cref="Copied"/> when
/// the region is durably whole there: D and C have reached what was issued in it.
/// </summary>
/// <param name="Epoch">Epoch of the primary.</param>
/// <param name="Id">Comes back with the answer.</param>
/// <param name="Region">The region.</param>
/// <param name="Issued">
/// Highest operation issued in it at the source when it was read: its version, unless a later one has come.
/// </param>
public readonly record struct RegionDone(Epoch Epoch, RequestId Id, long Region, Sequence Issued)
    : IMessage<RegionDone>
{
    static MessageKind IMessage<RegionDone>.Kind => MessageKind.RegionDone;

    static int IMessage<RegionDone>.FieldCount => 5;

    static RegionDone IMessage<RegionDone>.Decode(scoped ref FieldReader fields) =>
        new(fields.Epoch(), fields.Request(), fields.Int64(MessageLimits.MaxRegions), fields.Sequence());

    static void IMessage<RegionDone>.Encode<TSink>(in RegionDone message, ref TSink fields)
    {
        fields.Put(message.Epoch);
        fields.Put(message.Id);
        fields.Int64(message.Region, MessageLimits.MaxRegions);
        fields.Put(message.Issued);
    }
}
