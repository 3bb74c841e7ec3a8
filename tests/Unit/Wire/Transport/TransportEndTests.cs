using System.Buffers;
using System.IO.Pipelines;
using System.Net.Sockets;
using Microsoft.AspNetCore.Connections;
using Ublk.Tests.Unit.Uring;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Transport;
using Xunit;

namespace Ublk.Tests.Unit.Wire.Transport;

public sealed class TransportEndTests
{
    [Fact]
    public void ResetByThePeerIsSeenOnBothSides()
    {
        using var world = new TransportWorld();
        (RingConnection connection, Socket peer) = world.WithPeer(isUnix: false);
        Task<ReadResult> read = connection.Input.ReadAsync().AsTask();
        peer.LingerState = new LingerOption(enable: true, seconds: 0);
        peer.Dispose();
        ConnectionResetException error = world.Fails<ConnectionResetException>(read);
        Assert.Same(error, connection.CloseReason);
        Assert.Same(error, world.Fails<ConnectionResetException>(connection.Output.FlushAsync().AsTask()));
        Assert.Same(error, world.Fails<ConnectionResetException>(connection.Input.ReadAsync().AsTask()));
        Assert.Throws<ConnectionResetException>(() => connection.Input.TryRead(out _));
        world.Loop.Until(() => connection.ConnectionClosed.IsCancellationRequested);
        world.Run(connection.DisposeAsync().AsTask());
        world.AssertNothingIsLeft();
    }

