using System.Globalization;

namespace Ublk.Tests.Vm;

/// <summary>
/// One scenario script with what its header asks for: lines "# key: value" before the first command.
/// </summary>
internal sealed record VmScenario
{
    public required string Name { get; init; }

    public required string Path { get; init; }

    public required string Title { get; init; }

    public required IReadOnlyList<string> Disks { get; init; }

    public required string Memory { get; init; }

    public required int TimeoutSeconds { get; init; }

    public required IReadOnlyList<string> Kernels { get; init; }

    /// <summary>Reads the header of a script.</summary>
    /// <param name="path">The script.</param>
    /// <param name="isFull">Whether the full counts and kernels are wanted.</param>
    public static VmScenario Read(string path, bool isFull)
    {
        var header = File.ReadLines(path).Skip(1).TakeWhile(line => line.StartsWith("# ", Ordinal))
            .Select(line => line[2..].Split(": ", 2)).Where(pair => pair.Length == 2)
            .ToDictionary(pair => pair[0], pair => pair[1].Trim(), StringComparer.Ordinal);
        string Value(string key, string missing) => header.GetValueOrDefault(key, missing);
        string[] Words(string key) => Value(key, "").Split(' ', StringSplitOptions.RemoveEmptyEntries);

        string timeout = Value("timeout", "300");
        IEnumerable<string> kernels = Words("kernels");
        if (isFull)
        {
            timeout = Value("full-timeout", timeout);
            kernels = kernels.Concat(Words("full-kernels")).Distinct(StringComparer.Ordinal);
        }

        return new VmScenario
        {
            Name = System.IO.Path.GetFileNameWithoutExtension(path),
            Path = path,
            Title = Value("title", ""),
            Disks = Words("disk"),
            Memory = Value("memory", "2G"),
            TimeoutSeconds = int.Parse(timeout, CultureInfo.InvariantCulture),
            Kernels = [.. kernels],
        };
    }

    private const StringComparison Ordinal = StringComparison.Ordinal;
}
