namespace Ublk.Testing;

/// <summary>
/// A clock for code that polls: a short wait moves the clock on by its length and ends at once, a
/// long one ends when the clock has passed it. So limits of half a minute pass in no time, in
/// order, without a sleep. Safe from any thread.
/// </summary>
public sealed class PollClock : TimeProvider
{
    private static readonly TimeSpan s_longestPoll = TimeSpan.FromMilliseconds(100);

    private readonly Lock _gate = new();
    private readonly List<PollTimer> _timers = [];
    private long _now = 1_000_000;

    /// <summary>Called at each poll, with its number from 1; before the wait ends.</summary>
    public Action<int>? Polled { get; set; }

    /// <summary>Polls so far.</summary>
    public int PollCount { get; private set; }

    /// <inheritdoc/>
    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    /// <inheritdoc/>
    public override long GetTimestamp() => Interlocked.Read(ref _now);

    /// <inheritdoc/>
    public override DateTimeOffset GetUtcNow() =>
        DateTimeOffset.UnixEpoch + TimeSpan.FromTicks(GetTimestamp());

    /// <inheritdoc/>
    public override ITimer CreateTimer(
        TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new PollTimer(this, callback, state);
        _ = timer.Change(dueTime, period);
        return timer;
    }

    /// <summary>Moves the clock; timers that are due fire on the thread pool.</summary>
    /// <param name="time">How far.</param>
    public void Advance(TimeSpan time)
    {
        long now = Interlocked.Add(ref _now, time.Ticks);
        List<PollTimer> due;
        lock (_gate)
        {
            due = _timers.FindAll(timer => timer.DueTicks <= now);
            _ = _timers.RemoveAll(timer => timer.DueTicks <= now);
        }

        foreach (PollTimer timer in due)
        {
            timer.Fire();
        }
    }

    private void Start(PollTimer timer, TimeSpan dueTime)
    {
        if (dueTime <= s_longestPoll)
        {
            PollCount++;
            Polled?.Invoke(PollCount);
            Advance(dueTime);
            timer.Fire();
            return;
        }

        lock (_gate)
        {
            timer.DueTicks = GetTimestamp() + dueTime.Ticks;
            _timers.Add(timer);
        }
    }

    private void Remove(PollTimer timer)
    {
        lock (_gate)
        {
            _ = _timers.Remove(timer);
        }
    }

    private sealed class PollTimer(PollClock clock, TimerCallback callback, object? state) : ITimer
    {
        public long DueTicks { get; set; }

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            clock.Remove(this);
            if (dueTime >= TimeSpan.Zero)
            {
                clock.Start(this, dueTime);
            }

            return true;
        }

        public void Fire() => ThreadPool.QueueUserWorkItem(
            static timer => timer.Invoke(), this, preferLocal: false);

        public void Dispose() => clock.Remove(this);

        public ValueTask DisposeAsync()
        {
            Dispose();
            return ValueTask.CompletedTask;
        }

        private void Invoke() => callback(state);
    }
}
