using System.Buffers;
using Ublk.Testing;
using Ublk.Wire;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;
using Xunit;

namespace Ublk.Tests.Unit.Wire;

/// <summary>Neither writing nor reading a message allocates, not even when a peer sends nonsense.</summary>
public sealed class MessageAllocationTests
{
    private readonly byte[] _buffer = new byte[MessageLimits.MaxListMessageBytes];
    private readonly MessageParser _parser = new();

    [Fact]
    public void ReadingAndWritingAllocatesNothing()
    {
        ReadOnlySequence<byte>[] inputs =
        [
            .. GoldenSamples.All.Select(sample => new ReadOnlySequence<byte>(sample.Whole())),
            .. GoldenSamples.All.Select(sample => Segments.Pieces(sample.Whole(), 7)),
            .. LongestSamples.All.Select(sample => Segments.Pieces(sample.Whole(), 4096)),
        ];
        void Serve()
        {
            for (int round = 0; round < 20; round++)
            {
                foreach (ReadOnlySequence<byte> input in inputs)
                {
                    MessageHead head = _parser.Parse(input);
                    bool hasPayload = head.TryPayload(input, out ReadOnlySequence<byte> payload);
                    if (!hasPayload || payload.Length != head.PayloadBytes ||
                        Rewriting.Rewrite(head, _buffer) != head.HeadBytes)
                    {
                        throw new InvalidOperationException($"{head.Kind} was not read");
                    }
                }
            }
        }

        Serve();
        Assert.Equal(0, Allocation.Steady(Serve));
    }

    [Fact]
    public void RefusingAllocatesNothing()
    {
        byte[][] inputs =
        [
            [0xdd, 0xff, 0xff, 0xff, 0xff], [0x9a, 10, 0xff], [0x92, 99, 0], [0x93, 36, 7, 0xc0],
            "GET "u8.ToArray(),
        ];
        void Serve()
        {
            for (int round = 0; round < 1_000; round++)
            {
                foreach (byte[] input in inputs)
                {
                    if (MessageParser.Parse(input).Outcome != ParseOutcome.Refused)
                    {
                        throw new InvalidOperationException("not refused");
                    }
                }
            }
        }

        Serve();
        Assert.Equal(0, Allocation.Steady(Serve));
    }

    [Fact]
    public void WriteAndItsAnswerAllocateNothing()
    {
        byte[] payload = new byte[4096];
        var write = new Write(
            new Epoch(7), new Sequence(1 << 20), Mutation.Write, MutationFlags.None, 1L << 30, payload.Length,
            0, new Sequence(1000), new View(1));
        void Serve()
        {
            for (int i = 0; i < 1_000; i++)
            {
                int length = MessageWriter.Write(write with { Crc32C = Crc32C.Compute(payload) }, _buffer);
                Write read = MessageParser.Parse(_buffer.AsSpan(0, length)).Read<Write>();
                MessageWriter.Write(
                    new Applied(read.Epoch, read.Sequence, AnswerStatus.Ok, read.Sequence, read.Committed),
                    _buffer);
            }
        }

        Serve();
        Assert.Equal(0, Allocation.Steady(Serve));
    }
}
