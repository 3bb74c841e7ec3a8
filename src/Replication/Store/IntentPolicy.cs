namespace Ublk.Replication.Store;

/// <summary>Bounds of the intents of one replica.</summary>
public sealed record IntentPolicyOptions
{
    /// <summary>
    /// Most grains that are intents at once: what a recovery has to compare and perhaps copy, 2 GiB by
    /// default. At the limit writes to cold grains wait until others are cleared.
    /// </summary>
    public int MaxHotGrains { get; init; } = 32 * 1024;

    /// <summary>Longest mark for a sequential writer, in regions of 1 MiB: one append for 16 MiB.</summary>
    public int MaxAheadRegions { get; init; } = 16;
}

/// <summary>What a write has to do about intents before it may be issued.</summary>
public enum IntentStep : byte
{
    /// <summary>Nothing: its grains are durable intents.</summary>
    Ready,
    /// <summary>Wait until the mark with the ticket is durable.</summary>
    Wait,
    /// <summary>Append the mark, confirm it, then wait until it is durable.</summary>
    Mark,
    /// <summary>Too many grains are hot: flush and clear, then ask again.</summary>
    Full,
}

/// <summary>An answer of the policy.</summary>
/// <param name="Step">What to do.</param>
/// <param name="Ticket">Which mark to wait for; marks become durable in the order of their tickets.</param>
/// <param name="First">First grain of the mark.</param>
/// <param name="Count">Grains of the mark.</param>
public readonly record struct IntentNeed(IntentStep Step, ulong Ticket, int First, int Count);

/// <summary>A region all of whose intents may be cleared.</summary>
/// <param name="Region">The region.</param>
/// <param name="First">Its first grain.</param>
/// <param name="Count">Its grains.</param>
/// <param name="Version">Its version, which is to be durable not later than the clearing.</param>
public readonly record struct IntentClearing(int Region, int First, int Count, ulong Version);

/// <summary>
/// Decides what is marked as an intent and what is cleared, and when. Every in-place write needs its grains
/// to be durable intents first; so that this costs an append per cold area and not per write, whole regions
/// are marked, more of them for a sequential writer. Clearing is lazy, the longest unwritten region first,
/// and by regions, because their versions tell what was applied in them:
/// <b>a grain leaves I only when every operation applied in it is ≤ own D and ≤ C.</b> Operations stamp
/// the version of their regions when they are issued, so one under way holds its region.
/// </summary>
/// <remarks>
/// Without effects: the owner appends. Memory: two bits per grain, 4 MiB per TiB, and 16 bytes per hot
/// region. No allocation per write.
/// </remarks>
public sealed class IntentPolicy
{
    private const int Streams = 8;

    private readonly MetadataState _state;
    private readonly Func<int, ulong> _versionOf;
    private readonly IntentPolicyOptions _options;
    private readonly GrainMap _marked;
    private readonly GrainMap _fresh;
    private readonly Line<HotRegion> _hot;
    private readonly Line<PendingMark> _pending = new(64);
    private readonly Stream[] _streams = new Stream[Streams];
    private int _nextStream;
    private ulong _lastTicket;

    /// <summary>Begins with the intents that the ring has.</summary>
    /// <param name="state">The state of the ring.</param>
    /// <param name="versionOf">The live version of a region.</param>
    /// <param name="options">Bounds.</param>
    public IntentPolicy(MetadataState state, Func<int, ulong> versionOf, IntentPolicyOptions options)
    {
        _state = state;
        _versionOf = versionOf;
        _options = options;
        _marked = new GrainMap(state.Intents.Grains);
        _fresh = new GrainMap(state.Intents.Grains);
        _hot = new Line<HotRegion>(Math.Clamp(state.Versions.Regions, 16, 1024));
        foreach ((int first, int count) in state.Intents.EachRun())
        {
            Enqueue(first, count);
            _marked.Add(first, count);
        }
    }

    /// <summary>Grains that are intents, or become so.</summary>
    public int HotGrains => _marked.Count;

    /// <summary>Regions that hold them.</summary>
    public int HotRegions => _hot.Count;

    /// <summary>Whether so many grains are hot that a flush and clearing are due.</summary>
    public bool IsCrowded => _marked.Count > _options.MaxHotGrains / 4 * 3;

    /// <summary>What the policy has decided so far.</summary>
    public IntentCounters Counters { get; } = new();

