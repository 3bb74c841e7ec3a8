using System.Buffers;
using System.Buffers.Binary;
using System.Text;
using Ublk.Frontend.Nbd;
using Ublk.Testing;
using Ublk.Tests.Unit.Wire;
using Ublk.Wire.Blocks;
using Xunit;
using static Ublk.Tests.Unit.Nbd.NbdClientBytes;

namespace Ublk.Tests.Unit.Nbd;

/// <summary>The handshake, from the client's bytes to the server's.</summary>
public sealed class NbdNegotiationTests
{
    private const long Size = 1 << 20;

    private readonly ArrayBufferWriter<byte> _output = new();

    [Fact]
    public void TheGreetingIsFixedNewstyleWithoutZeros()
    {
        NbdNegotiation.Greet(_output);
        Assert.Equal(
            "4E42444D4147494349484156454F50540003", Convert.ToHexString(_output.WrittenSpan));
    }

    // The whole talk, and every way of cutting it in two: the answers are the same.
    [Fact]
    public void TheTalkDoesNotDependOnHowItArrives()
    {
        byte[] talk = Join(
            Flags(FixedNoZeroes), Option(NbdOption.StructuredReply), Option(99, new byte[100]),
            Option(NbdOption.List), Contexts(NbdOption.SetMetaContext, "disk", "base:allocation", "x-a:b"),
            Info(NbdOption.Info, "disk", NbdInfo.BlockSize, NbdInfo.Name),
            Info(NbdOption.Go, "disk", NbdInfo.BlockSize));
        NbdNegotiation whole = Negotiation();
        Assert.Equal(talk.Length, Feed(whole, talk));
        byte[] expected = _output.WrittenSpan.ToArray();
        Assert.Equal(NbdNegotiationStage.Agreed, whole.Stage);
        Assert.Equal("disk", whole.Agreement.Export.Name);
        Assert.Equal(NbdReplyStyle.Structured, whole.Agreement.Style);
        Assert.True(whole.Agreement.HasContext);
        for (int cut = 1; cut < talk.Length; cut++)
        {
            _output.ResetWrittenCount();
            NbdNegotiation negotiation = Negotiation();
            int taken = Feed(negotiation, talk.AsSpan(0, cut));
            Feed(negotiation, talk.AsSpan(taken));
            Assert.Equal(Convert.ToHexString(expected), Convert.ToHexString(_output.WrittenSpan));
        }
    }

    [Fact]
    public void GoTellsSizeFlagsAndBlocks()
    {
        List<NbdOptionAnswer> answers = Ask(Negotiation(),
            Info(NbdOption.Go, "disk", NbdInfo.BlockSize, NbdInfo.Description, (NbdInfo)77));
        Assert.Equal("0003" + "00000200" + "00001000" + "02000000", Hex(answers[0]));
        Assert.Equal(NbdInfo.Description, answers[1].Info);
        Assert.Equal("a disk", Encoding.UTF8.GetString(answers[1].Data.AsSpan(2)));
        Assert.Equal("0000" + "0000000000100000" + "0D6D", Hex(answers[2]));
        Assert.Equal(NbdOptionReply.Ack, answers[3].Reply);
        Assert.Equal(4, answers.Count);
    }

    [Theory]
    [InlineData(3u, 10)]
    [InlineData(1u, 134)]
    public void ExportNameIsAnsweredWithoutAHead(uint clientFlags, int bytes)
    {
        NbdNegotiation negotiation = Negotiation();
        Feed(negotiation, Join(Flags(clientFlags), Option(NbdOption.ExportName, "disk"u8.ToArray())));
        Assert.Equal(bytes, _output.WrittenCount);
        Assert.Equal("00000000001000000D6D", Convert.ToHexString(_output.WrittenSpan[..10]));
        Assert.Equal(-1, _output.WrittenSpan[10..].IndexOfAnyExcept((byte)0));
        Assert.Equal(NbdReplyStyle.Simple, negotiation.Agreement.Style);
    }

