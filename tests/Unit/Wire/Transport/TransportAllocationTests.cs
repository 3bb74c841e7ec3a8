using System.Buffers;
using System.IO.Pipelines;
using Ublk.Testing;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Transport;
using Xunit;

namespace Ublk.Tests.Unit.Wire.Transport;

/// <summary>After warm-up a message and its answer allocate nothing, on either side.</summary>
public sealed class TransportAllocationTests
{
    private const int HeadBytes = 60;
    private const int PayloadBytes = 4096;
    private const int AnswerBytes = 30;

    [Theory]
    [InlineData(false, 1)]
    [InlineData(false, 16)]
    [InlineData(true, 1)]
    [InlineData(true, 16)]
    public void NoMessageAllocates(bool isUnix, int depth)
    {
        const int Rounds = 2_000;
        using var world = new TransportWorld();
        using MemoryMapping memory = MemoryMapping.Allocate(PayloadBytes);
        (RingConnection near, RingConnection far) = world.Pair(isUnix);
        var answers = new Tally();
        var owner = new Returned();
        Task server = Serve(far);
        Task client = Count(near.Input, answers);
        IoBuffer payload = memory.Slice(0, PayloadBytes);
        long asked = 0;
        long bytes = Allocation.Steady(() =>
        {
            for (int round = 0; round < Rounds; round++)
            {
                for (int i = 0; i < depth; i++)
                {
                    near.Output.GetSpan(HeadBytes)[..HeadBytes].Fill(1);
                    near.Output.Advance(HeadBytes);
                    near.Payloads.Append(payload, owner);
                    ValueTask<FlushResult> flush = near.Output.FlushAsync();
                    Assert.True(flush.IsCompletedSuccessfully);
                    asked++;
                }

                while (answers.Bytes < asked * AnswerBytes)
                {
                    world.Loop.DrainOrWait();
                }
            }
        });
        Assert.True(bytes == 0, $"{bytes} bytes in {Rounds} rounds of {depth}");
        Assert.Equal(asked, owner.Count);
        near.Output.Complete();
        world.Run(server);
        world.Run(client);
    }

    // Answers every message as soon as it is there; several at once with one flush.
    private static async Task Serve(RingConnection connection)
    {
        const int MessageBytes = HeadBytes + PayloadBytes;
        PipeReader input = connection.Input;
        PipeWriter output = connection.Output;
        while (true)
        {
            ReadResult result = await input.ReadAsync().ConfigureAwait(false);
            ReadOnlySequence<byte> buffer = result.Buffer;
            long count = buffer.Length / MessageBytes;
            input.AdvanceTo(buffer.GetPosition(count * MessageBytes), buffer.End);
            for (long i = 0; i < count; i++)
            {
                output.GetSpan(AnswerBytes)[..AnswerBytes].Fill(2);
                output.Advance(AnswerBytes);
            }

            if (count > 0)
            {
                await output.FlushAsync().ConfigureAwait(false);
            }

            if (result.IsCompleted)
            {
                await output.CompleteAsync().ConfigureAwait(false);
                return;
            }
        }
    }

    private static async Task Count(PipeReader input, Tally tally)
    {
        while (true)
        {
            ReadResult result = await input.ReadAsync().ConfigureAwait(false);
            tally.Bytes += result.Buffer.Length;
            input.AdvanceTo(result.Buffer.End);
            if (result.IsCompleted)
            {
                return;
            }
        }
    }

    private sealed class Tally
    {
        public long Bytes { get; set; }
    }

    private sealed class Returned : IPayloadOwner
    {
        public long Count { get; private set; }

        public void OnPayloadSent(in IoBuffer payload) => Count++;
    }
}
