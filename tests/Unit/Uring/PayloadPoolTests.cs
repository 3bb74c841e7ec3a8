using CsCheck;
using Ublk.Uring;
using Ublk.Uring.Native;
using Xunit;

namespace Ublk.Tests.Unit.Uring;

public sealed class PayloadPoolTests
{
    private const int MiB = 1 << 20;

    // A step rents (above 0, bytes) or returns (below 0, picks one of the rented).
    private static readonly Gen<int> s_step = Gen.OneOf(
        Gen.Int[1, PayloadPool.MaxBlockBytes], Gen.Int[1, 16384], Gen.Int[-1000, -1]);

    [Fact]
    public void BlocksNeverOverlapAndAllComesBack() => s_step.Array[1, 120].Sample(steps =>
    {
        using var pool = new PayloadPool(2 * MiB, table: null);
        var rented = new List<(ulong Start, ulong End, IoBuffer Buffer)>();
        long free = pool.CapacityBytes;
        foreach (int step in steps)
        {
            if (step > 0)
            {
                if (!pool.TryRent(step, out IoBuffer buffer))
                {
                    Assert.True(rented.Count > 0);
                    continue;
                }

                ulong size = BlockSize(step);
                (ulong start, ulong end) = (buffer.Address, buffer.Address + size);
                Assert.Equal(step, buffer.LengthBytes);
                Assert.Equal(0ul, start % PayloadPool.MinBlockBytes);
                Assert.DoesNotContain(rented, other => other.Start < end && start < other.End);
                buffer.Span[0] = buffer.Span[^1] = 1;
                rented.Add((start, end, buffer));
                free -= (long)size;
            }
            else if (rented.Count > 0)
            {
                int pick = -step % rented.Count;
                pool.Return(rented[pick].Buffer);
                free += (long)(rented[pick].End - rented[pick].Start);
                rented.RemoveAt(pick);
            }

            Assert.Equal(free, pool.FreeBytes);
        }

        rented.ForEach(block => pool.Return(block.Buffer));
        AssertWhole(pool);
    }, iter: 300, threads: 1);

    [Fact]
    public void ServesEveryPageAndThenNothing()
    {
        using var pool = new PayloadPool(MiB, table: null);
        var blocks = new List<IoBuffer>();
        while (pool.TryRent(1, out IoBuffer buffer))
        {
            blocks.Add(buffer);
        }

        Assert.Equal(MiB / PayloadPool.MinBlockBytes, blocks.Count);
        Assert.Equal(0, pool.FreeBytes);
        // The odd pages leave no two neighbours free.
        for (int i = 0; i < blocks.Count; i += 2)
        {
            pool.Return(blocks[i]);
        }

        Assert.False(pool.TryRent(PayloadPool.MinBlockBytes + 1, out _));
        for (int i = 1; i < blocks.Count; i += 2)
        {
            pool.Return(blocks[i]);
        }

        AssertWhole(pool);
    }

    [Fact]
    public void WaitersAreServedInOrderAndNotOvertaken()
    {
        using var pool = new PayloadPool(MiB, table: null);
        Assert.True(pool.TryRent(MiB, out IoBuffer all));
        var served = new List<string>();
        var first = new Waiter(pool, "first", MiB / 2, served);
        var second = new Waiter(pool, "second", MiB, served);
        var third = new Waiter(pool, "third", 4096, served);
        pool.Wait(first);
        pool.Wait(second);
        pool.Wait(third);
        pool.Return(all);
        // The second needs all of it, so the third has to stand behind it.
        Assert.Equal(["first"], served);
        Assert.Equal(MiB / 2, pool.FreeBytes);
        Assert.False(pool.TryRent(4096, out _));
        pool.Return(first.Buffer);
        Assert.Equal(["first", "second"], served);
        pool.Return(second.Buffer);
        Assert.Equal(["first", "second", "third"], served);
        pool.Return(third.Buffer);
        AssertWhole(pool);
    }

    [Fact]
    public void WaiterMayReturnAndWaitAgainInsideTheCall()
    {
        using var pool = new PayloadPool(MiB, table: null);
        Assert.True(pool.TryRent(MiB, out IoBuffer all));
        var greedy = new Again(pool, 3);
        pool.Wait(greedy);
        pool.Return(all);
        Assert.Equal(3, greedy.Calls);
        AssertWhole(pool);
    }

    [Fact]
    public void WaiterThatThrowsDoesNotCloseThePool()
    {
        using var pool = new PayloadPool(MiB, table: null);
        Assert.True(pool.TryRent(MiB, out IoBuffer all));
        pool.Wait(new Thrower());
        Assert.Throws<FormatException>(() => pool.Return(all));
        Assert.False(pool.TryRent(4096, out _)); // It still waits in line.
    }

    [Fact]
    public void ASharedBlockIsFreeWhenTheLastHolderHasReturnedIt()
    {
        using var pool = new PayloadPool(MiB, table: null);
        Assert.True(pool.TryRent(8192, out IoBuffer buffer));
        pool.Share(buffer);
        pool.Share(buffer);
        pool.Return(buffer);
        pool.Return(buffer);
        Assert.Equal(MiB - 8192, pool.FreeBytes);
        pool.Return(buffer);
        AssertWhole(pool);
        Assert.Throws<InvalidOperationException>(() => pool.Return(buffer));
        Assert.Throws<InvalidOperationException>(() => pool.Share(buffer));
    }