    [Fact]
    public void TheSizeIsThatOfTheMoment()
    {
        var target = new ModelTarget(Size);
        var negotiation = new NbdNegotiation(new(), [new NbdExport("disk", "", target, 8)]);
        target.Grow(2 * Size);
        List<NbdOptionAnswer> answers = Ask(negotiation, Info(NbdOption.Info, "disk"));
        Assert.Equal(2 * Size, BinaryPrimitives.ReadInt64BigEndian(answers[0].Data.AsSpan(2)));
    }

    [Fact]
    public void AnEmptyNameIsTheFirstExport()
    {
        NbdNegotiation negotiation = Negotiation();
        Ask(negotiation, Info(NbdOption.Go, ""));
        Assert.Equal("disk", negotiation.Agreement.Export.Name);
    }

    [Fact]
    public void AListNamesEveryExport()
    {
        List<NbdOptionAnswer> answers = Ask(Negotiation(), Option(NbdOption.List));
        Assert.Equal([NbdOptionReply.Server, NbdOptionReply.Server, NbdOptionReply.Ack], Replies(answers));
        Assert.Equal("00000004" + Convert.ToHexString("diska disk"u8), Hex(answers[0]));
    }

    [Fact]
    public void AbortIsAcknowledgedWithoutAComplaint()
    {
        NbdNegotiation negotiation = Negotiation();
        Assert.Equal([NbdOptionReply.Ack], Replies(Ask(negotiation, Option(NbdOption.Abort, new byte[3]))));
        Assert.Equal(NbdNegotiationStage.Ended, negotiation.Stage);
        Assert.Null(negotiation.Complaint);
    }

    public static TheoryData<byte[], uint> Refused() => new()
    {
        { Option(4), 0x80000001 },
        { Option(0xdeadbeef, new byte[17]), 0x80000001 },
        { Option(NbdOption.List, new byte[1]), 0x80000003 },
        { Option(NbdOption.StructuredReply, new byte[1]), 0x80000003 },
        { Option(NbdOption.ExtendedHeaders, new byte[1]), 0x80000003 },
        { Option(NbdOption.StartTls), 0x80000002 },
        { Option(NbdOption.StartTls, new byte[1]), 0x80000003 },
        { Info(NbdOption.Go, "other"), 0x80000006 },
        { Info(NbdOption.Info, "dis"), 0x80000006 },
        { Option(NbdOption.Go), 0x80000003 },
        { Option(NbdOption.Go, U32(5), U16(0), U16(0)), 0x80000003 },
        { Option(NbdOption.Go, U32(uint.MaxValue), U16(0)), 0x80000003 },
        { Option(NbdOption.Go, Text("disk"), U16(2), U16(0)), 0x80000003 },
        { Option(NbdOption.Go, Text("disk"), U16(0), U16(0)), 0x80000003 },
        { Contexts(NbdOption.SetMetaContext, "disk", "base:allocation"), 0x80000003 },
        { Option(NbdOption.Info, new byte[64 << 10]), 0x80000009 },
    };

    // A refused option changes nothing: the next is heard as if it had not been.
    [Theory]
    [MemberData(nameof(Refused))]
    public void WrongOptionsGetTheirError(byte[] option, uint reply)
    {
        NbdNegotiation negotiation = Negotiation();
        NbdOptionAnswer answer = Assert.Single(Ask(negotiation, option));
        Assert.Equal((NbdOptionReply)reply, answer.Reply);
        Assert.Equal(NbdNegotiationStage.Options, negotiation.Stage);
        _output.ResetWrittenCount();
        Feed(negotiation, Info(NbdOption.Go, "disk"));
        Assert.Equal(NbdNegotiationStage.Agreed, negotiation.Stage);
    }

