using System.Diagnostics;

namespace Ublk.Tests.Unit.Tidy;

/// <summary>The working tree the tests were built from.</summary>
internal static class Repository
{
    private static readonly Lazy<IReadOnlyList<string>> s_files = new(ListFiles);

    /// <summary>Its top directory, where the solution lies.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>Tracked files, and new ones that are not ignored; relative paths, sorted.</summary>
    public static IReadOnlyList<string> Files => s_files.Value;

    public static string Full(string relative) => Path.Combine(Root, relative);

    private static string FindRoot()
    {
        for (var at = new DirectoryInfo(AppContext.BaseDirectory); at is not null; at = at.Parent)
        {
            if (File.Exists(Path.Combine(at.FullName, "Ublk.sln")))
            {
                return at.FullName;
            }
        }

        throw new InvalidOperationException($"no Ublk.sln above {AppContext.BaseDirectory}");
    }

    private static List<string> ListFiles()
    {
        var start = new ProcessStartInfo("git")
        {
            WorkingDirectory = Root,
            RedirectStandardOutput = true,
            UseShellExecute = false,
            ArgumentList = { "ls-files", "-z", "--cached", "--others", "--exclude-standard" },
        };
        using Process git = Process.Start(start)!;
        string output = git.StandardOutput.ReadToEnd();
        git.WaitForExit();
        if (git.ExitCode != 0)
        {
            throw new InvalidOperationException("git ls-files failed; run the tests in a clone");
        }

        return output.Split('\0', StringSplitOptions.RemoveEmptyEntries)
            .Where(file => File.Exists(Full(file)))
            .Order(StringComparer.Ordinal)
            .ToList();
    }
}
