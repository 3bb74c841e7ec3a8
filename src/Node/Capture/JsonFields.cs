using System.Text.Json;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Node.Capture;

/// <summary>
/// Shows the fields of a message as members of a JSON object. 128 bits and the nonce of a writer are
/// hexadecimal texts, because programs that read numbers as floating point would lose their last digits.
/// </summary>
/// <param name="json">The writer, within the object.</param>
internal struct JsonFields(Utf8JsonWriter json) : IFieldSink
{
    private uint? _checksum;

    public readonly void Integer(ulong value, ulong max, string name = "") =>
        json.WriteNumber(FieldName.Of(name), value);

    public void Checksum(uint value, string name = "")
    {
        _checksum = value;
        json.WriteNumber(FieldName.Of(name), value);
    }

    public readonly void OneOf<T>(T value, T first, T last, string name = "")
        where T : struct, Enum => json.WriteString(FieldName.Of(name), EnumText.Of(value));

    public readonly void Bits128(UInt128 value, string name = "") =>
        json.WriteString(FieldName.Of(name), value.ToString("x32"));

    public readonly void Put(Writer value, string name = "")
    {
        json.WriteStartObject(FieldName.Of(name));
        json.WriteNumber("node", value.Node.Value);
        json.WriteString("nonce", value.Nonce.ToString("x16"));
        json.WriteEndObject();
    }

    public readonly void Boolean(bool value, string name = "") =>
        json.WriteBoolean(FieldName.Of(name), value);

    public readonly void Text(scoped ReadOnlySpan<byte> text, int maxBytes, string name = "") =>
        json.WriteString(FieldName.Of(name), text);

    public void List<T>(scoped MessageList<T> list, int maxCount, string name = "")
        where T : struct, IListEntry<T>
    {
        json.WriteStartArray(FieldName.Of(name));
        foreach (T entry in list)
        {
            json.WriteStartObject();
            T.Encode(entry, ref this);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    public readonly void Payload(int lengthBytes) => json.WriteNumber("payloadBytes", lengthBytes);

    /// <summary>Says whether the payload is the one that was meant, where the message tells.</summary>
    public readonly void Compare(scoped ReadOnlySpan<byte> payload)
    {
        if (payload.Length > 0 && _checksum is { } checksum)
        {
            json.WriteBoolean("crcMatches", Wire.Crc32C.Compute(payload) == checksum);
        }
    }
}
