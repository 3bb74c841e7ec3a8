using System.Diagnostics.CodeAnalysis;

namespace Ublk.Replication;

/// <summary>
/// Mistakes that the machines make on purpose where a test asks for one, so that it is known that the
/// simulator sees it. Each breaks the rule of the replication design that it names.
/// </summary>
internal enum Mistake
{
    /// <summary>None: everything is done as it should be.</summary>
    None,
    /// <summary>
    /// Checksums of what was hot when the process died are taken for known. Breaks section 3.
    /// </summary>
    HotChecksumsTrusted,
    /// <summary>What is read is not held against its checksum. Breaks section 7.</summary>
    ChecksumsNotCompared,
    /// <summary>D is appended although checksums are not on stable media. Breaks section 3.</summary>
    ChecksumsNotSynced,
    /// <summary>
    /// In place of a corrupt block any other copy is taken, whatever was written there. Breaks section 7.
    /// </summary>
    CorruptReplacedByAny,
    /// <summary>What nobody has any more stays readable as it is. Breaks section 7.</summary>
    LostBlockShown,
    /// <summary>That a block is lost is not to be seen in the block itself. Breaks section 7.</summary>
    LostBlockNotMarked,
    /// <summary>A write is answered when the local replica has it. Breaks section 4.4.</summary>
    AcknowledgeBeforeQuorum,
    /// <summary>
    /// The local image is read while its replica, which was away, has not applied all that was acknowledged
    /// meanwhile. Breaks section 4.5.
    /// </summary>
    LocalReadTooEarly,
    /// <summary>A flush is answered before anybody has synced. Breaks section 4.6.</summary>
    FlushAnsweredAtOnce,
    /// <summary>A FUA write is answered without a flush. Breaks section 4.6.</summary>
    ForceUnitAccessIgnored,
    /// <summary>
    /// What a replica had answered in a session before counts, whatever it says it has now. Breaks rule 20.
    /// </summary>
    FormerAnswersCount,
    /// <summary>A write is issued to a range that is being read. Breaks rule 12.</summary>
    WriteUnderRead,
    /// <summary>A read shows what only one replica may have. Breaks section 4.5.</summary>
    ReadBeforeQuorum,
    /// <summary>Reads are served without a lease. Breaks section 5.</summary>
    LeaseIgnored,
    /// <summary>The lease is not looked at again when a read ends. Breaks section 4.5.</summary>
    LeaseNotChecked,
    /// <summary>
    /// The lease counts from the grant's arrival, not from the heartbeat's sending. Breaks section 5.
    /// </summary>
    LeaseFromReceipt,
    /// <summary>
    /// A read does not wait for an operation of which its host was told that it failed. Breaks rule 16.
    /// </summary>
    FailedWriteNotWaitedFor,
    /// <summary>
    /// Held requests get a number while fewer than W replicas are reachable. Breaks rule 16.
    /// </summary>
    HeldRequestsNumbered,
    /// <summary>
    /// A replica that joins gets what has no quorum yet only from the copy of another. Breaks rule 15.
    /// </summary>
    UnacknowledgedNotSent,
    /// <summary>
    /// What a replica applied before it joined anew counts, although it may miss the range now. Breaks
    /// rule 5.
    /// </summary>
    AnswersBeforeStartCount,
    /// <summary>
    /// What a replica that has failed answers counts before it is whole again: a restart of its process takes
    /// it. Breaks rule 14.
    /// </summary>
    FailedReplicaCounts,
    /// <summary>A replica that joins counts before it has what it misses. Breaks rule 5.</summary>
    LearnerCounts,
    /// <summary>An operation on a missing region counts as applied. Breaks rule 5.</summary>
    StaleAnswerCounts,
    /// <summary>D is appended although nothing was synced. Breaks section 3.</summary>
    DurableBeforeSync,
    /// <summary>D is A of when the sync ended, not of when it began. Breaks section 4.6.</summary>
    DurableOfTheEnd,
    /// <summary>A failed sync is taken for a good one. Breaks rule 14.</summary>
    SyncErrorIgnored,
    /// <summary>A failed write is answered like a good one. Breaks rule 15.</summary>
    WriteErrorIgnored,
    /// <summary>A write is issued before its intents are durable. Breaks rule 4.</summary>
    IntentsNotDurable,
    /// <summary>A reconcile writes before the target's intents are durable. Breaks rule 4.</summary>
    CopyIntentsNotDurable,
    /// <summary>Intents are cleared at D, although C is lower. Breaks I-rule.</summary>
    IntentsClearedWithoutCommit,
    /// <summary>Intents are cleared at C, although D is lower. Breaks I-rule.</summary>
    IntentsClearedWithoutSync,
    /// <summary>An accepted operation does not stamp the version of its region. Breaks section 3.</summary>
    VersionNotStamped,
    /// <summary>Operations are applied before the epoch's start is durable. Breaks rule 9.</summary>
    WriteBeforeStart,
    /// <summary>Overlapping operations are issued at once. Breaks section 4.3.</summary>
    RangesNotOrdered,
    /// <summary>
    /// An operation that is applied already is applied again when it is sent again. Breaks rule 20.
    /// </summary>
    AppliedTwice,
    /// <summary>
    /// The session and the operations of an older epoch's writer are taken. Breaks rule 8, S4.
    /// </summary>
    OldWriterNotRefused,
    /// <summary>C is not taken from heartbeats. Breaks rule 21.</summary>
    HeartbeatsWithoutCommit,
    /// <summary>A promise is answered before it is durable. Breaks section 5.</summary>
    PromiseAnsweredBeforeDurable,
    /// <summary>A lower epoch than the promised one is promised. Breaks section 5.</summary>
    LowerEpochPromised,
    /// <summary>One epoch is promised to two writers. Breaks section 5.</summary>
    EpochPromisedTwice,
    /// <summary>
    /// A promise is given to a writer that knows an older configuration. Breaks rule 18.
    /// </summary>
    OldConfigurationPromised,
    /// <summary>A claim is told while a grant to another writer runs. Breaks section 5.</summary>
    GrantsNotWaitedFor,
    /// <summary>A restarted replica does not wait for the grants that it forgot. Breaks section 5.</summary>
    GrantsForgotten,
    /// <summary>
    /// A lease is granted that a restart would not know how long to wait for. Breaks rule 8.
    /// </summary>
    LeaseNotRecorded,
    /// <summary>
    /// A replica waits for a grant without the margin for drifting clocks. Breaks section 5.
    /// </summary>
    DriftIgnored,
    /// <summary>A claim is told while accepted operations are under way. Breaks section 6.2.</summary>
    ClaimBeforeDrained,
    /// <summary>A replica claims A for its missing regions too. Breaks section 6.3.</summary>
    ClaimPerReplica,
    /// <summary>After a loss of power a replica claims A instead of D. Breaks section 3.</summary>
    AppliedClaimedAfterPowerLoss,
    /// <summary>The live page of another boot is trusted. Breaks section 3.</summary>
    PageOfAnotherBoot,
    /// <summary>A replica that lost its memory with intents pending is not voided. Breaks rule 1.</summary>
    NotVoided,
    /// <summary>A restart makes a replica's loss of memory invisible. Breaks rule 1.</summary>
    VoidForgotten,
    /// <summary>Recovery counts the claims of voided replicas. Breaks rule 1.</summary>
    VoidedClaimsCount,
    /// <summary>
    /// A replica that had lost its memory before others went on without it counts as of this outage. Breaks
    /// rule 1.
    /// </summary>
    FormerVoidsCount,
    /// <summary>What is applied in a view is answered before the view is durable. Breaks rule 1.</summary>
    ViewNotDurable,
    /// <summary>
    /// The old set is left although only it holds something that was acknowledged. Breaks rule 18.
    /// </summary>
    JointLeftUnsettled,
    /// <summary>A joint configuration counts although too few have recorded it. Breaks rule 18.</summary>
    JointNotDurable,
    /// <summary>Recovery goes on with W claims where R are needed. Breaks section 6.2.</summary>
    FewerPromises,
    /// <summary>An epoch's first number follows the last one seen. Breaks rule 3.</summary>
    NoGap,
    /// <summary>Claims of different histories are compared by their numbers alone. Breaks rule 2.</summary>
    HigherNumberWins,
    /// <summary>What a replica applied above its A is not laid over the source. Breaks section 6.4.</summary>
    OutOfOrderNotLaidOver,
    /// <summary>Regions with intents are not reconciled. Breaks section 6.4.</summary>
    UncertainWithoutIntents,
    /// <summary>Regions with different versions are not reconciled. Breaks section 6.4.</summary>
    UncertainWithoutVersions,
    /// <summary>Missing regions are not reconciled. Breaks section 6.4.</summary>
    UncertainWithoutMissing,
    /// <summary>What was reconciled keeps its old version. Breaks rule 6.</summary>
    ReconciledNotStamped,
    /// <summary>The epoch's start is sent before the copies have ended. Breaks section 6.5.</summary>
    StartBeforeCopied,
    /// <summary>Serving begins with one start record. Breaks section 6.5.</summary>
    FewerStarts,
    /// <summary>The start of an epoch is answered before its record is durable. Breaks section 6.5.</summary>
    StartAnsweredBeforeDurable,
    /// <summary>An epoch starts without the copies being on stable media. Breaks section 6.5.</summary>
    StartWithoutSync,
    /// <summary>What a joining replica has intents for is not missing to it. Breaks rule 2.</summary>
    JoinWithoutIntents,
    /// <summary>
    /// What a joining replica misses is computed from its A, not from the common point. Breaks rule 2.
    /// </summary>
    MissingFromApplied,
    /// <summary>
    /// Operations since the comparison are not missing to a joining replica. Breaks section 7.
    /// </summary>
    JoinWithoutOperations,
    /// <summary>A piece of a resync is laid over operations that came since. Breaks section 7.</summary>
    PieceOverNewer,
    /// <summary>A region is no longer missing before its copy is on stable media. Breaks rule 19.</summary>
    RegionLeavesBeforeSync,
    /// <summary>The local image is read where it is missing. Breaks section 4.5.</summary>
    StaleLocalRead,
    /// <summary>A peer answers a read before it has applied what was acknowledged. Breaks rule 13.</summary>
    PeerReadTooEarly,
    /// <summary>
    /// Equal versions of replicas whose histories have parted count as equal content. Breaks rule 2.
    /// </summary>
    PartedVersionsCompared,
    /// <summary>
    /// Digests of a position of the stream do not wait for what comes before it. Breaks section 7.
    /// </summary>
    DigestsOutOfOrder,
    /// <summary>
    /// What differs is repaired from a replica that no other agrees with. Breaks section 7.
    /// </summary>
    RepairedFromAnybody,
    /// <summary>A repair is written over what the host has written since. Breaks section 7.</summary>
    RepairOverNewer,
}

/// <summary>Whether a mistake is to be made. In a program as it is shipped none ever is.</summary>
internal static class Mistakes
{
    private const string Switch = "Ublk.Replication.PlantedMistakes";

    [ThreadStatic]
    private static Mistake t_made;

    /// <summary>The mistake that machines on this thread make.</summary>
    public static Mistake Made
    {
        get => t_made;
        set => t_made = ArePossible || value == Mistake.None
            ? value : throw new InvalidOperationException($"the switch {Switch} is off");
    }

    // A constant for the compilers: off, the trimmed and the compiled program have no mistake in them.
    [FeatureSwitchDefinition(Switch)]
    private static bool ArePossible { get; } = AppContext.TryGetSwitch(Switch, out bool isOn) && isOn;

    /// <summary>Whether to make a mistake here.</summary>
    /// <param name="mistake">Which.</param>
    public static bool Make(Mistake mistake) => ArePossible && t_made == mistake;
}
