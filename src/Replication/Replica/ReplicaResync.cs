using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Replica;

/// <summary>
/// Missing regions become whole again while the stream goes on: what the primary pushes is laid underneath
/// operations that came since the region was compared. The region leaves the missing ones when D reaches
/// what was issued in it at the source; it then has intents until C reaches that too (replication design,
/// section 7 and rules 5, 19).
/// </summary>
internal sealed class ReplicaResync
{
    /// <summary>Pieces at once.</summary>
    public const int MaxPieces = 64;

    private const int SectorBytes = MessageLimits.SectorBytes;
    private const int SectorsPerRegion = StoreFormat.RegionBytes / SectorBytes;

    private readonly ReplicaContext _context;
    private readonly ReplicaFlushes _flushes;
    private readonly ReplicaIntents _intents;
    private readonly RangeOrder _order;
    private readonly List<TrackedRegion> _tracked = [];
    private readonly List<LeavingRegion> _leaving = [];
    private readonly HashSet<int> _broken = [];
    private readonly Piece[] _pieces = new Piece[MaxPieces];
    private readonly int _firstSlot;

    /// <summary>Nothing is copied.</summary>
    /// <param name="context">The replica.</param>
    /// <param name="flushes">Brings what was copied to stable media.</param>
    /// <param name="intents">What must be durable first.</param>
    /// <param name="order">Orders what touches the image.</param>
    /// <param name="firstSlot">The first slot there of those that are for pieces.</param>
    public ReplicaResync(
        ReplicaContext context, ReplicaFlushes flushes, ReplicaIntents intents, RangeOrder order,
        int firstSlot)
    {
        _context = context;
        _flushes = flushes;
        _intents = intents;
        _order = order;
        _firstSlot = firstSlot;
    }

    /// <summary>Pieces under way.</summary>
    public int Count { get; private set; }

    /// <summary>A.</summary>
    public required Func<ulong> Applied { get; init; }

    /// <summary>Highest operation that came by the stream.</summary>
    public required Func<ulong> HighestAccepted { get; init; }

    /// <summary>
    /// A region is about to be compared, at the position where the stream is: from now on it is noted what
    /// later operations touch.
    /// </summary>
    /// <param name="region">A missing region.</param>
    public void Track(int region)
    {
        _ = _tracked.RemoveAll(tracked => tracked.Region == region);
        _tracked.Add(new TrackedRegion(region));
    }

    /// <summary>Whether a region was compared, and is being repaired.</summary>
    /// <param name="region">Which.</param>
    public bool IsTracked(int region) => _tracked.Exists(tracked => tracked.Region == region);

    /// <summary>An operation was accepted.</summary>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="lengthBytes">Length.</param>
    public void OnOperation(long offsetBytes, long lengthBytes)
    {
        if (Mistakes.Make(Mistake.PieceOverNewer))
        {
            return;
        }

        foreach (TrackedRegion tracked in _tracked)
        {
            long start = (long)tracked.Region * StoreFormat.RegionBytes;
            long first = Math.Max(0, offsetBytes - start) / SectorBytes;
            long end = Math.Min(StoreFormat.RegionBytes, offsetBytes + lengthBytes - start) / SectorBytes;
            for (long sector = first; sector < end; sector++)
            {
                tracked.Touched[sector] = true;
            }
        }
    }