    public static TheoryData<byte[]> Hopeless() =>
    [
        Flags(4), Flags(0x80000003),
        Join(Flags(3), new byte[16]),
        Join(Flags(3), Option(NbdOption.ExportName, "other"u8.ToArray())),
        Join(Flags(3), Option(NbdOption.ExportName, new byte[100_000])),
        Join(Flags(3), "IHAVEOPT"u8.ToArray(), U32(7), U32(uint.MaxValue)),
        Join(Flags(3), Option(NbdOption.ExtendedHeaders), Option(NbdOption.ExportName, "disk"u8.ToArray())),
    ];

    [Theory]
    [MemberData(nameof(Hopeless))]
    public void WhatHasNoErrorReplyEndsTheTalk(byte[] talk)
    {
        NbdNegotiation negotiation = Negotiation();
        Feed(negotiation, talk);
        Assert.Equal(NbdNegotiationStage.Ended, negotiation.Stage);
        Assert.NotNull(negotiation.Complaint);
    }

    [Fact]
    public void OptionsWithoutEndAreEnded()
    {
        NbdNegotiation negotiation = Negotiation();
        Feed(negotiation, Flags(3));
        for (int i = 0; i <= 1024; i++)
        {
            Assert.Equal(NbdNegotiationStage.Options, negotiation.Stage);
            Feed(negotiation, Option(99));
        }

        Assert.Equal(NbdNegotiationStage.Ended, negotiation.Stage);
    }

    [Theory]
    [InlineData(NbdOption.ListMetaContext, new string[0], true)]
    [InlineData(NbdOption.ListMetaContext, new[] { "base:" }, true)]
    [InlineData(NbdOption.ListMetaContext, new[] { "qemu:" }, false)]
    [InlineData(NbdOption.SetMetaContext, new string[0], false)]
    [InlineData(NbdOption.SetMetaContext, new[] { "base:" }, false)]
    [InlineData(NbdOption.SetMetaContext, new[] { "base:other", "base:allocation" }, true)]
    internal void ContextsAreFound(NbdOption option, string[] queries, bool isFound)
    {
        NbdNegotiation negotiation = Negotiation();
        Ask(negotiation, Option(NbdOption.StructuredReply));
        _output.ResetWrittenCount();
        Feed(negotiation, Contexts(option, "disk", queries));
        List<NbdOptionAnswer> answers = NbdOptionAnswer.ReadAll(_output.WrittenSpan);
        Assert.Equal(isFound ? [NbdOptionReply.MetaContext, NbdOptionReply.Ack] : [NbdOptionReply.Ack],
            Replies(answers));
        Feed(negotiation, Info(NbdOption.Go, "disk"));
        Assert.Equal(isFound && option == NbdOption.SetMetaContext, negotiation.Agreement.HasContext);
    }

    [Fact]
    public void AContextCountsForItsExportOnly()
    {
        NbdNegotiation negotiation = Negotiation();
        Ask(negotiation, Join(Option(NbdOption.ExtendedHeaders),
            Contexts(NbdOption.SetMetaContext, "second", "base:allocation"), Info(NbdOption.Go, "disk")));
        Assert.False(negotiation.Agreement.HasContext);
        Assert.Equal(NbdReplyStyle.Extended, negotiation.Agreement.Style);
    }

    [Fact]
    public void ExtendedHeadersAreNotTakenBack()
    {
        List<NbdOptionAnswer> answers = Ask(Negotiation(),
            Join(Option(NbdOption.ExtendedHeaders), Option(NbdOption.StructuredReply)));
        Assert.Equal([NbdOptionReply.Ack, NbdOptionReply.ExtendedHeadersRequired], Replies(answers));
    }

    [Fact]
    public void LargeBlocksHaveToBeAskedFor()
    {
        var target = new ModelTarget(Size, new BlockLimits { LogicalBlockBytes = 4096 });
        NbdExport[] exports = [new("disk", "", target, 8)];
        var negotiation = new NbdNegotiation(new(), exports);
        List<NbdOptionAnswer> answers = Ask(negotiation, Info(NbdOption.Go, "disk"));
        Assert.Equal([NbdOptionReply.Info, NbdOptionReply.BlockSizeRequired], Replies(answers));
        Feed(negotiation, Info(NbdOption.Go, "disk", NbdInfo.BlockSize));
        Assert.Equal(NbdNegotiationStage.Agreed, negotiation.Stage);
    }

