using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Tests.Unit.Wire;

/// <summary>
/// The messages whose bytes are pinned in docs/protocol-examples.txt. No two fields of a message that could
/// be taken for each other have the same value.
/// </summary>
internal static class GoldenSamples
{
    private static readonly Epoch s_epoch = new(7);
    private static readonly Writer s_writer = new(new NodeId(3), 0x00c0_ffee_00c0_ffee);
    private static readonly ConfigurationNumber s_configuration = new(12);
    private static readonly UInt128 s_bits = new(0x0011_2233_4455_6677, 0x8899_aabb_ccdd_eeff);
    private static readonly UInt128 s_otherBits = new(0x0f1e_2d3c_4b5a_6978, 0x8796_a5b4_c3d2_e1f0);

    private static readonly HistoryEntry[] s_history =
    [
        new(new Epoch(5), new Sequence(1)),
        new(new Epoch(6), new Sequence(100_000)),
    ];

    public static IReadOnlyList<Sample> All { get; } =
    [
        .. SessionSamples(), .. WriteSamples(), .. LeaseSamples(), .. PromotionSamples(), .. EntrySamples(),
        .. ReadSamples(), .. ResyncSamples(), .. ConfigurationSamples(),
    ];

    public static Sample Get(string name) => All.Single(sample => sample.Name == name);

    private static Sample[] SessionSamples() =>
    [
        Sample.Of("Handshake", new Handshake(1, 2, new ClusterId(s_bits), new NodeId(3), 4)),
        Sample.Of("OpenSession", new OpenSession(
            s_epoch, SessionRole.Writer, new VolumeId(s_bits), new ReplicaId(2), new Incarnation(s_otherBits),
            s_configuration, s_writer, 1L << 40, 512, 1 << 20, 1 << 16)),
        Sample.Of("SessionState", new SessionState
        {
            Epoch = s_epoch,
            PromisedEpoch = new Epoch(6),
            PromisedWriter = s_writer,
            Configuration = s_configuration,
            Applied = new Sequence(100_950),
            Durable = new Sequence(100_900),
            Stage = StreamStage.Behind,
            Flags = ReplicaFlags.MemoryIntact,
            MissingRegions = 300,
            History = new MessageList<HistoryEntry>(s_history),
        }),
        Sample.Of("Close", new Close
        {
            Reason = CloseReason.WrongEpoch,
            Text = "epoch 9 is promised to 4/00000000deadbeef"u8,
        }),
    ];

    private static Sample[] WriteSamples() =>
    [
        Sample.Of("Write", new Write(
            s_epoch, new Sequence(131_073), Mutation.Write, MutationFlags.ForceUnitAccess, 1L << 33, 4096,
            0xe306_9283, new Sequence(131_000), new View(3)), 4096),
        Sample.Of("Write of zeroes", new Write(
            s_epoch, new Sequence(131_074), Mutation.WriteZeroes, MutationFlags.NoUnmap, 0, 1 << 30, 0,
            new Sequence(131_000), new View(3))),
        Sample.Of("Applied", new Applied(
            s_epoch, new Sequence(131_073), AnswerStatus.Ok, new Sequence(131_070), new Sequence(130_999))),
        Sample.Of("Flush", new Flush(s_epoch, new Sequence(131_072), new Sequence(131_000))),
        Sample.Of("Flushed", new Flushed(
            s_epoch, new Sequence(131_072), AnswerStatus.Ok, new Sequence(131_080), new Sequence(131_072))),
    ];

    private static Sample[] LeaseSamples() =>
    [
        Sample.Of("Heartbeat", new Heartbeat(
            s_epoch, 86_400_000_000_001, 2_000, new Sequence(131_000), new Sequence(131_072))),
        Sample.Of("Grant", new Grant(
            s_epoch, 86_400_000_000_001, 1_950, new Sequence(131_070), new Sequence(130_999))),
        Sample.Of("Release", new Release(s_epoch)),
    ];

    private static Sample[] PromotionSamples() =>
    [
        Sample.Of("Promise", new Promise(s_epoch, s_writer, s_configuration)),
        Sample.Of("Claim", new Claim
        {
            Epoch = s_epoch,
            Answer = ClaimAnswer.Granted,
            PromisedEpoch = s_epoch,
            PromisedWriter = s_writer,
            Configuration = s_configuration,
            Applied = new Sequence(100_950),
            Durable = new Sequence(100_900),
            Flags = ReplicaFlags.Voided | ReplicaFlags.Learner,
            VoidedIn = new Epoch(6),
            View = new View(4),
            History = new MessageList<HistoryEntry>(s_history),
        }),
        Sample.Of("EpochStart", new EpochStart(
            s_epoch, s_writer, s_configuration, new Sequence(131_072), new Sequence(131_090),
            new Sequence(100_950), new Epoch(6))),
        Sample.Of("EpochStarted", new EpochStarted(s_epoch, AnswerStatus.NoSpace)),
        Sample.Of("VersionsRequest", new VersionsRequest(s_epoch, 200)),
        Sample.Of("Versions", new Versions
        {
            Epoch = s_epoch,
            Page = 200,
            Runs = new MessageList<VersionRun>(
            [
                new VersionRun(409_600, 10, new Sequence(100_907)),
                new VersionRun(409_700, 1, new Sequence(99_999)),
            ]),
        }),
    ];

