using Ublk.Frontend.Ublk;
using Ublk.Testing;
using Ublk.Uring.Native;
using Ublk.Wire.Blocks;
using Xunit;
using static Ublk.Tests.Unit.Ublk.QueueBench;

namespace Ublk.Tests.Unit.Ublk;

/// <summary>Refused commands, lack of memory, and requests that are given up.</summary>
public sealed class UblkQueueFaultTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(10);

    [Fact]
    public void ARefusedCommitIsSentOnceMore()
    {
        using var bench = new QueueBench(new BenchOptions { Depth = 1 });
        bench.Driver.Inject(FakeCommand.Commit, -Errno.EINVAL);
        Assert.Equal(0, bench.Run(Write, 0, Block, 0, Filled(1)).Result);
        Assert.Equal(1, bench.Count(UblkCounter.RefusedCommits));
        Assert.Equal(0, bench.Run(Read).Result);
        Assert.Empty(bench.Events);
        bench.AssertEndsClean();
    }

    [Fact]
    public void EveryCommitHasItsOwnSecondChance()
    {
        using var bench = new QueueBench(new BenchOptions { Depth = 1 });
        for (int i = 0; i < 5; i++)
        {
            bench.Driver.Inject(FakeCommand.Commit, -Errno.EBUSY);
            Assert.Equal(0, bench.Run(Read).Result);
        }

        Assert.Empty(bench.Events);
        bench.AssertEndsClean();
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void ACommitRefusedTwiceIsAFault(int depth)
    {
        using var bench = new QueueBench(new BenchOptions { Depth = depth });
        bench.Driver.Inject(FakeCommand.Commit, -Errno.EINVAL, count: 2);
        FakeBlockRequest request = bench.Run(Write);
        Assert.False(request.IsDone);
        Assert.Equal(2, bench.Count(UblkCounter.RefusedCommits));
        Assert.Equal(1, bench.Queue.EndedCount);
        // The fault is told before the end, so that the end is not taken for a stop.
        Assert.StartsWith(
            "fault: commit of tag 0 was refused", bench.Events[0], StringComparison.Ordinal);
        Assert.Equal(depth == 1 ? 2 : 1, bench.Events.Count);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    public void ARefusedFetchIsAFault(int depth)
    {
        using var bench = new QueueBench(new BenchOptions { Depth = depth, IsStarted = false });
        bench.Driver.Inject(FakeCommand.Fetch, -Errno.EINVAL, skip: depth - 1);
        bench.Queue.Start();
        bench.Pump();
        Assert.Contains("fetch of tag", bench.Events[0], StringComparison.Ordinal);
        Assert.Equal(FakeErrno.Time, bench.Driver.Start(0, Environment.ProcessId));
        bench.AssertEndsClean();
    }

    [Fact]
    public void WithoutMemoryRequestsWaitInOrder()
    {
        using var bench = new QueueBench(new BenchOptions
        {
            Profile = KernelProfile.V6_12,
            Depth = 8,
            MaxTransferBytes = 1 << 20,
            SizeBytes = 16 << 20,
        });
        bench.Target.IsManual = true;
        FakeBlockRequest first = bench.SubmitWrite(0, 1, 1 << 20);
        FakeBlockRequest large = bench.SubmitWrite(1 << 20, 2, 1 << 20);
        FakeBlockRequest[] small =
        [
            .. Enumerable.Range(0, 6).Select(
                i => bench.SubmitWrite((2 << 20) + i * Block, (byte)i)),
        ];
        bench.Pump();
        Assert.Equal(1, bench.Target.InFlightCount);
        Assert.Equal(7, bench.Count(UblkCounter.MemoryWaits));

        bench.Target.Complete();
        bench.Pump();
        Assert.True(first.IsDone);
        Assert.Equal(1 << 20, bench.Target.Pending(0).OffsetBytes);
        Assert.Equal(1, bench.Target.InFlightCount);

        bench.Target.Complete();
        bench.Pump();
        Assert.True(large.IsDone);
        Assert.Equal(6, bench.Target.InFlightCount);
        for (int i = 0; i < small.Length; i++)
        {
            Assert.Equal((2 << 20) + i * Block, bench.Target.Pending(i).OffsetBytes);
        }

        bench.Target.CompleteAll();
        bench.Pump();
        Assert.All(small, static request => Assert.True(request.IsDone && request.Result == 0));
        bench.AssertEndsClean();
    }

    [Fact]
    public void ALargeRequestIsNotStarvedBySmallOnes()
    {
        using var bench = new QueueBench(new BenchOptions
        {
            Profile = KernelProfile.V6_12,
            Depth = 4,
            MaxTransferBytes = 1 << 20,
            SizeBytes = 16 << 20,
        });
        bench.Target.IsManual = true;
        bench.SubmitWrite(0, 1);
        FakeBlockRequest large = bench.SubmitWrite(1 << 20, 2, 1 << 20);
        bench.Pump();
        int smallDone = 0;
        while (!large.IsDone && smallDone < 20)
        {
            FakeBlockRequest small = bench.SubmitWrite(Block, 3);
            bench.Pump();
            bench.Target.Complete();
            bench.Pump();
            smallDone += small.IsDone ? 1 : 0;
        }

        Assert.True(large.IsDone);
        Assert.Equal(0, smallDone);
        bench.AssertEndsClean();
    }

    [Theory]
    [InlineData(1, "7.3")]
    [InlineData(4, "7.3")]
    [InlineData(4, "6.12")]
    public void OverdueRequestsAreGivenUpAlsoWithEveryTagBusy(int depth, string kernel)
    {
        using var bench = new QueueBench(new BenchOptions
        {
            Depth = depth,
            Timeout = s_limit,
            Profile = KernelProfile.Of(kernel),
        });
        bench.Target.IsManual = true;
        FakeBlockRequest[] reads =
            [.. Enumerable.Range(0, depth).Select(i => bench.Submit(Read, i * Block))];
        bench.Pump();
        bench.Time.Advance(s_limit / 2);
        Assert.Equal(0, bench.Queue.GiveUpOverdue());
        bench.Time.Advance(s_limit / 2);
        Assert.Equal(depth, bench.Queue.GiveUpOverdue());
        Assert.Equal(0, bench.Queue.InFlightCount);
        Assert.Equal(depth, bench.Count(UblkCounter.Timeouts));

        // The tags go on although the target still has the old requests.
        FakeBlockRequest write = bench.SubmitWrite(64 * Block, 6);
        bench.Pump();
        bench.Target.Complete(depth);
        Assert.Equal(0, write.Result);
        Assert.True(write.IsDone);

        bench.Target.CompleteAll();
        bench.Pump();
        Assert.All(reads, static read => Assert.True(read.IsDone));
        Assert.All(reads, static read => Assert.Equal(ETIMEDOUT, read.Result));
        bench.AssertEndsClean();
    }

    [Fact]
    public void WhileEverySpareIsWithTheTargetNothingMoreIsGivenUp()
    {
        using var bench = new QueueBench(new BenchOptions { Depth = 2, Timeout = s_limit });
        bench.Target.IsManual = true;
        for (int round = 0; round < 2; round++)
        {
            bench.Submit(Read);
            bench.Submit(Read);
            bench.Pump();
            bench.Time.Advance(s_limit);
            Assert.Equal(round == 0 ? 2 : 0, bench.Queue.GiveUpOverdue());
        }

        Assert.Equal(4, bench.Target.InFlightCount);
        bench.Target.Complete();
        Assert.Equal(1, bench.Queue.GiveUpOverdue());
        bench.AssertEndsClean();
    }

    [Fact]
    public void MemoryOfAGivenUpRequestIsNotReused()
    {
        using var bench = new QueueBench(new BenchOptions
        {
            Depth = 2,
            Timeout = s_limit,
            Profile = KernelProfile.V6_12,
            MaxTransferBytes = 1 << 19,
        });
        bench.Target.IsManual = true;
        FakeBlockRequest lost = bench.SubmitWrite(0, 1, 1 << 19);
        bench.Pump();
        bench.Time.Advance(s_limit);
        Assert.Equal(1, bench.Queue.GiveUpOverdue());
        Assert.Equal(ETIMEDOUT, lost.Result);
        Assert.Equal(1 << 19, bench.Pool.FreeBytes);

        FakeBlockRequest next = bench.SubmitWrite(1 << 19, 2, 1 << 19);
        FakeBlockRequest waits = bench.SubmitWrite(0, 3, 1 << 19);
        bench.Pump();
        Assert.Equal(2, bench.Target.InFlightCount);
        bench.Target.Complete(1);
        bench.Pump();
        Assert.True(next.IsDone);
        bench.Target.CompleteAll();
        bench.Pump();
        Assert.True(waits.IsDone);
        bench.AssertEndsClean();
    }

    [Fact]
    public void APlaceOfAGivenUpRequestIsNotReused()
    {
        using var bench = new QueueBench(
            new BenchOptions { Depth = 1, Timeout = s_limit, TableSlots = 2 });
        bench.Target.IsManual = true;
        bench.Submit(Read);
        bench.Pump();
        int place = bench.Target.Last.Buffer.TableIndex;
        bench.Time.Advance(s_limit);
        bench.Queue.GiveUpOverdue();
        for (int i = 0; i < 3; i++)
        {
            FakeBlockRequest next = bench.Submit(Read);
            bench.Pump();
            Assert.NotEqual(place, bench.Target.Last.Buffer.TableIndex);
            bench.Target.Complete(1);
            bench.Pump();
            Assert.Equal(0, next.Result);
        }

        bench.AssertEndsClean();
    }

    [Fact]
    public void ARequestCanBeGivenUpWhileItWaitsForMemory()
    {
        using var bench = new QueueBench(new BenchOptions
        {
            Depth = 3,
            Timeout = s_limit,
            Profile = KernelProfile.V6_12,
            MaxTransferBytes = 1 << 20,
        });
        bench.Target.IsManual = true;
        bench.SubmitWrite(0, 1, 1 << 20);
        FakeBlockRequest waiting = bench.SubmitWrite(0, 2, 1 << 20);
        bench.Pump();
        bench.Time.Advance(s_limit);
        Assert.Equal(2, bench.Queue.GiveUpOverdue());
        Assert.Equal(ETIMEDOUT, waiting.Result);
        FakeBlockRequest later = bench.SubmitWrite(Block, 3);
        bench.Pump();
        bench.Target.Complete();
        bench.Pump();
        Assert.Equal(Block, bench.Target.Pending(0).OffsetBytes);
        bench.Target.Complete();
        bench.Pump();
        Assert.True(later.IsDone && later.Result == 0);
        Assert.Equal(2, bench.Target.SubmitCount);
        bench.AssertEndsClean();
    }

    [Fact]
    public void FixedOperationsHoldTheClientUntilTheyEnd()
    {
        using var bench = new QueueBench(new BenchOptions { Timeout = s_limit });
        bench.Target.IsManual = true;
        FakeBlockRequest read = bench.Submit(Read);
        bench.Pump();
        bench.Time.Advance(s_limit);
        bench.Queue.GiveUpOverdue();
        bench.Pump();
        Assert.False(read.IsDone);
        bench.Target.Complete();
        Assert.Equal(ETIMEDOUT, read.Result);
        bench.AssertEndsClean();
    }

    [Fact]
    public void WithoutALimitNothingIsGivenUp()
    {
        using var bench = new QueueBench();
        bench.Target.IsManual = true;
        bench.Submit(Read);
        bench.Pump();
        bench.Time.Advance(TimeSpan.FromDays(10));
        Assert.Equal(0, bench.Queue.GiveUpOverdue());
        bench.AssertEndsClean();
    }

    [Fact]
    public void TransfersAboveABlockOfThePoolAreRefusedAtOnce() =>
        Assert.Throws<ArgumentException>(() => new QueueBench(
            new BenchOptions { MaxTransferBytes = 2 << 20, IsStarted = false }));

    [Fact]
    public void AFaultTargetMixesLateAndFailedRequests()
    {
        using var model = new ModelTarget(1 << 20, new BlockLimits { MaxRequests = 8 });
        using var target = new FaultTarget(model);
        target.Add(new FaultRule
        {
            Action = FaultAction.Fail,
            Operation = BlockOperation.Write,
            OffsetBytes = Block,
            LengthBytes = Block,
            Skip = 1,
            Count = 1,
            Status = BlockStatus.NoSpace,
        });
        target.Add(new FaultRule
        {
            Action = FaultAction.HoldCompletion,
            Operation = BlockOperation.Flush,
        });
        target.Add(new FaultRule
        {
            Action = FaultAction.Never,
            Operation = BlockOperation.Discard,
        });
        var log = new CompletionLog();
        target.Submit(Request(BlockOperation.WriteZeroes, 0, 1), log);
        target.Submit(Request(BlockOperation.Flush, 0, 2), log);
        target.Submit(Request(BlockOperation.Discard, 0, 3), log);
        Assert.Equal([(1UL, BlockStatus.Ok)], log.Ends);
        Assert.Equal(1, target.Release());
        Assert.Equal((2UL, BlockStatus.Ok), log.Ends[^1]);
        Assert.Equal(1, target.SwallowedCount);
        Assert.Equal(2, model.SubmitCount);

        static BlockRequest Request(BlockOperation operation, long offset, ulong token) => new(
            operation, BlockRequestFlags.None, offset,
            operation == BlockOperation.Flush ? 0 : Block, default, token);
    }
}
