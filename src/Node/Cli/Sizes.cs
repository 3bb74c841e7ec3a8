using System.CommandLine.Parsing;

namespace Ublk.Node.Cli;

/// <summary>Sizes as people write them: 512, 64K, 10G, 1.5T; powers of 1024.</summary>
internal static class Sizes
{
    private const string Suffixes = "KMGTP";

    /// <summary>Reads a size in bytes; false when it is none, below 1 or too large.</summary>
    public static bool TryParse(string text, out long bytes)
    {
        bytes = 0;
        string trimmed = text.Trim();
        if (trimmed.EndsWith("iB", StringComparison.OrdinalIgnoreCase))
        {
            trimmed = trimmed[..^2];
        }

        if (trimmed.Length == 0)
        {
            return false;
        }

        int power = Suffixes.IndexOf(char.ToUpperInvariant(trimmed[^1]), StringComparison.Ordinal) + 1;
        string number = power > 0 ? trimmed[..^1] : trimmed;
        const System.Globalization.NumberStyles Style = System.Globalization.NumberStyles.AllowDecimalPoint;
        if (!decimal.TryParse(number, Style, null, out decimal value) || value > long.MaxValue)
        {
            return false;
        }

        for (int i = 0; i < power; i++)
        {
            value *= 1024;
        }

        if (value < 1 || value > long.MaxValue || value != decimal.Truncate(value))
        {
            return false;
        }

        bytes = (long)value;
        return true;
    }

    /// <summary>Parser of options and arguments that are sizes.</summary>
    public static long Parse(ArgumentResult result)
    {
        string text = result.Tokens[0].Value;
        if (!TryParse(text, out long bytes))
        {
            result.AddError($"'{text}' is no size; write bytes, or a number with K, M, G or T");
        }

        return bytes;
    }

    /// <summary>A size for people: the largest unit, one decimal where it is not whole.</summary>
    public static string Format(long bytes)
    {
        decimal value = bytes;
        int power = 0;
        while (value >= 1024 && power < Suffixes.Length)
        {
            value /= 1024;
            power++;
        }

        string unit = power == 0 ? "B" : $"{Suffixes[power - 1]}iB";
        return $"{value:0.#} {unit}";
    }
}
