using System.CommandLine;
using Ublk.Node.Cli;
using Ublk.Uring;

namespace Ublk.Node;

/// <summary>The program <c>qublk</c>.</summary>
internal static class Program
{
    private static async Task<int> Main(string[] arguments)
    {
        if (Serves(arguments))
        {
            RestartAsIoFlusher();
        }

        var root = new RootCommand("qublk: replicated block devices for Linux");
        root.Options.Add(CommandRunner.Json);
        root.Subcommands.Add(LocalCommands.Build());
        root.Subcommands.Add(ReplicaCommands.Build());
        root.Subcommands.Add(WireCommands.Build());
        root.Subcommands.Add(DoctorCommand.Build());
        ParseResult parse = root.Parse(arguments);
        List<string> complaints = [.. parse.Errors.Select(error => error.Message)];
        if (UnknownOption(parse) is { } unknown)
        {
            complaints = [$"there is no option '{unknown}'"];
        }

        if (complaints.Count > 0)
        {
            var output = new Output(arguments.Contains(CommandRunner.Json.Name));
            string errors = string.Join("; ", complaints);
            string help = $"qublk {VerbOf(parse)}--help";
            return output.Fail(ExitCode.Usage, $"{errors} (see '{help}')");
        }

        return await parse.InvokeAsync().ConfigureAwait(false);
    }

    // The parser hands an option that it does not know to an argument that takes several values.
    private static string? UnknownOption(ParseResult parse) => parse.Tokens
        .TakeWhile(token => token.Type != System.CommandLine.Parsing.TokenType.DoubleDash)
        .Where(token => token.Type == System.CommandLine.Parsing.TokenType.Argument)
        .Select(token => token.Value)
        .FirstOrDefault(text => text.Length > 1 && text[0] == '-' && !char.IsAsciiDigit(text[1]));

    private static bool Serves(string[] arguments) =>
        arguments is ["local", "attach" or "mirror" or "recover", ..] && !arguments.Contains("--background");

    // The mark is per thread and inherited, and the runtime has threads of its own by now. So this
    // thread takes the mark and starts the program over; the new runtime's threads all inherit it.
    private static void RestartAsIoFlusher()
    {
        if (ProcessSetup.IsIoFlusher || ProcessSetup.SetIoFlusher() < 0)
        {
            return;
        }

        string[] command = File.ReadAllText("/proc/self/cmdline").TrimEnd('\0').Split('\0');
        var environment = new List<string>();
        foreach (System.Collections.DictionaryEntry entry in Environment.GetEnvironmentVariables())
        {
            environment.Add($"{entry.Key}={entry.Value}");
        }

        // Returns only on failure; then this process serves without the mark, and says so.
        _ = ProcessSetup.Execute(Environment.ProcessPath!, command, [.. environment]);
    }

    private static string VerbOf(ParseResult parse)
    {
        var verbs = new List<string>();
        for (var result = parse.CommandResult; result is not null;
            result = result.Parent as System.CommandLine.Parsing.CommandResult)
        {
            if (result.Command is not RootCommand)
            {
                verbs.Insert(0, result.Command.Name);
            }
        }

        return verbs.Count == 0 ? "" : string.Join(' ', verbs) + ' ';
    }
}
