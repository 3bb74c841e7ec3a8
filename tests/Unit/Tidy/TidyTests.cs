using System.Text;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using Xunit;

namespace Ublk.Tests.Unit.Tidy;

/// <summary>Rules of the house that no compiler knows. Each failure says where, and what to do.</summary>
public sealed partial class TidyTests
{
    private const int MaxFileLines = 400;
    private const int MaxMethodLines = 70;
    private const int MaxColumns = 110;

    // What each project of the product may refer to.
    private static readonly Dictionary<string, string[]> s_arrows = new(StringComparer.Ordinal)
    {
        ["Uring"] = [],
        ["Wire"] = ["Uring"],
        ["Replication"] = ["Uring", "Wire"],
        ["Frontend"] = ["Uring", "Wire"],
        ["Node"] = ["Uring", "Wire", "Replication", "Frontend"],
    };

    private static readonly string[] s_hotPath =
        ["src/Uring/", "src/Wire/", "src/Frontend/Ublk/", "src/Replication/Store/"];

    private static readonly string[] s_textEnds =
    [
        ".cs", ".csproj", ".props", ".targets", ".json", ".md", ".txt", ".c", ".h", ".sh", ".yml",
        ".yaml",
        ".service", ".conf", ".editorconfig", ".gitignore", ".sln",
    ];

    private readonly List<string> _complaints = [];

    [Fact]
    public void ProjectsReferOnlyDownwards()
    {
        foreach (string file in Files(".csproj", "src/"))
        {
            string room = file.Split('/')[1];
            if (!s_arrows.TryGetValue(room, out string[]? allowed))
            {
                Complain(file, 1, $"the room {room} is unknown; give it its arrows in {nameof(TidyTests)}");
                continue;
            }

            XDocument project = XDocument.Load(Repository.Full(file));
            foreach (XElement reference in project.Descendants("ProjectReference"))
            {
                string target = reference.Attribute("Include")!.Value.Replace('\\', '/').Split('/')[^2];
                if (!allowed.Contains(target, StringComparer.Ordinal))
                {
                    Complain(file, 1, $"{room} may not refer to {target}; move what both need down");
                }
            }
        }

        AssertClean();
    }

    [Fact]
    public void OnlyUringIsUnsafe()
    {
        foreach (string file in Files(".csproj", "").Concat(Files(".props", "")))
        {
            if (file != "src/Uring/Ublk.Uring.csproj")
            {
                Forbid(file, AllowUnsafe(), "only src/Uring is unsafe; put the pointer work there");
            }
        }

        foreach (string file in Files(".cs", "src/").Where(file => file != "src/Uring/Native/Libc.cs"))
        {
            Forbid(file, NativeImport(), "system calls are declared in src/Uring/Native/Libc.cs only");
        }

        AssertClean();
    }

    [Fact]
    public void FilesMethodsAndLinesAreShort()
    {
        foreach (string file in Files(".cs", "src/").Concat(Files(".cs", "tests/")))
        {
            string[] lines = Lines(file);
            if (lines.Length > MaxFileLines)
            {
                Complain(file, lines.Length, $"over {MaxFileLines} lines; split it");
            }

            for (int i = 0; i < lines.Length; i++)
            {
                if (lines[i].Length > MaxColumns)
                {
                    Complain(file, i + 1, $"{lines[i].Length} columns, {MaxColumns} at most; wrap the line");
                }
            }

            foreach ((int line, int length, string head) in CodeShape.Methods(lines))
            {
                if (length > MaxMethodLines)
                {
                    Complain(file, line, $"{length} lines, {MaxMethodLines} at most; split {head}");
                }
            }
        }

        AssertClean();
    }

    [Fact]
    public void MethodsAreFoundByTheirBraces()
    {
        string[] lines =
        [
            "public sealed class Sample", "{", "    public Sample(", "        int count)", "    {", "    }",
            "", "    private static async Task<int> Run<T>(T value)", "    {", "        if (value is null)",
            "        {", "        }", "    }", "}",
        ];
        Assert.Equal([(3, 4), (8, 6)], CodeShape.Methods(lines).Select(found => (found.Line, found.Length)));
    }

    [Fact]
    public void NamesSayWhatAThingIs()
    {
        foreach (string file in Files(".cs", "src/").Concat(Files(".cs", "tests/")))
        {
            Forbid(file, EmptyName(), "a name that says nothing; name the type after its duty");
            Forbid(file, OpenMark(), "finish it, or write it down outside the code");
        }

        foreach (string file in Files("", "eng/"))
        {
            Forbid(file, OpenMark(), "finish it, or write it down outside the code");
        }

        AssertClean();
    }

    [Fact]
    public void HotPathUsesNoLinq()
    {
        foreach (string file in Files(".cs", "src/").Where(
            file => s_hotPath.Any(folder => file.StartsWith(folder, StringComparison.Ordinal))))
        {
            Forbid(file, LinqCall(), "LINQ allocates; write the loop");
        }

        AssertClean();
    }

