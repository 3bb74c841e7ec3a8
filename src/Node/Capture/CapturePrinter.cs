using System.Text;
using System.Text.Json;
using Ublk.Wire.Messages;

namespace Ublk.Node.Capture;

/// <summary>Prints a captured stream, one message a line.</summary>
/// <param name="output">Where to.</param>
/// <param name="isJson">An object a message instead of text.</param>
internal sealed class CapturePrinter(Stream output, bool isJson)
{
    private readonly StringBuilder _line = new();

    /// <summary>Prints all messages.</summary>
    /// <param name="input">The stream.</param>
    /// <param name="name">Its name, for errors.</param>
    /// <exception cref="CaptureException">
    /// It has what is no message, or ends too early; all messages before that are printed.
    /// </exception>
    public void Print(Stream input, string name)
    {
        var reader = new CaptureReader(input, name, output.Flush);
        try
        {
            while (reader.MoveNext(out MessageHead head, out ReadOnlySpan<byte> payload))
            {
                if (isJson)
                {
                    Json(reader.OffsetBytes, head, payload);
                }
                else
                {
                    Text(reader.OffsetBytes, head, payload);
                }

                output.WriteByte((byte)'\n');
            }
        }
        finally
        {
            output.Flush();
        }
    }

    private void Text(long offsetBytes, in MessageHead head, ReadOnlySpan<byte> payload)
    {
        _line.Clear().Append(offsetBytes).Append(' ').Append(head.Kind.ToString());
        var fields = new TextFields(_line);
        head.Describe(ref fields);
        fields.Compare(payload);
        output.Write(Encoding.UTF8.GetBytes(_line.ToString()));
    }

    private void Json(long offsetBytes, in MessageHead head, ReadOnlySpan<byte> payload)
    {
        using var json = new Utf8JsonWriter(output);
        json.WriteStartObject();
        json.WriteNumber("offset", offsetBytes);
        json.WriteString("kind", head.Kind.ToString());
        json.WriteStartObject("fields");
        var fields = new JsonFields(json);
        head.Describe(ref fields);
        json.WriteEndObject();
        fields.Compare(payload);
        json.WriteEndObject();
    }
}
