using System.Diagnostics;
using Xunit;

namespace Ublk.Tests.Interop;

/// <summary>Runs programs of others.</summary>
internal static class Tool
{
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(5);

    /// <summary>
    /// Runs one to its end; anything but exit code 0 fails the test. Answers what it printed.
    /// </summary>
    public static async Task<string> Run(string program, params string[] arguments)
    {
        (int code, string output) = await Try(program, arguments);
        Assert.True(code == 0, $"{program} {string.Join(' ', arguments)} ended with {code}:\n{output}");
        return output;
    }

    /// <summary>Runs one to its end; answers its exit code and what it printed.</summary>
    public static async Task<(int Code, string Output)> Try(string program, params string[] arguments)
    {
        if (Find(program) is not { } path)
        {
            Assert.Skip($"{program} is not installed; eng/test installs it");
            return default;
        }

        using Process process = Start(path, arguments);
        process.StandardInput.Close();
        using var limit = new CancellationTokenSource(s_limit);
        Task<string> output = process.StandardOutput.ReadToEndAsync(limit.Token);
        Task<string> errors = process.StandardError.ReadToEndAsync(limit.Token);
        try
        {
            await process.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            Assert.Fail($"{program} {string.Join(' ', arguments)} did not end in {s_limit}");
        }

        return (process.ExitCode, await output + await errors);
    }

    public static Process Start(string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program)
        {
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (string argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        return Process.Start(start)!;
    }

    // Debian's Python has the bindings, another one in the path would not.
    private static string? Find(string program) =>
        new[] { "/usr/bin", "/usr/sbin", "/bin", "/sbin" }
            .Select(directory => Path.Combine(directory, program)).FirstOrDefault(File.Exists);
}