    private static Sample[] EntrySamples() =>
    [
        Sample.Of("ClaimEntries of intents", new ClaimEntries
        {
            Epoch = s_epoch,
            List = ClaimList.Intents,
            Part = 0,
            HasMore = true,
            Intents = new MessageList<IntentRun>([new IntentRun(16, 32), new IntentRun(70_000, 1)]),
        }),
        Sample.Of("ClaimEntries of missing regions", new ClaimEntries
        {
            Epoch = s_epoch,
            List = ClaimList.Missing,
            Part = 1,
            HasMore = true,
            Missing = new MessageList<MissingRun>(
                [new MissingRun(300, 20, new Epoch(5), new Sequence(90_000))]),
        }),
        Sample.Of("ClaimEntries out of order", new ClaimEntries
        {
            Epoch = s_epoch,
            List = ClaimList.OutOfOrder,
            Part = 2,
            HasMore = true,
            OutOfOrder = new MessageList<OutOfOrderEntry>(
                [new OutOfOrderEntry(new Sequence(100_953), Mutation.Discard, 1 << 20, 65_536)]),
        }),
        Sample.Of("ClaimEntries of version digests", new ClaimEntries
        {
            Epoch = s_epoch,
            List = ClaimList.VersionDigests,
            Part = 3,
            VersionDigests = new MessageList<VersionDigest>([new VersionDigest(200, new Digest(s_bits))]),
        }),
    ];

    private static Sample[] ReadSamples() =>
    [
        Sample.Of("Read", new Read(s_epoch, new RequestId(77), 1L << 33, 512, new Sequence(131_050))),
        Sample.Of("ReadReply", new ReadReply(
            s_epoch, new RequestId(77), AnswerStatus.Ok, new Sequence(131_060), 0x8a91_36aa, 512), 512),
    ];

    private static Sample[] ResyncSamples() =>
    [
        Sample.Of("DigestsRequest", new DigestsRequest(
            s_epoch, new RequestId(78), 3L << 20, 1L << 30, 1 << 20, new Sequence(131_072))),
        Sample.Of("Digests", new Digests(
            s_epoch, new RequestId(78), AnswerStatus.Ok, new Sequence(131_073), 16_384), 16_384),
        Sample.Of("CopyRequest", new CopyRequest(s_epoch, new RequestId(79), 3L << 20, 1 << 20), 32),
        Sample.Of("CopyChunk", new CopyChunk(
            s_epoch, new RequestId(79), AnswerStatus.Ok, (3L << 20) + 8192, 4096, new Sequence(131_073),
            0x98f9_4189, CopyFlags.None), 4096),
        Sample.Of("CopyChunk of zeros", new CopyChunk(
            s_epoch, new RequestId(79), AnswerStatus.Ok, 3L << 20, 65_536, new Sequence(131_073),
            0, CopyFlags.Zero)),
        Sample.Of("CopyChunk of a checksum", new CopyChunk(
            s_epoch, new RequestId(79), AnswerStatus.Ok, (3L << 20) + 4096, 4096, new Sequence(131_073),
            0x751216ec, CopyFlags.ChecksumOnly)),
        Sample.Of("Copied", new Copied(s_epoch, new RequestId(80), AnswerStatus.IoError)),
        Sample.Of("RegionDone", new RegionDone(s_epoch, new RequestId(81), 409600, new Sequence(131080))),
    ];

    private static Sample[] ConfigurationSamples() =>
    [
        Sample.Of("Configure", new Configure
        {
            Epoch = s_epoch,
            Number = s_configuration,
            Stage = ConfigurationKind.Joint,
            SizeBytes = 1L << 40,
            OldWriteQuorum = 1,
            OldReplicas = new MessageList<ReplicaMember>(
                [new ReplicaMember(new ReplicaId(1), new Incarnation(s_bits))]),
            NewWriteQuorum = 2,
            NewReplicas = new MessageList<ReplicaMember>(
            [
                new ReplicaMember(new ReplicaId(1), new Incarnation(s_bits)),
                new ReplicaMember(new ReplicaId(4), new Incarnation(s_otherBits)),
            ]),
        }),
        Sample.Of("Configured", new Configured(s_epoch, s_configuration, AnswerStatus.Ok)),
    ];
}
