using System.Buffers.Binary;
using Ublk.Wire.Messages;
using Xunit;

namespace Ublk.Tests.Unit.Wire;

/// <summary>
/// Whatever bytes come, the parser answers and does not throw, reads no byte behind the input, and what it
/// calls a message can be read and written again.
/// </summary>
public sealed class MessageHostilityTests
{
    private const int Seed = 20_261_122;

    private readonly MessageParser _parser = new();
    private readonly byte[] _buffer = new byte[MessageLimits.MaxListMessageBytes];

    public static TheoryData<string> Names => [.. GoldenSamples.All.Select(sample => sample.Name)];

    [Theory]
    [MemberData(nameof(Names))]
    public void EveryChangeOfOneByteIsAnswered(string name)
    {
        byte[] bytes = [.. GoldenSamples.Get(name).Head];
        for (int at = 0; at < bytes.Length; at++)
        {
            byte original = bytes[at];
            for (int value = 0; value < 256; value++)
            {
                bytes[at] = (byte)value;
                AssertAnswers(bytes);
            }

            bytes[at] = original;
        }
    }

    [Fact]
    public void RandomBytesAreAnswered()
    {
        var random = new Random(Seed);
        for (int i = 0; i < 100_000; i++)
        {
            byte[] bytes = new byte[random.Next(1, 200)];
            random.NextBytes(bytes);

            // Mostly begun as a message, or nearly all would end at the first byte.
            if (i % 8 != 0)
            {
                Sample sample = GoldenSamples.All[i % GoldenSamples.All.Count];
                int known = Math.Min(random.Next(2, 12), Math.Min(sample.Head.Length, bytes.Length));
                sample.Head.AsSpan(0, known).CopyTo(bytes);
            }

            AssertAnswers(bytes);
        }
    }

    [Fact]
    public void SplicedMessagesAreAnswered()
    {
        var random = new Random(Seed);
        var messages = new RandomMessages(Seed);
        MessageKind[] kinds = [.. Enum.GetValues<MessageKind>().Where(kind => kind != MessageKind.None)];
        for (int i = 0; i < 20_000; i++)
        {
            byte[] one = messages.Next(kinds[i % kinds.Length]).Head;
            byte[] other = messages.Next(kinds[random.Next(kinds.Length)]).Head;
            int from = random.Next(Math.Min(one.Length, 200)), to = random.Next(Math.Min(other.Length, 200));
            AssertAnswers([.. one[..from], .. other[to..Math.Min(other.Length, to + 300)]]);
        }
    }

    // Every whole number of every message, replaced by what is none, or too large.
    [Theory]
    [InlineData("ff", ProtocolErrorReason.OutOfRange)]
    [InlineData("e0", ProtocolErrorReason.OutOfRange)]
    [InlineData("d080", ProtocolErrorReason.OutOfRange)]
    [InlineData("d1ffff", ProtocolErrorReason.OutOfRange)]
    [InlineData("d2ffffffff", ProtocolErrorReason.OutOfRange)]
    [InlineData("d38000000000000000", ProtocolErrorReason.OutOfRange)]
    [InlineData("cfffffffffffffffff", ProtocolErrorReason.OutOfRange)]
    [InlineData("c0", ProtocolErrorReason.WrongType)]
    [InlineData("c1", ProtocolErrorReason.WrongType)]
    [InlineData("c2", ProtocolErrorReason.WrongType)]
    [InlineData("ca00000000", ProtocolErrorReason.WrongType)]
    [InlineData("cb0000000000000000", ProtocolErrorReason.WrongType)]
    [InlineData("a131", ProtocolErrorReason.WrongType)]
    [InlineData("dbffffffff", ProtocolErrorReason.WrongType)]
    [InlineData("c60000000101", ProtocolErrorReason.WrongType)]
    [InlineData("c6ffffffff", ProtocolErrorReason.WrongType)]
    [InlineData("d60001020304", ProtocolErrorReason.WrongType)]
    [InlineData("c9ffffffff00", ProtocolErrorReason.WrongType)]
    [InlineData("91", ProtocolErrorReason.WrongType)]
    [InlineData("ddffffffff", ProtocolErrorReason.WrongType)]
    [InlineData("dfffffffff", ProtocolErrorReason.WrongType)]
    public void NoFieldTakesWhatIsNoWholeNumber(string hex, ProtocolErrorReason expected)
    {
        byte[] field = Convert.FromHexString(hex);
        foreach (Sample sample in GoldenSamples.All)
        {
            foreach (Token token in GenericReader.Tokens(sample.Whole()).Where(token => token.IsInteger))
            {
                MessageHead head = MessageParser.Parse(Replace(sample, token, field));
                Assert.Equal(ParseOutcome.Refused, head.Outcome);
                Assert.Equal(token.Start, head.Error.PositionBytes);
                bool isLargeEnum = hex[..2] == "cf" && head.Error.Reason is
                    ProtocolErrorReason.UnknownValue or ProtocolErrorReason.NotAMessage or
                    ProtocolErrorReason.UnknownKind;
                bool isKind = token.Start == 1;
                Assert.True(
                    head.Error.Reason == expected || isLargeEnum || isKind, $"{sample}: {head.Error}");
            }
        }
    }

