using Ublk.Testing.Replicas;
using Ublk.Tests.Unit.Benchmarks;

namespace Ublk.Tests.Unit;

/// <summary>
/// The test program: the process that crash tests kill after "--crash-child", benchmarks after
/// "--bench-core", "--bench-checksums" and "--bench-wire" (see eng/bench), otherwise tests.
/// </summary>
internal static class Program
{
    /// <summary>The first argument of a process that is started to be killed.</summary>
    public const string Child = "--crash-child";

    private const string Bench = "--bench-core";
    private const string Checksums = "--bench-checksums";
    private const string Wire = "--bench-wire";

    public static Task<int> Main(string[] args)
    {
        if (args.Length > 0 && args[0] == Child)
        {
            return Task.FromResult(CrashChild.Run(args[1..]));
        }

        if (args.Length > 1 && args[0] == Bench)
        {
            return Task.FromResult(CoreBench.Run(args[1]));
        }

        if (args.Length > 1 && args[0] == Checksums)
        {
            return Task.FromResult(ChecksumCostBench.Run(args[1]));
        }

        if (args.Length > 0 && args[0] == Wire)
        {
            return WireBench.RunAsync();
        }

        // What the generated entry point of a test program does.
        bool isHosted = args.Any(arg => arg is "--server" or "--internal-msbuild-node");
        return isHosted
            ? Xunit.MicrosoftTestingPlatform.TestPlatformTestFramework.RunAsync(
                args, SelfRegisteredExtensions.AddSelfRegisteredExtensions)
            : Xunit.Runner.InProc.SystemConsole.ConsoleRunner.Run(args);
    }
}
