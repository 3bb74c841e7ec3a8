using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Tests.Unit.Wire;

/// <summary>
/// Messages of every kind with random fields, all that the protocol allows; one seed, one row.
/// </summary>
internal sealed class RandomMessages(int seed)
{
    private readonly Random _random = new(seed);

    public Sample Next(MessageKind kind) => kind switch
    {
        MessageKind.Handshake => Check(NextHandshake()),
        MessageKind.OpenSession => Check(NextOpenSession()),
        MessageKind.SessionState => Sample.Of($"{kind}", NextSessionState()),
        MessageKind.Close => Sample.Of($"{kind}", NextClose()),
        MessageKind.Write => NextWrite(),
        MessageKind.Applied => Check(new Applied(Epoch(), Sequence(), Status(), Sequence(), Sequence())),
        MessageKind.Flush => Check(new Flush(Epoch(), Sequence(), Sequence())),
        MessageKind.Flushed => Check(NextFlushed()),
        MessageKind.Heartbeat => Check(
            new Heartbeat(Epoch(), Number(long.MaxValue), Lease(), Sequence(), Sequence())),
        MessageKind.Grant => Check(
            new Grant(Epoch(), Number(long.MaxValue), Lease(), Sequence(), Sequence())),
        MessageKind.Release => Check(new Release(Epoch())),
        MessageKind.Promise => Check(new Promise(Epoch(), Writer(), Configuration())),
        MessageKind.Claim => Sample.Of($"{kind}", NextClaim()),
        MessageKind.ClaimEntries => Sample.Of($"{kind}", NextEntries()),
        MessageKind.VersionsRequest => Check(new VersionsRequest(Epoch(), Page())),
        MessageKind.Versions => Sample.Of($"{kind}", NextVersions()),
        MessageKind.EpochStart => Check(NextEpochStart()),
        MessageKind.EpochStarted => Check(new EpochStarted(Epoch(), Status())),
        MessageKind.Read => Check(NextRead()),
        MessageKind.ReadReply => NextReadReply(),
        MessageKind.DigestsRequest => Check(NextDigestsRequest()),
        MessageKind.Digests => NextDigests(),
        MessageKind.CopyRequest => NextCopyRequest(),
        MessageKind.CopyChunk => NextCopyChunk(),
        MessageKind.Copied => Check(new Copied(Epoch(), Request(), Status())),
        MessageKind.RegionDone => Check(new RegionDone(Epoch(), Request(), Page(), Sequence())),
        MessageKind.Configure => Sample.Of($"{kind}", NextConfigure()),
        MessageKind.Configured => Check(new Configured(Epoch(), Configuration(), Status())),
        _ => throw new ArgumentOutOfRangeException(nameof(kind), kind, "not a message"),
    };

    /// <summary>Writes a message and holds what is read from the bytes against it.</summary>
    private static Sample Check<T>(in T message, int payloadBytes = 0)
        where T : struct, IMessage<T>
    {
        var sample = Sample.Of($"{message}", message, payloadBytes);
        MessageHead head = MessageParser.Parse(sample.Head);
        Xunit.Assert.Equal(ParseOutcome.Complete, head.Outcome);
        Xunit.Assert.Equal(message, head.Read<T>());
        return sample;
    }

    /// <summary>Small and large numbers alike: first how many bits, then which.</summary>
    private long Number(long max)
    {
        long value = (long)((ulong)_random.NextInt64(long.MaxValue) >> _random.Next(64));
        return _random.Next(50) == 0 ? max : max == long.MaxValue ? value : value % (max + 1);
    }

    private Epoch Epoch() => new((ulong)Number(long.MaxValue));

    private Sequence Sequence() => new((ulong)Number(long.MaxValue));

    private ConfigurationNumber Configuration() => new((ulong)Number(long.MaxValue));

    private NodeId Node() => new((uint)Number(uint.MaxValue));

    private ReplicaId Replica() => new((uint)Number(uint.MaxValue));

    private RequestId Request() => new((uint)Number(uint.MaxValue));

    private Writer Writer() => new(Node(), (ulong)Number(long.MaxValue));

    private UInt128 Bits() => new((ulong)_random.NextInt64(), (ulong)_random.NextInt64());

    private uint Checksum() => (uint)_random.NextInt64(1L << 32);

    private AnswerStatus Status() => OneOf<AnswerStatus>();

    private int Lease() => (int)Number(MessageLimits.MaxLeaseMs);

    private long Page() => Number(MessageLimits.MaxVersionPages);

    private bool Flip() => _random.Next(2) == 0;

    private T OneOf<T>()
        where T : struct, Enum
    {
        T[] values = Enum.GetValues<T>();
        return values[_random.Next(values.Length)];
    }

