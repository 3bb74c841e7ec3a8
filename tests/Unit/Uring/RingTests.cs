using Ublk.Uring;
using Ublk.Uring.Abi;
using Ublk.Uring.Native;
using Xunit;

namespace Ublk.Tests.Unit.Uring;

public sealed class RingTests
{
    [Fact]
    public void TakesTheBestFlagsTheKernelKnows()
    {
        using Ring ring = Ring.Create(new RingOptions(8, 32));
        SetupFlags expected = Environment.OSVersion.Version >= new Version(6, 6)
            ? SetupFlags.SingleIssuer | SetupFlags.DeferTaskRun | SetupFlags.SubmitAll | SetupFlags.NoSqArray
            : SetupFlags.None;
        Assert.Equal(expected, ring.SetupFlags & expected);
        Assert.Equal(8u, ring.EntryCount);
        Assert.Equal(32u, ring.CompletionCount);
        Assert.Equal(8u, ring.FreeCount);
        Assert.Equal(0u, ring.PendingCount);
    }

    [Fact]
    public void CompletionQueueIsNeverSmallerThanTwiceTheEntries()
    {
        using Ring ring = Ring.Create(new RingOptions(16, 4));
        Assert.Equal(32u, ring.CompletionCount);
    }

    [Fact]
    public void ControlRingHasLongEntriesAndNoOwnerThread()
    {
        using Ring ring = Ring.Create(new RingOptions(4, 16) { IsControl = true });
        Assert.True(ring.SetupFlags.HasFlag(SetupFlags.Sqe128));
        Assert.False(ring.SetupFlags.HasFlag(SetupFlags.SingleIssuer));
        Assert.True(ring.TryAppendLong(Nop(7), 1, 2));
        Assert.Equal(0, ring.Enter(1));
        Assert.Equal(7ul, Reap(ring).UserData);
    }

    [Fact]
    public void AppendsUntilFullAndGoesOnAfterEnter()
    {
        using Ring ring = Ring.Create(new RingOptions(4, 16));
        for (ulong i = 0; i < 4; i++)
        {
            Assert.True(ring.TryAppend(Nop(i)));
        }

        Assert.False(ring.TryAppend(Nop(4)));
        Assert.Equal(4u, ring.PendingCount);
        Assert.Equal(0, ring.Enter(4));
        Assert.Equal(0u, ring.PendingCount);
        Assert.Equal(4u, ring.FreeCount);
        for (ulong i = 0; i < 4; i++)
        {
            CompletionEntry completion = Reap(ring);
            Assert.Equal(i, completion.UserData);
            Assert.Equal(0, completion.Result);
        }

        Assert.False(ring.TryReap(out _));
    }

    [Fact]
    public void WaitEndsWithTimeExpired()
    {
        using Ring ring = Ring.Create(new RingOptions(4, 16));
        Assert.Equal(-Errno.ETIME, ring.Enter(1, TimeSpan.FromMilliseconds(1)));
        Assert.Equal(-Errno.ETIME, ring.Enter(1, TimeSpan.Zero));
        Assert.Equal(-Errno.ETIME, ring.Enter(1, TimeSpan.FromSeconds(-1)));
        Assert.Equal(0, ring.Enter(0, TimeSpan.Zero));
        Assert.Equal(4, ring.EnterCount);
    }

    [Fact]
    public void WaitThatAlsoSubmittedTellsNothingOfItsTime()
    {
        using FileHandle counter = TestFiles.EventCounter();
        using MemoryMapping memory = MemoryMapping.Allocate(4096);
        using Ring ring = Ring.Create(new RingOptions(4, 16));
        Assert.True(ring.TryAppend(Entries.Read(RingFile.Of(counter), memory.Slice(0, 8), 0)));
        Assert.Equal(0, ring.Enter(1, TimeSpan.FromMilliseconds(1)));
        Assert.Equal(0u, ring.PendingCount);
        Assert.False(ring.TryReap(out _));
    }

