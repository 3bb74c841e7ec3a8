using System.Text;
using System.Text.Json;
using Ublk.Node.Capture;
using Ublk.Tests.Unit.Wire;

namespace Ublk.Tests.Fuzz;

/// <summary>
/// The decoder of captured streams: ends, prints the same however short the reads are, breaks off at the same
/// byte as text and as JSON, and prints one line of text and one JSON object for each message.
/// </summary>
internal sealed class StreamTarget : IFuzzTarget
{
    private const int LongestSeedBytes = 1024;

    public void Run(byte[] input)
    {
        (string[] lines, string error) = Print(input, isJson: false, int.MaxValue);
        (string[] again, string sameError) = Print(input, isJson: false, 3);
        FuzzFailure.Unless(lines.SequenceEqual(again, StringComparer.Ordinal), "short reads change the text");
        FuzzFailure.Unless(error == sameError, $"'{error}', with short reads '{sameError}'");
        (string[] objects, sameError) = Print(input, isJson: true, int.MaxValue);
        FuzzFailure.Unless(
            objects.Length == lines.Length && error == sameError,
            $"{lines.Length} lines and '{error}', {objects.Length} objects and '{sameError}'");
        for (int i = 0; i < lines.Length; i++)
        {
            using JsonDocument message = JsonDocument.Parse(objects[i]);
            string begin = $"{message.RootElement.GetProperty("offset").GetInt64()} " +
                $"{message.RootElement.GetProperty("kind").GetString()} ";
            bool isSame = lines[i].StartsWith(begin, StringComparison.Ordinal);
            FuzzFailure.Unless(isSame, $"'{begin}' is '{lines[i]}'");
        }
    }

    public IEnumerable<(string Name, byte[] Bytes)> Seeds()
    {
        Sample[] shorts = [.. GoldenSamples.All.Where(sample => sample.Whole().Length <= LongestSeedBytes)];
        foreach (Sample[] some in shorts.Chunk(4))
        {
            yield return ($"from {some[0].Name}", [.. some.SelectMany(sample => sample.Whole())]);
        }

        yield return ("cut off", [.. GoldenSamples.Get("Flush").Head, .. GoldenSamples.Get("Write").Head]);
    }

    private static (string[] Lines, string Error) Print(byte[] input, bool isJson, int bytesARead)
    {
        var output = new MemoryStream();
        string error = "";
        try
        {
            using var stream = new ShortReads(input, bytesARead);
            new CapturePrinter(output, isJson).Print(stream, "input");
        }
        catch (CaptureException found)
        {
            FuzzFailure.Unless(
                found.PositionBytes >= 0 && found.PositionBytes <= input.Length, "an error behind the input");
            error = found.Message;
        }

        string text = Encoding.UTF8.GetString(output.ToArray());
        return (text.Split('\n')[..^1], error);
    }

    private sealed class ShortReads(byte[] bytes, int bytesARead) : MemoryStream(bytes)
    {
        public override int Read(Span<byte> buffer) =>
            base.Read(buffer[..Math.Min(buffer.Length, bytesARead)]);
    }
}
