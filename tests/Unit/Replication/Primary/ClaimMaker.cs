using Ublk.Replication.Primary;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Tests.Unit.Replication.Primary;

/// <summary>Claims as replicas would tell them.</summary>
internal static class ClaimMaker
{
    /// <summary>A claim without lists: a replica of one epoch, which began with sequence 1.</summary>
    public static ReplicaClaim Of(
        ulong epoch, ulong applied, ReplicaFlags flags = ReplicaFlags.MemoryIntact, ulong voidedIn = 0,
        ulong view = 1)
    {
        HistoryEntry[] history = epoch == 0 ? [] : [new HistoryEntry(new Epoch(epoch), new Sequence(1))];
        return new ReplicaClaim(new Claim
        {
            Epoch = new Epoch(epoch + 1),
            Answer = ClaimAnswer.Granted,
            PromisedEpoch = new Epoch(epoch + 1),
            Applied = new Sequence(applied),
            Durable = new Sequence(applied),
            Flags = flags,
            VoidedIn = new Epoch(voidedIn),
            View = new View(view),
            History = new MessageList<HistoryEntry>(history),
        });
    }

    /// <summary>One that lost its memory in an epoch.</summary>
    public static ReplicaClaim Voided(ulong epoch, ulong applied, ulong view = 1) =>
        Of(epoch, applied, ReplicaFlags.Voided, voidedIn: epoch, view);

    public static ReplicaClaim WithIntents(this ReplicaClaim claim, params IntentRun[] runs) =>
        claim.With(new ClaimEntries
        {
            List = ClaimList.Intents, Part = claim.Parts, HasMore = true,
            Intents = new MessageList<IntentRun>(runs),
        });

    public static ReplicaClaim WithMissing(this ReplicaClaim claim, params MissingRun[] runs) =>
        claim.With(new ClaimEntries
        {
            List = ClaimList.Missing, Part = claim.Parts, HasMore = true,
            Missing = new MessageList<MissingRun>(runs),
        });

    public static ReplicaClaim WithOutOfOrder(this ReplicaClaim claim, params OutOfOrderEntry[] entries) =>
        claim.With(new ClaimEntries
        {
            List = ClaimList.OutOfOrder, Part = claim.Parts, HasMore = true,
            OutOfOrder = new MessageList<OutOfOrderEntry>(entries),
        });

    public static ReplicaClaim WithVersions(this ReplicaClaim claim, long page, params VersionRun[] runs)
    {
        claim.With(new ClaimEntries
        {
            List = ClaimList.VersionDigests, Part = claim.Parts, HasMore = true,
            VersionDigests = new MessageList<VersionDigest>(
                [new VersionDigest(page, new Digest((UInt128)runs[0].Version.Value))]),
        });
        claim.Add(new Versions { Page = page, Runs = new MessageList<VersionRun>(runs) });
        return claim;
    }

    private static ReplicaClaim With(this ReplicaClaim claim, scoped in ClaimEntries entries)
    {
        Xunit.Assert.True(claim.TryAdd(entries));
        return claim;
    }
}
