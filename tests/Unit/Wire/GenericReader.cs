using System.Globalization;
using System.Text;
using MessagePack;

namespace Ublk.Tests.Unit.Wire;

/// <summary>A token of a message: where it lies, and whether it is a whole number.</summary>
internal readonly record struct Token(int Start, int Length, bool IsInteger, ulong Value);

/// <summary>
/// Reads messages as anybody can who has a MessagePack library and does not know this protocol.
/// </summary>
internal static class GenericReader
{
    /// <summary>One message as text; of its payload only the length.</summary>
    public static string Show(ref MessagePackReader reader)
    {
        var text = new StringBuilder();
        Show(ref reader, text);
        return text.ToString();
    }

    /// <summary>The tokens of a head without its payload, arrays and what is in them alike.</summary>
    public static List<Token> Tokens(byte[] whole)
    {
        var tokens = new List<Token>();
        var reader = new MessagePackReader(whole);
        int depth = 1;
        while (depth > 0)
        {
            int start = (int)reader.Consumed;
            bool isInteger = reader.NextMessagePackType == MessagePackType.Integer;
            ulong value = 0;
            depth--;
            if (reader.NextMessagePackType == MessagePackType.Array)
            {
                depth += reader.ReadArrayHeader();
            }
            else if (isInteger)
            {
                value = reader.ReadUInt64();
            }
            else
            {
                reader.Skip();
            }

            tokens.Add(new Token(start, (int)reader.Consumed - start, isInteger, value));
        }

        return tokens;
    }

    private static void Show(ref MessagePackReader reader, StringBuilder text)
    {
        switch (reader.NextMessagePackType)
        {
            case MessagePackType.Array:
                int count = reader.ReadArrayHeader();
                text.Append('[');
                for (int i = 0; i < count; i++)
                {
                    text.Append(i > 0 ? ", " : "");
                    Show(ref reader, text);
                }

                text.Append(']');
                break;
            case MessagePackType.Integer:
                text.Append(CultureInfo.InvariantCulture, $"{reader.ReadUInt64()}");
                break;
            case MessagePackType.Boolean:
                text.Append(reader.ReadBoolean() ? "true" : "false");
                break;
            case MessagePackType.String:
                text.Append(CultureInfo.InvariantCulture, $"\"{reader.ReadString()}\"");
                break;
            default:
                long length = reader.ReadBytes()!.Value.Length;
                text.Append(CultureInfo.InvariantCulture, $"bin {length}");
                break;
        }
    }
}