    // Every head of a list, text, 128 bits or payload, replaced by one that promises too much.
    [Theory]
    [InlineData("ddffffffff")]
    [InlineData("dcffff")]
    [InlineData("c6ffffffff")]
    [InlineData("c5ffff")]
    [InlineData("dbffffffff")]
    [InlineData("daffff")]
    [InlineData("c9ffffffff00")]
    [InlineData("dfffffffff")]
    public void NoFieldPromisesMoreThanAllowed(string hex)
    {
        byte[] field = Convert.FromHexString(hex);
        foreach (Sample sample in GoldenSamples.All)
        {
            foreach (Token token in GenericReader.Tokens(sample.Whole()).Where(token => !token.IsInteger))
            {
                MessageHead head = MessageParser.Parse(Replace(sample, token, field));
                Assert.Equal(ParseOutcome.Refused, head.Outcome);
                bool isContradiction = head.Error.Reason == ProtocolErrorReason.Contradiction;
                Assert.True(
                    isContradiction || head.Error.PositionBytes <= token.Start, $"{sample}: {head.Error}");
            }
        }
    }

    [Fact]
    public void PayloadOfFourGigabytesIsRefusedFromTheHead()
    {
        byte[] head = [.. GoldenSamples.Get("Write").Head];
        BinaryPrimitives.WriteUInt32BigEndian(head.AsSpan(head.Length - 4), uint.MaxValue);
        ProtocolError error = MessageParser.Parse(head).Error;
        Assert.Equal(
            new ProtocolError(ProtocolErrorReason.PayloadTooLong, MessageKind.Write, head.Length - 5), error);
        Assert.Equal($"Write: payload too long, at byte {head.Length - 5}", error.ToString());
    }

    [Fact]
    public void NoMessageAsksForMoreThanItsLimit()
    {
        // A list of as many entries as allowed, each begun and none of them ended.
        byte[] endless = [0x94, (byte)MessageKind.Versions, 7, 0, 0xdc, 0x08, 0x00];
        MessageHead head = MessageParser.Parse(endless);
        Assert.Equal(ParseOutcome.NeedMore, head.Outcome);
        Assert.InRange(head.NeededBytes, endless.Length + 1, MessageLimits.MaxListMessageBytes);

        // Every integer in its longest form: in bounds for what has a payload, too long for this one.
        Sample open = GoldenSamples.Get("OpenSession");
        byte[] wide = Widen(open);
        Assert.InRange(wide.Length, MessageLimits.MaxHeadBytes + 1, 200);
        for (int length = 0; length <= wide.Length; length++)
        {
            head = MessageParser.Parse(wide.AsSpan(0, length));
            Assert.NotEqual(ParseOutcome.Complete, head.Outcome);
            Assert.InRange(head.NeededBytes, 0, MessageLimits.MaxHeadBytes);
            Assert.Equal(head.Outcome, _parser.Parse(Segments.Pieces(wide.AsSpan(0, length), 5)).Outcome);
        }

        Assert.Equal(ProtocolErrorReason.TooLong, head.Error.Reason);
    }

