using System.CommandLine;

namespace Ublk.Node.Cli;

/// <summary>Runs a command's body and turns what goes wrong into a message and an exit code.</summary>
internal static class CommandRunner
{
    /// <summary>Machine-readable output, for every verb.</summary>
    public static Option<bool> Json { get; } = new("--json")
    {
        Description = "Answer in JSON (errors too, on standard error)",
        Recursive = true,
    };

    /// <summary>Sets what a command does.</summary>
    /// <param name="command">The command.</param>
    /// <param name="body">Its body; answers the exit code.</param>
    public static void Run(this Command command, Func<ParseResult, Output, Task<int>> body) =>
        command.SetAction((parse, _) => GuardAsync(parse, body));

    private static async Task<int> GuardAsync(
        ParseResult parse, Func<ParseResult, Output, Task<int>> body)
    {
        var output = new Output(parse.GetValue(Json));
        try
        {
            return await body(parse, output).ConfigureAwait(false);
        }
        catch (Exception exception) when (ExitCodes.Of(exception) is { } code)
        {
            return output.Fail(code, exception.Message);
        }
    }
}
