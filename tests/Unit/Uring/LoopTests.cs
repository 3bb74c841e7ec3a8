using Ublk.Uring;
using Ublk.Uring.Abi;
using Ublk.Uring.Native;
using Xunit;

namespace Ublk.Tests.Unit.Uring;

public sealed class LoopTests
{
    [Fact]
    public void CompletesWhatWasSubmitted()
    {
        using Loop loop = TestLoop.Create();
        var seen = new Collector();
        int idle = loop.InFlightCount;
        loop.Submit(Entries.Nop(), seen, 17);
        Assert.Equal(idle + 1, loop.InFlightCount);
        Assert.Equal(1, loop.Drain());
        Assert.Equal(new Completion(17, 0, CompletionFlags.None), Assert.Single(seen.Seen));
        Assert.Equal(idle, loop.InFlightCount);
        Assert.Equal(0, loop.Drain());
    }

    [Fact]
    public void RunsTenThousandOperations()
    {
        const int Total = 10_000;
        using Loop loop = TestLoop.Create(1000);
        var seen = new Collector();
        int idle = loop.InFlightCount;
        ulong next = 0;
        while (seen.Count < Total)
        {
            while (next < Total && loop.InFlightCount < 1000)
            {
                loop.Submit(Entries.Nop(), seen, next++);
            }

            loop.Drain();
        }

        Assert.Equal(idle, loop.InFlightCount);
        for (int i = 0; i < Total; i++)
        {
            Assert.Equal((ulong)i, seen.Seen[i].Token);
        }
    }

    [Fact]
    public void DrainKeepsToItsBudget()
    {
        using Loop loop = TestLoop.Create();
        var seen = new Collector();
        for (ulong i = 0; i < 10; i++)
        {
            loop.Submit(Entries.Nop(), seen, i);
        }

        Assert.Equal(4, loop.Drain(4));
        Assert.Equal(4, loop.Drain(4));
        Assert.Equal(2, loop.Drain(4));
    }

    [Fact]
    public void CompletionMaySubmitAgain()
    {
        using Loop loop = TestLoop.Create();
        var chain = new Chain(loop, 100);
        loop.Submit(Entries.Nop(), chain, 0);
        loop.Until(() => chain.Left == 0);
        Assert.Equal(100, chain.Rounds);
    }

    [Fact]
    public void LinkedEntriesStayTogetherInAFullQueue()
    {
        using Loop loop = TestLoop.Create(2048);
        loop.Drain();
        var seen = new Collector();
        for (ulong i = 0; i < loop.Ring.EntryCount - 1; i++)
        {
            loop.Submit(Entries.Nop(), seen, i);
        }

        Assert.Equal(1u, loop.Ring.FreeCount);
        loop.EnsureRoom(2);
        using FileHandle counter = TestFiles.EventCounter();
        using MemoryMapping memory = MemoryMapping.Allocate(4096);
        SubmissionEntry failing = Entries.Read(RingFile.Of(counter), memory.Slice(0, 1), 0);
        failing.Flags |= EntryFlags.Link;
        loop.Submit(failing, seen, 5000);
        loop.Submit(Entries.Nop(), seen, 5001);
        Assert.Equal(2u, loop.Ring.PendingCount);
        loop.Until(() => seen.Count == (int)loop.Ring.EntryCount + 1);
        Assert.Equal(-Errno.EINVAL, seen.Of(5000).Result);
        Assert.Equal(-Errno.ECANCELED, seen.Of(5001).Result);
    }

    [Fact]
    public void RoomForMoreThanTheQueueIsRefused()
    {
        using Loop loop = TestLoop.Create();
        Assert.Throws<ArgumentOutOfRangeException>(
            () => loop.EnsureRoom((int)loop.Ring.EntryCount + 1));
    }

    [Fact]
    public void CancelEndsAPendingRead()
    {
        using FileHandle counter = TestFiles.EventCounter();
        using MemoryMapping memory = MemoryMapping.Allocate(4096);
        using Loop loop = TestLoop.Create();
        var seen = new Collector();
        OperationId read = loop.Submit(
            Entries.Read(RingFile.Of(counter), memory.Slice(0, 8), 0), seen, 3);
        loop.Drain();
        Assert.Empty(seen.Seen);
        loop.Cancel(read);
        loop.Until(() => seen.Count == 1);
        Assert.Equal(-Errno.ECANCELED, seen.Of(3).Result);
    }

    [Fact]
    public void CancelEndsAPendingReceive()
    {
        using var pair = new SocketPair();
        using MemoryMapping memory = MemoryMapping.Allocate(4096);
        using Loop loop = TestLoop.Create();
        var seen = new Collector();
        OperationId receive = loop.Submit(
            Entries.Receive(RingFile.Of(pair.Near.SafeHandle), memory.Slice(0, 64), 0), seen, 3);
        loop.Drain();
        loop.Cancel(receive);
        loop.Until(() => seen.Count == 1);
        Assert.Equal(-Errno.ECANCELED, seen.Of(3).Result);
    }

