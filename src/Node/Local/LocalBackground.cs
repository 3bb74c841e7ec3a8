using System.Diagnostics;
using System.Text.Json;
using Ublk.Node.Cli;
using Ublk.Uring;

namespace Ublk.Node.Local;

/// <summary>
/// Starts a serving process in the background and waits until its device is up or it has failed, so that
/// the caller gets the same answer and the same errors as in the foreground.
/// </summary>
internal static class LocalBackground
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(90);

    /// <summary>Runs this program again, detached, with the given arguments.</summary>
    /// <param name="output">Where the answer goes.</param>
    /// <param name="run">The run directory.</param>
    /// <param name="arguments">Arguments of the serving process.</param>
    /// <param name="time">Clock.</param>
    public static async Task<int> StartAsync(
        Output output, RunDirectory run, IReadOnlyList<string> arguments, TimeProvider time)
    {
        run.Create();
        string report = run.StartReportPath(Environment.ProcessId);
        File.Delete(report);
        var start = new ProcessStartInfo(Environment.ProcessPath!)
        {
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        // Under a JIT host the program is an argument of that host.
        string first = Environment.GetCommandLineArgs()[0];
        if (first.EndsWith(".dll", StringComparison.Ordinal) &&
            Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet")
        {
            start.ArgumentList.Add(first);
        }

        foreach (string argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        start.Environment[LocalForeground.ReportVariable] = report;
        using Process child = Process.Start(start) ?? throw new CommandException(
            ExitCode.Failure, "the serving process could not be started");
        child.StandardInput.Close();
        Task<string> errors = child.StandardError.ReadToEndAsync();
        await Polling.AskAsync(
            () => File.Exists(report) || child.HasExited, static isOver => !isOver, s_limit, time)
            .ConfigureAwait(false);
        if (!File.Exists(report))
        {
            return await FailAsync(child, errors).ConfigureAwait(false);
        }

        string json = await File.ReadAllTextAsync(report).ConfigureAwait(false);
        File.Delete(report);
        List<DeviceReport> devices =
            JsonSerializer.Deserialize(json, ReportJson.Default.ListDeviceReport)!;
        output.Attached(devices, $"process {child.Id}");
        return (int)ExitCode.Success;
    }

    // It ended with the reason on its standard error, or it hangs.
    private static async Task<int> FailAsync(Process child, Task<string> errors)
    {
        if (!child.HasExited)
        {
            child.Kill();
            throw new CommandException(ExitCode.TimedOut,
                $"the serving process {child.Id} was not ready within {s_limit.TotalSeconds} s");
        }

        string text = await errors.ConfigureAwait(false);
        await Console.Error.WriteAsync(text).ConfigureAwait(false);
        return child.ExitCode;
    }
}
