namespace Ublk.Uring;

/// <summary>A callback at a time on a loop; one object may be scheduled again and again.</summary>
/// <param name="callback">Runs on the loop's thread.</param>
public sealed class LoopTimer(Action callback)
{
    /// <summary>Whether it will fire.</summary>
    public bool IsScheduled => Queue is not null;

    internal Action Callback { get; } = callback;

    /// <summary>The queue it stands in; null when it is not scheduled.</summary>
    internal TimerQueue? Queue { get; set; }

    /// <summary>Its place in the queue.</summary>
    internal int Place { get; set; }

    /// <summary>When it fires, in ticks of the loop's clock.</summary>
    internal long Due { get; set; }

    /// <summary>Order of scheduling: timers of the same time fire in it.</summary>
    internal ulong Order { get; set; }

    /// <summary>Makes it not fire. On the loop's thread.</summary>
    public void Cancel() => Queue?.Remove(this);
}

/// <summary>
/// The timers of one loop, the next one first: a binary heap in which every timer knows its place, so
/// that one moved or cancelled a million times, as request time limits are, leaves nothing behind.
/// </summary>
internal sealed class TimerQueue
{
    private LoopTimer[] _heap = new LoopTimer[64];
    private ulong _order;

    /// <summary>Timers that will fire.</summary>
    public int Count { get; private set; }

    /// <summary>The order the next scheduled timer gets: timers below it were there before.</summary>
    public ulong NextOrder => _order;

    /// <summary>The timer that fires next; null when there is none.</summary>
    public LoopTimer? Next => Count == 0 ? null : _heap[0];

    /// <summary>Puts a timer in, or moves it.</summary>
    public void Set(LoopTimer timer, long due)
    {
        if (timer.Queue is not null && timer.Queue != this)
        {
            throw new InvalidOperationException("the timer is scheduled on another loop");
        }

        timer.Due = due;
        timer.Order = _order++;
        if (timer.Queue is null)
        {
            if (Count == _heap.Length)
            {
                Array.Resize(ref _heap, 2 * Count);
            }

            timer.Queue = this;
            Place(timer, Count++);
        }

        Settle(timer);
    }

    /// <summary>Takes a timer out.</summary>
    public void Remove(LoopTimer timer)
    {
        LoopTimer last = _heap[--Count];
        _heap[Count] = null!;
        timer.Queue = null;
        if (last != timer)
        {
            Place(last, timer.Place);
            Settle(last);
        }
    }

    private static bool IsBefore(LoopTimer a, LoopTimer b) =>
        a.Due < b.Due || (a.Due == b.Due && a.Order < b.Order);

    private void Settle(LoopTimer timer)
    {
        while (timer.Place > 0 && IsBefore(timer, _heap[(timer.Place - 1) / 2]))
        {
            Swap(timer, _heap[(timer.Place - 1) / 2]);
        }

        while (true)
        {
            int child = 2 * timer.Place + 1;
            if (child + 1 < Count && IsBefore(_heap[child + 1], _heap[child]))
            {
                child++;
            }

            if (child >= Count || IsBefore(timer, _heap[child]))
            {
                return;
            }

            Swap(timer, _heap[child]);
        }
    }

    private void Swap(LoopTimer a, LoopTimer b)
    {
        int place = a.Place;
        Place(a, b.Place);
        Place(b, place);
    }

    private void Place(LoopTimer timer, int place)
    {
        _heap[place] = timer;
        timer.Place = place;
    }
}
