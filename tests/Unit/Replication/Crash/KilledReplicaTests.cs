using System.Diagnostics;
using Ublk.Replication.Store;
using Ublk.Testing.Replicas;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Crash;

/// <summary>
/// A process with a replica on real files is killed with SIGKILL at every step that it does to them, and at
/// any moment between. What it had told before is there; the live page holds exactly.
/// </summary>
public sealed class KilledReplicaTests : IDisposable
{
    private const long Size = 4L << 20;
    private const int Seed = 7;
    private const int Operations = 10;

    // Processes at once; most of the time of each goes into its start.
    private const int AtOnce = 3;

    private static readonly BootEntry s_otherBoot =
        CrashChild.Boot with { Boot = new Guid(9, 9, 9, new byte[8]) };

    private readonly string _directory = CrashFiles.NewDirectory();

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    // The ring is so old that a checkpoint begins in the history that is cut off.
    [Fact]
    public async Task AtEveryStep()
    {
        (string template, ulong highest) = Aged("template", records: 150, hasChecksums: true);
        var whole = new List<string>();
        var steps = new List<FileStep>();
        CrashChild.Work(
            Copy(template, "whole"), Seed, Operations, highest, whole.Add,
            (step, place) => steps.AddRange(place == StepPlace.Before ? [step] : []));
        Assert.All(Enum.GetValues<FileStep>(), step => Assert.Contains(step, steps));
        Assert.InRange(steps.Count, 60, 250);
        IEnumerable<(int Step, StepPlace Place)> places = Enumerable.Range(1, steps.Count).SelectMany(step =>
            PlacesOf(steps[step - 1]).Select(place => (step, place)));
        int kills = 0;
        await Parallel.ForEachAsync(
            places, new ParallelOptions { MaxDegreeOfParallelism = AtOnce }, async (at, _) =>
            {
                string image = Copy(template, $"{at.Step}-{at.Place}");
                List<string> lines = await KilledAsync(image, highest, $"{at.Step}", $"{at.Place}");
                Judge(image, lines, whole, $"{steps[at.Step - 1]} {at.Step}, {at.Place}");
                if (at.Step % 4 == 0)
                {
                    GoOn(image, highest, at.Step);
                }

                Directory.Delete(Path.GetDirectoryName(image)!, recursive: true);
                Interlocked.Increment(ref kills);
            });
        TestContext.Current.TestOutputHelper?.WriteLine($"{steps.Count} steps, {kills} kills");
    }

    // One replica, killed again and again: after so many lines, which may be anywhere.
    [Fact]
    public async Task AtAnyMoment()
    {
        (string image, ulong highest) = Aged("again", records: 20, hasChecksums: false);
        var random = new Random(Seed);
        for (int kill = 0; kill < 20; kill++)
        {
            List<string> lines = await KilledAsync(image, highest, afterLines: random.Next(2, 400));
            CrashFacts facts = Judge(image, lines, [], $"kill {kill}");
            highest = Math.Max(highest, facts.Issued.Max(change => (ulong?)change.Sequence) ?? 0) + 1000;
        }

        GoOn(image, highest, Seed);
    }

    // Where nothing is written in parts, the middle is nowhere else than the beginning; and a write of the
    // image begins where another step has ended, with nothing told in between.
    private static StepPlace[] PlacesOf(FileStep step) => step switch
    {
        FileStep.Sync or FileStep.ChecksumSync => [StepPlace.Before, StepPlace.After],
        FileStep.Image or FileStep.Checksums => [StepPlace.Middle, StepPlace.After],
        _ => [StepPlace.Before, StepPlace.Middle, StepPlace.After],
    };

    private static CrashFacts Judge(string image, List<string> lines, List<string> later, string what)
    {
        var facts = new CrashFacts();
        lines.ForEach(line => facts.Add(line, isCertain: true));
        foreach (string line in later.Where(line => line.StartsWith("record", StringComparison.Ordinal)))
        {
            facts.Add(line, isCertain: false);
        }

        try
        {
            CrashJudge.Check(image, CrashChild.Boot, facts, isMemoryKept: true);
            CrashJudge.Check(image, s_otherBoot, facts, isMemoryKept: false);
        }
        catch (CrashException wrong)
        {
            Assert.Fail($"{what}: {wrong.Message}\n{string.Join('\n', lines.TakeLast(20))}");
        }

        return facts;
    }

    private static void GoOn(string image, ulong highest, int seed) =>
        CrashChild.Work(image, seed, 3, highest + 5000, _ => { }, (_, _) => { });

    private static async Task<List<string>> KilledAsync(
        string image, ulong highest, string step = "0", string place = "Before",
        int afterLines = int.MaxValue)
    {
        string program = Path.Combine(AppContext.BaseDirectory, "Ublk.Tests.Unit");
        string[] arguments = [Program.Child, image, $"{Seed}", $"{Operations}", $"{highest}", step, place];
        using Process child = Process.Start(new ProcessStartInfo(program, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            UseShellExecute = false,
        })!;
        var lines = new List<string>();
        while (await child.StandardOutput.ReadLineAsync() is { } line &&
            line is not (CrashChild.Stopped or CrashChild.Done))
        {
            lines.Add(line);
            if (lines.Count >= afterLines)
            {
                break;
            }
        }

        child.Kill();

        // Also what it managed to say until it was dead was true.
        string rest = await child.StandardOutput.ReadToEndAsync();
        await child.WaitForExitAsync();
        string[] more = rest.Split('\n');
        lines.AddRange(more[..^1].Where(line => line is not (CrashChild.Stopped or CrashChild.Done)));
        bool isDone = afterLines < int.MaxValue && child.ExitCode == 0; // It was faster than its end.
        Assert.True(isDone || child.ExitCode == 128 + 9, $"the process ended with {child.ExitCode}");
        return lines;
    }

    private static string Copy(string image, string name)
    {
        string to = CrashFiles.Fresh(Path.GetDirectoryName(Path.GetDirectoryName(image)!)!, name);
        foreach (string file in Directory.GetFiles(Path.GetDirectoryName(image)!))
        {
            File.Copy(file, Path.Combine(to, Path.GetFileName(file)));
        }

        return Path.Combine(to, Path.GetFileName(image));
    }

    private (string Image, ulong Highest) Aged(string name, ulong records, bool hasChecksums)
    {
        string image = Path.Combine(CrashFiles.Fresh(_directory, name), "image");
        CrashWorkload.Format(image, Size, hasChecksums);
        var random = new Random(Seed);
        using var replica = new FileReplica(new ReplicaFiles(image), CrashChild.Boot, random, _ => { });
        var work = new CrashWorkload(replica, 0, random, _ => { });
        replica.Run();
        work.Begin(joins: false);
        while (replica.LastRecord < records)
        {
            work.Play(4);
            replica.Run();
        }

        return (image, work.Highest);
    }
}
