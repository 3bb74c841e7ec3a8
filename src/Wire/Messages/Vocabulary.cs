namespace Ublk.Wire.Messages;

// Enumerations of the wire. All are closed: a value that is not listed is a protocol error. Values of
// each are without gaps, which a test holds them to.

/// <summary>What a sequenced operation does.</summary>
public enum Mutation : byte
{
    /// <summary>Stores the payload.</summary>
    Write = 1,
    /// <summary>The range is no longer needed and reads as zeros.</summary>
    Discard = 2,
    /// <summary>The range reads as zeros.</summary>
    WriteZeroes = 3,
}

/// <summary>How a sequenced operation is done.</summary>
[Flags]
public enum MutationFlags : byte
{
    /// <summary>Nothing special.</summary>
    None = 0,
    /// <summary>
    /// FUA: a flush through this operation follows. A replica may begin early; it answers as usual.
    /// </summary>
    ForceUnitAccess = 1,
    /// <summary>Write zeroes must keep the range's space allocated; only with write zeroes.</summary>
    NoUnmap = 2,
}

/// <summary>Outcome of what was asked of a replica.</summary>
public enum AnswerStatus : byte
{
    /// <summary>Done, completely.</summary>
    Ok = 0,
    /// <summary>The range touches regions missing here; the operation does not count.</summary>
    Missing = 1,
    /// <summary>
    /// Not everything that was acknowledged for the range is applied here, or the replica is not in sync.
    /// </summary>
    NotCurrent = 2,
    /// <summary>The medium failed; after a write its region is missing here.</summary>
    IoError = 3,
    /// <summary>No space left under the image or in the metadata ring.</summary>
    NoSpace = 4,
    /// <summary>The replica has failed for good (fsync error) and answers nothing else.</summary>
    Failed = 5,
    /// <summary>The epoch is not the promised one, or its start record is not durable here.</summary>
    WrongEpoch = 6,
    /// <summary>The payload's checksum does not match.</summary>
    BadChecksum = 7,
    /// <summary>The range or its alignment is not the volume's.</summary>
    InvalidRange = 8,
    /// <summary>Not now, for want of room; ask again.</summary>
    Busy = 9,
    /// <summary>What is read there is not what was written: its checksum does not match.</summary>
    Corrupt = 10,
}

/// <summary>What a session is for.</summary>
public enum SessionRole : byte
{
    /// <summary>The writer of the epoch, or who wants to be: may send everything.</summary>
    Writer = 1,
    /// <summary>A replica that pulls what it misses: may ask for versions, digests and copies only.</summary>
    Puller = 2,
}

/// <summary>Where a replica stands in the stream of operations.</summary>
public enum StreamStage : byte
{
    /// <summary>Takes operations from A + 1 on.</summary>
    InStream = 1,
    /// <summary>Lacks more than the window holds: must be resynced.</summary>
    Behind = 2,
    /// <summary>Takes operations and pulls what it misses underneath.</summary>
    Resyncing = 3,
}

/// <summary>What a replica says of itself.</summary>
[Flags]
public enum ReplicaFlags : byte
{
    /// <summary>Nothing of what follows.</summary>
    None = 0,
    /// <summary>Power was lost over hot grains, and the replica is not fully in sync since.</summary>
    Voided = 1,
    /// <summary>An fsync failed; what counts is D, with everything hot void.</summary>
    Failed = 2,
    /// <summary>Same boot as when it was last written: A is exact. Otherwise only D is claimed.</summary>
    MemoryIntact = 4,
    /// <summary>Being filled; counts for nothing yet.</summary>
    Learner = 8,
}

/// <summary>Answer to a promise request.</summary>
public enum ClaimAnswer : byte
{
    /// <summary>Promised, durably.</summary>
    Granted = 0,
    /// <summary>A higher epoch is promised.</summary>
    HigherEpoch = 1,
    /// <summary>This epoch is promised to another writer.</summary>
    OtherWriter = 2,
    /// <summary>A newer configuration is known here.</summary>
    NewerConfiguration = 3,
    /// <summary>The promise could not be stored, or accepted operations did not end in time.</summary>
    Failed = 4,
}

/// <summary>What the entries of a part of a claim are.</summary>
public enum ClaimList : byte
{
    /// <summary>Grains that may hold bytes newer than D: <see cref="IntentRun"/>.</summary>
    Intents = 1,
    /// <summary>Regions known stale, with their old claim: <see cref="MissingRun"/>.</summary>
    Missing = 2,
    /// <summary>Operations applied above A: <see cref="OutOfOrderEntry"/>.</summary>
    OutOfOrder = 3,
    /// <summary>Digests of the pages of region versions: <see cref="VersionDigest"/>.</summary>
    VersionDigests = 4,
}

/// <summary>What a chunk of a copy is.</summary>
[Flags]
public enum CopyFlags : byte
{
    /// <summary>The payload holds the bytes.</summary>
    None = 0,
    /// <summary>The range is all zeros, and the payload empty.</summary>
    Zero = 1,
    /// <summary>
    /// The bytes of the block are lost; of what was written there only the checksum is known, as replicas
    /// with checksums keep it: it takes the place of that of the payload, which is empty.
    /// </summary>
    ChecksumOnly = 2,
}

/// <summary>Stage of a change of configuration.</summary>
public enum ConfigurationKind : byte
{
    /// <summary>The old and the new set must both agree.</summary>
    Joint = 1,
    /// <summary>The new set alone counts.</summary>
    New = 2,
}

/// <summary>Why a connection is closed.</summary>
public enum CloseReason : byte
{
    /// <summary>Nothing more to say.</summary>
    Done = 1,
    /// <summary>The process ends.</summary>
    Shutdown = 2,
    /// <summary>A message was malformed, or had no place here.</summary>
    ProtocolError = 3,
    /// <summary>No common protocol version.</summary>
    Version = 4,
    /// <summary>Another cluster.</summary>
    WrongCluster = 5,
    /// <summary>This node has no replica of that volume, number and incarnation.</summary>
    UnknownReplica = 6,
    /// <summary>Size or units differ from the replica's.</summary>
    WrongGeometry = 7,
    /// <summary>A higher epoch, or another writer, is promised.</summary>
    WrongEpoch = 8,
    /// <summary>A newer configuration is known here.</summary>
    WrongConfiguration = 9,
    /// <summary>A newer session of the same peer took over.</summary>
    Superseded = 10,
    /// <summary>The peer was silent for too long.</summary>
    TimedOut = 11,
    /// <summary>The replica failed.</summary>
    Failed = 12,
    /// <summary>No room for another session.</summary>
    Overloaded = 13,
    /// <summary>Not the node it says it is, or one that is not trusted.</summary>
    NotTrusted = 14,
}
