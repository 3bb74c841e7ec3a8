using System.Runtime.InteropServices;

namespace Ublk.Tests.Simulation.World;

/// <summary>
/// The time of the world and what will happen in it. What is due at the same time happens in the order in
/// which it was asked for. Times are nanoseconds since the beginning of the history.
/// </summary>
internal sealed class SimulationClock
{
    private const long RetryDelay = LatencyModel.Millisecond;

    // In a circle: who tries in vain stays in its place, and the next one comes first.
    private readonly List<Entry> _retries = [];
    private int _firstRetry;
    private Entry[] _heap = new Entry[1024];
    private int _heapCount;
    private long _nextNumber;

    /// <summary>Now.</summary>
    public long Now { get; private set; }

    /// <summary>What is still to happen.</summary>
    public int Count => _heapCount + _retries.Count;

    /// <summary>
    /// A number made of everything that happened so far, and when: equal for two runs of one history.
    /// </summary>
    public ulong Fingerprint { get; private set; }

    /// <summary>Begins a new history.</summary>
    public void Reset()
    {
        Array.Clear(_heap, 0, _heapCount);
        _heapCount = 0;
        _retries.Clear();
        _firstRetry = 0;
        Now = 0;
        _nextNumber = 0;
        Fingerprint = 0;
    }

    /// <summary>Something happens at a time.</summary>
    /// <param name="time">When; not in the past.</param>
    /// <param name="happening">What.</param>
    public void At(long time, Action happening)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(time, Now);
        if (_heapCount == _heap.Length)
        {
            Array.Resize(ref _heap, 2 * _heapCount);
        }

        var entry = new Entry(time, _nextNumber++, happening);
        int place = _heapCount++;
        while (place > 0 && entry.IsBefore(_heap[(place - 1) / 2]))
        {
            _heap[place] = _heap[(place - 1) / 2];
            place = (place - 1) / 2;
        }

        _heap[place] = entry;
    }

    /// <summary>Something happens later.</summary>
    /// <param name="delay">After so many nanoseconds, 0 or more.</param>
    /// <param name="happening">What.</param>
    public void After(long delay, Action happening) => At(Now + delay, happening);

    /// <summary>
    /// Something that could not be done yet happens in a millisecond. Most of what happens is somebody who
    /// tries again; as the delay is always the same, they wait in line, and need no heap.
    /// </summary>
    /// <param name="happening">What.</param>
    public void Retry(Action happening) =>
        _retries.Insert(_firstRetry++, new Entry(Now + RetryDelay, _nextNumber++, happening));

    /// <summary>The next thing happens; false when nothing is left.</summary>
    public bool Step()
    {
        if (Count == 0)
        {
            return false;
        }

        Entry next = IsRetryNext ? TakeRetry() : Take();
        ComeTo(next);
        next.Happening();
        return true;
    }

    /// <summary>
    /// All who try again do so in vain, until something else happens, or until it is later than a time: the
    /// same as so many steps, without calling them.
    /// </summary>
    /// <param name="end">The time.</param>
    public void PassRetries(long end)
    {
        Span<Entry> retries = CollectionsMarshal.AsSpan(_retries);
        while (Now <= end && IsRetryNext)
        {
            ref Entry next = ref retries[FirstRetry];
            ComeTo(next);
            next.Time += RetryDelay;
            next.Number = _nextNumber++;
            _firstRetry = FirstRetry + 1;
        }
    }

    /// <summary>Everything up to a time happens, and then it is that time.</summary>
    /// <param name="time">The time.</param>
    public void RunUntil(long time)
    {
        while (Count > 0 && (IsRetryNext ? _retries[FirstRetry] : _heap[0]).Time <= time)
        {
            Step();
        }

        Now = Math.Max(Now, time);
    }

    private int FirstRetry => _firstRetry < _retries.Count ? _firstRetry : 0;

    private bool IsRetryNext => _retries.Count > 0 &&
        (_heapCount == 0 || _retries[FirstRetry].IsBefore(_heap[0]));

    private Entry TakeRetry()
    {
        _firstRetry = FirstRetry;
        Entry next = _retries[_firstRetry];
        _retries.RemoveAt(_firstRetry);
        return next;
    }

    private void ComeTo(in Entry next)
    {
        Now = next.Time;
        Fingerprint = (Fingerprint ^ (ulong)next.Time ^ ((ulong)next.Number << 40)) * 0x100_0000_01b3 + 1;
    }

    private Entry Take()
    {
        Entry first = _heap[0];
        Entry moved = _heap[--_heapCount];
        _heap[_heapCount] = default;
        int place = 0;
        while (2 * place + 1 < _heapCount)
        {
            int child = 2 * place + 1;
            if (child + 1 < _heapCount && _heap[child + 1].IsBefore(_heap[child]))
            {
                child++;
            }

            if (!_heap[child].IsBefore(moved))
            {
                break;
            }

            _heap[place] = _heap[child];
            place = child;
        }

        if (_heapCount > 0)
        {
            _heap[place] = moved;
        }

        return first;
    }

    private record struct Entry(long Time, long Number, Action Happening)
    {
        public readonly bool IsBefore(in Entry other) =>
            Time != other.Time ? Time < other.Time : Number < other.Number;
    }
}