    /// <summary>A piece has come.</summary>
    /// <param name="session">From whom.</param>
    /// <param name="chunk">It.</param>
    /// <param name="payload">Its bytes; ours.</param>
    /// <returns>Null, or why the session has to end.</returns>
    public string? Accept(int session, in CopyChunk chunk, in IoBuffer payload)
    {
        bool hasBytes = chunk.PayloadBytes > 0;
        string? refusal = _context.RefusalOf(chunk, payload);
        if (refusal is not null)
        {
            Release(hasBytes, payload);
            return refusal;
        }

        int region = ReplicaContext.RegionOf(chunk.OffsetBytes);
        TrackedRegion? tracked = _tracked.Find(known => known.Region == region);
        int slot = Array.FindIndex(_pieces, piece => !piece.IsUsed);
        slot = IsBeingWritten(chunk.OffsetBytes, chunk.LengthBytes) ? -1 : slot;
        if (tracked is null || slot < 0)
        {
            Release(hasBytes, payload);
            AnswerStatus status = tracked is null ? AnswerStatus.NotCurrent : AnswerStatus.Busy;
            _context.Effects.Send(session, new Copied(chunk.Epoch, chunk.Id, status));
            return null;
        }

        _pieces[slot] = new Piece
        {
            IsUsed = true, Session = session, Epoch = chunk.Epoch, Id = chunk.Id, HasBytes = hasBytes,
            OffsetBytes = chunk.OffsetBytes, LengthBytes = chunk.LengthBytes, Payload = payload,
        };
        Count++;
        _order.Add(_firstSlot + slot, 0, chunk.OffsetBytes, chunk.LengthBytes);
        Issue(slot, chunk, tracked);
        return null;
    }

    /// <summary>A part of a piece is written, or could not be.</summary>
    /// <param name="slot">The piece.</param>
    /// <param name="result">0 or more, or −errno.</param>
    /// <returns>Whether it is; otherwise nobody hears of it before the failure is durable.</returns>
    public bool OnImageEnded(int slot, int result)
    {
        ref Piece piece = ref _pieces[slot];
        piece.HasFailed |= result < 0;
        if (--piece.Parts == 0)
        {
            End(slot);
        }

        return result >= 0;
    }

    /// <summary>All of a region was pushed.</summary>
    /// <param name="session">Who says so, and is answered when the region is whole.</param>
    /// <param name="done">Which.</param>
    public void OnDone(int session, in RegionDone done)
    {
        int region = (int)done.Region;
        _ = _tracked.RemoveAll(tracked => tracked.Region == region);
        if (_broken.Contains(region))
        {
            return; // The session ends as soon as its writer hears of that.
        }

        _leaving.Add(new LeavingRegion(session, done, _flushes.Begun + 1));
        _flushes.WantAnyway();
    }

    /// <summary>
    /// An operation has failed in a region: whatever was pushed there in this session does not make it whole.
    /// </summary>
    /// <param name="region">Which.</param>
    public void Break(int region)
    {
        _broken.Add(region);
        _ = _leaving.RemoveAll(leaving => !leaving.IsRecorded && leaving.Done.Region == region);
    }

    /// <summary>D may have risen: regions leave.</summary>
    public void Step()
    {
        for (int i = 0; i < _leaving.Count; i++)
        {
            LeavingRegion leaving = _leaving[i];
            bool isDurable = leaving.Done.Issued.Value <= _context.Durable && _flushes.Ended >= leaving.Flush;
            isDurable |= Mistakes.Make(Mistake.RegionLeavesBeforeSync);
            if (leaving.IsRecorded || !isDurable)
            {
                WantIfApplied(leaving);
                continue;
            }

            if (TryRecord(leaving.Done))
            {
                _leaving[i] = leaving with { IsRecorded = true };
            }
        }
    }

    /// <summary>A region is whole.</summary>
    /// <param name="region">The region.</param>
    public void OnRecorded(int region)
    {
        int at = _leaving.FindIndex(leaving => leaving.IsRecorded && leaving.Done.Region == region);
        if (at >= 0)
        {
            LeavingRegion leaving = _leaving[at];
            _leaving.RemoveAt(at);
            _context.Effects.Send(
                leaving.Session, new Copied(leaving.Done.Epoch, leaving.Done.Id, AnswerStatus.Ok));
        }
    }

    /// <summary>Whoever pushed has gone, or another writer was promised.</summary>
    public void Drop()
    {
        _tracked.Clear();
        _broken.Clear();
        _ = _leaving.RemoveAll(leaving => !leaving.IsRecorded);
    }

    // A piece of an earlier session may still be on its way into the image.
    private bool IsBeingWritten(long offsetBytes, long lengthBytes) => Array.Exists(_pieces, piece =>
        piece.IsUsed && piece.OffsetBytes < offsetBytes + lengthBytes &&
        offsetBytes < piece.OffsetBytes + piece.LengthBytes);

