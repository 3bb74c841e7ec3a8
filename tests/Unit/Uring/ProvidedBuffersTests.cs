using Ublk.Uring;
using Ublk.Uring.Abi;
using Ublk.Uring.Native;
using Xunit;

namespace Ublk.Tests.Unit.Uring;

public sealed class ProvidedBuffersTests
{
    private const ushort Group = 7;

    [Fact]
    public void ReceivesAStreamIntoBuffersThatComeBack()
    {
        const int Total = 200_000;
        using var pair = new SocketPair();
        using Loop loop = TestLoop.Create();
        using var buffers = new ProvidedBuffers(loop.Ring, Group, 8, 4096);
        var sink = new Sink(loop, buffers, RingFile.Of(pair.Far.SafeHandle));
        sink.Arm();
        var sender = new Thread(() =>
        {
            byte[] bytes = new byte[Total];
            SocketEntryTests.Fill(bytes);
            pair.Near.Send(bytes);
        });
        sender.Start();
        loop.Until(() => sink.Received.Count == Total);
        sender.Join();
        byte[] expected = new byte[Total];
        SocketEntryTests.Fill(expected);
        Assert.Equal(expected, sink.Received.ToArray());
        Assert.True(sink.Buffers.Count > 1);
    }

    [Fact]
    public void ExhaustionEndsTheReceiveUntilItIsArmedAgain()
    {
        using var pair = new SocketPair();
        using Loop loop = TestLoop.Create();
        using var buffers = new ProvidedBuffers(loop.Ring, Group, 4, 64);
        var seen = new Collector();
        RingFile far = RingFile.Of(pair.Far.SafeHandle);
        byte[] message = new byte[64 * 6];
        SocketEntryTests.Fill(message);
        Assert.Equal(message.Length, pair.Near.Send(message));
        loop.Submit(Entries.ReceiveMany(far, Group), seen, 1);
        loop.Until(() => seen.Count > 0 && !seen.Seen[^1].Flags.HasFlag(CompletionFlags.More));
        Assert.Equal(-Errno.ENOBUFS, seen.Seen[^1].Result);
        Assert.Equal(5, seen.Count);
        var received = new List<byte>();
        foreach (Completion completion in seen.Seen.Take(4))
        {
            Assert.True(completion.Flags.HasFlag(CompletionFlags.Buffer));
            ushort id = ProvidedBuffers.IdOf(completion.Flags);
            received.AddRange(buffers.Bytes(id, completion.Result));
            buffers.Return(id);
        }

        seen.Seen.Clear();
        loop.Submit(Entries.ReceiveMany(far, Group), seen, 2);
        loop.Until(() => seen.Count == 2);
        Assert.All(seen.Seen, completion =>
        {
            received.AddRange(buffers.Bytes(ProvidedBuffers.IdOf(completion.Flags), completion.Result));
        });
        Assert.Equal(message, received.ToArray());
    }

    [Fact]
    public void EndOfStreamEndsTheReceive()
    {
        using var pair = new SocketPair();
        using Loop loop = TestLoop.Create();
        using var buffers = new ProvidedBuffers(loop.Ring, Group, 4, 64);
        var seen = new Collector();
        loop.Submit(Entries.ReceiveMany(RingFile.Of(pair.Far.SafeHandle), Group), seen, 1);
        pair.Near.Shutdown(System.Net.Sockets.SocketShutdown.Send);
        loop.Until(() => seen.Count == 1);
        Assert.Equal(0, seen.Seen[0].Result);
        Assert.False(seen.Seen[0].Flags.HasFlag(CompletionFlags.More));
    }

    [Fact]
    public void GroupNumberIsUnique()
    {
        using Ring ring = Ring.Create(new RingOptions(4, 16));
        using (new ProvidedBuffers(ring, Group, 4, 64))
        {
            SystemCallException error = Assert.Throws<SystemCallException>(
                () => new ProvidedBuffers(ring, Group, 4, 64));
            Assert.Equal(Errno.EEXIST, error.Number);
        }

        using var again = new ProvidedBuffers(ring, Group, 4, 64);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(65536)]
    public void CountIsAPowerOfTwoInBounds(int count)
    {
        using Ring ring = Ring.Create(new RingOptions(4, 16));
        Assert.ThrowsAny<ArgumentException>(() => new ProvidedBuffers(ring, Group, count, 64));
    }

    [Fact]
    public void ForeignBufferIsRefused()
    {
        using Ring ring = Ring.Create(new RingOptions(4, 16));
        using var buffers = new ProvidedBuffers(ring, Group, 4, 64);
        Assert.Throws<ArgumentOutOfRangeException>(() => buffers.Return(4));
        Assert.Throws<ArgumentOutOfRangeException>(() => { _ = buffers.Bytes(1, 65); });
        Assert.Throws<ArgumentOutOfRangeException>(() => { _ = buffers.Bytes(4, 1); });
    }

    [Fact]
    public void BytesAreSeenAsMemoryToo()
    {
        using Ring ring = Ring.Create(new RingOptions(4, 16));
        ReadOnlyMemory<byte> memory;
        using (var buffers = new ProvidedBuffers(ring, Group, 4, 64))
        {
            SocketEntryTests.Fill(buffers.Bytes(3, 64));
            memory = buffers.Memory(3, 40);
            Assert.Equal(buffers.Bytes(3, 40), memory.Span);
            using System.Buffers.MemoryHandle handle = memory.Pin();
            Assert.Throws<ArgumentOutOfRangeException>(() => { _ = buffers.Memory(1, 65); });
            Assert.Throws<ArgumentOutOfRangeException>(() => { _ = buffers.Memory(4, 1); });
        }

        Assert.Throws<ObjectDisposedException>(() => { _ = memory.Span; });
    }

    [Fact]
    public void OutlivesItsRing()
    {
        Ring ring = Ring.Create(new RingOptions(4, 16));
        var buffers = new ProvidedBuffers(ring, Group, 4, 64);
        ring.Dispose();
        buffers.Dispose();
    }

    private sealed class Sink(Loop loop, ProvidedBuffers buffers, RingFile socket) : IRingCompletion
    {
        public List<byte> Received { get; } = [];

        public HashSet<ushort> Buffers { get; } = [];

        public void Arm() => loop.Submit(Entries.ReceiveMany(socket, buffers.Group), this, 0);

        public void OnCompletion(ulong token, int result, CompletionFlags flags)
        {
            if (result > 0)
            {
                ushort id = ProvidedBuffers.IdOf(flags);
                Buffers.Add(id);
                Received.AddRange(buffers.Bytes(id, result));
                buffers.Return(id);
            }
            else
            {
                Assert.Equal(-Errno.ENOBUFS, result);
            }

            if (!flags.HasFlag(CompletionFlags.More))
            {
                Arm();
            }
        }
    }
}
