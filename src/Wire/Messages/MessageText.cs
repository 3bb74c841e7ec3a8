using System.Text;
using System.Text.Unicode;

namespace Ublk.Wire.Messages;

/// <summary>Texts that peers send each other: for people to read, so they may not steer a terminal.</summary>
public static class MessageText
{
    /// <summary>
    /// Whether the bytes are UTF-8 without control characters (U+0000 to 001F, 007F to 009F).
    /// </summary>
    /// <param name="text">The bytes.</param>
    public static bool IsAllowed(ReadOnlySpan<byte> text)
    {
        for (int i = 0; i < text.Length; i++)
        {
            bool isControl = text[i] is < 0x20 or 0x7f ||
                (text[i] == 0xc2 && i + 1 < text.Length && text[i + 1] < 0xa0);
            if (isControl)
            {
                return false;
            }
        }

        return Utf8.IsValid(text);
    }

    /// <summary>
    /// Makes a text fit for a message: control characters become spaces, and what is too long is cut.
    /// </summary>
    /// <param name="text">Any text.</param>
    /// <param name="destination">Receives UTF-8.</param>
    /// <returns>Bytes written.</returns>
    public static int Fit(ReadOnlySpan<char> text, Span<byte> destination)
    {
        int length = 0;
        foreach (Rune rune in text.EnumerateRunes())
        {
            Rune shown = Rune.IsControl(rune) ? new Rune(' ') : rune;
            if (!shown.TryEncodeToUtf8(destination[length..], out int size))
            {
                break;
            }

            length += size;
        }

        return length;
    }
}