    [Fact]
    public void IntegersMayHaveAnyForm()
    {
        foreach (Sample sample in GoldenSamples.All.Where(sample => sample.Name != "OpenSession"))
        {
            byte[] wide = Widen(sample);
            MessageHead head = MessageParser.Parse(wide);
            Assert.Equal((ParseOutcome.Complete, wide.Length), (head.Outcome, head.HeadBytes));
            Assert.Equal(sample.Head, _buffer[..Rewriting.Rewrite(head, _buffer)]);
        }
    }

    [Fact]
    public void FieldsAreNeitherAddedNorLeftOut()
    {
        foreach (Sample sample in GoldenSamples.All)
        {
            byte[] bytes = [.. sample.Head];
            foreach (byte header in (byte[])[(byte)(bytes[0] - 1), (byte)(bytes[0] + 1), 0x90, 0x9f])
            {
                bytes[0] = header;
                MessageHead head = MessageParser.Parse(bytes);
                Assert.Equal(
                    header == 0x90
                        ? new ProtocolError(ProtocolErrorReason.NotAMessage, MessageKind.None, 0)
                        : new ProtocolError(ProtocolErrorReason.WrongFieldCount, sample.Kind, 0),
                    head.Error);
            }
        }
    }

    [Fact]
    public void OtherProtocolsAreRefusedAtTheFirstByte()
    {
        foreach (string text in (string[])["GET / HTTP/1.1\r\n", "\x16\x03\x01", "SSH-2.0", "\0\0\0\0"])
        {
            ProtocolError error = MessageParser.Parse(System.Text.Encoding.Latin1.GetBytes(text)).Error;
            Assert.Equal(new ProtocolError(ProtocolErrorReason.NotAMessage, MessageKind.None, 0), error);
        }
    }

    private static byte[] Replace(Sample sample, Token token, byte[] field)
    {
        byte[] whole = sample.Whole();
        return [.. whole[..token.Start], .. field, .. whole[(token.Start + token.Length)..]];
    }

    private static byte[] Widen(Sample sample)
    {
        var wide = new List<byte>();
        foreach (Token token in GenericReader.Tokens(sample.Whole()))
        {
            int end = Math.Min(token.Start + token.Length, sample.Head.Length);
            byte[] number = new byte[8];
            BinaryPrimitives.WriteUInt64BigEndian(number, token.Value);
            byte[] bytes = sample.Head[token.Start..end];
            wide.AddRange(bytes[0] switch
            {
                _ when token.IsInteger => [(byte)(wide.Count % 2 == 0 ? 0xcf : 0xd3), .. number],
                >= 0x90 and <= 0x9f => [0xdc, 0, (byte)(bytes[0] & 15)],
                0xc4 => [0xc5, 0, .. bytes[1..]],
                _ => bytes,
            });
        }

        return [.. wide];
    }

    private void AssertAnswers(byte[] bytes)
    {
        MessageHead head = MessageParser.Parse(bytes);
        switch (head.Outcome)
        {
            case ParseOutcome.Complete:
                Assert.InRange(head.HeadBytes, 1, bytes.Length);
                Assert.InRange(head.PayloadBytes, 0, MessageLimits.MaxPayloadBytes);
                int length = Rewriting.Rewrite(head, _buffer);
                Assert.InRange(length, 1, head.HeadBytes + 3);
                break;
            case ParseOutcome.NeedMore:
                Assert.InRange(head.NeededBytes, bytes.Length + 1, MessageLimits.MaxListMessageBytes);
                break;
            default:
                Assert.NotEqual(ProtocolErrorReason.None, head.Error.Reason);
                Assert.InRange(head.Error.PositionBytes, 0, bytes.Length);
                break;
        }

        MessageHead cut = _parser.Parse(Segments.Cut(bytes, bytes.Length / 3, bytes.Length / 2));
        Assert.Equal(head.Outcome, cut.Outcome);
        Assert.Equal(head.Error, cut.Error);
        Assert.Equal((head.HeadBytes, head.NeededBytes), (cut.HeadBytes, cut.NeededBytes));
    }
}
