using Microsoft.Extensions.Time.Testing;
using Ublk.Uring;
using Xunit;

namespace Ublk.Tests.Unit.Uring;

public sealed class LoopTimerTests : IDisposable
{
    private readonly FakeTimeProvider _time = new();
    private readonly List<string> _fired = [];
    private readonly Loop _loop;

    public LoopTimerTests() => _loop = TestLoop.Create(time: _time);

    public void Dispose() => _loop.Dispose();

    [Fact]
    public void FireInOrderOfTheirTimes()
    {
        Schedule("late", 30);
        Schedule("early", 10);
        Schedule("middle", 20);
        Advance(9);
        Assert.Empty(_fired);
        Advance(1);
        Assert.Equal(["early"], _fired);
        Advance(100);
        Assert.Equal(["early", "middle", "late"], _fired);
        Advance(100);
        Assert.Equal(3, _fired.Count);
    }

    [Fact]
    public void EqualTimesFireInOrderOfScheduling()
    {
        string[] names = [.. Enumerable.Range(0, 20).Select(i => i.ToString())];
        foreach (string name in names)
        {
            Schedule(name, 10);
        }

        Advance(10);
        Assert.Equal<string>(names, _fired, StringComparer.Ordinal);
    }

    [Fact]
    public void CancelledTimerIsSilent()
    {
        LoopTimer first = Schedule("first", 10);
        Schedule("second", 10);
        Assert.True(first.IsScheduled);
        first.Cancel();
        first.Cancel();
        Assert.False(first.IsScheduled);
        Advance(10);
        Assert.Equal(["second"], _fired);
        _loop.Schedule(first, TimeSpan.FromMilliseconds(5));
        Advance(5);
        Assert.Equal(["second", "first"], _fired);
    }

    [Fact]
    public void RescheduledTimerFiresOnceAtTheNewTime()
    {
        LoopTimer timer = Schedule("moved", 10);
        _loop.Schedule(timer, TimeSpan.FromMilliseconds(50));
        Advance(10);
        Assert.Empty(_fired);
        _loop.Schedule(timer, TimeSpan.FromMilliseconds(5));
        Advance(5);
        Assert.Equal(["moved"], _fired);
        Assert.False(timer.IsScheduled);
        Advance(100);
        Assert.Single(_fired);
    }

    [Fact]
    public void CallbackMayCancelAndScheduleOthers()
    {
        LoopTimer victim = Schedule("victim", 10);
        var heir = new LoopTimer(() => _fired.Add("heir"));
        var killer = new LoopTimer(() =>
        {
            victim.Cancel();
            _loop.Schedule(heir, TimeSpan.FromMilliseconds(1));
        });
        _loop.Schedule(killer, TimeSpan.FromMilliseconds(5));
        Advance(20);
        Assert.Empty(_fired);
        Advance(1);
        Assert.Equal(["heir"], _fired);
    }

    [Fact]
    public void TimerThatRepeatsWithoutDelayLeavesTheLoopItsTurn()
    {
        int count = 0;
        LoopTimer? timer = null;
        timer = new LoopTimer(() =>
        {
            count++;
            Assert.True(count < 100, "the timer ran again and again within one round");
            _loop.Schedule(timer!, TimeSpan.Zero);
        });
        _loop.Schedule(timer, TimeSpan.Zero);
        Assert.Equal(1, _loop.Drain());
        Assert.Equal(1, count);
        _loop.Drain();
        Assert.Equal(2, count);
        timer.Cancel();
    }

    [Fact]
    public void ManyMovesKeepOnePlace()
    {
        LoopTimer timer = Schedule("often", 10);
        for (int i = 0; i < 1000; i++)
        {
            _loop.Schedule(timer, TimeSpan.FromSeconds(1000 - i));
        }

        Assert.Equal(1, _loop.TimerCount);
        timer.Cancel();
        Assert.Equal(0, _loop.TimerCount);
    }

    [Fact]
    public void VeryLongDelayDoesNotFire()
    {
        _loop.Schedule(new LoopTimer(() => _fired.Add("never")), TimeSpan.MaxValue);
        Advance(1000);
        Assert.Empty(_fired);
    }

    [Fact]
    public void TimerBelongsToOneLoop()
    {
        using Loop other = TestLoop.Create(time: _time);
        LoopTimer timer = Schedule("here", 10);
        Assert.Throws<InvalidOperationException>(() => other.Schedule(timer, TimeSpan.Zero));
    }

    [Fact]
    public void RandomSchedulesFireLikeASortedList()
    {
        var random = new Random(20_261);
        for (int round = 0; round < 20; round++)
        {
            var expected = new List<(long Due, int Order, int Id)>();
            var fired = new List<int>();
            var timers = new LoopTimer[40];
            for (int id = 0; id < timers.Length; id++)
            {
                int own = id;
                timers[id] = new LoopTimer(() => fired.Add(own));
            }

            for (int step = 0; step < 200; step++)
            {
                int id = random.Next(timers.Length);
                expected.RemoveAll(entry => entry.Id == id);
                if (random.Next(4) == 0)
                {
                    timers[id].Cancel();
                    continue;
                }

                int due = random.Next(50);
                _loop.Schedule(timers[id], TimeSpan.FromMilliseconds(due));
                expected.Add((due, step, id));
            }

            Advance(100);
            Assert.Equal(expected.Order().Select(entry => entry.Id), fired);
        }
    }

    [Fact]
    public void WaitEndsWithTheNextTimer()
    {
        using Loop loop = TestLoop.Create();
        bool hasFired = false;
        loop.Schedule(new LoopTimer(() => hasFired = true), TimeSpan.FromMilliseconds(2));
        loop.Until(() => hasFired);
    }

    private LoopTimer Schedule(string name, int milliseconds)
    {
        var timer = new LoopTimer(() => _fired.Add(name));
        _loop.Schedule(timer, TimeSpan.FromMilliseconds(milliseconds));
        return timer;
    }

    private void Advance(int milliseconds)
    {
        _time.Advance(TimeSpan.FromMilliseconds(milliseconds));
        _loop.Drain();
    }
}
