using Ublk.Wire.Ids;

namespace Ublk.Wire.Messages;

/// <summary>
/// The first message of both sides of a connection, before anything else. Its shape is the same in every
/// version of the protocol.
/// </summary>
/// <param name="OldestVersion">Lowest version spoken, 1 to 255.</param>
/// <param name="NewestVersion">Highest version spoken; the connection uses the highest common one.</param>
/// <param name="Cluster">The sender's cluster; another one is refused.</param>
/// <param name="Node">The sender.</param>
/// <param name="Features">One bit per optional feature offered; used is what both offer. None yet.</param>
public readonly record struct Handshake(
    byte OldestVersion, byte NewestVersion, ClusterId Cluster, NodeId Node, ulong Features)
    : IMessage<Handshake>
{
    private bool IsConsistent => OldestVersion is > 0 && OldestVersion <= NewestVersion;

    static MessageKind IMessage<Handshake>.Kind => MessageKind.Handshake;

    static int IMessage<Handshake>.FieldCount => 6;

    static Handshake IMessage<Handshake>.Decode(scoped ref FieldReader fields)
    {
        var message = new Handshake(
            (byte)fields.Int32(byte.MaxValue), (byte)fields.Int32(byte.MaxValue),
            new ClusterId(fields.Bits128()), fields.Node(), fields.Integer(MessageLimits.MaxInteger));
        fields.Require(message.IsConsistent);
        return message;
    }

    static void IMessage<Handshake>.Encode<TSink>(in Handshake message, ref TSink fields)
    {
        FieldWriter.Require(message.IsConsistent);
        fields.Int64(message.OldestVersion, byte.MaxValue);
        fields.Int64(message.NewestVersion, byte.MaxValue);
        fields.Put(message.Cluster);
        fields.Put(message.Node);
        fields.Integer(message.Features, MessageLimits.MaxInteger);
    }
}

/// <summary>
/// Binds a connection to one replica of one volume. Answered by <see cref="SessionState"/>, or closed with
/// a reason. Longer than most messages, and sent once.
/// </summary>
/// <param name="Epoch">The epoch of the sender; with the role writer, one it has or wants.</param>
/// <param name="Role">What the session is for.</param>
/// <param name="Volume">The volume.</param>
/// <param name="Replica">The replica the sender means.</param>
/// <param name="Incarnation">Its incarnation, as the configuration names it.</param>
/// <param name="Configuration">The newest configuration the sender knows.</param>
/// <param name="Writer">The writer of the epoch.</param>
/// <param name="SizeBytes">Size of the volume, in sectors of 512 bytes.</param>
/// <param name="BlockBytes">Logical block: a power of two, 512 to 4096.</param>
/// <param name="RegionBytes">Region of versions: a power of two, a grain to 64 MiB.</param>
/// <param name="GrainBytes">Grain of intents: a power of two, 4 KiB or more.</param>
public readonly record struct OpenSession(
    Epoch Epoch, SessionRole Role, VolumeId Volume, ReplicaId Replica, Incarnation Incarnation,
    ConfigurationNumber Configuration, Writer Writer, long SizeBytes, int BlockBytes, int RegionBytes,
    int GrainBytes)
    : IMessage<OpenSession>
{
    static MessageKind IMessage<OpenSession>.Kind => MessageKind.OpenSession;

    static int IMessage<OpenSession>.FieldCount => 13;

    static OpenSession IMessage<OpenSession>.Decode(scoped ref FieldReader fields)
    {
        var message = new OpenSession(
            fields.Epoch(), (SessionRole)fields.OneOf((byte)SessionRole.Writer, (byte)SessionRole.Puller),
            new VolumeId(fields.Bits128()), fields.Replica(), fields.Incarnation(), fields.Configuration(),
            fields.Writer(), fields.Length(MessageLimits.MaxVolumeBytes),
            fields.PowerOfTwo(MessageLimits.SectorBytes, MessageLimits.MaxBlockBytes),
            fields.PowerOfTwo(MessageLimits.MinGrainBytes, MessageLimits.MaxRegionBytes),
            fields.PowerOfTwo(MessageLimits.MinGrainBytes, MessageLimits.MaxRegionBytes));
        fields.Require(message.GrainBytes <= message.RegionBytes);
        return message;
    }

    static void IMessage<OpenSession>.Encode<TSink>(in OpenSession message, ref TSink fields)
    {
        FieldWriter.Require(message.GrainBytes <= message.RegionBytes);
        fields.Put(message.Epoch);
        fields.OneOf(message.Role, SessionRole.Writer, SessionRole.Puller);
        fields.Put(message.Volume);
        fields.Put(message.Replica);
        fields.Put(message.Incarnation);
        fields.Put(message.Configuration);
        fields.Put(message.Writer);
        fields.Length(message.SizeBytes, MessageLimits.MaxVolumeBytes);
        fields.PowerOfTwo(message.BlockBytes, MessageLimits.SectorBytes, MessageLimits.MaxBlockBytes);
        fields.PowerOfTwo(
            message.RegionBytes, MessageLimits.MinGrainBytes, MessageLimits.MaxRegionBytes);
        fields.PowerOfTwo(
            message.GrainBytes, MessageLimits.MinGrainBytes, MessageLimits.MaxRegionBytes);
    }
}

