using Ublk.Uring;

namespace Ublk.Replication.Store;

/// <summary>
/// Appends to the metadata ring. What is appended while a write is under way goes into the next record
/// together (group commit); one write at a time, so that after a crash at most the last record is torn and
/// anything else that is damaged is damage. Records fold into the state as they become durable, and tokens
/// complete in the order of appending. Promises, configurations and epoch starts complete when they are in
/// the vault too. Checkpoints come by themselves. A failed write is the end: nothing completes after it.
/// </summary>
/// <remarks>
/// Without threads, clocks and files. No allocation per append once the queue has grown to its working size.
/// </remarks>
public sealed class MetadataLog
{
    /// <summary>Token of an append whose end nobody waits for.</summary>
    public const ulong NoToken = 0;

    private readonly RingLayout _layout;
    private readonly IMetadataLogEffects _effects;
    private readonly IoBuffer _record;
    private readonly AppendQueue _queue = new();
    private readonly CheckpointWriter _checkpoint;
    private ulong _lastRecord;
    private uint _lastCrc;
    private ulong _checkpointBegin;
    private ulong _lastVaultRecord;
    private long _queuedSizeBytes;
    private int _queuedClaims;
    private int _batchBytes;
    private bool _isFirst = true;
    private bool _mustCheckpoint;

    // The write under way.
    private Flight _flight;
    private RecordHeader _flightHeader;
    private uint _flightCrc;
    private ulong _flightCheckpoint;
    private long _flightEnd;
    private int _flightLiveAt;
    private int _flightClaims;

    // As of the end of the record under way. The vault never has what a batch that is not ended says.
    private bool _isVaultBehind;
    private bool _isBatchOpen;

