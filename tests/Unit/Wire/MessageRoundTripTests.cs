using System.Buffers;
using Ublk.Wire.Messages;
using Xunit;

namespace Ublk.Tests.Unit.Wire;

/// <summary>What is written is read again, whatever the fields are and wherever the bytes are cut.</summary>
public sealed class MessageRoundTripTests
{
    private const int Seed = 20_261_122;

    public static TheoryData<MessageKind> Kinds =>
        [.. Enum.GetValues<MessageKind>().Where(kind => kind != MessageKind.None)];

    public static TheoryData<string> Names => [.. GoldenSamples.All.Select(sample => sample.Name)];

    [Theory]
    [MemberData(nameof(Kinds))]
    public void RandomMessagesComeBack(MessageKind kind)
    {
        var messages = new RandomMessages(Seed + (int)kind);
        var parser = new MessageParser();
        byte[] again = new byte[MessageLimits.MaxListMessageBytes];
        for (int i = 0; i < 1_000; i++)
        {
            Sample sample = messages.Next(kind);
            MessageHead head = parser.Parse(new ReadOnlySequence<byte>(sample.Head));
            Assert.Equal((ParseOutcome.Complete, sample.Kind), (head.Outcome, head.Kind));
            Assert.Equal((sample.Head.Length, sample.PayloadBytes), (head.HeadBytes, head.PayloadBytes));
            Assert.Equal(sample.Head, again[..Rewriting.Rewrite(head, again)]);

            // And the same out of two segments.
            int cut = i % sample.Head.Length;
            head = parser.Parse(Segments.Cut(sample.Head, cut));
            Assert.Equal(sample.Head.Length, head.HeadBytes);
            Assert.Equal(sample.Head, again[..Rewriting.Rewrite(head, again)]);
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void MessageMayBeSplitAtEveryByte(string name)
    {
        Sample sample = GoldenSamples.Get(name);
        byte[] whole = sample.Whole();
        byte[] again = new byte[MessageLimits.MaxListMessageBytes];
        var parser = new MessageParser();
        for (int cut = 0; cut <= whole.Length; cut++)
        {
            ReadOnlySequence<byte> input = Segments.Cut(whole, cut);
            MessageHead head = parser.Parse(input);
            Assert.Equal((ParseOutcome.Complete, sample.Head.Length), (head.Outcome, head.HeadBytes));
            Assert.True(head.TryPayload(input, out ReadOnlySequence<byte> payload));
            Assert.Equal(whole[sample.Head.Length..], payload.ToArray());
            Assert.Equal(sample.Head, again[..Rewriting.Rewrite(head, again)]);
        }

        Assert.Equal(ParseOutcome.Complete, parser.Parse(Segments.Pieces(whole, 1)).Outcome);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void CutMessageSaysHowMuchIsNeeded(string name)
    {
        Sample sample = GoldenSamples.Get(name);
        var parser = new MessageParser();
        for (int length = 0; length < sample.Head.Length; length++)
        {
            MessageHead head = MessageParser.Parse(sample.Head.AsSpan(0, length));
            Assert.Equal(ParseOutcome.NeedMore, head.Outcome);
            Assert.InRange(head.NeededBytes, length + 1, sample.Head.Length);
            MessageHead pieces = parser.Parse(Segments.Pieces(sample.Head.AsSpan(0, length), 3));
            Assert.Equal((ParseOutcome.NeedMore, head.NeededBytes), (pieces.Outcome, pieces.NeededBytes));
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void FewQuestionsSufficeForAMessageThatComesSlowly(string name)
    {
        Sample sample = GoldenSamples.Get(name);
        int questions = 0, length = 0;
        while (length < sample.Head.Length)
        {
            length = MessageParser.Parse(sample.Head.AsSpan(0, length)).NeededBytes;
            questions++;
        }

        Assert.InRange(questions, 1, 30);
    }

    [Fact]
    public void PayloadIsNotWaitedFor()
    {
        Sample sample = GoldenSamples.Get("Write");
        var input = new ReadOnlySequence<byte>(sample.Head);
        MessageHead head = new MessageParser().Parse(input);
        Assert.Equal(ParseOutcome.Complete, head.Outcome);
        Assert.Equal(sample.Head.Length + 4096, head.TotalBytes);
        Assert.False(head.TryPayload(input, out _));
    }

    [Fact]
    public void LongestListsFitIntoAMessage()
    {
        var parser = new MessageParser();
        foreach (Sample sample in LongestSamples.All)
        {
            Assert.InRange(sample.Head.Length, 1, MessageLimits.MaxListMessageBytes);
            MessageHead head = parser.Parse(Segments.Pieces(sample.Head, 4096));
            Assert.Equal((ParseOutcome.Complete, sample.Head.Length), (head.Outcome, head.HeadBytes));
        }
    }

    [Fact]
    public void ListIsReadAsItWasWritten()
    {
        var parser = new MessageParser();
        foreach (Sample sample in LongestSamples.All.Where(sample => sample.Kind == MessageKind.Versions))
        {
            Versions message = parser.Parse(Segments.Pieces(sample.Head, 1000)).Read<Versions>();
            var copied = new VersionRun[message.Runs.Count];
            message.Runs.CopyTo(copied);
            Assert.Equal(LongestSamples.Runs, copied);
        }
    }

    [Fact]
    public void AnotherMessageThanTheOneFoundCannotBeRead()
    {
        byte[] bytes = GoldenSamples.Get("Flush").Head;
        Assert.Throws<InvalidOperationException>(() => MessageParser.Parse(bytes).Read<Write>());
        Assert.Throws<InvalidOperationException>(() => MessageParser.Parse(bytes.AsSpan(0, 2)).Read<Flush>());
    }
}
