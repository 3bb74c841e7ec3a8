using Microsoft.Extensions.Time.Testing;
using Ublk.Testing;
using Ublk.Uring;
using Ublk.Uring.Abi;
using Ublk.Uring.Native;
using Xunit;

namespace Ublk.Tests.Unit.Uring;

/// <summary>After warm-up the hot path allocates nothing, measured on the loop's own thread.</summary>
public sealed class ZeroAllocationTests
{
    private const int Rounds = 10_000;

    [Fact]
    public void NopsThroughTheLoop()
    {
        using Loop loop = TestLoop.Create();
        var counter = new Counter();
        SubmissionEntry nop = Entries.Nop();
        AssertNone(() =>
        {
            loop.Submit(nop, counter, 1);
            loop.Drain();
        });
    }

    [Theory]
    [InlineData(DirectMode.Off)]
    [InlineData(DirectMode.Auto)]
    public void ReadsAndWritesOfAnImage(DirectMode direct)
    {
        using var directory = new TempDirectory();
        using Loop loop = TestLoop.Create();
        using MemoryMapping memory = MemoryMapping.Allocate(8192);
        using var file = new BlockFile<Told>(
            BlockImage.Open(directory.File("image", 1 << 20), readOnly: false, direct), loop, 4);
        var counter = new Counter();
        long done = 0;
        AssertNone(() =>
        {
            file.Write(memory.Slice(0, 4096), 4096, dataSync: false, new Told(counter, 1));
            file.Read(memory.Slice(4096, 4096), 8192, new Told(counter, 2));
            done += 2;
            while (counter.Count < done)
            {
                loop.DrainOrWait();
            }
        }, direct == DirectMode.Off ? Rounds : 500);
        Assert.Equal(0, counter.Failures);
    }

    [Fact]
    public void PayloadBlocks()
    {
        using var pool = new PayloadPool(1 << 20, table: null);
        int size = 0;
        AssertNone(() =>
        {
            size = (size + 12_345) % (PayloadPool.MaxBlockBytes / 2);
            Assert.True(pool.TryRent(size + 1, out IoBuffer first));
            Assert.True(pool.TryRent(4096, out IoBuffer second));
            pool.Return(first);
            pool.Return(second);
        });
    }

    [Fact]
    public void TimersThatFireMoveAndAreCancelled()
    {
        var time = new FakeTimeProvider();
        using Loop loop = TestLoop.Create(time: time);
        int fired = 0;
        var first = new LoopTimer(() => fired++);
        var second = new LoopTimer(() => fired++);
        AssertNone(() =>
        {
            loop.Schedule(first, TimeSpan.FromSeconds(30));
            loop.Schedule(second, TimeSpan.Zero);
            loop.Schedule(first, TimeSpan.FromSeconds(20));
            loop.Drain();
            second.Cancel();
        });
        Assert.True(fired >= Rounds);
    }

    [Fact]
    public void PostsOfAKeptAction()
    {
        using Loop loop = TestLoop.Create();
        int count = 0;
        Action action = () => count++;
        AssertNone(() =>
        {
            loop.Post(action);
            loop.Drain();
        });
        Assert.True(count >= Rounds);
    }

    [Fact]
    public void TablePlaces()
    {
        using Loop loop = TestLoop.Create();
        AssertNone(() =>
        {
            Assert.True(loop.Buffers.TryRent(out ushort index));
            loop.Buffers.Return(index);
        });
    }

    private static void AssertNone(Action round, int rounds = Rounds)
    {
        long bytes = Allocation.Steady(() =>
        {
            for (int i = 0; i < rounds; i++)
            {
                round();
            }
        });
        Assert.True(bytes == 0, $"{bytes} bytes in {rounds} rounds");
    }

    private sealed class Counter : IRingCompletion
    {
        public long Count { get; private set; }

        public int Failures { get; private set; }

        public void OnCompletion(ulong token, int result, CompletionFlags flags)
        {
            Count++;
            Failures += result == 0 ? 0 : 1;
        }
    }
}
