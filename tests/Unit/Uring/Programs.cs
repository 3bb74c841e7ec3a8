using System.Diagnostics;

namespace Ublk.Tests.Unit.Uring;

/// <summary>Programs of the system that make mounts and devices for a test.</summary>
internal static class Programs
{
    /// <summary>Runs a program; answers its exit code, or -1 when there is none.</summary>
    public static int Run(string program, out string output, params string[] arguments)
    {
        output = "";
        try
        {
            using Process process = Process.Start(new ProcessStartInfo(program, arguments)
            {
                RedirectStandardError = true,
                RedirectStandardOutput = true,
                UseShellExecute = false,
            })!;
            process.BeginErrorReadLine(); // Drained and dropped.
            output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return process.ExitCode;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return -1;
        }
    }
}