    [Fact]
    public void TextIsClean()
    {
        foreach (string file in Repository.Files.Where(IsText))
        {
            byte[] bytes = File.ReadAllBytes(Repository.Full(file));
            if (bytes.Length == 0)
            {
                continue;
            }

            if (bytes[^1] != '\n')
            {
                Complain(file, 1, "no newline at the end; add one");
            }

            string[] lines = Encoding.UTF8.GetString(bytes).Split('\n');
            for (int i = 0; i < lines.Length; i++)
            {
                if (lines[i].EndsWith('\r'))
                {
                    Complain(file, i + 1, "line ends with CR LF; use LF");
                    break;
                }

                if (lines[i].Length > 0 && char.IsWhiteSpace(lines[i][^1]))
                {
                    Complain(file, i + 1, "white space at the end of the line; remove it");
                }
            }
        }

        AssertClean();
    }

    [Fact]
    public void NothingNamesOneMachine()
    {
        foreach (string file in Repository.Files.Where(IsText))
        {
            Forbid(file, HomePath(), "a path of one machine; make it relative or a parameter");
            Forbid(file, Registry(), "a registry address; leave it to the user's configuration");
        }

        AssertClean();
    }

    [Fact]
    public void ScriptsRunByThemselves()
    {
        const UnixFileMode Execute = UnixFileMode.UserExecute;
        foreach (string file in Repository.Files.Where(IsScript))
        {
            string first = File.ReadLines(Repository.Full(file)).FirstOrDefault("");
            bool isExecutable = (File.GetUnixFileMode(Repository.Full(file)) & Execute) != UnixFileMode.None;
            bool isProgram = isExecutable || first.StartsWith("#!", StringComparison.Ordinal);
            if (isProgram && first != "#!/usr/bin/env bash")
            {
                Complain(file, 1, "begin it with #!/usr/bin/env bash");
            }
            else if (isProgram && !isExecutable)
            {
                Complain(file, 1, "make it executable: git update-index --chmod=+x");
            }
        }

        AssertClean();
    }

    // Programs of eng are named without an ending; what has one is data or a part to be sourced.
    private static bool IsScript(string file) =>
        file.StartsWith("eng/", StringComparison.Ordinal) && Path.GetExtension(file) is "" or ".sh" &&
        File.ReadLines(Repository.Full(file)).FirstOrDefault("") is { } first &&
        (first.Contains("bash", StringComparison.Ordinal) || first.Contains("/sh", StringComparison.Ordinal));

    // Lock files are written by the package client, in its own way.
    private static bool IsText(string file) =>
        !file.EndsWith("packages.lock.json", StringComparison.Ordinal) && HasTextEnd(file);

    private static bool HasTextEnd(string file) =>
        s_textEnds.Any(end => file.EndsWith(end, StringComparison.Ordinal)) || IsScript(file);

    private static IEnumerable<string> Files(string end, string folder) => Repository.Files.Where(file =>
        file.StartsWith(folder, StringComparison.Ordinal) && file.EndsWith(end, StringComparison.Ordinal));

    private static string[] Lines(string file) => File.ReadAllLines(Repository.Full(file));

    private void Forbid(string file, Regex pattern, string remedy)
    {
        string[] lines = Lines(file);
        for (int i = 0; i < lines.Length; i++)
        {
            if (pattern.Match(lines[i]) is { Success: true } match)
            {
                Complain(file, i + 1, $"'{match.Value.Trim()}': {remedy}");
            }
        }
    }

    private void Complain(string file, int line, string what) => _complaints.Add($"{file}:{line}: {what}");

    private void AssertClean() => Assert.True(
        _complaints.Count == 0, string.Join('\n', _complaints.Prepend($"{_complaints.Count} findings")));

    [GeneratedRegex(@"<AllowUnsafeBlocks>\s*true")]
    private static partial Regex AllowUnsafe();

    [GeneratedRegex(@"\[(LibraryImport|DllImport)\b")]
    private static partial Regex NativeImport();

    [GeneratedRegex(@"\b(class|struct|interface|enum|record) \w+(Manager|Helper|Helpers|Util|Utils|Impl)\b")]
    private static partial Regex EmptyName();

    // Written in two parts, or this line would find itself.
    [GeneratedRegex(@"\b(TO" + @"DO|FIX" + @"ME|XX" + @"X|HA" + @"CK)\b")]
    private static partial Regex OpenMark();

    [GeneratedRegex(@"\.(Select|SelectMany|Where|ToList|ToArray|ToDictionary|Any|All|First|FirstOrDefault|" +
        @"Single|Last|OrderBy|Order|GroupBy|Aggregate|Skip|Take|Cast|OfType|Sum|Concat|Distinct)(<\w+>)?\(")]
    private static partial Regex LinqCall();

    [GeneratedRegex(@"(?<![\w.])/(home|root|Users|work" + @")/\w")]
    private static partial Regex HomePath();

    [GeneratedRegex(@"https?://(deb|api\.nuget|www\.nuget|registry\.npmjs|proxy\.golang|pypi)")]
    private static partial Regex Registry();
}
