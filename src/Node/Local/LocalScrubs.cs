using System.Collections.Concurrent;
using Ublk.Node.Cli;
using Ublk.Replication.Primary;
using Ublk.Replication.Runtime;

namespace Ublk.Node.Local;

/// <summary>Compares the replicas of a mirror from time to time, and leaves word of what was found.</summary>
/// <param name="target">The volume.</param>
/// <param name="options">How often, and which images.</param>
/// <param name="run">Where word is left.</param>
/// <param name="deviceId">The device.</param>
/// <param name="time">Clock.</param>
internal sealed class LocalScrubs(
    ReplicatedTarget target, LocalOptions options, RunDirectory run, int deviceId, TimeProvider time)
{
    private const int MaxLines = 100;

    private readonly TaskCompletionSource _end = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly ConcurrentQueue<ScrubDifference> _found = new();
    private Task _running = Task.CompletedTask;

    /// <summary>Begins to wait for the first one.</summary>
    public void Start()
    {
        if (options.ScrubHours > 0)
        {
            _running = RunAsync();
        }
    }

    /// <summary>No other one begins; one that is under way ends with the volume.</summary>
    /// <returns>Ends with the last one.</returns>
    public Task EndAsync()
    {
        _ = _end.TrySetResult();
        return _running;
    }

    private async Task RunAsync()
    {
        var pause = TimeSpan.FromHours(options.ScrubHours);
        while (await Task.WhenAny(_end.Task, Task.Delay(pause, time)).ConfigureAwait(false) != _end.Task)
        {
            await ScrubAsync().ConfigureAwait(false);
        }
    }

    private async Task ScrubAsync()
    {
        _found.Clear();
        ScrubReport report;
        try
        {
            report = await target.ScrubAsync(new ScrubOptions(), _found.Enqueue).ConfigureAwait(false);
        }
        catch (InvalidOperationException)
        {
            return; // The volume is not served now; the next one will do.
        }

        List<string> lines = [.. _found.Take(MaxLines).Select(Describe)];
        lines.ForEach(line => Output.Note($"qublk: scrub of /dev/ublkb{deviceId}: {line}"));
        run.WriteScrub(deviceId, new ScrubLine
        {
            EndedAt = time.GetUtcNow(),
            RegionsCompared = report.RegionsCompared,
            RegionsNotCompared = report.RegionsNotCompared,
            BlocksRepaired = report.BlocksRepaired,
            BlocksNotRepaired = report.BlocksNotRepaired,
            IsBrokenOff = report.IsBrokenOff,
            Differences = lines,
        });
    }

    private string Describe(ScrubDifference difference)
    {
        var wrong = new List<string>();
        foreach (int place in difference.Replicas)
        {
            wrong.Add(options.Images[place]);
        }

        string outcome = difference.Outcome switch
        {
            ScrubOutcome.Repaired => "repaired from the others",
            ScrubOutcome.NoMajority => "nobody knows which is right, nothing was changed",
            _ => "could not be repaired",
        };
        return $"{difference.LengthBytes} bytes at {difference.OffsetBytes} differ in " +
            $"{string.Join(", ", wrong)}: {outcome}";
    }
}
