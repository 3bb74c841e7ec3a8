using Ublk.Wire.Ids;

namespace Ublk.Replication.Store;

/// <summary>A place in a volume's history: sequences compare only within one epoch's history.</summary>
/// <param name="Epoch">Epoch of the history.</param>
/// <param name="Sequence">Sequence number.</param>
public readonly record struct HistoryPoint(ulong Epoch, ulong Sequence);

/// <summary>
/// The highest promise: lower epochs, the same epoch from another writer and older configurations are
/// refused from now on. Written twice.
/// <code>
///  0  2  type 1;  2  2  length 40;  4  4  zero
///  8  8  epoch
/// 16  8  node of the writer, 0 to 2^32 − 1
/// 24  8  nonce of the writer
/// 32  8  number of the configuration
/// </code>
/// </summary>
/// <param name="Epoch">Epoch; 0: none promised yet.</param>
/// <param name="Writer">Whom it was promised to.</param>
/// <param name="Configuration">Number of the configuration it belongs to.</param>
public readonly record struct PromiseEntry(ulong Epoch, Writer Writer, ulong Configuration)
    : IMetadataEntry
{
    private const int NodeAt = 16;

    /// <inheritdoc/>
    public EntryRoom Room => EntryRoom.Reserved;

    /// <inheritdoc/>
    public int EncodedBytes => 40;

    /// <inheritdoc/>
    public void Encode(Span<byte> bytes)
    {
        bytes.PutHead(MetadataEntryType.Promise);
        bytes.PutU64(8, Epoch);
        bytes.PutU64(NodeAt, Writer.Node.Value);
        bytes.PutU64(24, Writer.Nonce);
        bytes.PutU64(32, Configuration);
    }

    internal static PromiseEntry Decode(ReadOnlySpan<byte> bytes) =>
        new(bytes.U64(8), new Writer(new NodeId(bytes.U32(NodeAt)), bytes.U64(24)), bytes.U64(32));

    /// <summary>Whether the node of an entry of the right length is a number that can be.</summary>
    internal static bool IsPossible(ReadOnlySpan<byte> bytes) => bytes.U64(NodeAt) <= uint.MaxValue;
}

/// <summary>
/// The epoch that may write here: until this is durable, its writes are refused. Written twice.
/// <code>
///  0  2  type 3;  2  2  length 32;  4  4  zero
///  8  8  epoch
/// 16  8  first sequence of the epoch
/// 24  8  adopted durable sequence
/// </code>
/// </summary>
/// <param name="Epoch">Epoch; 0: none yet.</param>
/// <param name="FirstSequence">Its first sequence.</param>
/// <param name="AdoptedDurable">The D that the reconciliation made.</param>
public readonly record struct EpochStartEntry(ulong Epoch, ulong FirstSequence, ulong AdoptedDurable)
    : IMetadataEntry
{
    /// <inheritdoc/>
    public EntryRoom Room => EntryRoom.Reserved;

    /// <inheritdoc/>
    public int EncodedBytes => 32;

    /// <inheritdoc/>
    public void Encode(Span<byte> bytes)
    {
        bytes.PutHead(MetadataEntryType.EpochStart);
        bytes.PutU64(8, Epoch);
        bytes.PutU64(16, FirstSequence);
        bytes.PutU64(24, AdoptedDurable);
    }

    internal static EpochStartEntry Decode(ReadOnlySpan<byte> bytes) =>
        new(bytes.U64(8), bytes.U64(16), bytes.U64(24));
}

/// <summary>
/// An entry of the epoch history, which tells where two histories part.
/// <code>
///  0  2  type 4;  2  2  length 24;  4  4  zero
///  8  8  epoch
/// 16  8  first sequence of the epoch
/// </code>
/// </summary>
/// <param name="Epoch">Epoch, 1 or more.</param>
/// <param name="FirstSequence">Its first sequence.</param>
public readonly record struct EpochEntry(ulong Epoch, ulong FirstSequence) : IMetadataEntry
{
    /// <inheritdoc/>
    public EntryRoom Room => EntryRoom.Reserved;

    /// <inheritdoc/>
    public int EncodedBytes => 24;

    /// <inheritdoc/>
    public void Encode(Span<byte> bytes)
    {
        bytes.PutHead(MetadataEntryType.History);
        bytes.PutU64(8, Epoch);
        bytes.PutU64(16, FirstSequence);
    }

    internal static EpochEntry Decode(ReadOnlySpan<byte> bytes) => new(bytes.U64(8), bytes.U64(16));
}

