using System.Buffers;
using System.IO.Pipelines;
using System.Net.Sockets;
using Ublk.Tests.Unit.Uring;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Transport;
using Xunit;

namespace Ublk.Tests.Unit.Wire.Transport;

public sealed class TransportPressureTests
{
    private static readonly RingTransportOptions s_small = new()
    {
        BufferCount = 8,
        BufferBytes = 4096,
        MaxHeldBuffers = 4,
        PauseUnsentBytes = 100_000,
        ResumeUnsentBytes = 50_000,
        MaxUnsentParts = 16,
    };

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void PeerOfASlowReaderWaits(bool isUnix)
    {
        using var world = new TransportWorld(s_small);
        (RingConnection connection, Socket peer) = world.WithPeer(isUnix);
        peer.Blocking = false;
        long sent = SendWhatGoes(world, peer, 0);
        int held = connection.HeldCount;
        Assert.InRange(held, s_small.MaxHeldBuffers, s_small.BufferCount);
        Assert.Equal(held, world.Transport.HeldBufferCount);
        Assert.Equal(1, world.Loop.InFlightCount); // It receives no more.
        long read = 0;
        while (read < 4 * sent)
        {
            ReadResult result = world.Run(connection.Input.ReadAsync().AsTask());
            Pattern.Check(result.Buffer, read);
            read += result.Buffer.Length;
            connection.Input.AdvanceTo(result.Buffer.End);
            sent += SendWhatGoes(world, peer, sent);
            Assert.InRange(connection.HeldCount, 0, s_small.BufferCount);
            if (sent > 4_000_000)
            {
                break;
            }
        }

        peer.Shutdown(SocketShutdown.Send);
        ReadResult last;
        do
        {
            last = world.Run(connection.Input.ReadAsync().AsTask());
            Pattern.Check(last.Buffer, read);
            read += last.Buffer.Length;
            connection.Input.AdvanceTo(last.Buffer.End);
        }
        while (!last.IsCompleted);

        Assert.Equal(sent, read);
        peer.Dispose();
    }

    [Fact]
    public void ShareIsKeptWhereBuffersAreLeft()
    {
        using var world = new TransportWorld(s_small with { BufferCount = 64 });
        (RingConnection connection, Socket peer) = world.WithPeer(isUnix: true);
        for (int i = 0; i < 50; i++)
        {
            peer.Send(Pattern.Bytes(10, i * 10));
            world.Loop.Drain();
        }

        world.Settle();
        Assert.InRange(connection.HeldCount, s_small.MaxHeldBuffers, s_small.MaxHeldBuffers + 2);
        peer.Shutdown(SocketShutdown.Send);
        Assert.Equal(500, world.Run(Talk.ReadPattern(connection.Input)));
        peer.Dispose();
    }

    [Fact]
    public void OneSlowReaderDoesNotStopTheOthers()
    {
        const int Length = 1_000_000;
        using var world = new TransportWorld(s_small with { BufferCount = 4 });
        (RingConnection slow, Socket peer) = world.WithPeer(isUnix: true);
        peer.Send(Pattern.Bytes(30_000));
        world.Settle();
        Assert.Equal(4, slow.HeldCount); // All there are.
        (RingConnection near, RingConnection far) = world.Pair(isUnix: false);
        Task<long> read = Talk.ReadPattern(far.Input);
        world.Run(Talk.WritePattern(near.Output, Length, new Random(1)));
        Assert.Equal(Length, world.Run(read));
        peer.Shutdown(SocketShutdown.Send);
        Assert.Equal(30_000, world.Run(Talk.ReadPattern(slow.Input)));
        peer.Dispose();
    }

    [Fact]
    public void ManyConnectionsShareFewBuffers()
    {
        const int Pairs = 30;
        const int Length = 50_000;
        using var world = new TransportWorld(
            s_small with { BufferCount = 2, MaxHeldBuffers = 2 }, operations: 4 * Pairs + 1);
        var tasks = new List<Task>();
        var reads = new List<Task<long>>();
        for (int i = 0; i < Pairs; i++)
        {
            (RingConnection near, RingConnection far) = world.Pair(isUnix: i % 2 == 0);
            reads.Add(Talk.ReadPattern(far.Input, new Random(i)));
            tasks.Add(Talk.WritePattern(near.Output, Length + i, new Random(i)));
        }

        world.Run(Task.WhenAll(tasks));
        world.Run(Task.WhenAll(reads));
        Assert.True(world.Transport.StarvedReceiveCount > 0);
        for (int i = 0; i < Pairs; i++)
        {
            Assert.Equal(Length + i, world.Run(reads[i]));
        }
    }

