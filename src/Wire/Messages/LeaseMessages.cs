using Ublk.Wire.Ids;

namespace Ublk.Wire.Messages;

/// <summary>
/// Asks for the lease to be renewed, and says how far the volume is. Answered by <see cref="Grant"/>.
/// </summary>
/// <param name="Epoch">Epoch of the primary.</param>
/// <param name="SentAtNs">
/// When it was sent: CLOCK_BOOTTIME of the sender in nanoseconds. Means nothing to the receiver.
/// </param>
/// <param name="LeaseMs">Wanted, 0 to 60,000 milliseconds.</param>
/// <param name="Committed">C: everything up to it is durable on W replicas.</param>
/// <param name="Acknowledged">Everything up to it was acknowledged to the host.</param>
public readonly record struct Heartbeat(
    Epoch Epoch, long SentAtNs, int LeaseMs, Sequence Committed, Sequence Acknowledged)
    : IMessage<Heartbeat>
{
    static MessageKind IMessage<Heartbeat>.Kind => MessageKind.Heartbeat;

    static int IMessage<Heartbeat>.FieldCount => 6;

    static Heartbeat IMessage<Heartbeat>.Decode(scoped ref FieldReader fields) => new(
        fields.Epoch(), fields.Int64(long.MaxValue), fields.Int32(MessageLimits.MaxLeaseMs),
        fields.Sequence(), fields.Sequence());

    static void IMessage<Heartbeat>.Encode<TSink>(in Heartbeat message, ref TSink fields)
    {
        fields.Put(message.Epoch);
        fields.Int64(message.SentAtNs, long.MaxValue);
        fields.Int64(message.LeaseMs, MessageLimits.MaxLeaseMs);
        fields.Put(message.Committed);
        fields.Put(message.Acknowledged);
    }
}

/// <summary>
/// Answer to a <see cref="Heartbeat"/>: until the time has run out no other epoch is answered here. The
/// primary counts it from when it sent the heartbeat, the replica from when it received it.
/// </summary>
/// <param name="Epoch">From the heartbeat.</param>
/// <param name="SentAtNs">From the heartbeat.</param>
/// <param name="GrantedMs">Granted, 0 to 60,000 milliseconds; 0 for nothing.</param>
/// <param name="Applied">A: everything up to it is applied here.</param>
/// <param name="Durable">D: everything up to it is on stable media here.</param>
public readonly record struct Grant(
    Epoch Epoch, long SentAtNs, int GrantedMs, Sequence Applied, Sequence Durable)
    : IMessage<Grant>
{
    static MessageKind IMessage<Grant>.Kind => MessageKind.Grant;

    static int IMessage<Grant>.FieldCount => 6;

    static Grant IMessage<Grant>.Decode(scoped ref FieldReader fields) => new(
        fields.Epoch(), fields.Int64(long.MaxValue), fields.Int32(MessageLimits.MaxLeaseMs),
        fields.Sequence(), fields.Sequence());

    static void IMessage<Grant>.Encode<TSink>(in Grant message, ref TSink fields)
    {
        fields.Put(message.Epoch);
        fields.Int64(message.SentAtNs, long.MaxValue);
        fields.Int64(message.GrantedMs, MessageLimits.MaxLeaseMs);
        fields.Put(message.Applied);
        fields.Put(message.Durable);
    }
}

/// <summary>The primary gives its lease back: it serves nothing in this epoch any more.</summary>
/// <param name="Epoch">Epoch of the primary.</param>
public readonly record struct Release(Epoch Epoch) : IMessage<Release>
{
    static MessageKind IMessage<Release>.Kind => MessageKind.Release;

    static int IMessage<Release>.FieldCount => 2;

    static Release IMessage<Release>.Decode(scoped ref FieldReader fields) => new(fields.Epoch());

    static void IMessage<Release>.Encode<TSink>(in Release message, ref TSink fields) =>
        fields.Put(message.Epoch);
}