    /// <summary>Goes on where a recovery, or a format, has left off.</summary>
    /// <param name="state">The state at that position; the log's own from now on.</param>
    /// <param name="layout">Where the records lie.</param>
    /// <param name="position">The position.</param>
    /// <param name="record">4096 bytes for the record under way; the driver may need them aligned.</param>
    /// <param name="effects">The driver.</param>
    public MetadataLog(
        MetadataState state, RingLayout layout, LogPosition position, in IoBuffer record,
        IMetadataLogEffects effects)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(
            record.LengthBytes, MetadataRecord.Bytes, nameof(record));
        State = state;
        _layout = layout;
        _record = record;
        _effects = effects;
        _checkpoint = new CheckpointWriter(state);
        _lastRecord = position.LastRecord;
        _lastCrc = position.LastCrc;
        _checkpointBegin = position.CheckpointBegin;
        _lastVaultRecord = position.LastVaultRecord;
        _queuedSizeBytes = state.SizeBytes;
        _mustCheckpoint = position.LastRecord == 0;
    }

    private enum Flight : byte
    {
        None,
        Ring,
        Vault,
    }

    /// <summary>What is durable.</summary>
    public MetadataState State { get; }

    /// <summary>Whether a write failed; for good.</summary>
    public bool HasFailed { get; private set; }

    /// <summary>Number of the last durable record.</summary>
    public ulong LastRecord => _lastRecord;

    /// <summary>Whether nothing is queued or under way.</summary>
    public bool IsIdle => _flight == Flight.None && _queue.Bytes == 0 && !_checkpoint.IsActive;

    /// <summary>Whether a checkpoint is under way or about to begin: there will be room after it.</summary>
    public bool IsCheckpointing => _checkpoint.IsActive || _mustCheckpoint;

    /// <summary>Records of the ring that may be written before another checkpoint is complete.</summary>
    public long FreeRecords => (long)(_checkpointBegin + (ulong)_layout.Records - 1 - _lastRecord) -
        (_flight == Flight.Ring ? 1 : 0);

    /// <summary>What the log has done since it was opened.</summary>
    public MetadataLogCounters Counters { get; } = new();

    /// <summary>Queues an entry; <see cref="Issue"/> starts writing.</summary>
    /// <typeparam name="T">Type of the entry.</typeparam>
    /// <param name="entry">The entry.</param>
    /// <param name="token">Completes when it is durable; <see cref="NoToken"/> where nobody waits.</param>
    /// <exception cref="ArgumentException">The entry cannot be: outside of the volume, for one.</exception>
    public AppendResult Append<T>(in T entry, ulong token) where T : IMetadataEntry, allows ref struct
    {
        ThrowUnless(_batchBytes == 0);
        AppendResult result = RoomFor(entry.EncodedBytes, entry.Room);
        if (result != AppendResult.Queued)
        {
            return result;
        }

        long sizeBytes = _queuedSizeBytes;
        MetadataEntryType type = Queue(entry);
        bool isTooMuch = EntryCheck.IsClaim(type) && !HasRoomForClaims(0) ||
            type == MetadataEntryType.Size && !RingSpace.IsEnough(_layout.Records, _queuedSizeBytes);
        if (isTooMuch)
        {
            TakeBack(type, entry.EncodedBytes);
            _queuedSizeBytes = sizeBytes;
            return AppendResult.NoRoom;
        }

        if (token != NoToken)
        {
            _queue.AddWaiter(token);
        }

        return result;
    }

    /// <summary>
    /// Begins a batch: entries that hold together, or after a crash not at all. Nothing else may be appended
    /// before <see cref="EndBatch"/>; all of it belongs into one step of the owner.
    /// </summary>
    /// <param name="bytes">Upper bound of the entries' length; takes reserved room.</param>
    /// <param name="claims">Entries among them that make regions missing.</param>
    public AppendResult BeginBatch(int bytes, int claims = 0)
    {
        ThrowUnless(_batchBytes == 0);
        bytes += 2 * MetadataEntry.MinBytes;
        AppendResult result = HasRoomForClaims(claims)
            ? RoomFor(bytes, EntryRoom.Reserved) : AppendResult.NoRoom;
        if (result == AppendResult.Queued)
        {
            _batchBytes = bytes - MetadataEntry.MinBytes;
            Queue(new MarkEntry(MetadataEntryType.BatchBegin));
        }

        return result;
    }

    /// <summary>Adds an entry to the batch.</summary>
    /// <typeparam name="T">Type of the entry.</typeparam>
    /// <param name="entry">The entry.</param>
    /// <exception cref="InvalidOperationException">The batch is longer than it was said to be.</exception>
    public void AddToBatch<T>(in T entry) where T : IMetadataEntry, allows ref struct
    {
        ThrowUnless(_batchBytes - entry.EncodedBytes >= MetadataEntry.MinBytes);
        _batchBytes -= entry.EncodedBytes;
        Queue(entry);
    }

    /// <summary>Ends the batch.</summary>
    /// <param name="token">Completes when all of it is durable.</param>
    public void EndBatch(ulong token)
    {
        ThrowUnless(_batchBytes > 0);
        _batchBytes = 0;
        Queue(new MarkEntry(MetadataEntryType.BatchEnd));
        if (token != NoToken)
        {
            _queue.AddWaiter(token);
        }
    }

    /// <summary>
    /// Starts a write when there is something to write and none is under way. The owner calls it at the end
    /// of each of its rounds, so that all of a round goes into one record.
    /// </summary>
    public void Issue()
    {
        ThrowUnless(_batchBytes == 0);
        if (_flight == Flight.None && !HasFailed && (!IsIdle || _mustCheckpoint))
        {
            Compose();
        }
    }

    /// <summary>The write that was asked for has ended.</summary>
    /// <param name="result">0, or −errno.</param>
    public void WriteCompleted(int result)
    {
        Flight flight = _flight;
        ThrowUnless(flight != Flight.None);
        if (result < 0)
        {
            HasFailed = true;
            _flight = Flight.None;
            _effects.MetadataFailed(result);
            return;
        }

        if (flight == Flight.Ring)
        {
            Settle();
            if (_isVaultBehind && !_isBatchOpen)
            {
                WriteVault();
                return;
            }
        }
        else
        {
            Counters.VaultWrites++;
            _lastVaultRecord++;
            _isVaultBehind = false;
        }

        _flight = Flight.None;
        if (!_isVaultBehind)
        {
            Complete();
        }

        Issue();
    }

    private void Complete()
    {
        // An owner that appends and issues in between puts more into records, but not before this end.
        long end = _flightEnd;
        while (_queue.TryTakeWaiter(end, out ulong token))
        {
            _effects.Completed(token);
        }
    }

    private static void ThrowUnless(bool isInOrder)
    {
        if (!isInOrder)
        {
            throw new InvalidOperationException("the metadata log was called out of order");
        }
    }

    private AppendResult RoomFor(int bytes, EntryRoom room)
    {
        if (HasFailed)
        {
            return AppendResult.Failed;
        }

        long free = FreeRecords - RingSpace.RecordsOf(_queue.Bytes + bytes);
        long checkpoint = RingSpace.RecordsOf(
            _checkpoint.IsActive ? _checkpoint.RemainingBytes : CheckpointWriter.BytesOf(State));
        if (free >= RingSpace.KeptFrom(room, checkpoint, State.Missing.Regions))
        {
            return AppendResult.Queued;
        }

        // A checkpoint may help, and without a record to write none would begin.
        _mustCheckpoint |= !_checkpoint.IsActive && (long)(_lastRecord - _checkpointBegin) > checkpoint;
        Counters.Refused++;
        return AppendResult.NoRoom;
    }

    private bool HasRoomForClaims(int more) =>
        State.Missing.ClaimCount + _queuedClaims + more <= StoreFormat.MaxMissingClaims;

    private void TakeBack(MetadataEntryType type, int length)
    {
        _queue.DropLast(length);
        Counters.Entries--;
        Counters.Refused++;
        _queuedClaims -= EntryCheck.IsClaim(type) ? 1 : 0;
    }

    private MetadataEntryType Queue<T>(in T entry) where T : IMetadataEntry, allows ref struct
    {
        Span<byte> bytes = _queue.Add(entry.EncodedBytes);
        entry.Encode(bytes);
        ReadOnlySpan<byte> left = bytes;
        _ = MetadataEntry.TryTake(ref left, out MetadataEntryType type, out ReadOnlySpan<byte> encoded);
        if (EntryCheck.Of(type, encoded, _queuedSizeBytes) != FoldVerdict.Folded)
        {
            _queue.DropLast(bytes.Length);
            throw new ArgumentException($"an entry of type {type} that cannot be", nameof(entry));
        }

        Counters.Entries++;
        _queuedClaims += EntryCheck.IsClaim(type) ? 1 : 0;
        _queuedSizeBytes = type == MetadataEntryType.Size
            ? SizeEntry.Decode(encoded).Bytes : _queuedSizeBytes;
        return type;
    }

    // The entries of a checkpoint come first, because the state knows all earlier records but not this one.
    private void Compose()
    {
        if (FreeRecords < 1)
        {
            throw new InvalidOperationException("the metadata ring is full: its accounting is wrong");
        }

        ulong number = _lastRecord + 1;
        Span<byte> payload = MetadataRecord.Payload(_record.Span);
        _flightCheckpoint = _checkpointBegin;
        _flightLiveAt = _isBatchOpen ? 0 : FillCheckpoint(payload, number);
        int filled = _flightLiveAt + FillLive(payload[_flightLiveAt..]);
        _flightEnd = _queue.Taken;
        RecordFlags flags = _isFirst ? RecordFlags.Opened : RecordFlags.None;
        _isVaultBehind |= _isFirst; // It catches up with what a crash kept from it.
        _isFirst = false;
        _flightHeader = new RecordHeader(
            RecordKind.Ring, flags, number, _lastCrc, _checkpointBegin, filled);
        _flightCrc = MetadataRecord.Seal(_record.Span, _layout.Identity, _flightHeader);
        _flight = Flight.Ring;
        _effects.WriteDurably(RingLayout.OffsetOfSlot(_layout.SlotOf(number)), _record);
    }

    private int FillCheckpoint(Span<byte> payload, ulong number)
    {
        if (!_checkpoint.IsActive)
        {
            long start = RingSpace.StartOf(State, _queue.Bytes, _layout.Records);
            if (!_mustCheckpoint && FreeRecords > start)
            {
                return 0;
            }

            _mustCheckpoint = false;
            _checkpoint.Begin(number);
        }

        int room = Math.Max(CheckpointWriter.MinRoomBytes, payload.Length - _queue.Bytes);
        int filled = _checkpoint.Fill(payload[..room]);
        _flightCheckpoint = _checkpoint.IsActive ? _checkpointBegin : _checkpoint.BeginRecord;
        return filled;
    }

    private int FillLive(Span<byte> room)
    {
        ReadOnlySpan<byte> left = _queue.Waiting;
        int filled = 0;
        _flightClaims = 0;
        while (MetadataEntry.TryTake(ref left, out MetadataEntryType type, out ReadOnlySpan<byte> entry) &&
            entry.Length <= room.Length - filled)
        {
            entry.CopyTo(room[filled..]);
            filled += entry.Length;
            _isVaultBehind |= VaultRecord.Holds(type);
            _flightClaims += EntryCheck.IsClaim(type) ? 1 : 0;
            _isBatchOpen = type == MetadataEntryType.BatchBegin ||
                _isBatchOpen && type != MetadataEntryType.BatchEnd;
        }

        _queue.MoveOn(filled);
        return filled;
    }

    // The record is durable: what recovery would find from now on is what the state becomes. The entries of
    // a checkpoint change nothing.
    private void Settle()
    {
        ReadOnlySpan<byte> left = MetadataRecord.Payload(_record.Span, _flightHeader)[_flightLiveAt..];
        while (MetadataEntry.TryTake(ref left, out MetadataEntryType type, out ReadOnlySpan<byte> entry))
        {
            if (State.Fold(type, entry) != FoldVerdict.Folded)
            {
                throw new InvalidOperationException($"an entry of type {type} does not fold");
            }
        }

        _queuedClaims -= _flightClaims;
        Counters.CheckpointCount += _flightCheckpoint != _checkpointBegin ? 1 : 0;
        Counters.Records++;
        _lastRecord = _flightHeader.Number;
        _lastCrc = _flightCrc;
        _checkpointBegin = _flightCheckpoint;
        _effects.RecordDurable(_lastRecord);
    }

    private void WriteVault()
    {
        ulong number = _lastVaultRecord + 1;
        int length = VaultRecord.Fill(MetadataRecord.Payload(_record.Span), _lastRecord, State);
        var header = new RecordHeader(
            RecordKind.Vault, RecordFlags.None, number, 0, _checkpointBegin, length);
        MetadataRecord.Seal(_record.Span, _layout.Identity, header);
        _flight = Flight.Vault;
        int slot = (int)(number % StoreFormat.VaultSlots);
        _effects.WriteDurably(_layout.OffsetOfVaultSlot(slot), _record);
    }
}
