using System.Buffers;
using System.IO.Pipelines;
using System.Net.Sockets;
using Ublk.Tests.Unit.Uring;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Transport;
using Xunit;

namespace Ublk.Tests.Unit.Wire.Transport;

public sealed class TransportStreamTests
{
    [Theory]
    [InlineData(false, 1)]
    [InlineData(false, 2)]
    [InlineData(true, 3)]
    [InlineData(true, 4)]
    public void BytesGoBothWaysInAnyPieces(bool isUnix, int seed)
    {
        const int Length = 3_000_000;
        var options = new RingTransportOptions { BufferCount = 8, BufferBytes = 4096, MaxHeldBuffers = 4 };
        using var world = new TransportWorld(options);
        (RingConnection near, RingConnection far) = world.Pair(isUnix);
        Task<long> nearRead = Talk.ReadPattern(near.Input, new Random(seed));
        Task<long> farRead = Talk.ReadPattern(far.Input, new Random(seed + 10));
        Task nearWrite = Talk.WritePattern(near.Output, Length, new Random(seed + 20));
        Task farWrite = Talk.WritePattern(far.Output, Length + 1, new Random(seed + 30));
        world.Run(Task.WhenAll(nearRead, farRead, nearWrite, farWrite));
        Assert.Equal(Length + 1, world.Run(nearRead));
        Assert.Equal(Length, world.Run(farRead));
        world.Loop.Until(() => world.Transport.ConnectionCount == 0); // Both have said all.
        Assert.Null(near.CloseReason);
        world.Run(Task.WhenAll(near.DisposeAsync().AsTask(), far.DisposeAsync().AsTask()));
        world.AssertNothingIsLeft();
    }

    [Fact]
    public void PayloadGoesByReferenceBetweenWhatIsWritten()
    {
        const int Length = 5000;
        using var world = new TransportWorld();
        using MemoryMapping memory = MemoryMapping.Allocate(2 * Length);
        (RingConnection near, RingConnection far) = world.Pair(isUnix: false);
        var owner = new CountingOwner();
        byte[] head = Pattern.Bytes(100);
        IoBuffer first = memory.Slice(0, Length);
        IoBuffer second = memory.Slice(Length, Length);
        Pattern.Fill(first.Span, 1);
        Pattern.Fill(second.Span, 2);
        near.Output.Write(head);
        near.Payloads.Append(first, owner);
        near.Payloads.Append(second, owner);
        near.Output.Write(head);
        Assert.Equal(200 + 2 * Length, near.Output.UnflushedBytes);
        Assert.True(near.Output.FlushAsync().AsTask().IsCompletedSuccessfully);
        Pattern.Fill(second.Span, 3); // Not sent yet: nothing was copied.
        byte[] seen = world.Run(Talk.ReadExactly(far.Input, 200 + 2 * Length));
        Assert.Equal([.. head, .. first.Span, .. second.Span, .. head], seen);
        Assert.Equal([Length, Length], owner.Lengths);
    }

    [Fact]
    public void MorePartsThanOneSendTakes()
    {
        const int Count = 3 * GatherList.MaxParts + 5;
        using var world = new TransportWorld();
        using MemoryMapping memory = MemoryMapping.Allocate(Count * 16);
        (RingConnection near, RingConnection far) = world.Pair(isUnix: true);
        var owner = new CountingOwner();
        var expected = new List<byte>();
        for (int i = 0; i < Count; i++)
        {
            IoBuffer payload = memory.Slice(i * 16, 16);
            Pattern.Fill(payload.Span, i);
            near.Output.Write(new byte[] { (byte)i });
            near.Payloads.Append(payload, owner);
            expected.Add((byte)i);
            expected.AddRange(payload.Span);
        }

        Assert.True(near.Output.FlushAsync().AsTask().IsCompletedSuccessfully);
        Assert.Equal(expected, world.Run(Talk.ReadExactly(far.Input, expected.Count)));
        Assert.Equal(Count, owner.Lengths.Count);
        world.Loop.Until(() => world.Transport.Blocks.RentedCount == 0);
    }

    [Fact]
    public void WhatIsFlushedInOneRoundGoesInOneSend()
    {
        using var world = new TransportWorld();
        (RingConnection connection, Socket peer) = world.WithPeer(isUnix: true);
        using (peer)
        {
            for (int i = 0; i < 10; i++)
            {
                connection.Output.Write(Pattern.Bytes(10, i * 10));
                Assert.True(connection.Output.FlushAsync().AsTask().IsCompletedSuccessfully);
            }

            Assert.Equal(0, peer.Available);
            world.Loop.Until(() => peer.Available > 0);
            Assert.Equal(100, peer.Available);
        }
    }