/// <summary>Where a replica stands: the answer to <see cref="OpenSession"/>. A list message.</summary>
public readonly ref struct SessionState : IMessage<SessionState>
{
    /// <summary>From <see cref="OpenSession"/>.</summary>
    public Epoch Epoch { get; init; }

    /// <summary>Highest epoch promised here.</summary>
    public Epoch PromisedEpoch { get; init; }

    /// <summary>Whom it is promised to.</summary>
    public Writer PromisedWriter { get; init; }

    /// <summary>Newest configuration known here.</summary>
    public ConfigurationNumber Configuration { get; init; }

    /// <summary>A: everything up to it is applied here.</summary>
    public Sequence Applied { get; init; }

    /// <summary>D: everything up to it is on stable media here.</summary>
    public Sequence Durable { get; init; }

    /// <summary>Where it stands in the stream.</summary>
    public StreamStage Stage { get; init; }

    /// <summary>What it says of itself.</summary>
    public ReplicaFlags Flags { get; init; }

    /// <summary>Regions known stale here.</summary>
    public long MissingRegions { get; init; }

    /// <summary>
    /// The epochs it took part in, the newest last; at most <see cref="MessageLimits.MaxHistoryEntries"/>.
    /// </summary>
    public MessageList<HistoryEntry> History { get; init; }

    static MessageKind IMessage<SessionState>.Kind => MessageKind.SessionState;

    static int IMessage<SessionState>.FieldCount => 12;

    static int IMessage<SessionState>.MaxBytes => MessageLimits.MaxListMessageBytes;

    static SessionState IMessage<SessionState>.Decode(scoped ref FieldReader fields) => new()
    {
        Epoch = fields.Epoch(),
        PromisedEpoch = fields.Epoch(),
        PromisedWriter = fields.Writer(),
        Configuration = fields.Configuration(),
        Applied = fields.Sequence(),
        Durable = fields.Sequence(),
        Stage = (StreamStage)fields.OneOf((byte)StreamStage.InStream, (byte)StreamStage.Resyncing),
        Flags = fields.ReplicaFlags(),
        MissingRegions = fields.Int64(MessageLimits.MaxRegions),
        History = fields.List<HistoryEntry>(MessageLimits.MaxHistoryEntries),
    };

    static void IMessage<SessionState>.Encode<TSink>(in SessionState message, ref TSink fields)
    {
        fields.Put(message.Epoch);
        fields.Put(message.PromisedEpoch);
        fields.Put(message.PromisedWriter);
        fields.Put(message.Configuration);
        fields.Put(message.Applied);
        fields.Put(message.Durable);
        fields.OneOf(message.Stage, StreamStage.InStream, StreamStage.Resyncing);
        fields.Put(message.Flags);
        fields.Int64(message.MissingRegions, MessageLimits.MaxRegions);
        fields.List(message.History, MessageLimits.MaxHistoryEntries);
    }
}

/// <summary>The last message of a connection: why it ends. A list message.</summary>
public readonly ref struct Close : IMessage<Close>
{
    /// <summary>Why.</summary>
    public CloseReason Reason { get; init; }

    /// <summary>
    /// The same for people: UTF-8 without control characters, at most
    /// <see cref="MessageLimits.MaxTextBytes"/>; <see cref="MessageText.Fit"/> makes it.
    /// </summary>
    public ReadOnlySpan<byte> Text { get; init; }

    static MessageKind IMessage<Close>.Kind => MessageKind.Close;

    static int IMessage<Close>.FieldCount => 3;

    static int IMessage<Close>.MaxBytes => MessageLimits.MaxListMessageBytes;

    static Close IMessage<Close>.Decode(scoped ref FieldReader fields) => new()
    {
        Reason = (CloseReason)fields.OneOf((byte)CloseReason.Done, (byte)CloseReason.NotTrusted),
        Text = fields.Text(MessageLimits.MaxTextBytes),
    };

    static void IMessage<Close>.Encode<TSink>(in Close message, ref TSink fields)
    {
        fields.OneOf(message.Reason, CloseReason.Done, CloseReason.NotTrusted);
        fields.Text(message.Text, MessageLimits.MaxTextBytes);
    }
}
