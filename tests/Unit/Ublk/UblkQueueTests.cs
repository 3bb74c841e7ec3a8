using Ublk.Frontend.Ublk;
using Ublk.Testing;
using Ublk.Wire.Blocks;
using Xunit;
using static Ublk.Tests.Unit.Ublk.QueueBench;

namespace Ublk.Tests.Unit.Ublk;

/// <summary>Every operation on every kernel: right bytes, right way, right result.</summary>
public sealed class UblkQueueTests
{
    public static TheoryData<string> Kernels => [.. KernelProfile.Usable.Select(p => p.Name)];

    [Theory]
    [MemberData(nameof(Kernels))]
    public void AllOperationsMoveTheRightBytes(string kernel)
    {
        using var bench = new QueueBench(new BenchOptions { Profile = KernelProfile.Of(kernel) });
        Assert.Equal(0, bench.Run(Write, 8192, 8192, 0, Filled(7, 8192)).Result);
        Assert.Equal(Filled(7, 8192), bench.Target.Bytes[8192..16384]);

        FakeBlockRequest read = bench.Run(Read, 4096, 12288);
        Assert.True(read.IsDone);
        Assert.Equal(bench.Target.Bytes[4096..16384], read.Data);

        Assert.Equal(0, bench.Run(Flush).Result);
        Assert.Equal(BlockOperation.Flush, bench.Target.Last.Operation);
        Assert.Equal(0, bench.Target.Last.OffsetBytes);

        Assert.Equal(0, bench.Run(Discard, 8192).Result);
        Assert.Equal(new byte[Block], bench.Target.Bytes[8192..12288]);
        Assert.Equal(0, bench.Run(WriteZeroes, 12288).Result);
        Assert.Equal(new byte[Block], bench.Target.Bytes[12288..16384]);

        Assert.Equal(1, bench.Count(UblkCounter.Writes));
        Assert.Equal(8192, bench.Count(UblkCounter.WriteBytes));
        Assert.Equal(1, bench.Count(UblkCounter.Reads));
        Assert.Equal(12288, bench.Count(UblkCounter.ReadBytes));
        Assert.Equal(1, bench.Count(UblkCounter.Flushes));
        Assert.Equal(1, bench.Count(UblkCounter.Discards));
        Assert.Equal(1, bench.Count(UblkCounter.WriteZeroes));
        Assert.Equal(0, bench.Count(UblkCounter.Errors));
        UblkFeatures features = KernelProfile.Of(kernel).Features;
        bool hasAuto = features.HasFlag(UblkFeatures.AutoBufferRegistration);
        Assert.Equal(hasAuto ? 1 : 0, bench.Count(UblkCounter.ReadsIntoRequest));
        Assert.Equal(hasAuto ? 0 : 1, bench.Count(UblkCounter.ReadsThroughMemory));
        Assert.Equal(1, bench.Count(UblkCounter.WritesFromCopy));
        bench.AssertEndsClean();
    }

    [Fact]
    public void WritesAreTakenFromTheRequestWhenAskedFor()
    {
        using var bench = new QueueBench(new BenchOptions { CopiesWrites = false });
        Assert.Equal(0, bench.Run(Write, 0, Block, 0, Filled(9)).Result);
        Assert.Equal(Filled(9), bench.Target.Bytes[..Block]);
        Assert.False(bench.Target.Last.Buffer.IsMemory);
        Assert.Equal(1, bench.Count(UblkCounter.WritesFromRequest));
        bench.AssertEndsClean();
    }

    [Fact]
    public void ATargetThatCannotUseRegisteredPagesGetsMemory()
    {
        using var bench = new QueueBench(
            new BenchOptions { IsDirect = false, CopiesWrites = false });
        Assert.Equal(0, bench.Run(Write, 0, Block, 0, Filled(3)).Result);
        FakeBlockRequest read = bench.Run(Read);
        Assert.Equal(Filled(3), read.Data);
        Assert.Equal(1, bench.Count(UblkCounter.WritesFromCopy));
        Assert.Equal(1, bench.Count(UblkCounter.ReadsThroughMemory));
        Assert.Equal(0, bench.Count(UblkCounter.RegistrationFallbacks));
        bench.AssertEndsClean();
    }

    [Fact]
    public void AReadThatTheTargetCannotPutIntoTheRequestIsAskedAgainWithMemory()
    {
        using var bench = new QueueBench();
        Assert.Equal(0, bench.Run(Write, 0, Block, 0, Filled(3)).Result);
        bench.Target.NeedsMemory = true;
        FakeBlockRequest read = bench.Run(Read);
        Assert.True(read.IsDone);
        Assert.Equal(Filled(3), read.Data);
        Assert.Equal(1, bench.Count(UblkCounter.ReadsIntoRequest));
        Assert.Equal(1, bench.Count(UblkCounter.ReadsThroughMemory));
        Assert.Equal(0, bench.Count(UblkCounter.Errors));
        bench.AssertEndsClean();
    }