    private long Length(long max) => 512 + Number(max / 512 - 1) * 512;

    private long Offset(long length, int unit) =>
        Number((MessageLimits.MaxVolumeBytes - length) / unit) * unit;

    private T[] Runs<T>(int max, Func<long, long, T> make)
    {
        var entries = new List<T>();
        long at = 0;
        for (int i = _random.Next(_random.Next(4) == 0 ? max + 1 : 8); i > 0; i--)
        {
            long first = at + Number(1 << 20), count = 1 + Number(1 << 12);
            entries.Add(make(first, count));
            at = first + count;
        }

        return [.. entries];
    }

    private HistoryEntry[] History()
    {
        return Runs(MessageLimits.MaxHistoryEntries,
            (first, _) => new HistoryEntry(new Epoch((ulong)first), Sequence()));
    }

    private ReplicaMember[] Members()
    {
        ReplicaMember[] members = Runs(
            MessageLimits.MaxReplicas - 1,
            (first, _) => new ReplicaMember(new ReplicaId((uint)first), new Incarnation(Bits())));
        return [.. members.Take(6), new ReplicaMember(new ReplicaId(uint.MaxValue), new Incarnation(Bits()))];
    }

    private Handshake NextHandshake()
    {
        int newest = _random.Next(1, 256);
        return new Handshake(
            (byte)_random.Next(1, newest + 1), (byte)newest, new ClusterId(Bits()), Node(),
            (ulong)Number(long.MaxValue));
    }

    private OpenSession NextOpenSession()
    {
        int grain = 4096 << _random.Next(0, 15);
        int region = (int)Math.Min((long)grain << _random.Next(0, 15), MessageLimits.MaxRegionBytes);
        return new OpenSession(
            Epoch(), OneOf<SessionRole>(), new VolumeId(Bits()), Replica(), new Incarnation(Bits()),
            Configuration(), Writer(), Length(MessageLimits.MaxVolumeBytes), 512 << _random.Next(0, 4),
            region, grain);
    }

    private SessionState NextSessionState() => new()
    {
        Epoch = Epoch(),
        PromisedEpoch = Epoch(),
        PromisedWriter = Writer(),
        Configuration = Configuration(),
        Applied = Sequence(),
        Durable = Sequence(),
        Stage = OneOf<StreamStage>(),
        Flags = (ReplicaFlags)_random.Next(16),
        MissingRegions = Number(MessageLimits.MaxRegions),
        History = new MessageList<HistoryEntry>(History()),
    };

    private Close NextClose()
    {
        byte[] text = new byte[_random.Next(MessageLimits.MaxTextBytes + 1)];
        _random.NextBytes(text);
        char[] random = [.. text.Select(value => (char)(value * 257))];
        int length = MessageText.Fit(random, text);
        return new Close { Reason = OneOf<CloseReason>(), Text = text.AsSpan(0, length) };
    }

    private Sample NextWrite()
    {
        Mutation operation = OneOf<Mutation>();
        bool isWrite = operation == Mutation.Write;
        int length = (int)Length(isWrite ? MessageLimits.MaxPayloadBytes : MessageLimits.MaxMutationBytes);
        var flags = (MutationFlags)_random.Next(operation == Mutation.WriteZeroes ? 4 : 2);
        var message = new Write(
            Epoch(), Sequence(), operation, flags, Offset(length, 512), length, isWrite ? Checksum() : 0,
            Sequence(), new View((ulong)Number(1L << 40)));
        return Check(message, message.PayloadBytes);
    }

    private Flushed NextFlushed()
    {
        AnswerStatus status = Status();
        Sequence one = Sequence(), other = Sequence();
        bool isSwapped = status == AnswerStatus.Ok && one > other;
        return new Flushed(
            Epoch(), isSwapped ? other : one, status, Sequence(), isSwapped ? one : other);
    }

    private Claim NextClaim()
    {
        ClaimAnswer answer = OneOf<ClaimAnswer>();
        Epoch epoch = Epoch();
        bool isVoided = Flip();
        ReplicaFlags voided = isVoided ? ReplicaFlags.Voided : ReplicaFlags.None;
        return new Claim
        {
            Epoch = epoch,
            Answer = answer,
            PromisedEpoch = answer == ClaimAnswer.Granted ? epoch : Epoch(),
            PromisedWriter = Writer(),
            Configuration = Configuration(),
            Applied = Sequence(),
            Durable = Sequence(),
            Flags = (ReplicaFlags)(_random.Next(8) * 2) | voided,
            VoidedIn = isVoided ? new Epoch(1 + (ulong)Number(1L << 40)) : default,
            View = new View((ulong)Number(1L << 40)),
            History = new MessageList<HistoryEntry>(History()),
        };
    }