    [Fact]
    public void ManySmallPiecesArePackedForAReaderThatWaits()
    {
        const int Piece = 50;
        const int Length = 20_000;
        using var world = new TransportWorld(s_small);
        (RingConnection connection, Socket peer) = world.WithPeer(isUnix: true);
        Task<byte[]> read = Talk.ReadExactly(connection.Input, Length);
        for (int i = 0; i < Length; i += Piece)
        {
            peer.Send(Pattern.Bytes(Piece, i));
            world.Loop.Drain();
            Assert.InRange(world.Transport.HeldBufferCount, 0, s_small.MaxHeldBuffers);
        }

        Assert.Equal(Pattern.Bytes(Length), world.Run(read));
        Assert.Equal(0, world.Transport.StarvedReceiveCount);
        Assert.Equal(0, connection.HeldCount);
        Assert.Equal(0, world.Transport.Blocks.RentedCount);
        peer.Send(Pattern.Bytes(3));
        Assert.Equal(Pattern.Bytes(3), world.Run(Talk.ReadExactly(connection.Input, 3)));
        peer.Dispose();
    }

    [Fact]
    public void PackingGoesOnWithoutProvidedBuffers()
    {
        const int Length = 60_000;
        using var world = new TransportWorld(s_small with { BufferCount = 4 });
        (RingConnection slow, Socket slowPeer) = world.WithPeer(isUnix: true);
        (RingConnection connection, Socket peer) = world.WithPeer(isUnix: true);
        slowPeer.Send(Pattern.Bytes(s_small.BufferBytes * 4));
        world.Settle();
        Assert.False(world.Transport.HasFreeBuffers);
        Task<byte[]> read = Talk.ReadExactly(connection.Input, 2 * Length);
        for (int i = 0; i < 2 * Length; i += 300)
        {
            if (i == Length)
            {
                // From here on there are some.
                world.Run(Talk.ReadExactly(slow.Input, s_small.BufferBytes * 4));
            }

            peer.Send(Pattern.Bytes(300, i));
            world.Loop.Drain();
        }

        Assert.Equal(Pattern.Bytes(2 * Length), world.Run(read));
        Assert.True(world.Transport.StarvedReceiveCount > 100);
        Assert.InRange(world.Transport.Blocks.RentedCount, 0, 1); // Of the receive under way.
        slowPeer.Dispose();
        peer.Dispose();
    }

