using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Tests.Unit.Wire;

/// <summary>List messages with as many entries as allowed, each as long as can be.</summary>
internal static class LongestSamples
{
    private const int Max = MessageLimits.MaxClaimEntries;
    private const long Far = 1L << 40;
    private static readonly Sequence s_last = new(long.MaxValue);
    private static readonly Epoch s_epoch = new(long.MaxValue);
    private static readonly Writer s_writer = new(new NodeId(uint.MaxValue), long.MaxValue);

    public static VersionRun[] Runs { get; } =
        [.. Numbers(MessageLimits.RegionsPerVersionPage).Select(i => new VersionRun(Far + i, 1, s_last))];

    public static IReadOnlyList<Sample> All { get; } =
    [
        Sample.Of("Versions", new Versions
        {
            Epoch = s_epoch,
            Page = MessageLimits.MaxVersionPages,
            Runs = new MessageList<VersionRun>(Runs),
        }),
        Sample.Of("Claim", new Claim
        {
            Epoch = s_epoch,
            Answer = ClaimAnswer.Granted,
            PromisedEpoch = s_epoch,
            PromisedWriter = s_writer,
            Configuration = new ConfigurationNumber(long.MaxValue),
            Applied = s_last,
            Durable = s_last,
            History = new MessageList<HistoryEntry>(
            [
                .. Numbers(MessageLimits.MaxHistoryEntries)
                    .Select(i => new HistoryEntry(new Epoch((ulong)(Far + i)), s_last)),
            ]),
        }),
        Entries(new ClaimEntries
        {
            List = ClaimList.Intents,
            Intents = new MessageList<IntentRun>(
                [.. Numbers(Max).Select(i => new IntentRun(Far + (i * (1L << 33)), 1L << 33))]),
        }),
        Entries(new ClaimEntries
        {
            List = ClaimList.Missing,
            Missing = new MessageList<MissingRun>(
            [
                .. Numbers(Max).Select(
                    i => new MissingRun(Far + (i * (1L << 33)), 1L << 33, s_epoch, s_last)),
            ]),
        }),
        Entries(new ClaimEntries
        {
            List = ClaimList.OutOfOrder,
            OutOfOrder = new MessageList<OutOfOrderEntry>(
            [
                .. Numbers(Max).Select(i => new OutOfOrderEntry(
                    new Sequence((ulong)(Far + i)), Mutation.Discard, Far, 1 << 30)),
            ]),
        }),
        Entries(new ClaimEntries
        {
            List = ClaimList.VersionDigests,
            VersionDigests = new MessageList<VersionDigest>(
            [
                .. Numbers(Max).Select(
                    i => new VersionDigest((1L << 32) + i, new Digest(UInt128.MaxValue))),
            ]),
        }),
    ];

    private static IEnumerable<long> Numbers(int count) => Enumerable.Range(0, count).Select(i => (long)i);

    private static Sample Entries(in ClaimEntries entries) => Sample.Of($"{entries.List}", entries);
}