    private ClaimEntries NextEntries()
    {
        const int Max = MessageLimits.MaxClaimEntries;
        return new ClaimEntries
        {
            Epoch = Epoch(),
            List = OneOf<ClaimList>(),
            Part = (int)Number(int.MaxValue),
            HasMore = Flip(),
            Intents = new MessageList<IntentRun>(Runs(Max, (first, count) => new IntentRun(first, count))),
            Missing = new MessageList<MissingRun>(
                Runs(Max, (first, count) => new MissingRun(first, count, Epoch(), Sequence()))),
            OutOfOrder = new MessageList<OutOfOrderEntry>(Runs(Max, (first, count) => new OutOfOrderEntry(
                new Sequence((ulong)first), OneOf<Mutation>(), first * 512, (int)count * 512))),
            VersionDigests = new MessageList<VersionDigest>(
                Runs(Max, (first, _) => new VersionDigest(first, new Digest(Bits())))),
        };
    }

    private Versions NextVersions() => new()
    {
        Epoch = Epoch(),
        Page = Page(),
        Runs = new MessageList<VersionRun>(Runs(
            MessageLimits.RegionsPerVersionPage,
            (first, count) => new VersionRun(first, count, Sequence()))),
    };

    private EpochStart NextEpochStart()
    {
        Sequence position = Sequence();
        var first = new Sequence((ulong)Number((long)Math.Min(position.Value + 1, long.MaxValue)));
        Sequence common = Flip() ? position : new Sequence((ulong)Number((long)position.Value));
        var epoch = new Epoch(1 + (ulong)Number(1L << 62));
        return new EpochStart(
            epoch, Writer(), Configuration(), first, position, common,
            new Epoch((ulong)Number((long)epoch.Value - 1)));
    }

    private Read NextRead()
    {
        int length = (int)Length(MessageLimits.MaxPayloadBytes);
        return new Read(Epoch(), Request(), Offset(length, 512), length, Sequence());
    }

    private Sample NextReadReply()
    {
        AnswerStatus status = Status();
        int payload = status == AnswerStatus.Ok ? (int)Length(MessageLimits.MaxPayloadBytes) : 0;
        uint checksum = payload > 0 ? Checksum() : 0;
        return Check(new ReadReply(Epoch(), Request(), status, Sequence(), checksum, payload), payload);
    }

    private DigestsRequest NextDigestsRequest()
    {
        int unit = 4096 << _random.Next(0, 15);
        long length = Length((long)unit * MessageLimits.MaxDigests);
        return new DigestsRequest(Epoch(), Request(), Offset(length, 4096), length, unit, Sequence());
    }

    private Sample NextDigests()
    {
        AnswerStatus status = Status();
        int payload = status == AnswerStatus.Ok ? 16 * (1 + (int)Number(MessageLimits.MaxDigests - 1)) : 0;
        return Check(new Digests(Epoch(), Request(), status, Sequence(), payload), payload);
    }

    private Sample NextCopyRequest()
    {
        int length = (int)Length(MessageLimits.MaxPayloadBytes);
        var message = new CopyRequest(Epoch(), Request(), Offset(length, 4096), length);
        return Check(message, message.PayloadBytes);
    }

    private Sample NextCopyChunk()
    {
        AnswerStatus status = Status();
        CopyFlags flags = status == AnswerStatus.Ok ? OneOf<CopyFlags>() : CopyFlags.None;
        bool isChecksum = flags == CopyFlags.ChecksumOnly;
        int length = (int)Length(isChecksum ? 4096 : MessageLimits.MaxPayloadBytes);
        bool hasChecksum = isChecksum || status == AnswerStatus.Ok && flags == CopyFlags.None;
        var message = new CopyChunk(
            Epoch(), Request(), status, Offset(length, 4096), length, Sequence(),
            hasChecksum ? Checksum() : 0, flags);
        return Check(message, message.PayloadBytes);
    }

    private Configure NextConfigure()
    {
        ConfigurationKind stage = OneOf<ConfigurationKind>();
        ReplicaMember[] old = stage == ConfigurationKind.Joint ? Members() : [], next = Members();
        return new Configure
        {
            Epoch = Epoch(),
            Number = Configuration(),
            Stage = stage,
            SizeBytes = Length(MessageLimits.MaxVolumeBytes),
            OldWriteQuorum = old.Length > 0 ? _random.Next(1, old.Length + 1) : 0,
            OldReplicas = new MessageList<ReplicaMember>(old),
            NewWriteQuorum = _random.Next(1, next.Length + 1),
            NewReplicas = new MessageList<ReplicaMember>(next),
        };
    }
}