    [Fact]
    public void ReaderThatWantsTooMuchLosesTheConnection()
    {
        using var world = new TransportWorld(s_small);
        (RingConnection connection, Socket peer) = world.WithPeer(isUnix: true);
        peer.Blocking = false;
        Task<ReadResult> read = connection.Input.ReadAtLeastAsync(10_000_000).AsTask();
        long sent = 0;
        while (!read.IsCompleted)
        {
            try
            {
                sent += peer.Send(Pattern.Bytes(10_000, sent));
            }
            catch (SocketException)
            {
                // It is full until the loop is turned, or closed.
            }

            world.Loop.Drain();
        }

        IOException error = world.Fails<IOException>(read);
        Assert.Same(error, connection.CloseReason);
        Assert.InRange(world.Transport.Blocks.RentedCount, 0, s_small.MaxHeldBuffers + 1);
        world.Run(connection.DisposeAsync().AsTask());
        world.AssertNothingIsLeft();
        peer.Dispose();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void FlushWaitsForASlowPeer(bool isUnix)
    {
        using var world = new TransportWorld(s_small);
        using MemoryMapping memory = MemoryMapping.Allocate(40_000);
        (RingConnection connection, Socket peer) = world.WithPeer(isUnix);
        var owner = new CountingOwner();
        Task<FlushResult> flush;
        long written = 0;
        do
        {
            connection.Output.Write(Pattern.Bytes(10, written));
            connection.Payloads.Append(memory.Slice(0, 40_000), owner);
            written += 40_010;
            flush = connection.Output.FlushAsync().AsTask();
            world.Settle();
            Assert.True(written < 100_000_000);
        }
        while (flush.IsCompleted);

        // What is under way and what waits: a little above the limit, not more.
        Assert.InRange(written - owner.Bytes, 100_000, long.MaxValue);
        Assert.InRange(world.Transport.Blocks.RentedCount, 1, 3);
        Assert.Throws<InvalidOperationException>(() => { _ = connection.Output.FlushAsync().AsTask(); });
        byte[] sink = new byte[100_000];
        long received = 0;
        while (!flush.IsCompleted)
        {
            received += peer.Available > 0 ? peer.Receive(sink) : 0;
            world.Loop.Drain();
        }

        Assert.InRange(written - received, 0, long.MaxValue);
        using var source = new CancellationTokenSource();
        do
        {
            connection.Payloads.Append(memory.Slice(0, 40_000), owner);
            flush = connection.Output.FlushAsync(source.Token).AsTask();
            world.Settle();
        }
        while (flush.IsCompleted);

        source.Cancel();
        world.Fails<OperationCanceledException>(flush);
        peer.Dispose();
    }

    [Fact]
    public void WriterThatDoesNotWaitIsStopped()
    {
        using var world = new TransportWorld(s_small);
        using MemoryMapping memory = MemoryMapping.Allocate(4096);
        (RingConnection connection, Socket peer) = world.WithPeer(isUnix: true);
        var owner = new CountingOwner();
        for (int i = 0; i < s_small.MaxUnsentParts; i++)
        {
            connection.Payloads.Append(memory.Slice(0, 10), owner);
        }

        Assert.Throws<InvalidOperationException>(
            () => connection.Payloads.Append(memory.Slice(0, 10), owner));
        Assert.False(connection.Output.FlushAsync().AsTask().IsCompleted);
        world.Loop.Until(() => owner.Lengths.Count == s_small.MaxUnsentParts);
        Assert.Throws<InvalidOperationException>(() =>
        {
            for (int i = 0; i < 1000; i++)
            {
                connection.Output.GetMemory(60_000);
                connection.Output.Advance(60_000);
            }
        });
        Assert.Throws<ArgumentOutOfRangeException>(() => { _ = connection.Output.GetMemory(100_000); });
        Assert.Throws<ArgumentException>(() =>
            connection.Payloads.Append(IoBuffer.Registered(1, 4096), owner));
        Assert.Throws<ArgumentException>(() => connection.Payloads.Append(memory.Slice(0, 0), owner));
        peer.Dispose();
    }

    [Fact]
    public void MoreThanWasLentCannotBeWritten()
    {
        using var world = new TransportWorld(s_small);
        (RingConnection connection, Socket peer) = world.WithPeer(isUnix: true);
        Assert.Throws<InvalidOperationException>(() => connection.Output.Advance(1));
        int room = connection.Output.GetMemory(10).Length;
        Assert.Throws<InvalidOperationException>(() => connection.Output.Advance(room + 1));
        connection.Output.Advance(room);
        connection.Output.Advance(0);
        Assert.Equal(room, connection.Output.UnflushedBytes);
        peer.Dispose();
    }

    [Fact]
    public void LimitsThatContradictEachOtherAreRefused()
    {
        using Loop loop = TestLoop.Create();
        Assert.Throws<ArgumentException>(
            () => new RingTransport(loop, s_small with { ResumeUnsentBytes = 100_001 }));
        Assert.Throws<ArgumentException>(() => new RingTransport(loop, s_small with { MaxHeldBuffers = 1 }));
        Assert.Throws<ArgumentException>(() => new RingTransport(loop, s_small with { BufferCount = 7 }));
    }

    // Sends as much as the other side takes while the loop turns and nobody reads.
    private static long SendWhatGoes(TransportWorld world, Socket peer, long position)
    {
        long sent = 0;
        for (int quiet = 0; quiet < 3; quiet++)
        {
            try
            {
                sent += peer.Send(Pattern.Bytes(16384, position + sent));
                quiet = 0;
            }
            catch (SocketException error) when (error.SocketErrorCode == SocketError.WouldBlock)
            {
                // The socket is full; perhaps the loop makes room.
            }

            world.Loop.DrainOrWait(TimeSpan.FromMilliseconds(1));
        }

        world.Settle();
        return sent;
    }
}
