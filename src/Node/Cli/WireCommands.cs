using System.CommandLine;
using Ublk.Node.Capture;

namespace Ublk.Node.Cli;

/// <summary>The verbs for what nodes say to each other.</summary>
internal static class WireCommands
{
    private const int OutputBytes = 64 << 10;

    private static readonly Argument<string> s_file = new("FILE")
    {
        Description = "One direction of a connection, from its first byte on; - is standard input",
    };

    /// <summary>The command group.</summary>
    public static Command Build()
    {
        var wire = new Command("wire", "The protocol between nodes: read a captured stream");
        wire.Subcommands.Add(Decode());
        return wire;
    }

    private static Command Decode()
    {
        var command = new Command("decode",
            "Print the messages of a captured stream, one a line: offset, kind, fields, length of the " +
            "payload and whether its checksum matches (exit code 7: no message, or cut off; what is " +
            "before is printed)");
        command.Arguments.Add(s_file);
        command.Run((parse, output) =>
        {
            string file = parse.GetValue(s_file)!;
            bool isStandardInput = file == "-";
            using Stream input = isStandardInput ? Console.OpenStandardInput() : Open(file);
            using Stream buffered = new BufferedStream(Console.OpenStandardOutput(), OutputBytes);
            string name = isStandardInput ? "standard input" : file;
            new CapturePrinter(buffered, output.IsJson).Print(input, name);
            return Task.FromResult((int)ExitCode.Success);
        });
        return command;
    }

    /// <summary>Opens a captured stream.</summary>
    /// <exception cref="CommandException">It is not there, is a directory, or may not be read.</exception>
    internal static Stream Open(string file)
    {
        if (Directory.Exists(file))
        {
            throw new CommandException(ExitCode.BadImage, $"{file} is a directory; name a captured stream");
        }

        try
        {
            return File.OpenRead(file);
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new CommandException(ExitCode.NotFound, $"{file} is not there");
        }
        catch (UnauthorizedAccessException)
        {
            throw new CommandException(ExitCode.NoPermission, $"{file} may not be read by this user");
        }
    }
}
