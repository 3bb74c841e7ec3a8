using System.Runtime.CompilerServices;
using Ublk.Wire.Ids;

namespace Ublk.Wire.Messages;

/// <summary>
/// Where a message puts its fields, one after the other: the bytes of <see cref="FieldWriter"/>, or whatever
/// shows them. A field's name is the expression that it is given by, as in <c>message.OffsetBytes</c>;
/// <see cref="FieldName"/> makes a name of it. Sinks are structs, so each has code of its own, and the one
/// that does not look at names pays nothing for them.
/// </summary>
public interface IFieldSink
{
    /// <summary>A whole number.</summary>
    /// <param name="value">The number.</param>
    /// <param name="max">Largest that is allowed.</param>
    /// <param name="name">The expression.</param>
    void Integer(
        ulong value, ulong max, [CallerArgumentExpression(nameof(value))] string name = "");

    /// <summary>The checksum of the payload.</summary>
    /// <param name="value">CRC-32C.</param>
    /// <param name="name">The expression.</param>
    void Checksum(uint value, [CallerArgumentExpression(nameof(value))] string name = "");

    /// <summary>A value of an enumeration without gaps, or a set of flags.</summary>
    /// <typeparam name="T">The enumeration, over a byte.</typeparam>
    /// <param name="value">The value.</param>
    /// <param name="first">Lowest value.</param>
    /// <param name="last">Highest value.</param>
    /// <param name="name">The expression.</param>
    void OneOf<T>(T value, T first, T last, [CallerArgumentExpression(nameof(value))] string name = "")
        where T : struct, Enum;

    /// <summary>128 bits.</summary>
    /// <param name="value">The bits.</param>
    /// <param name="name">The expression.</param>
    void Bits128(UInt128 value, [CallerArgumentExpression(nameof(value))] string name = "");

    /// <summary>A writer: two fields, node and nonce.</summary>
    /// <param name="value">The writer.</param>
    /// <param name="name">The expression.</param>
    void Put(Writer value, [CallerArgumentExpression(nameof(value))] string name = "");

    /// <summary>True or false.</summary>
    /// <param name="value">Which.</param>
    /// <param name="name">The expression.</param>
    void Boolean(bool value, [CallerArgumentExpression(nameof(value))] string name = "");

    /// <summary>A text.</summary>
    /// <param name="text">UTF-8.</param>
    /// <param name="maxBytes">Longest that is allowed.</param>
    /// <param name="name">The expression.</param>
    void Text(
        scoped ReadOnlySpan<byte> text, int maxBytes,
        [CallerArgumentExpression(nameof(text))] string name = "");

    /// <summary>A list.</summary>
    /// <typeparam name="T">An entry.</typeparam>
    /// <param name="list">The entries, in ascending order.</param>
    /// <param name="maxCount">Most entries.</param>
    /// <param name="name">The expression.</param>
    void List<T>(
        scoped MessageList<T> list, int maxCount, [CallerArgumentExpression(nameof(list))] string name = "")
        where T : struct, IListEntry<T>;

    /// <summary>The length of the payload, the last field.</summary>
    /// <param name="lengthBytes">Length; the payload itself lies behind the head.</param>
    void Payload(int lengthBytes);
}

/// <summary>Names of fields for people and programs.</summary>
public static class FieldName
{
    /// <summary>
    /// The name in an expression: what follows the last dot, with a small first letter.
    /// </summary>
    /// <param name="expression">As a sink was given it.</param>
    public static string Of(string expression)
    {
        string last = expression[(expression.LastIndexOf('.') + 1)..];
        return last.Length == 0 ? last : char.ToLowerInvariant(last[0]) + last[1..];
    }
}