    /// <summary>What a write needs before it may be issued.</summary>
    /// <param name="offsetBytes">Start of the write, inside the volume.</param>
    /// <param name="lengthBytes">Its length, above 0.</param>
    /// <param name="isForced">
    /// Never <see cref="IntentStep.Full"/>, however many grains are hot: a reconcile must be able to copy
    /// whatever is uncertain, and nothing can be cleared before it has.
    /// </param>
    public IntentNeed Prepare(long offsetBytes, long lengthBytes, bool isForced = false)
    {
        int first = (int)(offsetBytes / StoreFormat.GrainBytes);
        int count = (int)((offsetBytes + lengthBytes - 1) / StoreFormat.GrainBytes) - first + 1;
        int cold = _marked.NextOut(first);
        if (cold >= first + count)
        {
            bool isDurable = _fresh.Count == 0 || !_fresh.ContainsAny(first, count);
            Counters.Hits += isDurable ? 1 : 0;
            Counters.Waits += isDurable ? 0 : 1;
            return isDurable ? new IntentNeed(IntentStep.Ready, 0, 0, 0)
                : new IntentNeed(IntentStep.Wait, _lastTicket, 0, 0);
        }

        IntentNeed need = MarkFrom(cold, first + count, isForced);
        Counters.Refusals += need.Step == IntentStep.Full ? 1 : 0;
        return need;
    }

    /// <summary>The log has queued a mark.</summary>
    /// <param name="mark">The answer of <see cref="Prepare"/>; nothing else was confirmed since.</param>
    public void Confirm(IntentNeed mark)
    {
        if (mark.Step != IntentStep.Mark || mark.Ticket != _lastTicket + 1)
        {
            throw new InvalidOperationException("a mark was confirmed that was not the last answer");
        }

        _lastTicket = mark.Ticket;
        Enqueue(mark.First, mark.Count);
        int end = mark.First + mark.Count;
        for (int first = _marked.NextOut(mark.First); first < end;)
        {
            int count = Math.Min(end, _marked.NextIn(first)) - first;
            _marked.Add(first, count);
            _fresh.Add(first, count);
            Counters.MarkedGrains += count;
            first = _marked.NextOut(first + count);
        }

        _pending.Add(new PendingMark(mark.Ticket, mark.First, mark.Count));
        Counters.Marks++;
        Remember(mark);
    }

    /// <summary>A mark is durable; in the order of the tickets.</summary>
    /// <param name="ticket">Its ticket.</param>
    public void MarkDurable(ulong ticket)
    {
        PendingMark mark = _pending.TakeFirst();
        if (mark.Ticket != ticket)
        {
            throw new InvalidOperationException("marks became durable out of order");
        }

        _fresh.Remove(mark.First, mark.Count);
    }

    /// <summary>Finds a region whose intents may be cleared.</summary>
    /// <param name="bound">The lower of D and C, of this history.</param>
    /// <param name="isIdle">Also regions that were written not long ago; for a volume at rest.</param>
    /// <param name="budget">
    /// Regions to look at, the longest unwritten first; what is left to do at the next call.
    /// </param>
    /// <param name="clearing">
    /// What to append: first the version, then the clearing. Then <see cref="Cleared"/>, or, where the log
    /// had no room, <see cref="Kept"/>.
    /// </param>
    public bool TryFindClearable(ulong bound, bool isIdle, ref int budget, out IntentClearing clearing)
    {
        for (int left = _hot.Count; left > 0 && budget > 0; left--)
        {
            budget--;
            HotRegion hot = _hot.TakeFirst();
            ulong version = _versionOf(hot.Region);
            (int first, int count) = _marked.OfRegion(hot.Region);
            bool isCold = isIdle || version == hot.Version;
            if (version <= bound && isCold && !_fresh.ContainsAny(first, count))
            {
                clearing = new IntentClearing(hot.Region, first, count, version);
                return true;
            }

            _hot.Add(new HotRegion(hot.Region, version));
        }

        clearing = default;
        return false;
    }

    /// <summary>The log has queued a clearing; the next write to the region marks it anew.</summary>
    /// <param name="clearing">The clearing.</param>
    public void Cleared(IntentClearing clearing)
    {
        _marked.Remove(clearing.First, clearing.Count);
        Counters.ClearedRegions++;
    }

    /// <summary>The log did not take a clearing.</summary>
    /// <param name="clearing">The clearing.</param>
    public void Kept(IntentClearing clearing) => _hot.Add(new HotRegion(clearing.Region, clearing.Version));

