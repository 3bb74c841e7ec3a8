using System.Text;
using SharpFuzz;

namespace Ublk.Tests.Fuzz;

/// <summary>
/// What eng/fuzz runs. PARSER alone takes inputs from afl-fuzz; PARSER FILE... takes each file once, which
/// replays what was found; --list names the parsers, --corpus DIRECTORY writes what to begin with, and
/// --instrument FILE... makes assemblies report which ways they go.
/// </summary>
internal static class Program
{
    // Made late: code that reports its ways has nowhere to put them before the fuzzer runs.
    private static readonly Dictionary<string, Lazy<IFuzzTarget>> s_targets = new(StringComparer.Ordinal)
    {
        ["message"] = new(() => new MessageTarget()),
        ["stream"] = new(() => new StreamTarget()),
        ["metadata"] = new(() => new MetadataTarget()),
        ["nbd"] = new(() => new NbdTarget()),
    };

    public static int Main(string[] args)
    {
        switch (args)
        {
            case ["--list"]:
                Console.WriteLine(string.Join('\n', s_targets.Keys));
                return 0;
            case ["--corpus", string directory]:
                WriteCorpora(directory);
                return 0;
            case ["--instrument", .. string[] files]:
                return Instrument(files);
            case [string name, .. string[] files]
                when s_targets.TryGetValue(name, out Lazy<IFuzzTarget>? target):
                if (files.Length == 0)
                {
                    Fuzzer.Run(stream => target.Value.Run(ReadAll(stream)));
                }

                return Array.FindAll(files, file => !Replay(target.Value, file)).Length > 0 ? 1 : 0;
            default:
                Console.Error.WriteLine("wrong use; see eng/fuzz --help");
                return 2;
        }
    }

    private static byte[] ReadAll(Stream stream)
    {
        var bytes = new MemoryStream();
        stream.CopyTo(bytes);
        return bytes.ToArray();
    }

    private static bool Replay(IFuzzTarget target, string file)
    {
        try
        {
            target.Run(File.ReadAllBytes(file));
            return true;
        }
        catch (Exception found)
        {
            Console.Error.WriteLine($"{file}: {found}");
            return false;
        }
    }

    private static void WriteCorpora(string directory)
    {
        foreach ((string name, Lazy<IFuzzTarget> target) in s_targets)
        {
            string corpus = Path.Combine(directory, name);
            Directory.CreateDirectory(corpus);
            foreach ((string seed, byte[] bytes) in target.Value.Seeds())
            {
                File.WriteAllBytes(Path.Combine(corpus, FileName(seed)), bytes);
            }
        }
    }

    private static string FileName(string seed)
    {
        var name = new StringBuilder();
        foreach (char letter in seed)
        {
            name.Append(char.IsAsciiLetterOrDigit(letter) ? char.ToLowerInvariant(letter) : '-');
        }

        return name.ToString();
    }

    // Of the program only what reads captures: the rest would never be reached.
    private static int Instrument(string[] files)
    {
        foreach (string file in files)
        {
            bool isProgram = Path.GetFileName(file) == "qublk.dll";
            IEnumerable<string> types = Fuzzer.Instrument(
                file, type => !isProgram || type.StartsWith("Ublk.Node.Capture.", StringComparison.Ordinal),
                Options.Value);
            Console.WriteLine($"{Path.GetFileName(file)}: {types.Count()} types");
        }

        return 0;
    }
}
