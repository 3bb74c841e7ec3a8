namespace Ublk.Tests.Unit.Uring;

/// <summary>
/// The maps from our names to those of the C headers: a line per type, with a remark behind its name
/// (what it means is the map's own affair), and an indented line per member with its C name.
/// </summary>
internal static class AbiMap
{
    public static Dictionary<string, (string? Remark, Dictionary<string, string> Members)> Parse(
        string text)
    {
        var map = new Dictionary<string, (string?, Dictionary<string, string>)>(StringComparer.Ordinal);
        Dictionary<string, string> members = [];
        foreach (string line in text.Split('\n'))
        {
            string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (line.StartsWith(' '))
            {
                members.Add(words[0], words[1]);
            }
            else
            {
                members = new Dictionary<string, string>(StringComparer.Ordinal);
                map.Add(words[0], (words.Length > 1 ? words[1] : null, members));
            }
        }

        return map;
    }
}