    /// <summary>The volume has grown.</summary>
    public void Grow()
    {
        _marked.Grow(_state.Intents.Grains);
        _fresh.Grow(_state.Intents.Grains);
    }

    // Whole regions from the cold one on; only what is needed where the bound is near.
    private IntentNeed MarkFrom(int cold, int end, bool isForced)
    {
        const int PerRegion = StoreFormat.GrainsPerRegion;
        int ahead = AheadOf(cold);
        int first = cold / PerRegion * PerRegion;
        int last = Math.Max((end + PerRegion - 1) / PerRegion, first / PerRegion + ahead) * PerRegion;
        last = Math.Min(last, _marked.Grains);
        if (_marked.Count + (last - first) > _options.MaxHotGrains)
        {
            first = cold;
            last = end;
        }

        bool isOver = _marked.Count + (last - first) > _options.MaxHotGrains && _marked.Count > 0;
        return isOver && !isForced
            ? new IntentNeed(IntentStep.Full, 0, 0, 0)
            : new IntentNeed(IntentStep.Mark, _lastTicket + 1, first, last - first);
    }

    // A writer that comes to the end of an earlier mark is sequential, and gets twice as much.
    private int AheadOf(int cold)
    {
        foreach (Stream stream in _streams)
        {
            if (stream.End == cold && cold > 0)
            {
                return Math.Min(2 * stream.AheadRegions, _options.MaxAheadRegions);
            }
        }

        return 1;
    }

    private void Remember(IntentNeed mark)
    {
        int regions = mark.Count / StoreFormat.GrainsPerRegion;
        for (int i = 0; i < _streams.Length; i++)
        {
            if (_streams[i].End == mark.First && mark.First > 0)
            {
                _streams[i] = new Stream(mark.First + mark.Count, Math.Max(1, regions));
                Counters.SequentialMarks++;
                return;
            }
        }

        _streams[_nextStream] = new Stream(mark.First + mark.Count, Math.Max(1, regions));
        _nextStream = (_nextStream + 1) % _streams.Length;
    }

    // A region is in line exactly once while any of its grains is marked.
    private void Enqueue(int first, int count)
    {
        int lastRegion = (first + count - 1) / StoreFormat.GrainsPerRegion;
        for (int region = first / StoreFormat.GrainsPerRegion; region <= lastRegion; region++)
        {
            (int start, int grains) = _marked.OfRegion(region);
            if (!_marked.ContainsAny(start, grains))
            {
                _hot.Add(new HotRegion(region, _versionOf(region)));
            }
        }
    }

    private readonly record struct HotRegion(int Region, ulong Version);

    private readonly record struct PendingMark(ulong Ticket, int First, int Count);

    private readonly record struct Stream(int End, int AheadRegions);
}

/// <summary>What an intents policy has decided so far.</summary>
public sealed class IntentCounters
{
    /// <summary>Writes that found their grains durable.</summary>
    public long Hits { get; internal set; }

    /// <summary>Writes that had to wait for a mark of another one.</summary>
    public long Waits { get; internal set; }

    /// <summary>Marks: appends that a write waited for.</summary>
    public long Marks { get; internal set; }

    /// <summary>Marks that went on where an earlier one had ended.</summary>
    public long SequentialMarks { get; internal set; }

    /// <summary>Grains marked.</summary>
    public long MarkedGrains { get; internal set; }

    /// <summary>Regions cleared.</summary>
    public long ClearedRegions { get; internal set; }

    /// <summary>Writes that found too many grains hot.</summary>
    public long Refusals { get; internal set; }
}

/// <summary>Items in a line; grows by doubling, no allocation once it is long enough.</summary>
/// <param name="capacity">Capacity to begin with.</param>
internal sealed class Line<T>(int capacity) where T : struct
{
    private T[] _items = new T[capacity];
    private int _head;

    public int Count { get; private set; }

    public void Add(in T item)
    {
        if (Count == _items.Length)
        {
            var larger = new T[2 * _items.Length];
            for (int i = 0; i < Count; i++)
            {
                larger[i] = _items[(_head + i) % _items.Length];
            }

            _items = larger;
            _head = 0;
        }

        _items[(_head + Count) % _items.Length] = item;
        Count++;
    }

    public T TakeFirst()
    {
        if (Count == 0)
        {
            throw new InvalidOperationException("the line is empty");
        }

        T item = _items[_head];
        _head = (_head + 1) % _items.Length;
        Count--;
        return item;
    }
}
