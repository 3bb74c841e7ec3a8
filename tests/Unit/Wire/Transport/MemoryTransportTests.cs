using System.Buffers;
using System.IO.Pipelines;
using Microsoft.AspNetCore.Connections;
using Ublk.Testing;
using Ublk.Uring;
using Ublk.Uring.Native;
using Xunit;

namespace Ublk.Tests.Unit.Wire.Transport;

/// <summary>The transport in memory, of which other tests make sessions.</summary>
public sealed class MemoryTransportTests
{
    [Fact]
    public void NothingHappensBeforeTheTestTurns()
    {
        using MemoryMapping memory = MemoryMapping.Allocate(4096);
        var scheduler = new ManualScheduler();
        (MemoryConnection near, MemoryConnection far) = MemoryConnection.Pair(scheduler);
        var owner = new CountingOwner();
        IoBuffer payload = memory.Slice(0, 100);
        Pattern.Fill(payload.Span, 10);
        Task<byte[]> read = Talk.ReadExactly(far.Input, 110);
        near.Output.Write(Pattern.Bytes(10));
        near.Payloads.Append(payload, owner);
        Assert.Equal(110, near.Output.UnflushedBytes);
        Assert.True(near.Output.FlushAsync().AsTask().IsCompletedSuccessfully);
        Assert.False(read.IsCompleted);
        Assert.Empty(owner.Lengths);
        Assert.True(scheduler.TurnAll() > 0);
        Assert.True(read.IsCompletedSuccessfully);
        Assert.Equal([100], owner.Lengths);
        Assert.False(scheduler.Turn());
    }

    [Fact]
    public void BothWaysWithBackPressure()
    {
        const int Length = 500_000;
        var scheduler = new ManualScheduler();
        (MemoryConnection near, MemoryConnection far) = MemoryConnection.Pair(scheduler, pauseBytes: 10_000);
        Task<long>[] reads = [Talk.ReadPattern(far.Input), Talk.ReadPattern(near.Input)];
        Task[] writes =
        [
            Talk.WritePattern(near.Output, Length, new Random(1)),
            Talk.WritePattern(far.Output, Length, new Random(2)),
        ];
        scheduler.TurnAll();
        Assert.All(reads.Concat(writes), task => Assert.True(task.IsCompletedSuccessfully));
    }

    [Fact]
    public void AbortIsAResetForThePeer()
    {
        var scheduler = new ManualScheduler();
        (MemoryConnection near, MemoryConnection far) = MemoryConnection.Pair(scheduler);
        Task<ReadResult> nearRead = near.Input.ReadAsync().AsTask();
        Task<ReadResult> farRead = far.Input.ReadAsync().AsTask();
        var reason = new ConnectionAbortedException("enough");
        near.Abort(reason);
        scheduler.TurnAll();
        Assert.Same(reason, near.CloseReason);
        Assert.IsType<ConnectionResetException>(far.CloseReason);
        Assert.True(nearRead.IsCanceled || nearRead.IsFaulted);
        Assert.IsType<ConnectionResetException>(farRead.Exception!.InnerException);
        Assert.True(near.ConnectionClosed.IsCancellationRequested);
        Assert.True(far.ConnectionClosed.IsCancellationRequested);
    }
}
