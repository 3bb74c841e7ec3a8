using System.CommandLine;
using System.Text.Json;
using Ublk.Node.Doctor;

namespace Ublk.Node.Cli;

/// <summary>The verb that tells what works on this host, what is missing, and what to do.</summary>
internal static class DoctorCommand
{
    /// <summary>The command.</summary>
    public static Command Build()
    {
        var command = new Command("doctor",
            "Tell what works on this host, what is missing, and what to do about it " +
            "(exit code 0: usable, 3: not usable)");
        command.Run((_, output) =>
        {
            DoctorReport report = HostChecks.Run(TimeProvider.System);
            if (output.IsJson)
            {
                Output.Json(JsonSerializer.Serialize(report, ReportJson.Default.DoctorReport));
            }
            else
            {
                Print(report);
            }

            bool isUsable = report.Verdict != HostChecks.Unusable;
            return Task.FromResult((int)(isUsable ? ExitCode.Success : ExitCode.Unsupported));
        });
        return command;
    }

    private static void Print(DoctorReport report)
    {
        foreach (CheckReport check in report.Checks)
        {
            Console.Out.WriteLine($"{check.Result,-8} {check.Name}: {check.Detail}");
            if (check.Advice is { } advice)
            {
                Console.Out.WriteLine($"         -> {advice}");
            }
        }

        Console.Out.WriteLine($"verdict: {report.Verdict}");
    }
}
