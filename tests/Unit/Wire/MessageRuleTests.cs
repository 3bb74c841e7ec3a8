using System.Text;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;
using Xunit;

namespace Ublk.Tests.Unit.Wire;

/// <summary>Rules about fields that the reader holds a peer to, and the writer ourselves.</summary>
public sealed class MessageRuleTests
{
    private static readonly Epoch s_epoch = new(7);
    private readonly byte[] _buffer = new byte[MessageLimits.MaxListMessageBytes];

    [Theory]
    [InlineData(typeof(Mutation), 1)]
    [InlineData(typeof(AnswerStatus), 0)]
    [InlineData(typeof(SessionRole), 1)]
    [InlineData(typeof(StreamStage), 1)]
    [InlineData(typeof(ClaimAnswer), 0)]
    [InlineData(typeof(ClaimList), 1)]
    [InlineData(typeof(ConfigurationKind), 1)]
    [InlineData(typeof(CloseReason), 1)]
    public void EnumerationsHaveNoGaps(Type type, int first)
    {
        int[] values = [.. Enum.GetValuesAsUnderlyingType(type).Cast<byte>().Select(value => (int)value)];
        Assert.Equal(Enumerable.Range(first, values.Length), values);
    }

    [Fact]
    public void ValuesAfterTheLastAreRefused()
    {
        AssertUnknown(new EpochStarted(s_epoch, AnswerStatus.Corrupt), at: 3);
        AssertUnknown(new OutOfOrderList(Mutation.WriteZeroes).Entries(), at: 9);
        AssertUnknown(new Close { Reason = CloseReason.NotTrusted }, at: 2);
        AssertUnknown(new Claim { Answer = ClaimAnswer.Failed }, at: 3);
        AssertUnknown(new ClaimEntries { List = ClaimList.VersionDigests }, at: 3);
        AssertUnknown(new SessionState { Stage = StreamStage.Resyncing }, at: 9);
        AssertUnknown(new SessionState { Stage = StreamStage.InStream, Flags = (ReplicaFlags)15 }, at: 10);
    }

    [Fact]
    public void KindsNotListedAreRefused()
    {
        for (int kind = 0; kind < 128; kind++)
        {
            byte[] bytes = [0x92, (byte)kind, 0];
            bool isKnown = Enum.IsDefined((MessageKind)kind) && kind != 0;
            Assert.Equal(
                isKnown, MessageParser.Parse(bytes).Error.Reason != ProtocolErrorReason.UnknownKind);
        }

        Assert.Equal("unknown kind of message, at byte 1", Refused([0x92, 0xcd, 0x01, 0x0a, 0]).ToString());
    }

    // A checksum alone is one block's.
    [Theory]
    [InlineData(4096, 4608)]
    [InlineData(512, 4096)]
    public void AChecksumAloneIsOfOneBlock(long offset, int length) =>
        Assert.Throws<InvalidOperationException>(() => Put(new CopyChunk(
            s_epoch, default, AnswerStatus.Ok, offset, length, default, 7, CopyFlags.ChecksumOnly)));