    // No flush of the primary comes here while something is missing.
    private void WantIfApplied(in LeavingRegion leaving)
    {
        ulong issued = leaving.Done.Issued.Value;
        if (!leaving.IsRecorded && issued > _context.Durable && issued <= Applied())
        {
            _flushes.Want();
        }
    }

    // What was copied may hold operations that are not durable on W: it needs intents like any of them.
    private bool TryRecord(in RegionDone done)
    {
        // The mark comes before the batch in the ring, so nobody has to wait for it.
        int region = (int)done.Region;
        (long offset, int length) = StoreFormat.RangeOfRegion(region, _context.State.SizeBytes);
        IntentNeed need = _intents.Mark(offset, length, isForced: true);
        const int Bytes = 128;
        if (need.Step == IntentStep.Full || _context.Log.BeginBatch(Bytes) != AppendResult.Queued)
        {
            return false;
        }

        // A version beyond the stream is of a history that was given up.
        ulong known = _context.Live.Version(region);
        ulong version = known > HighestAccepted() ? done.Issued.Value : Math.Max(known, done.Issued.Value);
        _context.Live.SetVersion(region, version);
        _context.Log.AddToBatch(new RegionVersionRunEntry((uint)region, 1, version));
        _context.Log.AddToBatch(new MissingRemoveEntry((uint)region, 1));
        _context.Log.EndBatch(ReplicaContext.Name(ReplicaIo.Whole, (ulong)region));
        _context.Leaving.Add(region);
        return true;
    }

    private void Issue(int slot, in CopyChunk chunk, TrackedRegion tracked)
    {
        ref Piece piece = ref _pieces[slot];
        long start = (long)tracked.Region * StoreFormat.RegionBytes;
        int end = (int)((chunk.OffsetBytes + chunk.LengthBytes - start) / SectorBytes);
        int first = (int)((chunk.OffsetBytes - start) / SectorBytes);
        int begin = first;
        piece.Parts = 1; // Held until all parts are out.
        bool isChecksum = chunk.Flags == CopyFlags.ChecksumOnly;
        if (isChecksum && Array.IndexOf(tracked.Touched, true, first, end - first) >= 0)
        {
            first = end; // The block should hold something else by now; it is compared again.
        }

        while (first < end)
        {
            if (tracked.Touched[first])
            {
                first++;
                continue;
            }

            int stop = first;
            while (stop < end && !tracked.Touched[stop])
            {
                stop++;
            }

            piece.Parts++;
            long offset = start + (long)first * SectorBytes;
            int length = (stop - first) * SectorBytes;
            ulong io = ReplicaContext.Name(ReplicaIo.Piece, (ulong)slot);
            if (piece.HasBytes)
            {
                _context.Image.Write(
                    io, offset, piece.Payload.Slice((first - begin) * SectorBytes, length));
            }
            else if (isChecksum)
            {
                _context.Image.Expect(io, offset, chunk.Crc32C);
            }
            else
            {
                _context.Image.Zero(io, offset, length, keepsSpace: false);
            }

            first = stop;
        }

        _ = OnImageEnded(slot, 0);
    }

    private void End(int slot)
    {
        Piece piece = _pieces[slot];
        _pieces[slot] = default;
        Count--;
        Release(piece.HasBytes, piece.Payload);
        if (!piece.HasFailed)
        {
            _context.Effects.Send(piece.Session, new Copied(piece.Epoch, piece.Id, AnswerStatus.Ok));
        }

        _order.Remove(_firstSlot + slot);
    }

    private void Release(bool hasBytes, in IoBuffer payload)
    {
        if (hasBytes)
        {
            _context.Effects.ReleasePayload(payload);
        }
    }

    private struct Piece
    {
        public bool IsUsed;
        public bool HasBytes;
        public bool HasFailed;
        public int Session;
        public int Parts;
        public int LengthBytes;
        public long OffsetBytes;
        public Epoch Epoch;
        public RequestId Id;
        public IoBuffer Payload;
    }

    private sealed record TrackedRegion(int Region)
    {
        public bool[] Touched { get; } = new bool[SectorsPerRegion];
    }

    private readonly record struct LeavingRegion(int Session, RegionDone Done, ulong Flush)
    {
        public bool IsRecorded { get; init; }
    }
}
