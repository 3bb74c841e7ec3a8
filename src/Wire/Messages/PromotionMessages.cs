using Ublk.Wire.Ids;

namespace Ublk.Wire.Messages;

/// <summary>
/// Asks a replica to promise an epoch to a writer: it refuses every lower epoch from then on. Answered by
/// <see cref="Claim"/>.
/// </summary>
/// <param name="Epoch">The epoch wanted.</param>
/// <param name="Writer">Who wants it.</param>
/// <param name="Configuration">The configuration it belongs to.</param>
public readonly record struct Promise(Epoch Epoch, Writer Writer, ConfigurationNumber Configuration)
    : IMessage<Promise>
{
    static MessageKind IMessage<Promise>.Kind => MessageKind.Promise;

    static int IMessage<Promise>.FieldCount => 5;

    static Promise IMessage<Promise>.Decode(scoped ref FieldReader fields) =>
        new(fields.Epoch(), fields.Writer(), fields.Configuration());

    static void IMessage<Promise>.Encode<TSink>(in Promise message, ref TSink fields)
    {
        fields.Put(message.Epoch);
        fields.Put(message.Writer);
        fields.Put(message.Configuration);
    }
}

/// <summary>
/// Answer to a <see cref="Promise"/>: granted or not, and what the replica holds. One that is granted is
/// followed by <see cref="ClaimEntries"/>. A list message.
/// </summary>
public readonly ref struct Claim : IMessage<Claim>
{
    /// <summary>From the question.</summary>
    public Epoch Epoch { get; init; }

    /// <summary>Granted, or why not.</summary>
    public ClaimAnswer Answer { get; init; }

    /// <summary>Highest epoch promised here, this one if granted.</summary>
    public Epoch PromisedEpoch { get; init; }

    /// <summary>Whom it is promised to.</summary>
    public Writer PromisedWriter { get; init; }

    /// <summary>Newest configuration known here.</summary>
    public ConfigurationNumber Configuration { get; init; }

    /// <summary>A: everything up to it is applied here, outside what is missing.</summary>
    public Sequence Applied { get; init; }

    /// <summary>D: everything up to it is on stable media here, outside what is missing.</summary>
    public Sequence Durable { get; init; }

    /// <summary>What it says of itself.</summary>
    public ReplicaFlags Flags { get; init; }

    /// <summary>
    /// Newest epoch of its history when power was lost over hot grains, which tells this outage from an
    /// older one; 0 unless <see cref="ReplicaFlags.Voided"/>.
    /// </summary>
    public Epoch VoidedIn { get; init; }

    /// <summary>Newest view of its last epoch that it knows; 0 before the first operation.</summary>
    public View View { get; init; }

    /// <summary>
    /// The epochs it took part in, the newest last: A and D are of that one. At most
    /// <see cref="MessageLimits.MaxHistoryEntries"/>.
    /// </summary>
    public MessageList<HistoryEntry> History { get; init; }

    private bool IsConsistent =>
        (VoidedIn != Epoch.None) == ((Flags & ReplicaFlags.Voided) != ReplicaFlags.None) &&
        (Answer != ClaimAnswer.Granted || PromisedEpoch == Epoch);

    static MessageKind IMessage<Claim>.Kind => MessageKind.Claim;

    static int IMessage<Claim>.FieldCount => 13;

    static int IMessage<Claim>.MaxBytes => MessageLimits.MaxListMessageBytes;

    static Claim IMessage<Claim>.Decode(scoped ref FieldReader fields)
    {
        var message = new Claim
        {
            Epoch = fields.Epoch(),
            Answer = (ClaimAnswer)fields.OneOf((byte)ClaimAnswer.Granted, (byte)ClaimAnswer.Failed),
            PromisedEpoch = fields.Epoch(),
            PromisedWriter = fields.Writer(),
            Configuration = fields.Configuration(),
            Applied = fields.Sequence(),
            Durable = fields.Sequence(),
            Flags = fields.ReplicaFlags(),
            VoidedIn = fields.Epoch(),
            View = fields.View(),
            History = fields.List<HistoryEntry>(MessageLimits.MaxHistoryEntries),
        };
        fields.Require(message.IsConsistent);
        return message;
    }

    static void IMessage<Claim>.Encode<TSink>(in Claim message, ref TSink fields)
    {
        FieldWriter.Require(message.IsConsistent);
        fields.Put(message.Epoch);
        fields.OneOf(message.Answer, ClaimAnswer.Granted, ClaimAnswer.Failed);
        fields.Put(message.PromisedEpoch);
        fields.Put(message.PromisedWriter);
        fields.Put(message.Configuration);
        fields.Put(message.Applied);
        fields.Put(message.Durable);
        fields.Put(message.Flags);
        fields.Put(message.VoidedIn);
        fields.Put(message.View);
        fields.List(message.History, MessageLimits.MaxHistoryEntries);
    }
}

