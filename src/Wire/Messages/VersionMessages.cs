using Ublk.Wire.Ids;

namespace Ublk.Wire.Messages;

/// <summary>Asks for a page of region versions. Answered by <see cref="Versions"/>.</summary>
/// <param name="Epoch">Epoch of the session.</param>
/// <param name="Page">
/// The page: regions from page × <see cref="MessageLimits.RegionsPerVersionPage"/> on.
/// </param>
public readonly record struct VersionsRequest(Epoch Epoch, long Page) : IMessage<VersionsRequest>
{
    static MessageKind IMessage<VersionsRequest>.Kind => MessageKind.VersionsRequest;

    static int IMessage<VersionsRequest>.FieldCount => 3;

    static VersionsRequest IMessage<VersionsRequest>.Decode(scoped ref FieldReader fields) =>
        new(fields.Epoch(), fields.Int64(MessageLimits.MaxVersionPages));

    static void IMessage<VersionsRequest>.Encode<TSink>(in VersionsRequest message, ref TSink fields)
    {
        fields.Put(message.Epoch);
        fields.Int64(message.Page, MessageLimits.MaxVersionPages);
    }
}

/// <summary>
/// Answer to a <see cref="VersionsRequest"/>: the whole page. From the primary, ahead of
/// <see cref="EpochStart"/>, versions that a reconciled replica takes over. A list message.
/// </summary>
public readonly ref struct Versions : IMessage<Versions>
{
    /// <summary>From the question.</summary>
    public Epoch Epoch { get; init; }

    /// <summary>From the question.</summary>
    public long Page { get; init; }

    /// <summary>
    /// Versions of the page's regions; those that no run names are 0. At most one run per region.
    /// </summary>
    public MessageList<VersionRun> Runs { get; init; }

    static MessageKind IMessage<Versions>.Kind => MessageKind.Versions;

    static int IMessage<Versions>.FieldCount => 4;

    static int IMessage<Versions>.MaxBytes => MessageLimits.MaxListMessageBytes;

    static Versions IMessage<Versions>.Decode(scoped ref FieldReader fields)
    {
        Epoch epoch = fields.Epoch();
        long page = fields.Int64(MessageLimits.MaxVersionPages);
        MessageList<VersionRun> runs = fields.List<VersionRun>(MessageLimits.RegionsPerVersionPage);
        return new Versions { Epoch = epoch, Page = page, Runs = runs };
    }

    static void IMessage<Versions>.Encode<TSink>(in Versions message, ref TSink fields)
    {
        fields.Put(message.Epoch);
        fields.Int64(message.Page, MessageLimits.MaxVersionPages);
        fields.List(message.Runs, MessageLimits.RegionsPerVersionPage);
    }
}