    [Fact]
    public void AnAccountGivesBackWhatItsHolderStillHas()
    {
        using var pool = new PayloadPool(MiB, table: null);
        using var other = new PayloadPool(MiB, table: null);
        var account = new PayloadAccount(pool);
        Assert.True(pool.TryRent(4096, out IoBuffer first));
        Assert.True(pool.TryRent(MiB / 2, out IoBuffer second));
        Assert.True(pool.Owns(first));
        Assert.False(other.Owns(first));
        account.Add(first);
        pool.Share(second);
        account.Add(second);
        account.Add(second);
        account.Remove(first);
        Assert.Throws<InvalidOperationException>(() => account.Remove(first));
        Assert.Equal(2, account.Count);
        account.ReturnAll();
        Assert.Equal(0, account.Count);
        Assert.Equal(MiB - 4096, pool.FreeBytes);
        pool.Return(first);
        AssertWhole(pool);
    }

    [Fact]
    public void SecondReturnIsAnError()
    {
        using var pool = new PayloadPool(MiB, table: null);
        Assert.True(pool.TryRent(8192, out IoBuffer buffer));
        Assert.True(pool.TryRent(8192, out _));
        pool.Return(buffer);
        Assert.Throws<InvalidOperationException>(() => pool.Return(buffer));
        Assert.Equal(MiB - 8192, pool.FreeBytes);
    }

    [Fact]
    public void PartsAndForeignBuffersAreRefused()
    {
        using var pool = new PayloadPool(MiB, table: null);
        using MemoryMapping other = MemoryMapping.Allocate(4096);
        Assert.True(pool.TryRent(16384, out IoBuffer buffer));
        Assert.Throws<ArgumentException>(() => pool.Return(buffer.Slice(1, 10)));
        Assert.Throws<InvalidOperationException>(() => pool.Return(buffer.Slice(4096, 10)));
        Assert.Throws<ArgumentException>(() => pool.Return(other.Slice(0, 4096)));
        Assert.Throws<ArgumentException>(() => pool.Return(default));
        Assert.Throws<ArgumentException>(() => pool.Return(IoBuffer.Registered(1, 4096)));
        pool.Return(buffer.Slice(0, 10)); // The start names the block.
        AssertWhole(pool);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-1)]
    [InlineData(PayloadPool.MaxBlockBytes + 1)]
    public void LengthHasBounds(int length)
    {
        using var pool = new PayloadPool(1, table: null);
        Assert.Equal(MiB, pool.CapacityBytes);
        Assert.Throws<ArgumentOutOfRangeException>(() => pool.TryRent(length, out _));
    }

    [Fact]
    public void RegisteredArenaNamesItsPlace()
    {
        using Loop loop = TestLoop.Create();
        var pool = new PayloadPool(MiB, loop.Buffers);
        Assert.Equal(15, loop.Buffers.FreeCount);
        Assert.True(pool.TryRent(4096, out IoBuffer buffer));
        Assert.True(buffer.TableIndex >= 0);
        pool.Return(buffer);
        pool.Dispose();
        pool.Dispose();
        Assert.Equal(16, loop.Buffers.FreeCount);
    }

    [Fact]
    public void OutlivesItsLoop()
    {
        Loop loop = TestLoop.Create();
        var pool = new PayloadPool(MiB, loop.Buffers);
        loop.Dispose();
        pool.Dispose();
    }

    private static ulong BlockSize(int lengthBytes)
    {
        ulong size = PayloadPool.MinBlockBytes;
        while (size < (ulong)lengthBytes)
        {
            size *= 2;
        }

        return size;
    }

    private static void AssertWhole(PayloadPool pool)
    {
        Assert.Equal(pool.CapacityBytes, pool.FreeBytes);
        var blocks = new List<IoBuffer>();
        while (pool.TryRent(PayloadPool.MaxBlockBytes, out IoBuffer buffer))
        {
            blocks.Add(buffer);
        }

        Assert.Equal(pool.CapacityBytes / PayloadPool.MaxBlockBytes, blocks.Count);
        blocks.ForEach(block => pool.Return(block));
    }

    private sealed class Waiter(PayloadPool pool, string name, int length, List<string> served)
        : IPayloadWaiter
    {
        private IoBuffer _buffer;

        public IoBuffer Buffer => _buffer;

        public bool TryContinue()
        {
            if (!pool.TryRent(length, out _buffer))
            {
                return false;
            }

            served.Add(name);
            return true;
        }
    }

    private sealed class Again(PayloadPool pool, int rounds) : IPayloadWaiter
    {
        public int Calls { get; private set; }

        public bool TryContinue()
        {
            Calls++;
            Assert.True(pool.TryRent(MiB, out IoBuffer buffer));
            if (Calls < rounds)
            {
                pool.Wait(this);
            }

            pool.Return(buffer);
            return true;
        }
    }

    private sealed class Thrower : IPayloadWaiter
    {
        public bool TryContinue() => throw new FormatException();
    }
}
