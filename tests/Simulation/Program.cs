namespace Ublk.Tests.Simulation;

/// <summary>The test program: runs histories after "--histories", otherwise tests.</summary>
internal static class Program
{
    private const string Histories = "--histories";

    public static Task<int> Main(string[] args)
    {
        if (args.Length > 0 && args[0] == Histories)
        {
            return HistoryRunner.RunAsync(args[1..]);
        }

        // What the generated entry point of a test program does.
        bool isHosted = args.Any(arg => arg is "--server" or "--internal-msbuild-node");
        return isHosted
            ? Xunit.MicrosoftTestingPlatform.TestPlatformTestFramework.RunAsync(
                args, SelfRegisteredExtensions.AddSelfRegisteredExtensions)
            : Xunit.Runner.InProc.SystemConsole.ConsoleRunner.Run(args);
    }
}
