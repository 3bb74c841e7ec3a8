using Ublk.Frontend.Nbd;
using Xunit;

namespace Ublk.Tests.Unit.Nbd;

/// <summary>Requests and replies byte by byte, as the tables of the specification lay them out.</summary>
public sealed class NbdCodecTests
{
    private static readonly NbdRequest s_request = new(
        NbdCommand.Read, NbdCommandFlags.DontFragment, 0x0102030405060708, 0x1000, 0x200);

    [Theory]
    [InlineData("25609513 0004 0000 0102030405060708 0000000000001000 00000200", NbdReplyStyle.Simple)]
    [InlineData("25609513 0004 0000 0102030405060708 0000000000001000 00000200", NbdReplyStyle.Structured)]
    [InlineData("21e41c71 0004 0000 0102030405060708 0000000000001000 0000000000000200",
        NbdReplyStyle.Extended)]
    internal void RequestsAreRead(string hex, NbdReplyStyle style)
    {
        byte[] bytes = Bytes(hex);
        Assert.Equal(NbdRequest.HeadBytes(style), bytes.Length);
        Assert.True(NbdRequest.TryParse(bytes, style, out NbdRequest request));
        Assert.Equal(s_request, request);
    }

    [Theory]
    [InlineData("21e41c71 0000 0001 0000000000000001 0000000000000000 00000200", NbdReplyStyle.Simple)]
    [InlineData("25609513 0000 0001 0000000000000001 0000000000000000 0000000000000200",
        NbdReplyStyle.Extended)]
    [InlineData("12560953 0000 0001 0000000000000001 0000000000000000 00000200", NbdReplyStyle.Structured)]
    internal void AnotherMagicNumberIsNoRequest(string hex, NbdReplyStyle style) =>
        Assert.False(NbdRequest.TryParse(Bytes(hex), style, out _));

    // Without extended headers only a write has payload; with them a flag decides, whatever the command is.
    [Theory]
    [InlineData(NbdCommand.Write, 0, NbdReplyStyle.Simple, 512)]
    [InlineData(NbdCommand.Write, 0, NbdReplyStyle.Structured, 512)]
    [InlineData(NbdCommand.Write, 0, NbdReplyStyle.Extended, 0)]
    [InlineData(NbdCommand.Write, 0x20, NbdReplyStyle.Extended, 512)]
    [InlineData(NbdCommand.BlockStatus, 0x20, NbdReplyStyle.Extended, 512)]
    [InlineData((NbdCommand)77, 0x20, NbdReplyStyle.Extended, 512)]
    [InlineData((NbdCommand)77, 0x20, NbdReplyStyle.Structured, 0)]
    [InlineData(NbdCommand.Read, 0, NbdReplyStyle.Simple, 0)]
    internal void ThePayloadOfARequestIsKnown(
        NbdCommand command, int flags, NbdReplyStyle style, int bytes) =>
        Assert.Equal((ulong)bytes,
            new NbdRequest(command, (NbdCommandFlags)flags, 1, 0, 512).PayloadBytes(style));

    [Theory]
    [InlineData(NbdReplyStyle.Simple, "67446698 00000000 0102030405060708")]
    [InlineData(NbdReplyStyle.Structured, "668e33ef 0001 0000 0102030405060708 00000000")]
    [InlineData(NbdReplyStyle.Extended,
        "6e8a278c 0001 0000 0102030405060708 0000000000001000 0000000000000000")]
    internal void DoneIsWritten(NbdReplyStyle style, string hex) =>
        AssertWritten(hex, room => NbdReplyWriter.Done(room, style, s_request));

    [Theory]
    [InlineData(NbdReplyStyle.Simple, "67446698 00000000 0102030405060708")]
    [InlineData(NbdReplyStyle.Structured, "668e33ef 0001 0001 0102030405060708 00000208 0000000000001000")]
    [InlineData(NbdReplyStyle.Extended,
        "6e8a278c 0001 0001 0102030405060708 0000000000001000 0000000000000208 0000000000001000")]
    internal void TheHeadOfDataIsWritten(NbdReplyStyle style, string hex) =>
        AssertWritten(hex, room => NbdReplyWriter.Data(room, style, s_request));

    [Theory]
    [InlineData(NbdReplyStyle.Simple, "67446698 00000016 0102030405060708")]
    [InlineData(NbdReplyStyle.Structured, "668e33ef 0001 8001 0102030405060708 00000008 00000016 0002 6e6f")]
    [InlineData(NbdReplyStyle.Extended, "6e8a278c 0001 8001 0102030405060708 0000000000001000" +
        "0000000000000008 00000016 0002 6e6f")]
    internal void ErrorsAreWritten(NbdReplyStyle style, string hex) =>
        AssertWritten(hex, room => NbdReplyWriter.Error(room, style, s_request, NbdError.Invalid, "no"u8));

    [Theory]
    [InlineData(NbdReplyStyle.Structured, "668e33ef 0001 0005 0102030405060708 00000014 00000001" +
        "00001000 00000000 00002000 00000003")]
    [InlineData(NbdReplyStyle.Extended, "6e8a278c 0001 0006 0102030405060708 0000000000001000" +
        "0000000000000028 00000001 00000002" +
        "0000000000001000 0000000000000000 0000000000002000 0000000000000003")]
    internal void ExtentsAreWritten(NbdReplyStyle style, string hex)
    {
        NbdExtent[] extents =
        [
            new(0x1000, NbdExtentFlags.None), new(0x2000, NbdExtentFlags.Hole | NbdExtentFlags.Zero),
        ];
        AssertWritten(hex, room => NbdReplyWriter.Extents(room, style, s_request, 1, extents));
        Assert.Equal(Bytes(hex).Length, NbdReplyWriter.ExtentsBytes(style, extents.Length));
    }

    [Fact]
    public void EveryErrorHasWordsThatFit()
    {
        Span<byte> room = stackalloc byte[NbdReplyWriter.MaxHeadBytes];
        foreach (NbdOutcome outcome in Enum.GetValues<NbdOutcome>())
        {
            NbdError error = NbdOutcomes.ErrorOf(outcome);
            Assert.Equal(outcome == NbdOutcome.Done, error == NbdError.None);
            Assert.InRange(NbdOutcomes.TextOf(outcome).Length,
                outcome == NbdOutcome.Done ? 0 : 1, NbdReplyWriter.MaxTextBytes);
            _ = NbdReplyWriter.Error(
                room, NbdReplyStyle.Extended, s_request, error, NbdOutcomes.TextOf(outcome));
        }
    }

    private delegate int Write(Span<byte> room);

    private static void AssertWritten(string hex, Write write)
    {
        byte[] expected = Bytes(hex);
        byte[] room = new byte[expected.Length];
        Assert.Equal(expected.Length, write(room));
        Assert.Equal(Convert.ToHexString(expected), Convert.ToHexString(room));
    }

    private static byte[] Bytes(string hex) => Convert.FromHexString(hex.Replace(" ", ""));
}