/// <summary>
/// D: everything up to it is on stable media here, outside the missing regions. Appended after the data's
/// fdatasync returned and before the flush is answered. It may go down, when a history is cut.
/// <code>
///  0  2  type 5;  2  2  length 24;  4  4  zero
///  8  8  epoch of the history
/// 16  8  sequence
/// </code>
/// </summary>
/// <param name="Point">The place in the history.</param>
public readonly record struct DurableEntry(HistoryPoint Point) : IMetadataEntry
{
    /// <inheritdoc/>
    public EntryRoom Room => EntryRoom.Reserved;

    /// <inheritdoc/>
    public int EncodedBytes => 24;

    /// <inheritdoc/>
    public void Encode(Span<byte> bytes)
    {
        bytes.PutHead(MetadataEntryType.Durable);
        bytes.PutU64(8, Point.Epoch);
        bytes.PutU64(16, Point.Sequence);
    }

    internal static DurableEntry Decode(ReadOnlySpan<byte> bytes) =>
        new(new HistoryPoint(bytes.U64(8), bytes.U64(16)));
}

/// <summary>
/// What A was set to when this history began here: the position of the epoch's start, before the first
/// operation that was sent here. Holds until the live page speaks of the same history.
/// <code>
///  0  2  type 6;  2  2  length 24;  4  4  zero
///  8  8  epoch of the history
/// 16  8  sequence
/// </code>
/// </summary>
/// <param name="Point">The place in the history.</param>
public readonly record struct AppliedFloorEntry(HistoryPoint Point) : IMetadataEntry
{
    /// <inheritdoc/>
    public EntryRoom Room => EntryRoom.Reserved;

    /// <inheritdoc/>
    public int EncodedBytes => 24;

    /// <inheritdoc/>
    public void Encode(Span<byte> bytes)
    {
        bytes.PutHead(MetadataEntryType.AppliedFloor);
        bytes.PutU64(8, Point.Epoch);
        bytes.PutU64(16, Point.Sequence);
    }

    internal static AppliedFloorEntry Decode(ReadOnlySpan<byte> bytes) =>
        new(new HistoryPoint(bytes.U64(8), bytes.U64(16)));
}

/// <summary>What is wrong with a replica as a whole; survives restarts.</summary>
[Flags]
public enum ReplicaCondition : uint
{
    /// <summary>Nothing.</summary>
    Sound = 0,
    /// <summary>It lost its memory with intents pending, and is not in sync again yet.</summary>
    Voided = 1,
    /// <summary>An fdatasync of the image failed: what was claimed beyond D is void.</summary>
    Failed = 2,
}

/// <summary>
/// The replica's condition.
/// <code>
///  0  2  type 7;  2  2  length 16
///  4  4  flags: 1 voided, 2 failed
///  8  8  epoch of the history in which memory was lost; 0 unless voided
/// </code>
/// </summary>
/// <param name="Condition">All that holds from now on.</param>
/// <param name="VoidedIn">
/// Epoch of the history in which memory was lost, which tells this outage from an older one; 0 unless voided.
/// </param>
public readonly record struct ConditionEntry(ReplicaCondition Condition, ulong VoidedIn) : IMetadataEntry
{
    /// <inheritdoc/>
    public EntryRoom Room => EntryRoom.Reserved;

    /// <inheritdoc/>
    public int EncodedBytes => 16;

    /// <inheritdoc/>
    public void Encode(Span<byte> bytes)
    {
        bytes.PutHead(MetadataEntryType.Condition, (uint)Condition);
        bytes.PutU64(8, VoidedIn);
    }

    /// <summary>Whether an epoch is named only where memory was lost.</summary>
    internal bool IsPossible =>
        VoidedIn == 0 || (Condition & ReplicaCondition.Voided) != ReplicaCondition.Sound;

    internal static ConditionEntry Decode(ReadOnlySpan<byte> bytes) =>
        new((ReplicaCondition)bytes.U32(4), bytes.U64(8));
}

/// <summary>
/// The longest lease ever configured, in milliseconds: what a restarted replica waits before it promises.
/// <code>
///  0  2  type 8;  2  2  length 8
///  4  4  milliseconds
/// </code>
/// </summary>
/// <param name="Milliseconds">Length; only a longer one changes anything.</param>
public readonly record struct LongestLeaseEntry(uint Milliseconds) : IMetadataEntry
{
    /// <inheritdoc/>
    public EntryRoom Room => EntryRoom.Reserved;

    /// <inheritdoc/>
    public int EncodedBytes => 8;

    /// <inheritdoc/>
    public void Encode(Span<byte> bytes) => bytes.PutHead(MetadataEntryType.LongestLease, Milliseconds);

    internal static LongestLeaseEntry Decode(ReadOnlySpan<byte> bytes) => new(bytes.U32(4));
}