    [Theory]
    [InlineData(0u, BlockRequestFlags.None)]
    [InlineData(1u << 13, BlockRequestFlags.ForceUnitAccess)]
    [InlineData(1u << 15, BlockRequestFlags.NoUnmap)]
    [InlineData(1u << 13 | 1u << 15 | 1u << 11,
        BlockRequestFlags.ForceUnitAccess | BlockRequestFlags.NoUnmap)]
    public void FlagsReachTheTarget(uint flags, BlockRequestFlags expected)
    {
        using var bench = new QueueBench();
        bench.Run(WriteZeroes, 0, Block, flags);
        Assert.Equal(expected, bench.Target.Last.Flags);
        bench.Run(Write, 0, Block, flags, Filled(1));
        Assert.Equal(expected, bench.Target.Last.Flags);
        bench.AssertEndsClean();
    }

    [Theory]
    [InlineData(BlockStatus.IoError, 5)]
    [InlineData(BlockStatus.NoSpace, 28)]
    [InlineData(BlockStatus.InvalidRange, 22)]
    [InlineData(BlockStatus.NotSupported, 95)]
    [InlineData(BlockStatus.ReadOnly, 5)]
    [InlineData(BlockStatus.TimedOut, 110)]
    [InlineData(BlockStatus.Gone, 19)]
    public void TargetErrorsReachTheClient(BlockStatus status, int errno)
    {
        using var bench = new QueueBench();
        bench.Target.Status = status;
        foreach (byte operation in new[] { Read, Write, Flush, Discard, WriteZeroes })
        {
            FakeBlockRequest request = bench.Run(operation);
            Assert.True(request.IsDone);
            Assert.Equal(-errno, request.Result);
        }

        Assert.Equal(5, bench.Count(UblkCounter.Errors));
        Assert.Equal(0, bench.Count(UblkCounter.ReadBytes) + bench.Count(UblkCounter.WriteBytes));
        bench.AssertEndsClean();
    }

    [Theory]
    [InlineData(FakeCommand.CopyFrom, 512)]
    [InlineData(FakeCommand.CopyFrom, 0)]
    [InlineData(FakeCommand.CopyFrom, -14)]
    [InlineData(FakeCommand.CopyTo, 512)]
    [InlineData(FakeCommand.CopyTo, -14)]
    public void AShortUserCopyIsAnError(FakeCommand copy, int result)
    {
        using var bench = new QueueBench(new BenchOptions { Profile = KernelProfile.V6_12 });
        bench.Driver.Inject(copy, result);
        byte operation = copy == FakeCommand.CopyFrom ? Write : Read;
        Assert.Equal(EIO, bench.Run(operation).Result);
        Assert.Equal(copy == FakeCommand.CopyFrom ? 0 : 1, bench.Target.SubmitCount);
        Assert.Equal(0, bench.Run(operation).Result);
        Assert.Equal(1, bench.Count(UblkCounter.Errors));
        bench.AssertEndsClean();
    }

    [Fact]
    public void UnregisteredPagesAreServedByCopy()
    {
        using var bench = new QueueBench(new BenchOptions { CopiesWrites = false });
        bench.Driver.BlockTable(bench.Loop, isBlocked: true);
        Assert.Equal(0, bench.Run(Write, 0, Block, 0, Filled(5)).Result);
        FakeBlockRequest read = bench.Run(Read);
        Assert.Equal(Filled(5), read.Data);
        Assert.False(read.WasRegistered);
        Assert.Equal(2, bench.Count(UblkCounter.RegistrationFallbacks));
        bench.Driver.BlockTable(bench.Loop, isBlocked: false);
        Assert.True(bench.Run(Read).WasRegistered);
        bench.AssertEndsClean();
    }

    [Fact]
    public void WithoutFallbackTheClientGetsAnErrorAndTheTagWorksOn()
    {
        using var bench = new QueueBench(new BenchOptions { FallsBack = false, Depth = 1 });
        bench.Driver.BlockTable(bench.Loop, isBlocked: true);
        Assert.Equal(EIO, bench.Run(Read).Result);
        Assert.Equal(0, bench.Run(Flush).Result);
        bench.Driver.BlockTable(bench.Loop, isBlocked: false);
        Assert.Equal(0, bench.Run(Read).Result);
        Assert.Equal(1, bench.Count(UblkCounter.Reads));
        bench.AssertEndsClean();
    }

    [Fact]
    public void ATableThatIsTooSmallFallsBackToCopies()
    {
        using var bench = new QueueBench(new BenchOptions { Depth = 4, TableSlots = 2 });
        FakeBlockRequest[] reads = [.. Enumerable.Range(0, 4).Select(_ => bench.Submit(Read))];
        bench.Pump();
        Assert.Equal(2, reads.Count(static read => read.WasRegistered));
        Assert.All(reads, static read => Assert.Equal(0, read.Result));
        bench.AssertEndsClean();
    }

