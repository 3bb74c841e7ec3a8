using System.Buffers;
using System.IO.Pipelines;
using Microsoft.AspNetCore.Connections;
using Ublk.Tests.Unit.Uring;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Transport;
using Xunit;

namespace Ublk.Tests.Unit.Wire.Transport;

/// <summary>Payload that is received where it is to lie.</summary>
public sealed class TransportPayloadTests
{
    private const int Longest = 300_000;
    private const int Length = 8_000_000;

    // Whatever was received before, and however it is taken, the bytes are those of the stream.
    [Theory]
    [InlineData(false, 1)]
    [InlineData(false, 2)]
    [InlineData(true, 3)]
    [InlineData(true, 4)]
    public void TheStreamIsTheSameHoweverItIsTaken(bool isUnix, int seed)
    {
        using var world = new TransportWorld();
        using MemoryMapping memory = MemoryMapping.Allocate(Longest);
        (RingConnection near, RingConnection far) = world.Pair(isUnix);
        Task write = Talk.WritePattern(near.Output, Length, new Random(seed + 20));
        Task<long> read = ReadEitherWay(far, memory.Slice(0, Longest), new Random(seed));
        world.Run(Task.WhenAll(write, read));
        Assert.Equal(Length, world.Run(read));
        far.Input.Complete();
        far.Output.Complete();
        world.Loop.Until(() => world.Transport.ConnectionCount == 0);
        Assert.Null(far.CloseReason);
        world.AssertNothingIsLeft();
    }

    // Who hears of the end may free the memory: the kernel has nothing of it.
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void TheEndIsToldWhenTheKernelHasNothingOfTheMemory(bool isAborted)
    {
        using var world = new TransportWorld();
        (RingConnection near, RingConnection far) = world.Pair(isUnix: false);
        using MemoryMapping memory = MemoryMapping.Allocate(Longest);
        Task<bool> receiving = ReadAndReceive(far.Input, memory.Slice(0, Longest));
        near.Output.Write(Pattern.Bytes(1000));
        Assert.True(near.Output.FlushAsync().AsTask().IsCompletedSuccessfully);
        world.Settle();
        Assert.False(receiving.IsCompleted);
        if (isAborted)
        {
            far.Abort(new ConnectionAbortedException("the test"));
            Assert.False(receiving.IsCompleted);
            Assert.Equal("the test", world.Fails<ConnectionAbortedException>(receiving).Message);
        }
        else
        {
            near.Output.Complete();
            Assert.False(world.Run(receiving));
        }

        Assert.True(world.Loop.InFlightCount <= 2); // The other side's receive, and the wait for posts.
        near.Abort(new ConnectionAbortedException("the test"));
        world.Run(Task.WhenAll(near.DisposeAsync().AsTask(), far.DisposeAsync().AsTask()));
        world.AssertNothingIsLeft();
    }

    private static async Task<bool> ReadAndReceive(PipeReader input, IoBuffer memory)
    {
        _ = await input.ReadAsync().ConfigureAwait(false);
        return await ((IPayloadInput)input).ReceiveAsync(memory).ConfigureAwait(false);
    }

    private static async Task<long> ReadEitherWay(RingConnection connection, IoBuffer memory, Random random)
    {
        PipeReader input = connection.Input;
        var payload = (IPayloadInput)input;
        long position = 0;
        while (true)
        {
            ReadResult read = await input.ReadAsync().ConfigureAwait(false);
            Pattern.Check(read.Buffer, position);
            if (read.IsCompleted || random.Next(3) == 0)
            {
                position += read.Buffer.Length;
                input.AdvanceTo(read.Buffer.End);
                if (read.IsCompleted)
                {
                    await input.CompleteAsync().ConfigureAwait(false);
                    return position;
                }

                continue;
            }

            position += read.Buffer.Length;
            int wanted = random.Next(1, Longest);
            memory.Span.Clear();
            bool isFull = await payload.ReceiveAsync(memory.Slice(0, wanted)).ConfigureAwait(false);
            if (isFull)
            {
                Pattern.Check(new(memory.Span[..wanted].ToArray()), position);
                position += wanted;
                continue;
            }

            wanted = (int)(Length - position); // All there is.
            Pattern.Check(new(memory.Span[..wanted].ToArray()), position);
            return position + wanted;
        }
    }
}
