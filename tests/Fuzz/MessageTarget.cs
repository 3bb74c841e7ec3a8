using System.Text;
using Ublk.Node.Capture;
using Ublk.Tests.Unit.Wire;
using Ublk.Wire.Messages;

namespace Ublk.Tests.Fuzz;

/// <summary>
/// The parser of messages: answers the same however the bytes are cut, asks for no more than its limits,
/// allocates nothing, and what it calls complete can be read, written and shown.
/// </summary>
internal sealed class MessageTarget : IFuzzTarget
{
    // Parsing allocates nothing; this is for what the runtime does once.
    private const long MaxAllocatedBytes = 16 << 10;

    private readonly MessageParser _parser = new();
    private readonly byte[] _once = new byte[MessageLimits.MaxListMessageBytes];
    private readonly byte[] _twice = new byte[MessageLimits.MaxListMessageBytes];

    public void Run(byte[] input)
    {
        long before = GC.GetAllocatedBytesForCurrentThread();
        MessageHead head = MessageParser.Parse(input);
        FuzzFailure.UnlessAllocated(before, MaxAllocatedBytes);
        CheckOutcome(head, input.Length);
        CheckCut(head, input, [input.Length / 3, input.Length / 2]);
        CheckCut(head, input, [.. Enumerable.Range(0, (input.Length + 6) / 7).Select(i => i * 7)]);
        if (head.Outcome == ParseOutcome.Complete)
        {
            CheckWhole(head);
            CheckPrefix(input.AsSpan(0, head.HeadBytes), head);
        }
    }

    public IEnumerable<(string Name, byte[] Bytes)> Seeds() =>
        GoldenSamples.All.Select(sample => (sample.Name, sample.Head));

    private static void CheckOutcome(in MessageHead head, int length)
    {
        switch (head.Outcome)
        {
            case ParseOutcome.Complete:
                FuzzFailure.Unless(
                    head.HeadBytes > 0 && head.HeadBytes <= length, "a head longer than the input");
                FuzzFailure.Unless(
                    head.PayloadBytes is >= 0 and <= MessageLimits.MaxPayloadBytes,
                    "a payload over its limit");
                break;
            case ParseOutcome.NeedMore:
                FuzzFailure.Unless(
                    head.NeededBytes > length && head.NeededBytes <= MessageLimits.MaxListMessageBytes,
                    $"{head.NeededBytes} bytes needed, {length} there");
                break;
            default:
                FuzzFailure.Unless(head.Error.Reason != ProtocolErrorReason.None, "refused without a reason");
                FuzzFailure.Unless(
                    head.Error.PositionBytes >= 0 && head.Error.PositionBytes <= length,
                    "an error behind the input");
                break;
        }
    }

    private void CheckCut(in MessageHead head, byte[] input, int[] places)
    {
        System.Buffers.ReadOnlySequence<byte> pieces = Segments.Cut(input, places);
        long before = GC.GetAllocatedBytesForCurrentThread();
        MessageHead cut = _parser.Parse(pieces);
        FuzzFailure.UnlessAllocated(before, MaxAllocatedBytes);
        FuzzFailure.Unless(
            (cut.Outcome, cut.Kind, cut.Error) == (head.Outcome, head.Kind, head.Error) &&
            (cut.HeadBytes, cut.PayloadBytes, cut.NeededBytes) ==
            (head.HeadBytes, head.PayloadBytes, head.NeededBytes),
            $"{head.Outcome} {head.Kind} in one piece, {cut.Outcome} {cut.Kind} in several");
    }

    // Written anew it may be shorter, and nothing else changes.
    private void CheckWhole(in MessageHead head)
    {
        int length = Rewriting.Rewrite(head, _once);
        MessageHead again = MessageParser.Parse(_once.AsSpan(0, length));
        FuzzFailure.Unless(
            again.Outcome == ParseOutcome.Complete && again.Kind == head.Kind && again.HeadBytes == length &&
            again.PayloadBytes == head.PayloadBytes,
            $"a {head.Kind} is another message when it is written anew");
        int sameLength = Rewriting.Rewrite(again, _twice);
        FuzzFailure.Unless(
            _once.AsSpan(0, length).SequenceEqual(_twice.AsSpan(0, sameLength)), $"a {head.Kind} changes");
        FuzzFailure.Unless(Shown(head) == Shown(again), $"a {head.Kind} has other fields");
    }

    // One byte less is not enough, and says so.
    private static void CheckPrefix(ReadOnlySpan<byte> whole, in MessageHead head)
    {
        MessageHead less = MessageParser.Parse(whole[..^1]);
        FuzzFailure.Unless(
            less.Outcome == ParseOutcome.NeedMore && less.NeededBytes <= head.HeadBytes,
            $"a {head.Kind} without its last byte is {less.Outcome}");
    }

    private static string Shown(in MessageHead head)
    {
        var line = new StringBuilder();
        var fields = new TextFields(line);
        head.Describe(ref fields);
        return line.ToString();
    }
}
