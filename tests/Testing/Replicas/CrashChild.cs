using System.Globalization;
using System.Text;
using Ublk.Replication.Store;

namespace Ublk.Testing.Replicas;

/// <summary>
/// The process that is killed: a replica on real files that works, reports on its standard output, each line
/// by one write of its own, and stops at a place of its choice until it is killed.
/// </summary>
public static class CrashChild
{
    /// <summary>The line after which it waits for its end.</summary>
    public const string Stopped = "stopped";

    /// <summary>The line after which it has done all of its work.</summary>
    public const string Done = "done";

    /// <summary>Boot id and backing device that child and parent agree on.</summary>
    public static BootEntry Boot { get; } = new(new Guid(1, 2, 3, new byte[8]), 5);

    /// <summary>Works, and stops.</summary>
    /// <param name="args">
    /// IMAGE SEED OPERATIONS HIGHEST [STEP PLACE]: the path, what decides, the length of the work, the
    /// highest sequence ever sent; which step to stop at, from 1, and where in it.
    /// </param>
    public static int Run(string[] args)
    {
        static int Number(string text) => int.Parse(text, CultureInfo.InvariantCulture);
        using Stream output = Console.OpenStandardOutput();
        void Report(string line) => output.Write(Encoding.ASCII.GetBytes(line + '\n'));
        int stopAt = args.Length > 4 ? Number(args[4]) : int.MaxValue;
        StepPlace place = args.Length > 5 ? Enum.Parse<StepPlace>(args[5]) : default;
        int steps = 0;
        void Stop(FileStep step, StepPlace at)
        {
            steps += at == StepPlace.Before ? 1 : 0;
            if (steps == stopAt && at == place)
            {
                Report(Stopped);
                _ = Console.In.Read(); // Ends with the process.
            }
        }

        Work(args[0], Number(args[1]), Number(args[2]), (ulong)Number(args[3]), Report, Stop);
        Report(Done);
        return 0;
    }

    /// <summary>Judges what a loss of power has left of a replica that reported to a file.</summary>
    /// <param name="args">
    /// IMAGE REPORT BYTES: the path, the path of the report, and how much of it was told before.
    /// </param>
    /// <returns>0 when all is well; otherwise 1, after the reason on the standard output.</returns>
    public static int Check(string[] args)
    {
        long certain = long.Parse(args[2], CultureInfo.InvariantCulture);
        string report = File.ReadAllText(args[1]);
        var facts = new CrashFacts();
        for (int at = 0; report.IndexOf('\n', at) is var end && end >= 0; at = end + 1)
        {
            if (report.AsSpan(at, end - at) is var line && !line.SequenceEqual(Done))
            {
                facts.Add(line.ToString(), end < certain);
            }
        }

        try
        {
            BootEntry boot = Boot with { Boot = new Guid(9, 9, 9, new byte[8]) };
            OpenedReplica found = CrashJudge.Check(args[0], boot, facts, isMemoryKept: false);
            Console.WriteLine($"record {found.Position.LastRecord} of {facts.LastRecord} told and " +
                $"{facts.HighestRecord} written, D {found.Applied}, voided: {found.MustBeVoided}");
            return 0;
        }
        catch (CrashException wrong)
        {
            Console.WriteLine($"WRONG: {wrong.Message}");
            return 1;
        }
    }

    /// <summary>The work.</summary>
    /// <param name="image">Path of the image.</param>
    /// <param name="seed">Decides.</param>
    /// <param name="operations">Length.</param>
    /// <param name="highest">Highest sequence ever sent.</param>
    /// <param name="report">Gets the report.</param>
    /// <param name="at">Hears of every step.</param>
    public static void Work(
        string image, int seed, int operations, ulong highest, Action<string> report,
        Action<FileStep, StepPlace> at)
    {
        var random = new Random(seed);
        using var replica = new FileReplica(new ReplicaFiles(image) { At = at }, Boot, random, report);
        var work = new CrashWorkload(replica, highest, random, report);
        work.Run(operations);
    }
}
