using System.Diagnostics;
using Xunit;

namespace Ublk.Tests.Vm;

/// <summary>
/// Every script in scenarios/ on every kernel its header names, in a machine of its own. The environment
/// decides how much: QUBLK_FULL=1 for the full counts and all kernels, QUBLK_SEED for what is random.
/// </summary>
public sealed class VmScenarioTests
{
    private const int NoLongerOffered = 77;

    private static readonly bool s_isFull = Environment.GetEnvironmentVariable("QUBLK_FULL") == "1";

    private static readonly string s_seed = Environment.GetEnvironmentVariable("QUBLK_SEED") ?? "1";

    private static string Root { get; } = FindRoot();

    public static TheoryData<string, string> Scenarios()
    {
        var data = new TheoryData<string, string>();
        foreach (VmScenario scenario in All())
        {
            foreach (string kernel in scenario.Kernels)
            {
                data.Add(scenario.Name, kernel);
            }
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Scenarios))]
    public async Task ScenarioHolds(string name, string kernel)
    {
        VmScenario scenario = All().Single(s => s.Name == name);
        (int code, string output) = await RunAsync(scenario, kernel);
        if (code == NoLongerOffered)
        {
            Assert.Skip($"kernel {kernel} is no longer offered by the distribution");
        }

        TestContext.Current.TestOutputHelper?.WriteLine(output);
        Assert.True(code == 0,
            $"{name} on {kernel} ended with {code}; again: " +
            $"QUBLK_SEED={s_seed} eng/vm-scenario {name} {kernel}\n{output}");
    }

    [Fact]
    public void EveryScenarioHasATitleAndAKernel()
    {
        foreach (VmScenario scenario in All())
        {
            Assert.NotEmpty(scenario.Title);
            Assert.NotEmpty(scenario.Kernels);
        }
    }

    private static async Task<(int Code, string Output)> RunAsync(VmScenario scenario, string kernel)
    {
        var start = new ProcessStartInfo(Path.Combine(Root, "eng", "vm-scenario"))
        {
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = true,
            WorkingDirectory = Root,
        };
        start.ArgumentList.Add(scenario.Name);
        start.ArgumentList.Add(kernel);
        start.Environment["QUBLK_FULL"] = s_isFull ? "1" : "0";
        start.Environment["QUBLK_SEED"] = s_seed;
        using Process process = Process.Start(start)!;
        process.StandardInput.Close();
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> errors = process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync();
        return (process.ExitCode, await output + await errors);
    }

    private static IEnumerable<VmScenario> All() =>
        Directory.EnumerateFiles(Path.Combine(Root, "tests", "Vm", "scenarios"), "*.sh")
            .Where(path => Path.GetFileName(path) != "lib.sh")
            .Order(StringComparer.Ordinal)
            .Select(path => VmScenario.Read(path, s_isFull));

    private static string FindRoot()
    {
        string? directory = AppContext.BaseDirectory;
        while (directory is not null && !File.Exists(Path.Combine(directory, "Ublk.sln")))
        {
            directory = Path.GetDirectoryName(directory);
        }

        return directory ?? throw new InvalidOperationException("not inside the repository");
    }
}