    [Theory]
    [InlineData(Read, 1L << 20, 4096L, EIO)]
    [InlineData(Write, (1L << 20) - 4096, 8192L, EIO)]
    [InlineData(Discard, 0L, 2L << 20, EIO)]
    [InlineData(WriteZeroes, 1L << 40, 4096L, EIO)]
    [InlineData(Read, 0L, 0L, EIO)]
    [InlineData(Read, 0L, (1L << 16) + 4096, EIO)]
    [InlineData(Write, 0L, (1L << 16) + 4096, EIO)]
    [InlineData((byte)4, 0L, 4096L, EOPNOTSUPP)]
    [InlineData((byte)13, 0L, 4096L, EOPNOTSUPP)]
    [InlineData((byte)255, 0L, 0L, EOPNOTSUPP)]
    public void WhatCannotBeServedIsRefused(byte operation, long offset, long length, int result)
    {
        using var bench = new QueueBench();
        FakeBlockRequest request = bench.SubmitRaw(operation, offset, length);
        Assert.True(request.IsDone);
        Assert.Equal(result, request.Result);
        Assert.Equal(0, bench.Target.SubmitCount);
        Assert.Equal(1, bench.Count(UblkCounter.Errors));
        bench.AssertEndsClean();
    }

    [Fact]
    public void AStartThatOverflowsIsRefused()
    {
        using var bench = new QueueBench();
        FakeBlockRequest request = bench.Driver.SubmitRaw(0, Read, 1UL << 55, 8);
        bench.Pump();
        Assert.Equal(EIO, request.Result);
        Assert.Equal(0, bench.Target.SubmitCount);
        bench.AssertEndsClean();
    }

    [Fact]
    public void AnUnknownOperationIsAnErrorAndNoFlush()
    {
        using var bench = new QueueBench();
        bench.SubmitRaw(4, 0, Block);
        Assert.Equal(1, bench.Count(UblkCounter.Errors));
        Assert.Equal(0, bench.Count(UblkCounter.Flushes));
    }

    [Fact]
    public void UnalignedRequestsAreRefused()
    {
        using var bench = new QueueBench(new BenchOptions { BlockBytes = 4096 });
        Assert.Equal(EIO, bench.Run(Read, 512, 4096).Result);
        Assert.Equal(EIO, bench.Run(Write, 0, 512).Result);
        Assert.Equal(0, bench.Run(Write, 4096, 4096).Result);
        Assert.Equal(1, bench.Target.SubmitCount);
        bench.AssertEndsClean();
    }

    [Fact]
    public void AnImageGrownBehindOurBackIsServed()
    {
        using var bench = new QueueBench();
        Assert.Equal(EIO, bench.Run(Read, 1 << 20).Result);
        bench.Target.Grow(2 << 20);
        Assert.Equal(0, bench.Run(Write, 1 << 20, Block, 0, Filled(8)).Result);
        Assert.Equal(Filled(8), bench.Run(Read, 1 << 20).Data);
        bench.AssertEndsClean();
    }

    [Fact]
    public void TagsAreUsedAgainAndRequestsBeyondTheDepthWait()
    {
        using var bench = new QueueBench(new BenchOptions { Depth = 2 });
        bench.Target.IsManual = true;
        FakeBlockRequest[] writes =
            [.. Enumerable.Range(0, 9).Select(i => bench.SubmitWrite(i * Block, (byte)(i + 1)))];
        for (int done = 0; done < writes.Length; done++)
        {
            bench.Pump();
            Assert.Equal(Math.Min(2, writes.Length - done), bench.Queue.InFlightCount);
            bench.Target.Complete(bench.Target.InFlightCount - 1);
        }

        bench.Pump();
        Assert.All(writes, static write => Assert.True(write.IsDone && write.Result == 0));
        Assert.Equal(2, bench.Target.PeakInFlightCount);
        for (int i = 0; i < 9; i++)
        {
            Assert.Equal((byte)(i + 1), bench.Target.Bytes[i * Block]);
        }

        bench.AssertEndsClean();
    }

    [Fact]
    public void RequestsInHandEndBeforeTheQueueDoes()
    {
        using var bench = new QueueBench();
        bench.Target.IsManual = true;
        FakeBlockRequest write = bench.SubmitWrite(0, 1);
        bench.Pump();
        bench.Driver.BeginStop(0);
        bench.Pump();
        Assert.Equal(0, bench.Queue.EndedCount);
        Assert.Equal(EIO, bench.Run(Read).Result);
        bench.Target.Complete();
        Assert.Equal(0, write.Result);
        bench.Pump();
        Assert.Equal(4, bench.Queue.EndedCount);
        Assert.Equal(["ended"], bench.Events);
        bench.AssertEndsClean();
    }

    [Fact]
    public void ACompletionThatComesTwiceIsOurBug()
    {
        using var bench = new QueueBench();
        bench.Run(Flush);
        Assert.Throws<System.Diagnostics.UnreachableException>(
            () => bench.Queue.OnBlockCompleted(bench.Target.Last.Token, BlockStatus.Ok));
        Assert.Throws<System.Diagnostics.UnreachableException>(() =>
        {
            bench.Target.IsManual = true;
            bench.Run(Flush);
            bench.Queue.OnCommandCompleted(0, 0);
            bench.Queue.OnCommandCompleted(1, 0);
            bench.Queue.OnCommandCompleted(2, 0);
            bench.Queue.OnCommandCompleted(3, 0);
        });
    }
}