    [Fact]
    public void FailedEntryDoesNotStopTheOthers()
    {
        using Ring ring = Ring.Create(new RingOptions(4, 16));
        Assert.True(ring.TryAppend(Nop(1)));
        Assert.True(ring.TryAppend(new SubmissionEntry { Opcode = (RingOpcode)255, UserData = 2 }));
        Assert.True(ring.TryAppend(Nop(3)));
        Assert.Equal(0, ring.Enter(3));
        Assert.Equal(0, Reap(ring).Result);
        Assert.Equal(-Errno.EINVAL, Reap(ring).Result);
        Assert.Equal(0, Reap(ring).Result);
    }

    [Fact]
    public void OverflowedCompletionsAreKept()
    {
        const int Total = 64;
        using Ring ring = Ring.Create(new RingOptions(4, 8));
        for (ulong i = 0; i < Total; i++)
        {
            if (!ring.TryAppend(Nop(i)))
            {
                Assert.Equal(0, ring.Enter(0, TimeSpan.Zero));
                Assert.True(ring.TryAppend(Nop(i)));
            }
        }

        Assert.Equal(0, ring.Enter(0, TimeSpan.Zero));
        Assert.True(ring.HasOverflow);
        for (ulong i = 0; i < Total; i++)
        {
            if (!ring.TryReap(out CompletionEntry completion))
            {
                Assert.Equal(0, ring.Enter(1, TimeSpan.FromSeconds(10)));
                completion = Reap(ring);
            }

            Assert.Equal(i, completion.UserData);
        }

        Assert.Equal(0, ring.Enter(0, TimeSpan.Zero));
        Assert.False(ring.HasOverflow);
        Assert.False(ring.TryReap(out _));
    }

    [Fact]
    public void KnowsWhichOpcodesTheKernelHas()
    {
        using Ring ring = Ring.Create(new RingOptions(4, 16));
        bool[] opcodes = ring.ProbeOpcodes();
        Assert.True(opcodes[(int)RingOpcode.Nop]);
        Assert.True(opcodes[(int)RingOpcode.UringCommand]);
        Assert.True(opcodes[(int)RingOpcode.SendZeroCopy]);
        Assert.False(opcodes[255]);
    }

    [Fact]
    public void ForeignThreadIsRefused()
    {
        using Ring ring = Ring.Create(new RingOptions(4, 16));
        Assert.SkipUnless(ring.SetupFlags.HasFlag(SetupFlags.SingleIssuer), "kernel before 6.0");
        int result = 0;
        var thread = new Thread(() => result = ring.Enter(0, TimeSpan.Zero));
        thread.Start();
        thread.Join();
        Assert.Equal(-Errno.EEXIST, result);
    }

    [Fact]
    public void PostsIntoAnotherRing()
    {
        using Ring source = Ring.Create(new RingOptions(4, 16));
        using Ring target = Ring.Create(new RingOptions(4, 16));
        SubmissionEntry post = Entries.PostTo(target, 42, 0xABCD_0000_1234);
        post.UserData = 9;
        Assert.True(source.TryAppend(post));
        Assert.Equal(0, source.Enter(1, TimeSpan.FromSeconds(10)));
        CompletionEntry sent = Reap(source);
        Assert.Equal(9ul, sent.UserData);
        Assert.Equal(0, sent.Result);

        Assert.Equal(0, target.Enter(1, TimeSpan.FromSeconds(10)));
        CompletionEntry arrived = Reap(target);
        Assert.Equal(0xABCD_0000_1234ul, arrived.UserData);
        Assert.Equal(42, arrived.Result);
    }

    [Fact]
    public void ClosedRingTouchesNoDescriptor()
    {
        Ring ring = Ring.Create(new RingOptions(4, 16));
        ring.Dispose();
        ring.Dispose();
        Assert.Throws<ObjectDisposedException>(() => ring.UpdateFile(0, -1));
    }

    [Fact]
    public void RefusesSizesTheKernelCannot()
    {
        SystemCallException error =
            Assert.Throws<SystemCallException>(() => Ring.Create(new RingOptions(0, 0)));
        Assert.Equal(Errno.EINVAL, error.Number);
    }

    private static SubmissionEntry Nop(ulong userData)
    {
        SubmissionEntry entry = Entries.Nop();
        entry.UserData = userData;
        return entry;
    }

    private static CompletionEntry Reap(Ring ring)
    {
        Assert.True(ring.TryReap(out CompletionEntry completion));
        return completion;
    }
}