    // Before TLS nothing is told; with it, nothing that was said before counts.
    [Fact]
    public void WhereTlsIsRequiredNothingIsToldBefore()
    {
        NbdNegotiation negotiation = Negotiation(new() { Tls = NbdTlsPolicy.Required });
        List<NbdOptionAnswer> answers = Ask(negotiation, Join(Option(NbdOption.List), Option(99),
            Info(NbdOption.Go, "disk"), Option(NbdOption.StructuredReply), Option(NbdOption.StartTls)));
        Assert.Equal([.. Enumerable.Repeat(NbdOptionReply.TlsRequired, 4), NbdOptionReply.Ack],
            Replies(answers));
        Assert.Equal(NbdNegotiationStage.Securing, negotiation.Stage);
        negotiation.OnSecured();
        _output.ResetWrittenCount();
        Feed(negotiation, Join(Option(NbdOption.StartTls), Info(NbdOption.Go, "disk")));
        Assert.Equal(NbdOptionReply.Invalid, NbdOptionAnswer.ReadAll(_output.WrittenSpan)[0].Reply);
        Assert.Equal(NbdNegotiationStage.Agreed, negotiation.Stage);
    }

    [Fact]
    public void TlsMakesWhatWasSaidBeforeVoid()
    {
        NbdNegotiation negotiation = Negotiation(new() { Tls = NbdTlsPolicy.Offered });
        Ask(negotiation, Join(Option(NbdOption.StructuredReply),
            Contexts(NbdOption.SetMetaContext, "disk", "base:allocation"), Option(NbdOption.StartTls)));
        negotiation.OnSecured();
        Feed(negotiation, Info(NbdOption.Go, "disk"));
        Assert.Equal(NbdReplyStyle.Simple, negotiation.Agreement.Style);
        Assert.False(negotiation.Agreement.HasContext);
    }

    [Fact]
    public void AServerThatStopsSaysSo()
    {
        NbdNegotiation negotiation = Negotiation();
        negotiation.IsStopping = true;
        Assert.Equal([NbdOptionReply.Shutdown, NbdOptionReply.Ack],
            Replies(Ask(negotiation, Join(Info(NbdOption.Go, "disk"), Option(NbdOption.Abort)))));
    }

    private static NbdNegotiation Negotiation(NbdNegotiationOptions? options = null)
    {
        var limits = new BlockLimits { MaxDiscardBytes = 1 << 30, MaxWriteZeroesBytes = 1 << 30 };
        return new NbdNegotiation(options ?? new(),
        [
            new NbdExport("disk", "a disk", new ModelTarget(Size, limits), 8),
            new NbdExport("second", "", new ModelTarget(Size), 8, isReadOnly: true),
        ]);
    }

    private List<NbdOptionAnswer> Ask(NbdNegotiation negotiation, byte[] options)
    {
        Feed(negotiation, Join(Flags(FixedNoZeroes), options));
        return NbdOptionAnswer.ReadAll(_output.WrittenSpan);
    }

    // In pieces of 7 bytes, as one sequence: nothing may rely on where they are cut.
    private int Feed(NbdNegotiation negotiation, ReadOnlySpan<byte> bytes)
    {
        ReadOnlySequence<byte> left = Segments.Pieces(bytes, 7);
        while (true)
        {
            NbdNegotiationStage before = negotiation.Stage;
            long taken = negotiation.Take(left, _output);
            left = left.Slice(taken);
            if (taken == 0 && negotiation.Stage == before)
            {
                return bytes.Length - (int)left.Length;
            }
        }
    }

    private static string Hex(NbdOptionAnswer answer) => Convert.ToHexString(answer.Data);

    private static List<NbdOptionReply> Replies(List<NbdOptionAnswer> answers) =>
        [.. answers.Select(answer => answer.Reply)];
}