    [Fact]
    public void ReaderSeesTheEndBehindAllBytes()
    {
        using var world = new TransportWorld();
        (RingConnection connection, Socket peer) = world.WithPeer(isUnix: false);
        peer.Send(Pattern.Bytes(100_000));
        peer.Shutdown(SocketShutdown.Send);
        Assert.Equal(100_000, world.Run(Talk.ReadPattern(connection.Input)));
        connection.Output.Write(Pattern.Bytes(10)); // This direction is open still.
        Assert.True(connection.Output.FlushAsync().AsTask().IsCompletedSuccessfully);
        byte[] answer = new byte[11];
        world.Loop.Until(() => peer.Available == 10);
        Assert.Equal(10, peer.Receive(answer));
        connection.Output.Complete();
        world.Loop.Until(() => connection.ConnectionClosed.IsCancellationRequested);
        Assert.Equal(0, peer.Receive(answer));
        ReadResult end = world.Run(connection.Input.ReadAsync().AsTask());
        Assert.True(end.IsCompleted && end.Buffer.IsEmpty);
        connection.Input.AdvanceTo(end.Buffer.End);
        peer.Dispose();
    }

    [Fact]
    public void CompletedOutputSendsWhatWasWritten()
    {
        const int Length = 1_000_000;
        using var world = new TransportWorld();
        (RingConnection near, RingConnection far) = world.Pair(isUnix: true);
        for (int i = 0; i < Length; i += 50_000)
        {
            near.Output.Write(Pattern.Bytes(50_000, i));
        }

        Task disposed = near.DisposeAsync().AsTask();
        Assert.Equal(Length, world.Run(Talk.ReadPattern(far.Input)));
        world.Run(disposed);
    }

    [Fact]
    public void SequencesAreSlicedLikeAnyOther()
    {
        using var world = new TransportWorld(new RingTransportOptions { BufferBytes = 16 });
        (RingConnection connection, Socket peer) = world.WithPeer(isUnix: true);
        peer.Send(Pattern.Bytes(100));
        ReadResult result = world.Run(connection.Input.ReadAtLeastAsync(100).AsTask());
        Assert.False(result.Buffer.IsSingleSegment);
        Assert.Equal(Pattern.Bytes(30, 25), result.Buffer.Slice(25, 30).ToArray());
        connection.Input.AdvanceTo(result.Buffer.GetPosition(40), result.Buffer.GetPosition(60));
        Assert.True(connection.Input.TryRead(out result)); // Not all was examined.
        Pattern.Check(result.Buffer, 40);
        Assert.Equal(60, result.Buffer.Length);
        Assert.Throws<InvalidOperationException>(() => connection.Input.TryRead(out _));
        connection.Input.AdvanceTo(result.Buffer.Start, result.Buffer.End);
        Assert.False(connection.Input.TryRead(out _));
        Assert.Throws<InvalidOperationException>(() => connection.Input.AdvanceTo(result.Buffer.End));
        peer.Dispose();
    }

    [Fact]
    public void WaitsCanBeCancelled()
    {
        using var world = new TransportWorld();
        (RingConnection connection, Socket peer) = world.WithPeer(isUnix: false);
        using var source = new CancellationTokenSource();
        Task<ReadResult> read = connection.Input.ReadAsync(source.Token).AsTask();
        source.Cancel();
        world.Fails<OperationCanceledException>(read);
        Assert.True(connection.Input.ReadAsync(source.Token).AsTask().IsCanceled);
        read = connection.Input.ReadAsync().AsTask();
        connection.Input.CancelPendingRead();
        ReadResult canceled = world.Run(read);
        Assert.True(canceled.IsCanceled);
        connection.Input.AdvanceTo(canceled.Buffer.End);
        connection.Output.CancelPendingFlush();
        Assert.True(world.Run(connection.Output.FlushAsync().AsTask()).IsCanceled);
        peer.Send(new byte[] { 7 });
        Assert.Equal([7], world.Run(Talk.ReadExactly(connection.Input, 1)));
        peer.Dispose();
    }

    [Fact]
    public void AnotherThreadIsRefused()
    {
        using var world = new TransportWorld();
        (RingConnection connection, Socket peer) = world.WithPeer(isUnix: true);
        var errors = new List<Exception?>();
        var thread = new Thread(() =>
        {
            errors.Add(Record.Exception(() => { _ = connection.Input.TryRead(out _); }));
            errors.Add(Record.Exception(() => { _ = connection.Output.GetMemory(); }));
            errors.Add(Record.Exception(() => world.Transport.Attach(peer)));
        });
        thread.Start();
        thread.Join();
        Assert.All(errors, error => Assert.IsType<InvalidOperationException>(error));
    }
}
