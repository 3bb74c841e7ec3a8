using System.Reflection;
using System.Text.Json;
using Ublk.Node.Capture;
using Ublk.Tests.Unit.Tidy;
using Ublk.Wire;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;
using Xunit;

namespace Ublk.Tests.Unit.Wire;

/// <summary>A captured stream is printed as it is, up to the byte where it is none any more.</summary>
public sealed class WireDecodeTests
{
    [Theory]
    [InlineData("decoded.txt", false)]
    [InlineData("decoded.json.txt", true)]
    public void OutputIsAsPinned(string file, bool isJson)
    {
        string path = Repository.Full($"tests/Unit/Wire/{file}");
        (List<string> lines, CaptureException? error) = CapturedStream.Print(CapturedStream.Golden(), isJson);
        Assert.Null(error);
        string[] pinned = File.Exists(path) ? File.ReadAllLines(path) : [];
        Assert.True(lines.SequenceEqual(pinned, StringComparer.Ordinal),
            $"the output differs from {file}; it is now\n\n{string.Join('\n', lines)}\n");
    }

    // A field cannot be left out, because the same method makes the bytes; this is about the names.
    [Fact]
    public void EveryFieldIsShownByItsName()
    {
        (List<string> lines, _) = CapturedStream.Print(CapturedStream.Golden(), isJson: true);
        ILookup<string, JsonElement> shown = lines.Select(line => JsonDocument.Parse(line).RootElement)
            .ToLookup(message => message.GetProperty("kind").GetString()!, StringComparer.Ordinal);
        foreach (Type message in MessagesOfTheProtocol())
        {
            HashSet<string> names = [.. shown[message.Name].SelectMany(line =>
                line.GetProperty("fields").EnumerateObject().Select(field => field.Name))];
            Assert.NotEmpty(names);
            foreach (string field in Fields(message))
            {
                Assert.Contains(field, names, StringComparer.Ordinal);
            }
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(4096)]
    public void ReadsMayBeShort(int bytesARead)
    {
        byte[] stream = CapturedStream.Golden();
        (List<string> lines, CaptureException? error) = CapturedStream.Print(stream, false, bytesARead);
        Assert.Null(error);
        Assert.Equal(CapturedStream.Print(stream).Lines, lines);
    }

    [Fact]
    public void EndInTheMiddleIsToldByItsPlace()
    {
        byte[] stream = CapturedStream.Golden();
        List<int> ends = CapturedStream.GoldenEnds();
        List<string> whole = CapturedStream.Print(stream).Lines;
        foreach (int cut in Enumerable.Range(0, stream.Length + 1).Where(at => at < 500 || at % 97 == 0))
        {
            (List<string> lines, CaptureException? error) = CapturedStream.Print(stream[..cut]);
            int before = ends.Count(end => end <= cut);
            Assert.Equal(whole[..before], lines);
            if (cut == 0 || ends.Contains(cut))
            {
                Assert.Null(error);
                continue;
            }

            Assert.Equal(cut, error!.PositionBytes);
            Assert.Contains($"ends at byte {cut}", error.Message, StringComparison.Ordinal);
            int begin = before == 0 ? 0 : ends[before - 1];
            Assert.Contains($"begins at byte {begin}", error.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void WhatIsNoMessageIsToldByItsPlace()
    {
        byte[] flush = GoldenSamples.Get("Flush").Head;
        byte[] bad = [.. flush];
        bad[2] = 0xc0;
        (List<string> lines, CaptureException? error) = CapturedStream.Print([.. flush, .. flush, .. bad]);
        Assert.Equal(2, lines.Count);
        Assert.Equal((2 * flush.Length) + 2, error!.PositionBytes);
        Assert.Equal(
            $"capture: byte {error.PositionBytes}: Flush: field of the wrong type " +
            $"(the message begins at byte {2 * flush.Length})", error.Message);

        (lines, error) = CapturedStream.Print("GET / HTTP/1.1\r\n"u8.ToArray());
        Assert.Empty(lines);
        Assert.Equal(
            "capture: byte 0: not an array that begins with a kind (the message begins at byte 0)",
            error!.Message);
    }

    // Found by eng/fuzz.
    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(1000)]
    public void WhatIsWrongIsToldBeforeTheEnd(int bytesARead)
    {
        const int Configuration = 13;
        byte[] bad = GoldenSamples.Get("EpochStart").Head[..(Configuration + 3)];
        bad[Configuration] = 0xc0;
        (_, CaptureException? error) = CapturedStream.Print(bad, false, bytesARead);
        (_, CaptureException? same) = CapturedStream.Print(bad);
        Assert.Equal(Configuration, error!.PositionBytes);
        Assert.Equal(same!.Message, error.Message);
    }

    [Fact]
    public void PayloadIsHeldAgainstItsChecksum()
    {
        byte[] payload = [.. Enumerable.Range(0, 512).Select(i => (byte)i)];
        uint crc = Crc32C.Compute(payload);
        Sample sample = Sample.Of("Write", new Write(
            new Epoch(1), new Sequence(2), Mutation.Write, MutationFlags.None, 0, 512, crc, new Sequence(1),
            new View(1)), 512);
        byte[] stream = [.. sample.Head, .. payload];
        Assert.EndsWith($"crc32C={crc:x8} committed=1 view=1 payload=512 crc=matches",
            CapturedStream.Print(stream).Lines[0], StringComparison.Ordinal);
        Assert.EndsWith("\"payloadBytes\":512},\"crcMatches\":true}",
            CapturedStream.Print(stream, isJson: true).Lines[0], StringComparison.Ordinal);

        stream[^1] ^= 1;
        Assert.EndsWith($"crc=differs:{Crc32C.Compute(stream.AsSpan(sample.Head.Length)):x8}",
            CapturedStream.Print(stream).Lines[0], StringComparison.Ordinal);
        Assert.EndsWith("\"crcMatches\":false}",
            CapturedStream.Print(stream, isJson: true).Lines[0], StringComparison.Ordinal);
    }

    [Fact]
    public void LongListsAreShortenedForPeople()
    {
        VersionRun[] runs = [.. Enumerable.Range(0, 2048).Select(i => new VersionRun(i, 1, new Sequence(9)))];
        Sample sample = Sample.Of("Versions", new Versions
        {
            Epoch = new Epoch(1),
            Runs = new MessageList<VersionRun>(runs),
        });
        Assert.Equal(
            "0 Versions epoch=1 page=0 runs=[firstRegion=0 count=1 version=9, " +
            "firstRegion=1 count=1 version=9, firstRegion=2 count=1 version=9, and 2045 more]",
            CapturedStream.Print(sample.Head).Lines.Single());
        string json = CapturedStream.Print(sample.Head, isJson: true).Lines.Single();
        JsonElement list = JsonDocument.Parse(json).RootElement.GetProperty("fields").GetProperty("runs");
        Assert.Equal(2048, list.GetArrayLength());
    }

    [Fact]
    public void TextCannotEndEarly()
    {
        Sample sample = Sample.Of(
            "Close", new Close { Reason = CloseReason.Done, Text = "a \" b \\ c ü"u8 });
        Assert.Equal(
            """0 Close reason=Done text="a \" b \\ c ü" """.TrimEnd(),
            CapturedStream.Print(sample.Head).Lines.Single());
    }

    private static IEnumerable<Type> MessagesOfTheProtocol() => typeof(MessageKind).Assembly.GetTypes()
        .Where(type => type.GetInterfaces().Any(
            one => one.IsGenericType && one.GetGenericTypeDefinition() == typeof(IMessage<>)));

    // Those that have to be given; the others follow from them.
    private static IEnumerable<string> Fields(Type message) => message
        .GetProperties(BindingFlags.Instance | BindingFlags.Public)
        .Where(property => property.CanWrite || property.Name == nameof(ReadReply.PayloadBytes))
        .Select(property => FieldName.Of(property.Name));
}
