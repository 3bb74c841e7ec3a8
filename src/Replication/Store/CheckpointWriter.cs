namespace Ublk.Replication.Store;

/// <summary>
/// Writes the whole state as entries, as many at a time as there is room for. The state may change in
/// between: an entry carries the value of the moment it is written, and the chain has every change after
/// that; a part that was already written needs no second look. The entries must stand in the record before
/// the live ones, because the state has all that is in earlier records and nothing of this one.
/// </summary>
internal sealed class CheckpointWriter(MetadataState state)
{
    /// <summary>
    /// Fewest bytes that a call needs to get on in any case: half of a record's payload. Larger than the
    /// longest entry, and than the head of a checkpoint, which is never split.
    /// </summary>
    public const int MinRoomBytes = MetadataRecord.MaxPayloadBytes / 2;

    private const int MinRunRegions = 4;
    private const int MapBytes = 8 + GrainMap.BlockGrains / 8;

    private readonly ulong[] _versions = new ulong[RegionVersionsEntry.MaxRegions];
    private readonly MissingBlock _missing = new(state.Missing);
    private Stage _stage = Stage.Idle;
    private ulong _nextEpoch;
    private int _next;
    private int _filled;

    private enum Stage : byte
    {
        Idle,
        Values,
        History,
        Intents,
        Missing,
        Versions,
        End,
    }

    /// <summary>Whether a checkpoint is under way.</summary>
    public bool IsActive => _stage != Stage.Idle;

    /// <summary>Number of the record that the last one began with.</summary>
    public ulong BeginRecord { get; private set; }

    /// <summary>Begins one.</summary>
    /// <param name="record">Number of the record that its first entry goes into, as its first.</param>
    public void Begin(ulong record)
    {
        BeginRecord = record;
        _stage = Stage.Values;
        _next = 0;
        _nextEpoch = 0;
    }

    /// <summary>Writes entries until the room is used up or the checkpoint is complete.</summary>
    /// <param name="room">The room, at least <see cref="MinRoomBytes"/>.</param>
    /// <returns>Bytes written; afterwards <see cref="IsActive"/> tells whether there is more.</returns>
    public int Fill(Span<byte> room)
    {
        _filled = 0;
        while (_stage != Stage.Idle && TryStep(room))
        {
        }

        return _filled;
    }

    /// <summary>An upper bound of what a checkpoint of the state takes, in bytes of entries.</summary>
    public static long BytesOf(MetadataState state) =>
        BytesFrom(state, Stage.Values, 0);

    /// <summary>An upper bound of what is left of the one under way, in bytes of entries.</summary>
    public long RemainingBytes => _stage == Stage.Idle ? 0 : BytesFrom(state, _stage, _next);

    private static long BytesFrom(MetadataState state, Stage stage, int next)
    {
        const int Values = MinRoomBytes;
        const int HistoryEntryBytes = 24;
        const int RunBytes = 16;
        GrainMap intents = state.Intents;
        MissingMap missing = state.Missing;
        long bytes = stage <= Stage.Values ? Values : 0;
        bytes += stage <= Stage.History ? HistoryEntryBytes * (long)state.History.Points.Length : 0;
        bytes += stage > Stage.Intents ? 0 : Math.Min(
            (long)RunBytes * (intents.Runs + intents.UsedBlocks), (long)MapBytes * intents.UsedBlocks);
        bytes += stage > Stage.Missing ? 0 : Math.Min(
            (long)MissingBlock.RunBytes * (missing.Runs + missing.UsedChunks),
            (long)MissingBlock.MapBytes * missing.UsedChunks * missing.ClaimCount);
        long versions = state.Versions.Regions - (stage == Stage.Versions ? next : 0);
        bytes += stage > Stage.Versions ? 0
            : 8 * versions + 8 * (versions / RegionVersionsEntry.MaxRegions + 1);
        return bytes + RunBytes;
    }

    private bool TryStep(Span<byte> room) => _stage switch
    {
        Stage.Values => WriteValues(room),
        Stage.History => TryHistory(room),
        Stage.Intents => TryIntents(room),
        Stage.Missing => TryMissing(room),
        Stage.Versions => TryVersions(room),
        _ => TryEnd(room),
    };

    private void Enter(Stage stage)
    {
        _stage = stage;
        _next = 0;
    }

    private bool Put<T>(Span<byte> room, in T entry) where T : IMetadataEntry, allows ref struct
    {
        int length = entry.EncodedBytes;
        if (length > room.Length - _filled)
        {
            return false;
        }

        entry.Encode(room.Slice(_filled, length));
        _filled += length;
        return true;
    }