/// <summary>
/// The volume's size: grows, never shrinks. The image was extended and synced before.
/// <code>
///  0  2  type 9;  2  2  length 16;  4  4  zero
///  8  8  bytes
/// </code>
/// </summary>
/// <param name="Bytes">Size in bytes.</param>
public readonly record struct SizeEntry(long Bytes) : IMetadataEntry
{
    /// <inheritdoc/>
    public EntryRoom Room => EntryRoom.Reserved;

    /// <inheritdoc/>
    public int EncodedBytes => 16;

    /// <inheritdoc/>
    public void Encode(Span<byte> bytes)
    {
        bytes.PutHead(MetadataEntryType.Size);
        bytes.PutU64(8, (ulong)Bytes);
    }

    internal static SizeEntry Decode(ReadOnlySpan<byte> bytes) => new((long)bytes.U64(8));
}

/// <summary>
/// Under which start of the machine the replica was last opened. Kept also here, because the live page may
/// be lost: with another boot id and intents pending, the replica is voided.
/// <code>
///  0  2  type 10;  2  2  length 32;  4  4  zero
///  8 16  boot id
/// 24  8  instance of the backing device
/// </code>
/// </summary>
/// <param name="Boot">The boot id of the system.</param>
/// <param name="Backing">Number that changes when the device behind the image is another one.</param>
public readonly record struct BootEntry(Guid Boot, ulong Backing) : IMetadataEntry
{
    /// <inheritdoc/>
    public EntryRoom Room => EntryRoom.Reserved;

    /// <inheritdoc/>
    public int EncodedBytes => 32;

    /// <inheritdoc/>
    public void Encode(Span<byte> bytes)
    {
        bytes.PutHead(MetadataEntryType.Boot);
        bytes.PutId(8, Boot);
        bytes.PutU64(24, Backing);
    }

    internal static BootEntry Decode(ReadOnlySpan<byte> bytes) => new(bytes.Id(8), bytes.U64(24));
}

/// <summary>
/// How far a resync has come: it resumes, never restarts.
/// <code>
///  0  2  type 11;  2  2  length 32
///  4  4  pass; 0: no resync
///  8  8  epoch of the position
/// 16  8  stream position that the pass was begun at
/// 24  8  next region; everything before it was copied in this pass
/// </code>
/// </summary>
/// <param name="Pass">Number of the pass; 0: no resync is under way.</param>
/// <param name="Position">Where in the stream the pass began.</param>
/// <param name="NextRegion">First region that is not copied yet.</param>
public readonly record struct ResyncCursorEntry(uint Pass, HistoryPoint Position, ulong NextRegion)
    : IMetadataEntry
{
    /// <inheritdoc/>
    public EntryRoom Room => EntryRoom.Common;

    /// <inheritdoc/>
    public int EncodedBytes => 32;

    /// <inheritdoc/>
    public void Encode(Span<byte> bytes)
    {
        bytes.PutHead(MetadataEntryType.ResyncCursor, Pass);
        bytes.PutU64(8, Position.Epoch);
        bytes.PutU64(16, Position.Sequence);
        bytes.PutU64(24, NextRegion);
    }

    internal static ResyncCursorEntry Decode(ReadOnlySpan<byte> bytes) =>
        new(bytes.U32(4), new HistoryPoint(bytes.U64(8), bytes.U64(16)), bytes.U64(24));
}

/// <summary>
/// The newest view: which replicas count changes within an epoch, and what is applied here in a view is
/// answered only once its number is durable. A replica that has lost its memory thereby tells whether others
/// went on without it.
/// <code>
///  0  2  type 12;  2  2  length 24;  4  4  zero
///  8  8  epoch
/// 16  8  number of the view, from 1
/// </code>
/// </summary>
/// <param name="Epoch">Epoch; of another one than that of the history it says nothing.</param>
/// <param name="Number">Number within the epoch.</param>
public readonly record struct ViewEntry(ulong Epoch, ulong Number) : IMetadataEntry
{
    /// <inheritdoc/>
    public EntryRoom Room => EntryRoom.Reserved;

    /// <inheritdoc/>
    public int EncodedBytes => 24;

    /// <inheritdoc/>
    public void Encode(Span<byte> bytes)
    {
        bytes.PutHead(MetadataEntryType.View);
        bytes.PutU64(8, Epoch);
        bytes.PutU64(16, Number);
    }

    internal static ViewEntry Decode(ReadOnlySpan<byte> bytes) => new(bytes.U64(8), bytes.U64(16));
}
