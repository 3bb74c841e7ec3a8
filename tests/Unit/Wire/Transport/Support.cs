using System.Buffers;
using System.IO.Pipelines;
using System.Net.Sockets;
using Ublk.Tests.Unit.Uring;
using Ublk.Uring;
using Ublk.Wire.Transport;
using Xunit;

namespace Ublk.Tests.Unit.Wire.Transport;

/// <summary>A loop that the test turns, with a transport, all gone at the end.</summary>
internal sealed class TransportWorld : IDisposable
{
    public TransportWorld(RingTransportOptions? options = null, int operations = 64)
    {
        Loop = TestLoop.Create(operations);
        Transport = new RingTransport(Loop, options ?? new RingTransportOptions());
    }

    public Loop Loop { get; }

    public RingTransport Transport { get; }

    /// <summary>Two connections of this loop, joined.</summary>
    public (RingConnection Near, RingConnection Far) Pair(bool isUnix)
    {
        (Socket near, Socket far) = Sockets(isUnix);
        return (Transport.Attach(near), Transport.Attach(far));
    }

    /// <summary>A connection of this loop, and the plain socket at its other end.</summary>
    public (RingConnection Connection, Socket Peer) WithPeer(bool isUnix)
    {
        (Socket near, Socket far) = Sockets(isUnix);
        return (Transport.Attach(near), far);
    }

    public void Dispose()
    {
        Run(Transport.StopAsync());
        Transport.Dispose();
        Loop.Dispose();
    }

#pragma warning disable VSTHRD002 // The tasks have ended; the loop was turned for it.
    /// <summary>Turns the loop until a task has ended, and throws what it threw.</summary>
    public void Run(Task task)
    {
        Loop.Until(() => task.IsCompleted);
        task.GetAwaiter().GetResult();
    }

    public T Run<T>(Task<T> task)
    {
        Run((Task)task);
        return task.GetAwaiter().GetResult();
    }

    /// <summary>What a task fails with.</summary>
    public TException Fails<TException>(Task task) where TException : Exception
    {
        Loop.Until(() => task.IsCompleted);
        return Assert.ThrowsAny<TException>(() => task.GetAwaiter().GetResult());
    }
#pragma warning restore VSTHRD002

    /// <summary>Turns the loop until nothing happens any more; what waits for a peer stays.</summary>
    public void Settle()
    {
        int quiet = 0;
        while (quiet < 3)
        {
            quiet = Loop.DrainOrWait(TimeSpan.FromMilliseconds(1)) == 0 ? quiet + 1 : 0;
        }
    }

    /// <summary>Nothing of a connection is left: no buffers, no memory, nothing in the kernel.</summary>
    public void AssertNothingIsLeft()
    {
        Assert.Equal(0, Transport.ConnectionCount);
        Assert.Equal(0, Transport.HeldBufferCount);
        Assert.Equal(0, Transport.Blocks.RentedCount);
        Assert.Equal(1, Loop.InFlightCount); // The wait for posts.
    }

    public static (Socket Near, Socket Far) Sockets(bool isUnix)
    {
        if (!isUnix)
        {
            var pair = new SocketPair();
            return (pair.Near, pair.Far);
        }

        using var directory = new TempDirectory();
        var endPoint = new UnixDomainSocketEndPoint(directory.File("socket"));
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(endPoint);
        listener.Listen(1);
        var near = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        near.Connect(endPoint);
        return (near, listener.Accept());
    }
}

/// <summary>A stream of bytes that anybody can tell from its position.</summary>
internal static class Pattern
{
    public static byte At(long position) => (byte)(position * 31 + (position >> 8) * 7);

    public static void Fill(Span<byte> bytes, long position)
    {
        for (int i = 0; i < bytes.Length; i++)
        {
            bytes[i] = At(position + i);
        }
    }

    public static byte[] Bytes(int length, long position = 0)
    {
        byte[] bytes = new byte[length];
        Fill(bytes, position);
        return bytes;
    }

    public static void Check(ReadOnlySequence<byte> bytes, long position)
    {
        foreach (ReadOnlyMemory<byte> part in bytes)
        {
            foreach (byte value in part.Span)
            {
                if (value != At(position))
                {
                    Assert.Fail($"byte {position} is {value}, {At(position)} was sent");
                }

                position++;
            }
        }
    }
}

/// <summary>Counts what comes back.</summary>
internal sealed class CountingOwner : IPayloadOwner
{
    public List<int> Lengths { get; } = [];

    public long Bytes { get; private set; }

    public void OnPayloadSent(in IoBuffer payload)
    {
        Lengths.Add(payload.LengthBytes);
        Bytes += payload.LengthBytes;
    }
}

/// <summary>Ways of reading and writing that several tests use.</summary>
internal static class Talk
{
    /// <summary>Reads to the end of the stream, checks every byte, answers how many.</summary>
    public static async Task<long> ReadPattern(PipeReader reader, Random? random = null)
    {
        long position = 0;
        while (true)
        {
            ReadResult result = await reader.ReadAsync().ConfigureAwait(false);
            ReadOnlySequence<byte> buffer = result.Buffer;
            long take = random is null || result.IsCompleted
                ? buffer.Length : random.NextInt64(buffer.Length + 1);
            Pattern.Check(buffer.Slice(0, take), position);
            position += take;
            reader.AdvanceTo(buffer.GetPosition(take), buffer.End);
            if (result.IsCompleted && take == buffer.Length)
            {
                return position;
            }
        }
    }

    /// <summary>Writes part of the stream in pieces of any size, then completes.</summary>
    public static async Task WritePattern(PipeWriter writer, long length, Random random)
    {
        long position = 0;
        while (position < length)
        {
            int count = (int)Math.Min(length - position, random.Next(1, random.Next(1, 20_000)));
            Pattern.Fill(writer.GetSpan(count)[..count], position);
            writer.Advance(count);
            position += count;
            if (random.Next(3) == 0)
            {
                await writer.FlushAsync().ConfigureAwait(false);
            }
        }

        await writer.CompleteAsync().ConfigureAwait(false);
    }

    public static async Task<byte[]> ReadExactly(PipeReader reader, int length)
    {
        ReadResult result = await reader.ReadAtLeastAsync(length).ConfigureAwait(false);
        byte[] bytes = result.Buffer.Slice(0, length).ToArray();
        reader.AdvanceTo(result.Buffer.GetPosition(length));
        return bytes;
    }
}