    // Always the first entries of their record, so there is room for all of them.
    private bool WriteValues(Span<byte> room)
    {
        bool isPut = Put(room, new MarkEntry(MetadataEntryType.CheckpointBegin)) &&
            Put(room, new SizeEntry(state.SizeBytes)) &&
            Put(room, state.Promise) &&
            (state.Configuration is not { } configuration || Put(room, configuration)) &&
            Put(room, state.EpochStart) &&
            Put(room, new DurableEntry(state.Durable)) &&
            Put(room, new AppliedFloorEntry(state.AppliedFloor)) &&
            Put(room, new ConditionEntry(state.Condition, state.VoidedIn)) &&
            Put(room, new LongestLeaseEntry(state.LongestLeaseMs)) &&
            Put(room, state.Boot) &&
            Put(room, state.Cursor) &&
            Put(room, state.View);
        if (!isPut)
        {
            throw new InvalidOperationException($"{room.Length} bytes are no room for a checkpoint");
        }

        Enter(Stage.History);
        return true;
    }

    private bool TryHistory(Span<byte> room)
    {
        int at = state.History.IndexFrom(_nextEpoch);
        ReadOnlySpan<HistoryPoint> points = state.History.Points;
        if (at == points.Length)
        {
            Enter(Stage.Intents);
            return true;
        }

        if (!Put(room, new EpochEntry(points[at].Epoch, points[at].Sequence)))
        {
            return false;
        }

        _nextEpoch = points[at].Epoch + 1;
        return true;
    }

    private bool TryIntents(Span<byte> room)
    {
        GrainMap intents = state.Intents;
        int first = intents.NextIn(_next);
        if (first >= intents.Grains)
        {
            Enter(Stage.Missing);
            return true;
        }

        // Runs end with their block, where a map may take over.
        int block = first / GrainMap.BlockGrains;
        int blockEnd = Math.Min(intents.Grains, (block + 1) * GrainMap.BlockGrains);
        if (IsScattered(first, blockEnd))
        {
            uint start = (uint)(block * GrainMap.BlockGrains);
            if (!Put(room, new IntentMapEntry(start, intents.WordsOfBlock(block))))
            {
                return false;
            }

            _next = blockEnd;
            return true;
        }

        int end = Math.Min(blockEnd, intents.NextOut(first));
        if (!Put(room, new IntentAddEntry((uint)first, (uint)(end - first))))
        {
            return false;
        }

        _next = end;
        return true;
    }

    // Whether the runs up to the end of a block would take more bytes than its map.
    private bool IsScattered(int first, int blockEnd)
    {
        const int MaxRuns = MapBytes / RangeEntry.Bytes;
        int runs = 0;
        for (int at = first; at < blockEnd && runs <= MaxRuns;
            at = state.Intents.NextIn(state.Intents.NextOut(at)))
        {
            runs++;
        }

        return runs > MaxRuns;
    }

    private bool TryMissing(Span<byte> room)
    {
        if (!_missing.TryFind(ref _next))
        {
            Enter(Stage.Versions);
            return true;
        }

        bool isPut = _missing.IsMap
            ? Put(room, new MissingMapEntry((uint)_missing.First, _missing.Claim, _missing.Words))
            : Put(room, new MissingAddEntry((uint)_missing.First, (uint)_missing.Count, _missing.Claim));
        if (isPut)
        {
            _missing.Written();
        }

        return isPut;
    }

    private bool TryVersions(Span<byte> room)
    {
        RegionVersions versions = state.Versions;
        while (_next < versions.Regions && versions[_next] == 0)
        {
            _next++;
        }

        if (_next >= versions.Regions)
        {
            Enter(Stage.End);
            return true;
        }

        int run = RunAt(_next, versions.Regions);
        bool isPut;
        if (run >= MinRunRegions)
        {
            isPut = Put(room, new RegionVersionRunEntry((uint)_next, (uint)run, versions[_next]));
        }
        else
        {
            run = GatherVersions(room.Length - _filled);
            isPut = run > 0 &&
                Put(room, new RegionVersionsEntry((uint)_next, _versions.AsSpan(0, run)));
        }

        _next += isPut ? run : 0;
        return isPut;
    }

    // Versions up to the next long run, as many as an entry and the room take.
    private int GatherVersions(int roomBytes)
    {
        RegionVersions versions = state.Versions;
        int most = Math.Min(_versions.Length, roomBytes / 8 - 1);
        most = Math.Min(most, versions.Regions - _next);
        int count = 0;
        while (count < most && RunAt(_next + count, versions.Regions, MinRunRegions) < MinRunRegions)
        {
            _versions[count] = versions[_next + count];
            count++;
        }

        return count;
    }

    private int RunAt(int region, int end, int most = int.MaxValue)
    {
        ulong version = state.Versions[region];
        int at = region + 1;
        while (at < end && at - region < most && state.Versions[at] == version)
        {
            at++;
        }

        return at - region;
    }

    private bool TryEnd(Span<byte> room)
    {
        if (!Put(room, new MarkEntry(MetadataEntryType.CheckpointEnd, BeginRecord)))
        {
            return false;
        }

        Enter(Stage.Idle);
        return true;
    }
}
