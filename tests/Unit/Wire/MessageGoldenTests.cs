using System.Buffers;
using System.Text.RegularExpressions;
using MessagePack;
using Ublk.Tests.Unit.Tidy;
using Ublk.Wire.Messages;
using Xunit;

namespace Ublk.Tests.Unit.Wire;

/// <summary>
/// The bytes of every message are pinned: they change only with the version of the protocol. A changed
/// message prints its new text, to be looked at and put into the file.
/// </summary>
public sealed partial class MessageGoldenTests
{
    private static readonly Dictionary<string, (string Shown, string Hex)> s_golden = Load();

    /// <summary>What docs/protocol-examples.txt says, by the names of the samples.</summary>
    internal static IReadOnlyDictionary<string, (string Shown, string Hex)> Examples => s_golden;

    public static TheoryData<string> Names => [.. GoldenSamples.All.Select(sample => sample.Name)];

    [Fact]
    public void EveryKindHasGoldenBytes()
    {
        IEnumerable<MessageKind> kinds = GoldenSamples.All.Select(sample => sample.Kind).Distinct().Order();
        Assert.Equal(Enum.GetValues<MessageKind>().Where(kind => kind != MessageKind.None), kinds);
        Assert.Equal(
            GoldenSamples.All.Select(sample => sample.Name).Order(StringComparer.Ordinal),
            s_golden.Keys.Order(StringComparer.Ordinal));
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void BytesAreAsPinned(string name)
    {
        Sample sample = GoldenSamples.Get(name);
        var reader = new MessagePackReader(sample.Whole());
        string shown = GenericReader.Show(ref reader);
        string hex = Hex(sample);
        (string goldenShown, string goldenHex) = s_golden.GetValueOrDefault(name);
        Assert.True(
            shown == goldenShown && hex == goldenHex,
            $"{name} differs from docs/protocol-examples.txt; it is now\n\n{name}\n{shown}\n{hex}\n");
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void PinnedBytesAreReadAsTheMessage(string name)
    {
        Sample sample = GoldenSamples.Get(name);
        byte[] head = Convert.FromHexString(s_golden[name].Hex.Replace(" ", "", StringComparison.Ordinal));
        MessageHead parsed = MessageParser.Parse(head);
        Assert.Equal(ParseOutcome.Complete, parsed.Outcome);
        Assert.Equal(sample.Kind, parsed.Kind);
        Assert.Equal(head.Length, parsed.HeadBytes);
        Assert.Equal(sample.PayloadBytes, parsed.PayloadBytes);
        byte[] again = new byte[MessageLimits.MaxListMessageBytes];
        Assert.Equal(head, again[..Rewriting.Rewrite(parsed, again)]);
    }

    [Fact]
    public void StreamIsReadByAnyMessagePackReader()
    {
        byte[] stream = [.. GoldenSamples.All.SelectMany(sample => sample.Whole())];
        var reader = new MessagePackReader(stream);
        foreach (Sample sample in GoldenSamples.All)
        {
            Assert.Equal(s_golden[sample.Name].Shown, GenericReader.Show(ref reader));
        }

        Assert.True(reader.End);
    }

    [Fact]
    public void StreamIsReadByTheParser()
    {
        var parser = new MessageParser();
        var stream = new ReadOnlySequence<byte>([.. GoldenSamples.All.SelectMany(sample => sample.Whole())]);
        foreach (Sample sample in GoldenSamples.All)
        {
            MessageHead head = parser.Parse(stream);
            Assert.Equal(sample.Kind, head.Kind);
            Assert.Equal(sample.Head.Length, head.HeadBytes);
            Assert.True(head.TryPayload(stream, out ReadOnlySequence<byte> payload));
            Assert.Equal(sample.PayloadBytes, payload.Length);
            stream = stream.Slice(head.TotalBytes);
        }

        Assert.True(stream.IsEmpty);
    }

    [Fact]
    public void BytesShownInTheDocumentAreGolden()
    {
        string[] shown = [.. File.ReadLines(Repository.Full("docs/PROTOCOL.md"))
            .Select(line => line.Trim()).Where(line => HexLine().IsMatch(line))];
        Assert.NotEmpty(shown);
        string[] golden = [.. s_golden.Values.Select(entry => entry.Hex)];
        Assert.All(shown, line => Assert.Contains(line, golden, StringComparer.Ordinal));
    }

    /// <summary>Tokens apart from each other, so that fields can be told.</summary>
    private static string Hex(Sample sample) => string.Join(' ', GenericReader.Tokens(sample.Whole()).Select(
        token => Convert.ToHexStringLower(sample.Head.AsSpan(
            token.Start, Math.Min(token.Length, sample.Head.Length - token.Start)))));

    private static Dictionary<string, (string Shown, string Hex)> Load()
    {
        string[] lines = [.. File.ReadLines(Repository.Full("docs/protocol-examples.txt"))
            .Where(line => line.Length > 0 && line[0] != '#')];
        return lines.Chunk(3).ToDictionary(
            entry => entry[0], entry => (entry[1], entry[2]), StringComparer.Ordinal);
    }

    [GeneratedRegex("^([0-9a-f]{2})+( ([0-9a-f]{2})+)+$")]
    private static partial Regex HexLine();
}
