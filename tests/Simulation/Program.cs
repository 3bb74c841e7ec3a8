namespace Ublk.Tests.Simulation;

/// <summary>The test program: runs histories after "--histories" or "--mistakes", otherwise tests.</summary>
internal static class Program
{
    private const string Histories = "--histories";
    private const string Mistakes = "--mistakes";

    public static Task<int> Main(string[] args)
    {
        if (args.Length > 0 && args[0] == Histories)
        {
            return HistoryRunner.RunAsync(args[1..]);
        }

        if (args.Length > 1 && args[0] == Mistakes)
        {
            return Task.FromResult(MistakeSearch.Run(args[1..]));
        }

        // What the generated entry point of a test program does.
        bool isHosted = args.Any(arg => arg is "--server" or "--internal-msbuild-node");
        return isHosted
            ? Xunit.MicrosoftTestingPlatform.TestPlatformTestFramework.RunAsync(
                args, SelfRegisteredExtensions.AddSelfRegisteredExtensions)
            : Xunit.Runner.InProc.SystemConsole.ConsoleRunner.Run(args);
    }
}
