using System.Text;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Node.Capture;

/// <summary>Shows the fields of a message as name=value on one line; long lists are shortened.</summary>
/// <param name="line">The line.</param>
internal struct TextFields(StringBuilder line) : IFieldSink
{
    private const int MaxEntries = 3;

    private uint? _checksum;

    public readonly void Integer(ulong value, ulong max, string name = "") => Name(name).Append(value);

    public void Checksum(uint value, string name = "")
    {
        _checksum = value;
        Name(name).Append(value.ToString("x8"));
    }

    public readonly void OneOf<T>(T value, T first, T last, string name = "")
        where T : struct, Enum => Name(name).Append(EnumText.Of(value));

    public readonly void Bits128(UInt128 value, string name = "") => Name(name).Append(value.ToString("x32"));

    public readonly void Put(Writer value, string name = "") => Name(name).Append(value);

    public readonly void Boolean(bool value, string name = "") => Name(name).Append(value ? "true" : "false");

    public readonly void Text(scoped ReadOnlySpan<byte> text, int maxBytes, string name = "") =>
        Name(name).Append('"')
            .Append(Encoding.UTF8.GetString(text).Replace("\\", "\\\\").Replace("\"", "\\\""))
            .Append('"');

    public void List<T>(scoped MessageList<T> list, int maxCount, string name = "")
        where T : struct, IListEntry<T>
    {
        Name(name).Append('[');
        int shown = 0;
        foreach (T entry in list)
        {
            if (shown == MaxEntries)
            {
                line.Append(", and ").Append(list.Count - shown).Append(" more");
                break;
            }

            line.Append(shown++ > 0 ? ", " : "");
            T.Encode(entry, ref this);
        }

        line.Append(']');
    }

    public readonly void Payload(int lengthBytes) => Name("payload").Append(lengthBytes);

    /// <summary>Says whether the payload is the one that was meant, where the message tells.</summary>
    public readonly void Compare(scoped ReadOnlySpan<byte> payload)
    {
        if (payload.Length > 0 && _checksum is { } checksum)
        {
            uint actual = Wire.Crc32C.Compute(payload);
            Name("crc").Append(actual == checksum ? "matches" : $"differs:{actual:x8}");
        }
    }

    private readonly StringBuilder Name(string expression)
    {
        bool isFirst = line.Length == 0 || line[^1] is '[' or ' ';
        return line.Append(isFirst ? "" : " ").Append(FieldName.Of(expression)).Append('=');
    }
}

/// <summary>Values of enumerations, and of sets of flags, by their names.</summary>
internal static class EnumText
{
    public static string Of<T>(T value)
        where T : struct, Enum => value.ToString().Replace(", ", "|");
}