    [Fact]
    public void CancelNeedsNoReservationOfItsOwn()
    {
        using FileHandle counter = TestFiles.EventCounter();
        using MemoryMapping memory = MemoryMapping.Allocate(4096);
        using Loop loop = TestLoop.Create(4);
        loop.Reserve(3); // The loop's own wake-up is the fourth.
        var seen = new Collector();
        var reads = new OperationId[3];
        for (int i = 0; i < 3; i++)
        {
            reads[i] = loop.Submit(
                Entries.Read(RingFile.Of(counter), memory.Slice(8 * i, 8), 0), seen, (ulong)i);
        }

        foreach (OperationId read in reads)
        {
            loop.Cancel(read);
        }

        loop.Until(() => seen.Count == 3);
        Assert.All(seen.Seen, completion => Assert.Equal(-Errno.ECANCELED, completion.Result));
    }

    [Fact]
    public void CancelOfAnEndedOperationHitsNoOther()
    {
        using FileHandle counter = TestFiles.EventCounter();
        using MemoryMapping memory = MemoryMapping.Allocate(4096);
        using Loop loop = TestLoop.Create();
        var seen = new Collector();
        OperationId ended = loop.Submit(Entries.Nop(), seen, 1);
        loop.Until(() => seen.Count == 1);
        OperationId pending = loop.Submit(
            Entries.Read(RingFile.Of(counter), memory.Slice(0, 8), 0), seen, 2);
        Assert.NotEqual(ended, pending);
        loop.Cancel(ended);
        loop.Cancel(default);
        loop.Drain();
        loop.Drain();
        Assert.Equal(1, seen.Count);
        loop.Cancel(pending);
        loop.Until(() => seen.Count == 2);
    }

    [Fact]
    public void ReservationsEndAtTheLimit()
    {
        using Loop loop = TestLoop.Create(16);
        loop.Reserve(15);
        LoopFullException error = Assert.Throws<LoopFullException>(() => loop.Reserve(1));
        Assert.Contains("0 more operations", error.Message, StringComparison.Ordinal);
        loop.Unreserve(5);
        loop.Reserve(5);
    }

    [Fact]
    public void SubmittingMoreThanTheLoopHoldsThrows()
    {
        using FileHandle counter = TestFiles.EventCounter();
        using MemoryMapping memory = MemoryMapping.Allocate(4096);
        using Loop loop = TestLoop.Create(4);
        var seen = new Collector();
        SubmissionEntry read = Entries.Read(RingFile.Of(counter), memory.Slice(0, 8), 0);
        for (ulong i = 0; i < 3; i++)
        {
            loop.Submit(read, seen, i);
        }

        Assert.Throws<InvalidOperationException>(() => loop.Submit(read, seen, 3));
    }

    [Fact]
    public void ForeignThreadIsRefused()
    {
        using Loop loop = TestLoop.Create();
        var errors = new List<Exception?>();
        var thread = new Thread(() =>
        {
            errors.Add(Record.Exception(() => loop.Submit(Entries.Nop(), new Collector(), 0)));
            errors.Add(Record.Exception(() => loop.Schedule(new LoopTimer(() => { }), TimeSpan.Zero)));
            errors.Add(Record.Exception(() => loop.Drain()));
            errors.Add(Record.Exception(() => loop.DrainOrWait(TimeSpan.Zero)));
            errors.Add(Record.Exception(loop.Dispose));
        });
        thread.Start();
        thread.Join();
        Assert.Equal(5, errors.Count);
        Assert.All(errors, error => Assert.IsType<InvalidOperationException>(error));
    }

    [Fact]
    public void ForeignCompletionIsAFault()
    {
        using Loop loop = TestLoop.Create();
        using Ring other = Ring.Create(new RingOptions(4, 16));
        Assert.True(other.TryAppend(Entries.PostTo(loop.Ring, 0, 0x0000_0001_7FFF_FFFF)));
        Assert.Equal(0, other.Enter(1, TimeSpan.FromSeconds(10)));
        InvalidOperationException error =
            Assert.Throws<InvalidOperationException>(() => loop.DrainOrWait(TimeSpan.FromSeconds(10)));
        Assert.Contains("unknown operation", error.Message, StringComparison.Ordinal);
    }

    private sealed class Chain(Loop loop, int rounds) : IRingCompletion
    {
        public int Left { get; private set; } = rounds;

        public int Rounds { get; private set; }

        public void OnCompletion(ulong token, int result, CompletionFlags flags)
        {
            Rounds++;
            if (--Left > 0)
            {
                loop.Submit(Entries.Nop(), this, token + 1);
            }
        }
    }
}