    [Fact]
    public void OwnMistakesThrow()
    {
        var tooLarge = new Epoch(1UL << 63);
        Assert.Throws<InvalidOperationException>(() => Put(new Flush(tooLarge, default, default)));
        Assert.Throws<InvalidOperationException>(() => Put(new Heartbeat(s_epoch, -1, 0, default, default)));
        Assert.Throws<InvalidOperationException>(() => Put(new EpochStarted(s_epoch, (AnswerStatus)99)));
        Assert.Throws<InvalidOperationException>(() => Put(new Handshake(2, 1, default, default, 0)));
        Assert.Throws<InvalidOperationException>(() => Put(Write(Mutation.Write, 513)));
        Assert.Throws<InvalidOperationException>(() => Put(Write(Mutation.Write, 0)));
        Assert.Throws<InvalidOperationException>(() => Put(Write(Mutation.Write, (1 << 20) + 512)));
        Assert.Throws<InvalidOperationException>(() => Put(Write(Mutation.Discard, (1 << 30) + 512)));
        Assert.Throws<InvalidOperationException>(() => Put(Write(default, 512)));
        Assert.Throws<InvalidOperationException>(
            () => Put(Write(Mutation.Write, 512) with { Flags = MutationFlags.NoUnmap }));
        Assert.Throws<InvalidOperationException>(
            () => Put(Write(Mutation.Write, 512) with { OffsetBytes = MessageLimits.MaxVolumeBytes }));
        Assert.Throws<InvalidOperationException>(
            () => Put(new Flushed(s_epoch, new Sequence(2), AnswerStatus.Ok, default, new Sequence(1))));
        Assert.Throws<InvalidOperationException>(
            () => MessageWriter.Write(Write(Mutation.Write, 512), new byte[8]));
        Assert.Throws<InvalidOperationException>(
            () => MessageWriter.Write(new Close { Reason = CloseReason.Done, Text = "a\nb"u8 }, _buffer));
    }

    [Fact]
    public void ContradictionsOfAPeerAreRefused()
    {
        byte[] payload = Bytes(Write(Mutation.Write, 4096));
        payload[^2] = 0;
        Assert.Equal(ProtocolErrorReason.Contradiction, Refused(payload).Reason);

        byte[] discard = Bytes(Write(Mutation.Discard, 4096));
        discard[^2] = 0x10;
        Assert.Equal(ProtocolErrorReason.Contradiction, Refused(discard).Reason);

        byte[] empty = Bytes(new ReadReply(s_epoch, new RequestId(1), AnswerStatus.IoError, default, 0, 0));
        empty[4] = (byte)AnswerStatus.Ok;
        Assert.Equal(ProtocolErrorReason.Contradiction, Refused(empty).Reason);
    }

    [Fact]
    public void AStartIsConsistent()
    {
        EpochStart Start(ulong first, ulong position, ulong common, ulong history = 6) => new(
            s_epoch, default, default, new Sequence(first), new Sequence(position), new Sequence(common),
            new Epoch(history));
        EpochStart joining = Start(5, 9, 3), reconciled = Start(5, 4, 4);
        Assert.False(joining.IsReconciled);
        Assert.True(reconciled.IsReconciled);
        Put(joining);
        Put(reconciled);
        Assert.Throws<InvalidOperationException>(() => Put(Start(5, 9, 10)));
        Assert.Throws<InvalidOperationException>(() => Put(Start(6, 4, 4)));
        Assert.Throws<InvalidOperationException>(() => Put(Start(5, 9, 9, history: 7)));
        byte[] bytes = Bytes(joining);
        bytes[7] = 10;
        Assert.Equal(ParseOutcome.Complete, MessageParser.Parse(bytes.AsSpan()).Outcome);
        Assert.Equal(10ul, MessageParser.Parse(bytes.AsSpan()).Read<EpochStart>().Position.Value);
        bytes[8] = 11; // Common above the position.
        Assert.Equal(ProtocolErrorReason.Contradiction, Refused(bytes).Reason);
    }

    [Fact]
    public void ListsAreBoundedAndInOrder()
    {
        byte[] backwards = [0x94, (byte)MessageKind.Versions, 7, 0, 0x92, 0x93, 5, 2, 9, 0x93, 6, 1, 9];
        Assert.Equal(
            new ProtocolError(ProtocolErrorReason.NotAscending, MessageKind.Versions, 9), Refused(backwards));

        backwards[10] = 7;
        Assert.Equal(ParseOutcome.Complete, MessageParser.Parse(backwards).Outcome);

        backwards[9] = 0x94;
        Assert.Equal(ProtocolErrorReason.WrongFieldCount, Refused(backwards).Reason);

        byte[] tooLong = [0x94, (byte)MessageKind.Versions, 7, 0, 0xdc, 0x08, 0x01];
        Assert.Equal(
            new ProtocolError(ProtocolErrorReason.ListTooLong, MessageKind.Versions, 4), Refused(tooLong));
        Assert.Throws<InvalidOperationException>(() => MessageWriter.Write(
            new Versions { Runs = new MessageList<VersionRun>([new(5, 2, default), new(6, 1, default)]) },
            _buffer));
        VersionRun[] tooMany = [.. LongestSamples.Runs, new(1L << 41, 1, default)];
        Assert.Throws<InvalidOperationException>(() => MessageWriter.Write(
            new Versions { Runs = new MessageList<VersionRun>(tooMany) }, _buffer));
    }

