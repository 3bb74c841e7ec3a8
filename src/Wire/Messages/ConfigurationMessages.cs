using Ublk.Wire.Ids;

namespace Ublk.Wire.Messages;

/// <summary>
/// A configuration of the volume, to be kept durably. Answered by <see cref="Configured"/>. A list message.
/// </summary>
public readonly ref struct Configure : IMessage<Configure>
{
    /// <summary>Epoch of the primary.</summary>
    public Epoch Epoch { get; init; }

    /// <summary>Number of the configuration, above all known ones.</summary>
    public ConfigurationNumber Number { get; init; }

    /// <summary>Which sets count.</summary>
    public ConfigurationKind Stage { get; init; }

    /// <summary>Size of the volume, in sectors of 512 bytes.</summary>
    public long SizeBytes { get; init; }

    /// <summary>W of the old set; 0 unless joint.</summary>
    public int OldWriteQuorum { get; init; }

    /// <summary>The old set, 1 to 7 replicas; empty unless joint.</summary>
    public MessageList<ReplicaMember> OldReplicas { get; init; }

    /// <summary>W of the new set.</summary>
    public int NewWriteQuorum { get; init; }

    /// <summary>The new set, 1 to 7 replicas.</summary>
    public MessageList<ReplicaMember> NewReplicas { get; init; }

    private bool IsConsistent =>
        NewWriteQuorum > 0 && NewWriteQuorum <= NewReplicas.Count &&
        (Stage == ConfigurationKind.Joint
            ? OldWriteQuorum > 0 && OldWriteQuorum <= OldReplicas.Count
            : OldWriteQuorum == 0 && OldReplicas.Count == 0);

    static MessageKind IMessage<Configure>.Kind => MessageKind.Configure;

    static int IMessage<Configure>.FieldCount => 9;

    static int IMessage<Configure>.MaxBytes => MessageLimits.MaxListMessageBytes;

    static Configure IMessage<Configure>.Decode(scoped ref FieldReader fields)
    {
        const int Max = MessageLimits.MaxReplicas;
        var message = new Configure
        {
            Epoch = fields.Epoch(),
            Number = fields.Configuration(),
            Stage = (ConfigurationKind)fields.OneOf(
                (byte)ConfigurationKind.Joint, (byte)ConfigurationKind.New),
            SizeBytes = fields.Length(MessageLimits.MaxVolumeBytes),
            OldWriteQuorum = fields.Int32(Max),
            OldReplicas = fields.List<ReplicaMember>(Max),
            NewWriteQuorum = fields.Int32(Max),
            NewReplicas = fields.List<ReplicaMember>(Max),
        };
        fields.Require(message.IsConsistent);
        return message;
    }

    static void IMessage<Configure>.Encode<TSink>(in Configure message, ref TSink fields)
    {
        const int Max = MessageLimits.MaxReplicas;
        FieldWriter.Require(message.IsConsistent);
        fields.Put(message.Epoch);
        fields.Put(message.Number);
        fields.OneOf(message.Stage, ConfigurationKind.Joint, ConfigurationKind.New);
        fields.Length(message.SizeBytes, MessageLimits.MaxVolumeBytes);
        fields.Int64(message.OldWriteQuorum, Max);
        fields.List(message.OldReplicas, Max);
        fields.Int64(message.NewWriteQuorum, Max);
        fields.List(message.NewReplicas, Max);
    }
}

/// <summary>Answer to a <see cref="Configure"/>.</summary>
/// <param name="Epoch">From the question.</param>
/// <param name="Number">From the question.</param>
/// <param name="Status">Outcome; Ok means durable here.</param>
public readonly record struct Configured(Epoch Epoch, ConfigurationNumber Number, AnswerStatus Status)
    : IMessage<Configured>
{
    static MessageKind IMessage<Configured>.Kind => MessageKind.Configured;

    static int IMessage<Configured>.FieldCount => 4;

    static Configured IMessage<Configured>.Decode(scoped ref FieldReader fields) =>
        new(fields.Epoch(), fields.Configuration(), fields.Status());

    static void IMessage<Configured>.Encode<TSink>(in Configured message, ref TSink fields)
    {
        fields.Put(message.Epoch);
        fields.Put(message.Number);
        fields.Put(message.Status);
    }
}
