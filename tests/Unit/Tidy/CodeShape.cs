using System.Text.RegularExpressions;

namespace Ublk.Tests.Unit.Tidy;

/// <summary>Finds methods in C# text by their braces; good for formatted code, not a parser.</summary>
internal static partial class CodeShape
{
    /// <summary>First line and length in lines of every method or constructor with a body.</summary>
    public static IEnumerable<(int Line, int Length, string Head)> Methods(string[] lines)
    {
        for (int i = 0; i < lines.Length; i++)
        {
            // A member's body opens on a line of its own, at the indentation of its head.
            if (lines[i].Trim() != "{" || i == 0)
            {
                continue;
            }

            int indent = lines[i].Length - lines[i].TrimStart().Length;
            int head = i - 1;
            while (head > 0 && IndentOf(lines[head]) > indent)
            {
                head--;
            }

            if (!MethodHead().IsMatch(lines[head]) || NotMethod().IsMatch(lines[head]))
            {
                continue;
            }

            string close = lines[i].Replace('{', '}');
            int end = Array.FindIndex(lines, i, line => line == close || line == close + ";");
            if (end > 0)
            {
                yield return (head + 1, end - head + 1, lines[head].Trim());
            }
        }
    }

    private static int IndentOf(string line) =>
        line.Trim().Length == 0 ? int.MaxValue : line.Length - line.TrimStart().Length;

    [GeneratedRegex(@"^\s+[\w<>\[\],.?*() ]+\w+(<[\w, ]+>)?\(")]
    private static partial Regex MethodHead();

    [GeneratedRegex(@"=>|^\s*(if|while|for|foreach|switch|using|lock|fixed|catch|return|await)\b|" +
        @"\b(class|struct|record|enum|interface|namespace|new)\b")]
    private static partial Regex NotMethod();
}
