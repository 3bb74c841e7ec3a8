using System.Text;
using Ublk.Node.Capture;

namespace Ublk.Tests.Unit.Wire;

/// <summary>Streams of messages as they would be captured, and what the decoder prints of them.</summary>
internal static class CapturedStream
{
    /// <summary>All golden samples, one after the other.</summary>
    public static byte[] Golden() => [.. GoldenSamples.All.SelectMany(sample => sample.Whole())];

    /// <summary>Where each golden sample ends.</summary>
    public static List<int> GoldenEnds()
    {
        int end = 0;
        return [.. GoldenSamples.All.Select(sample => end += sample.Head.Length + sample.PayloadBytes)];
    }

    /// <summary>What is printed, line by line, and the error that it ended with.</summary>
    public static (List<string> Lines, CaptureException? Error) Print(
        byte[] bytes, bool isJson = false, int bytesARead = int.MaxValue)
    {
        var output = new MemoryStream();
        CaptureException? error = null;
        try
        {
            using var input = new SlowStream(bytes, bytesARead);
            new CapturePrinter(output, isJson).Print(input, "capture");
        }
        catch (CaptureException caught)
        {
            error = caught;
        }

        string text = Encoding.UTF8.GetString(output.ToArray());
        return ([.. text.Split('\n')[..^1]], error);
    }

    /// <summary>Gives a few bytes a read, like a pipe.</summary>
    private sealed class SlowStream(byte[] bytes, int bytesARead) : MemoryStream(bytes)
    {
        public override int Read(Span<byte> buffer) =>
            base.Read(buffer[..Math.Min(buffer.Length, bytesARead)]);
    }
}