    [Fact]
    public void PeerThatTakesNoMoreIsAReset()
    {
        using var world = new TransportWorld();
        (RingConnection connection, Socket peer) = world.WithPeer(isUnix: true);
        peer.Dispose();
        connection.Output.Write(Pattern.Bytes(10));
        Assert.True(connection.Output.FlushAsync().AsTask().IsCompletedSuccessfully);
        world.Loop.Until(() => connection.ConnectionClosed.IsCancellationRequested);
        Assert.IsType<ConnectionResetException>(connection.CloseReason);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void AbortWhileASendIsUnderWay(bool isUnix)
    {
        const int Count = 40;
        const int Length = 500_000; // In all more than the buffers of the kernel grow to.
        using var world = new TransportWorld();
        using MemoryMapping memory = MemoryMapping.Allocate(Count * Length);
        (RingConnection connection, Socket peer) = world.WithPeer(isUnix);
        var owner = new CountingOwner();
        for (int i = 0; i < Count; i++)
        {
            connection.Output.Write(Pattern.Bytes(10));
            connection.Payloads.Append(memory.Slice(i * Length, Length), owner);
        }

        Task<FlushResult> flush = connection.Output.FlushAsync().AsTask();
        world.Settle();
        Assert.False(flush.IsCompleted);
        int before = owner.Lengths.Count;
        var reason = new ConnectionAbortedException("enough");
        connection.Abort(reason);
        Assert.Equal(before, owner.Lengths.Count); // The kernel still has it.
        connection.Abort(new ConnectionAbortedException("another"));
        Assert.Same(reason, world.Fails<ConnectionAbortedException>(flush));
        world.Loop.Until(() => connection.ConnectionClosed.IsCancellationRequested);
        Assert.Same(reason, connection.CloseReason);
        Assert.Equal(Count, owner.Lengths.Count);
        connection.Output.Write(Pattern.Bytes(10)); // Goes nowhere.
        connection.Payloads.Append(memory.Slice(0, 5), owner);
        Assert.Equal(5, owner.Lengths[^1]);
        world.Fails<ConnectionAbortedException>(connection.Output.FlushAsync().AsTask());
        world.Run(connection.DisposeAsync().AsTask());
        world.AssertNothingIsLeft();
        AssertReset(peer, isUnix);
    }

    [Fact]
    public void WhatAReaderHoldsStaysAfterTheEnd()
    {
        var options = new RingTransportOptions { BufferCount = 2, BufferBytes = 4096 };
        using var world = new TransportWorld(options);
        (RingConnection connection, Socket peer) = world.WithPeer(isUnix: true);
        peer.Send(Pattern.Bytes(4096));
        ReadResult result = world.Run(connection.Input.ReadAsync().AsTask());
        Memory<byte> room = connection.Output.GetMemory(100);
        connection.Abort(new ConnectionAbortedException("enough"));
        world.Loop.Until(() => world.Transport.ConnectionCount == 0);
        (RingConnection near, RingConnection far) = world.Pair(isUnix: true);
        Task<long> read = Talk.ReadPattern(far.Input);
        room.Span.Fill(0xEE); // Still the writer's own.
        world.Run(Talk.WritePattern(near.Output, 100_000, new Random(5)));
        Assert.Equal(100_000, world.Run(read));
        Pattern.Check(result.Buffer, 0);
        Assert.Equal(1, connection.HeldCount);
        connection.Output.Advance(10);
        connection.Input.AdvanceTo(result.Buffer.End);
        world.Run(Task.WhenAll(
            connection.DisposeAsync().AsTask(), near.DisposeAsync().AsTask(), far.DisposeAsync().AsTask()));
        world.AssertNothingIsLeft();
        peer.Dispose();
    }

    [Fact]
    public void DisposeTwiceAndFromAnotherThread()
    {
        using var world = new TransportWorld();
        (RingConnection near, RingConnection far) = world.Pair(isUnix: false);
        Task<ReadResult> read = near.Input.ReadAsync().AsTask();
        world.Run(near.DisposeAsync().AsTask());
        world.Run(near.DisposeAsync().AsTask());
        world.Fails<ConnectionAbortedException>(read);
        Assert.Throws<InvalidOperationException>(() => { _ = near.Input.ReadAsync().AsTask(); });
        Assert.Throws<InvalidOperationException>(() => { _ = near.Output.FlushAsync().AsTask(); });
        Assert.Null(near.CloseReason);
        world.Run(Task.Run(async () => await far.DisposeAsync()));
        world.Run(Task.Run(async () => await far.DisposeAsync()));
        near.Abort();
        Assert.Null(near.CloseReason);
        world.AssertNothingIsLeft();
    }

    [Fact]
    public void AbortFromAnotherThread()
    {
        using var world = new TransportWorld();
        (RingConnection connection, Socket peer) = world.WithPeer(isUnix: false);
        Task<ReadResult> read = connection.Input.ReadAsync().AsTask();
        Task abort = Task.Run(() => connection.Abort(new ConnectionAbortedException("from afar")));
        Assert.Equal("from afar", world.Fails<ConnectionAbortedException>(read).Message);
        world.Run(abort);
        world.Loop.Until(() => world.Transport.ConnectionCount == 0);
        AssertReset(peer, isUnix: false);
    }

    [Fact]
    public void FailedReaderOrWriterAborts()
    {
        using var world = new TransportWorld();
        (RingConnection near, RingConnection far) = world.Pair(isUnix: false);
        var error = new FormatException("not what was agreed");
        near.Input.Complete(error);
        Assert.Same(error, Assert.IsType<ConnectionAbortedException>(near.CloseReason).InnerException);
        world.Fails<ConnectionResetException>(far.Input.ReadAsync().AsTask());
        (near, far) = world.Pair(isUnix: false);
        near.Output.Complete(error);
        Assert.Same(error, Assert.IsType<ConnectionAbortedException>(near.CloseReason).InnerException);
        world.Fails<ConnectionResetException>(far.Input.ReadAsync().AsTask());
    }

    [Fact]
    public void RefusedWhenTheTransportIsFull()
    {
        using var world = new TransportWorld(new RingTransportOptions { MaxConnections = 2 });
        (RingConnection near, RingConnection far) = world.Pair(isUnix: true);
        (Socket more, Socket peer) = TransportWorld.Sockets(isUnix: true);
        LoopFullException error = Assert.Throws<LoopFullException>(() => world.Transport.Attach(more));
        Assert.Contains("2 connections", error.Message, StringComparison.Ordinal);
        Assert.True(more.SafeHandle.IsClosed);
        Assert.Equal(0, peer.Receive(new byte[1]));
        world.Run(Task.WhenAll(near.DisposeAsync().AsTask(), far.DisposeAsync().AsTask()));
        world.Pair(isUnix: true);
    }

    [Fact]
    public void RefusedWhenTheLoopIsFull()
    {
        using var world = new TransportWorld(operations: 2 * RingTransport.OperationsPerConnection);
        (RingConnection first, Socket peer) = world.WithPeer(isUnix: true);
        (Socket more, Socket other) = TransportWorld.Sockets(isUnix: true);
        Assert.Throws<LoopFullException>(() => world.Transport.Attach(more));
        Assert.True(more.SafeHandle.IsClosed);
        Assert.Equal(1, world.Transport.ConnectionCount);
        first.Abort();
        world.Loop.Until(() => world.Transport.ConnectionCount == 0);
        world.Transport.Attach(other);
        peer.Dispose();
    }

    [Fact]
    public void StoppingEndsAllAndTakesNoMore()
    {
        var world = new TransportWorld();
        (RingConnection near, RingConnection far) = world.Pair(isUnix: true);
        (Socket more, Socket _) = TransportWorld.Sockets(isUnix: true);
        Assert.Throws<InvalidOperationException>(world.Transport.Dispose);
        world.Run(world.Transport.StopAsync());
        Assert.IsType<ConnectionAbortedException>(near.CloseReason);
        Assert.NotNull(far.CloseReason);
        Assert.Throws<ObjectDisposedException>(() => world.Transport.Attach(more));
        Assert.True(more.SafeHandle.IsClosed);
        world.Dispose();
        near.Input.Complete(); // Late, but no harm.
        near.Output.Complete();
    }

    [Theory]
    [InlineData(11)]
    [InlineData(12)]
    [InlineData(13)]
    [InlineData(14)]
    public void EndsAtAnyMomentLeaveNothing(int seed)
    {
        var random = new Random(seed);
        var options = new RingTransportOptions { BufferCount = 4, BufferBytes = 4096, MaxHeldBuffers = 2 };
        using var world = new TransportWorld(options);
        using MemoryMapping memory = MemoryMapping.Allocate(1 << 20);
        var owner = new CountingOwner();
        int appended = 0;
        for (int round = 0; round < 150; round++)
        {
            (RingConnection near, RingConnection far) = world.Pair(isUnix: random.Next(2) == 0);
            int parts = random.Next(0, 12);
            for (int i = 0; i < parts; i++)
            {
                near.Output.Write(Pattern.Bytes(random.Next(0, 50)));
                near.Payloads.Append(memory.Slice(0, random.Next(1, 1 << random.Next(1, 20))), owner);
                appended++;
            }

            _ = near.Output.FlushAsync().AsTask().ContinueWith(
                task => task.Exception, TaskScheduler.Default);
            Task read = random.Next(2) == 0 ? Drop(far.Input) : Task.CompletedTask;
            for (int i = random.Next(0, 6); i > 0; i--)
            {
                world.Loop.Drain();
            }

            End(near, random);
            world.Loop.Drain();
            End(far, random);
            near.Abort();
            world.Run(Task.WhenAll(near.DisposeAsync().AsTask(), far.DisposeAsync().AsTask(), read));
            Assert.Equal(appended, owner.Lengths.Count);
        }

        world.AssertNothingIsLeft();
    }

    private static void End(RingConnection connection, Random random)
    {
        switch (random.Next(4))
        {
            case 0:
                connection.Abort(new ConnectionAbortedException("at random"));
                break;
            case 1:
                connection.Output.Complete();
                break;
            case 2:
                connection.Input.Complete();
                break;
            default:
                _ = connection.DisposeAsync().AsTask();
                break;
        }
    }

    // Reads until anything ends it.
    private static async Task Drop(PipeReader reader)
    {
        try
        {
            while (await reader.ReadAsync().ConfigureAwait(false) is { IsCompleted: false } result)
            {
                reader.AdvanceTo(result.Buffer.End);
            }
        }
        catch (Exception error) when (
            error is IOException or OperationCanceledException or InvalidOperationException)
        {
            // The end.
        }
    }

    private static void AssertReset(Socket peer, bool isUnix)
    {
        byte[] sink = new byte[1 << 20];
        try
        {
            while (peer.Receive(sink) > 0)
            {
            }

            Assert.True(isUnix, "an end without a reset"); // A unix socket has none where all was read.
        }
        catch (SocketException error)
        {
            Assert.Equal(SocketError.ConnectionReset, error.SocketErrorCode);
        }

        peer.Dispose();
    }
}
