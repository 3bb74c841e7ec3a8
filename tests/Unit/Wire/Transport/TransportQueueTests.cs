using System.Net.Sockets;
using Ublk.Tests.Unit.Uring;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Transport;
using Xunit;

namespace Ublk.Tests.Unit.Wire.Transport;

/// <summary>
/// What is queued to be sent, against a model, with sends that the kernel cuts short anywhere.
/// </summary>
public sealed class TransportQueueTests
{
    private const int MaxPartBytes = 1500;
    private const int MaxWaitingBytes = 100_000; // Below what a unix socket holds.

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void ShortSendsLoseAndRepeatNothing(int seed)
    {
        var random = new Random(seed);
        using var world = new TransportWorld();
        using MemoryMapping memory = MemoryMapping.Allocate(64 << 20);
        using var list = new GatherList();
        (Socket near, Socket far) = TransportWorld.Sockets(isUnix: true);
        var queue = new OutputQueue(world.Transport);
        var owner = new CountingOwner();
        var appended = new List<int>();
        var sent = new List<byte>();
        byte[] received = new byte[2 * MaxWaitingBytes];
        long written = 0;
        long flushed = 0;
        int used = 0;
        for (int step = 0; step < 4_000; step++)
        {
            int length = random.Next(1, random.Next(2, MaxPartBytes));
            switch (random.Next(5))
            {
                case 0 or 1 when written - sent.Count < MaxWaitingBytes:
                    Pattern.Fill(queue.Room(length).Span[..length], written);
                    queue.Advance(length);
                    written += length;
                    break;
                case 2 when written - sent.Count < MaxWaitingBytes:
                    IoBuffer payload = memory.Slice(used, length);
                    used += length;
                    Pattern.Fill(payload.Span, written);
                    queue.Append(payload, owner);
                    appended.Add(length);
                    written += length;
                    break;
                case 3:
                    queue.Flush();
                    flushed = written;
                    break;
                case 4 when queue.HasFlushed:
                    list.Clear();
                    queue.Gather(list);
                    int went = Transfer(world, list, near, far, received);
                    WriteMeanwhile(queue, random, ref written);
                    int taken = random.Next(4) == 0 ? random.Next(0, went + 1) : went;
                    queue.OnSent(taken);
                    sent.AddRange(received.AsSpan(0, taken));
                    break;
            }

            Assert.True(sent.Count <= flushed, "sent before it was flushed");
            Assert.Equal(flushed - sent.Count, queue.UnsentBytes);
            Assert.Equal(written - flushed, queue.UnflushedBytes);
        }

        Assert.Equal(Pattern.Bytes(sent.Count), sent);
        Assert.Equal(appended.Take(owner.Lengths.Count), owner.Lengths);
        queue.Drop(keepsRoom: false);
        Assert.Equal(appended, owner.Lengths);
        Assert.Equal((0, 0L, 0L), (queue.PartCount, queue.UnsentBytes, queue.UnflushedBytes));
        Assert.Equal(0, world.Transport.Blocks.RentedCount);
        near.Dispose();
        far.Dispose();
    }

    // Sends for real, so that what was gathered is what the kernel read.
    private static int Transfer(
        TransportWorld world, GatherList list, Socket near, Socket far, byte[] received)
    {
        Assert.InRange(list.LengthBytes, 1, 2 * MaxWaitingBytes);
        int result = world.Loop.Run(Entries.SendMessage(
            RingFile.Of(near.SafeHandle), list, Entries.MessageWaitAll)).Result;
        Assert.Equal(list.LengthBytes, result);
        int count = 0;
        while (count < result)
        {
            count += far.Receive(received.AsSpan(count));
        }

        return count;
    }

    // What is written while a send is under way must not become part of what it gathered.
    private static void WriteMeanwhile(OutputQueue queue, Random random, ref long written)
    {
        int length = random.Next(0, 100);
        if (length > 0)
        {
            Pattern.Fill(queue.Room(length).Span[..length], written);
            queue.Advance(length);
            written += length;
        }
    }
}