    [Theory]
    [InlineData("plain", true)]
    [InlineData("größer — 大きい 😀", true)]
    [InlineData("line\nbreak", false)]
    [InlineData("\u001b[2J", false)]
    [InlineData("\u007f", false)]
    [InlineData("\u009b2J", false)]
    [InlineData("\u00a0", true)]
    public void TextsMayNotSteerATerminal(string text, bool isAllowed)
    {
        Assert.Equal(isAllowed, MessageText.IsAllowed(Encoding.UTF8.GetBytes(text)));
        byte[] fitted = new byte[64];
        Assert.True(MessageText.IsAllowed(fitted.AsSpan(0, MessageText.Fit(text, fitted))));
    }

    [Fact]
    public void TextsAreCutBetweenCharacters()
    {
        byte[] fitted = new byte[6];
        Assert.Equal("ab€"u8, fitted.AsSpan(0, MessageText.Fit("ab€€", fitted)));
        Assert.Equal("a b\ufffd"u8, fitted.AsSpan(0, MessageText.Fit("a\nb\ud800", fitted)));
        Assert.False(MessageText.IsAllowed([0xc3]));
        Assert.False(MessageText.IsAllowed([0xff]));
    }

    [Fact]
    public void NumbersCompareAndPrint()
    {
        Assert.True(new Epoch(1) < new Epoch(2) && new Epoch(2) >= new Epoch(2));
        Assert.False(new Epoch(1) > new Epoch(1));
        Assert.True(new Sequence(1) <= new Sequence(1) && new Sequence(1) < new Sequence(1).Next);
        Assert.True(new ConfigurationNumber(3) > ConfigurationNumber.None);
        Assert.Equal("3/00c0ffee00c0ffee", new Writer(new NodeId(3), 0x00c0_ffee_00c0_ffee).ToString());
        Assert.Equal("0000000000000000000000000000000a", new VolumeId(10).ToString());
    }

    private static Write Write(Mutation operation, int lengthBytes) =>
        new(s_epoch, new Sequence(9), operation, MutationFlags.None, 0, lengthBytes, 0, default, default);

    private static ProtocolError Refused(byte[] bytes)
    {
        MessageHead head = MessageParser.Parse(bytes);
        Assert.Equal(ParseOutcome.Refused, head.Outcome);
        return head.Error;
    }

    private byte[] Bytes<T>(in T message)
        where T : struct, IMessage<T>, allows ref struct =>
        _buffer[..MessageWriter.Write(message, _buffer)];

    private void Put<T>(T message)
        where T : struct, IMessage<T> => MessageWriter.Write(message, _buffer);

    private void AssertUnknown<T>(in T message, int at)
        where T : struct, IMessage<T>, allows ref struct
    {
        byte[] bytes = Bytes(message);
        Assert.Equal(ParseOutcome.Complete, MessageParser.Parse(bytes).Outcome);
        bytes[at]++;
        Assert.Equal(new ProtocolError(ProtocolErrorReason.UnknownValue, T.Kind, at), Refused(bytes));
    }

    private readonly struct OutOfOrderList(Mutation operation)
    {
        private readonly OutOfOrderEntry[] _entries = [new(new Sequence(5), operation, 0, 512)];

        public ClaimEntries Entries() => new()
        {
            Epoch = s_epoch,
            List = ClaimList.OutOfOrder,
            OutOfOrder = new MessageList<OutOfOrderEntry>(_entries),
        };
    }
}