/// <summary>
/// A part of what belongs to a claim; from a primary, ahead of <see cref="EpochStart"/>, of what the replica
/// adds to its missing regions. A list message.
/// </summary>
public readonly ref struct ClaimEntries : IMessage<ClaimEntries>
{
    /// <summary>Epoch of the claim.</summary>
    public Epoch Epoch { get; init; }

    /// <summary>What the entries are; of the lists below, the others are empty.</summary>
    public ClaimList List { get; init; }

    /// <summary>Number of this message within the claim, from 0 on.</summary>
    public int Part { get; init; }

    /// <summary>Another part follows, of this list or of a later one.</summary>
    public bool HasMore { get; init; }

    /// <summary>Grains that may hold bytes newer than D.</summary>
    public MessageList<IntentRun> Intents { get; init; }

    /// <summary>Regions known stale.</summary>
    public MessageList<MissingRun> Missing { get; init; }

    /// <summary>Operations applied above A.</summary>
    public MessageList<OutOfOrderEntry> OutOfOrder { get; init; }

    /// <summary>Digests of the pages of region versions.</summary>
    public MessageList<VersionDigest> VersionDigests { get; init; }

    static MessageKind IMessage<ClaimEntries>.Kind => MessageKind.ClaimEntries;

    static int IMessage<ClaimEntries>.FieldCount => 6;

    static int IMessage<ClaimEntries>.MaxBytes => MessageLimits.MaxListMessageBytes;

    static ClaimEntries IMessage<ClaimEntries>.Decode(scoped ref FieldReader fields)
    {
        const int Max = MessageLimits.MaxClaimEntries;
        Epoch epoch = fields.Epoch();
        var list = (ClaimList)fields.OneOf((byte)ClaimList.Intents, (byte)ClaimList.VersionDigests);
        int part = fields.Int32(int.MaxValue);
        bool hasMore = fields.Boolean();
        return new ClaimEntries
        {
            Epoch = epoch,
            List = list,
            Part = part,
            HasMore = hasMore,
            Intents = list == ClaimList.Intents ? fields.List<IntentRun>(Max) : default,
            Missing = list == ClaimList.Missing ? fields.List<MissingRun>(Max) : default,
            OutOfOrder = list == ClaimList.OutOfOrder ? fields.List<OutOfOrderEntry>(Max) : default,
            VersionDigests =
                list == ClaimList.VersionDigests ? fields.List<VersionDigest>(Max) : default,
        };
    }

    static void IMessage<ClaimEntries>.Encode<TSink>(in ClaimEntries message, ref TSink fields)
    {
        const int Max = MessageLimits.MaxClaimEntries;
        fields.Put(message.Epoch);
        fields.OneOf(message.List, ClaimList.Intents, ClaimList.VersionDigests);
        fields.Int64(message.Part, int.MaxValue);
        fields.Boolean(message.HasMore);
        switch (message.List)
        {
            case ClaimList.Intents: fields.List(message.Intents, Max); break;
            case ClaimList.Missing: fields.List(message.Missing, Max); break;
            case ClaimList.OutOfOrder: fields.List(message.OutOfOrder, Max); break;
            default: fields.List(message.VersionDigests, Max); break;
        }
    }
}

/// <summary>
/// The primary's record that an epoch serves: durable on W replicas before the first operation of the epoch.
/// Answered by <see cref="EpochStarted"/>.
/// </summary>
/// <param name="Epoch">The epoch.</param>
/// <param name="Writer">Its writer.</param>
/// <param name="Configuration">Its configuration.</param>
/// <param name="First">First sequence number of the epoch.</param>
/// <param name="Position">
/// The number before the first operation that this replica will be sent; at least First − 1. A becomes it.
/// </param>
/// <param name="Common">
/// Last number that this replica and the volume's history have in common; at most Position. One with
/// Position itself is reconciled: it has everything up to there, and D becomes Position too. Another one
/// joins: D is cut to Common, and what it lacks was named by <see cref="ClaimEntries"/> before.
/// </param>
/// <param name="HistoryEpoch">Epoch of the history that was reconciled from; 0 for a new volume.</param>
public readonly record struct EpochStart(
    Epoch Epoch, Writer Writer, ConfigurationNumber Configuration, Sequence First, Sequence Position,
    Sequence Common, Epoch HistoryEpoch)
    : IMessage<EpochStart>
{
    /// <summary>Whether the replica has everything up to its position.</summary>
    public bool IsReconciled => Common == Position;

    private bool IsConsistent =>
        Common <= Position && First <= Position.Next && (HistoryEpoch < Epoch || Epoch == Epoch.None);

    static MessageKind IMessage<EpochStart>.Kind => MessageKind.EpochStart;

    static int IMessage<EpochStart>.FieldCount => 9;

    static EpochStart IMessage<EpochStart>.Decode(scoped ref FieldReader fields)
    {
        var message = new EpochStart(
            fields.Epoch(), fields.Writer(), fields.Configuration(), fields.Sequence(),
            fields.Sequence(), fields.Sequence(), fields.Epoch());
        fields.Require(message.IsConsistent);
        return message;
    }

    static void IMessage<EpochStart>.Encode<TSink>(in EpochStart message, ref TSink fields)
    {
        FieldWriter.Require(message.IsConsistent);
        fields.Put(message.Epoch);
        fields.Put(message.Writer);
        fields.Put(message.Configuration);
        fields.Put(message.First);
        fields.Put(message.Position);
        fields.Put(message.Common);
        fields.Put(message.HistoryEpoch);
    }
}

/// <summary>Answer to an <see cref="EpochStart"/>.</summary>
/// <param name="Epoch">From the start.</param>
/// <param name="Status">Outcome; Ok means durable here.</param>
public readonly record struct EpochStarted(Epoch Epoch, AnswerStatus Status) : IMessage<EpochStarted>
{
    static MessageKind IMessage<EpochStarted>.Kind => MessageKind.EpochStarted;

    static int IMessage<EpochStarted>.FieldCount => 3;

    static EpochStarted IMessage<EpochStarted>.Decode(scoped ref FieldReader fields) =>
        new(fields.Epoch(), fields.Status());

    static void IMessage<EpochStarted>.Encode<TSink>(in EpochStarted message, ref TSink fields)
    {
        fields.Put(message.Epoch);
        fields.Put(message.Status);
    }
}
