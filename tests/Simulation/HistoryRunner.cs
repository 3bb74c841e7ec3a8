using System.Globalization;
using Ublk.Tests.Simulation.World;

namespace Ublk.Tests.Simulation;

/// <summary>
/// Runs one history after the other, each from its own seed, until there are enough, time is up, or one
/// breaks a promise. Started by eng/sim, which has checked the options.
/// </summary>
internal sealed class HistoryRunner
{
    private const int SeedsAtOnce = 16;

    private readonly Lock _lock = new();
    private readonly TimeProvider _time = TimeProvider.System;
    private readonly long _begin = TimeProvider.System.GetTimestamp();
    private readonly ulong _first;
    private readonly ulong _end;
    private readonly TimeSpan _limit;
    private ulong _next;
    private long _done;
    private ulong _fingerprint;
    private volatile bool _hasFailed;
    private (ulong Seed, Exception Why)? _failure;

    private HistoryRunner(ulong first, ulong seeds, double minutes)
    {
        _first = first;
        _next = first;
        _end = seeds == 0 ? ulong.MaxValue : first + seeds;
        _limit = minutes == 0 ? TimeSpan.MaxValue : TimeSpan.FromMinutes(minutes);
    }

    /// <summary>Runs histories.</summary>
    /// <param name="args">First seed, seeds (0: no limit), minutes (0: no limit), jobs.</param>
    /// <returns>0, or 1 when a promise was broken.</returns>
    public static async Task<int> RunAsync(string[] args)
    {
        var runner = new HistoryRunner(
            ulong.Parse(args[0], CultureInfo.InvariantCulture),
            ulong.Parse(args[1], CultureInfo.InvariantCulture),
            double.Parse(args[2], CultureInfo.InvariantCulture));
        int jobs = int.Parse(args[3], CultureInfo.InvariantCulture);
        var running = new Task[jobs];
        for (int job = 0; job < jobs; job++)
        {
            running[job] = Task.Run(runner.RunJob);
        }

        await Task.WhenAll(running);
        return runner.Report();
    }

    private void RunJob()
    {
        using var pools = new WorldPools();
        while (TryTake(out ulong seed, out ulong end))
        {
            for (; seed < end && !_hasFailed; seed++)
            {
                RunOne(seed, pools);
            }
        }
    }

    private void RunOne(ulong seed, WorldPools pools)
    {
        ulong fingerprint = 0;
        Exception? why = null;
        try
        {
            fingerprint = SimulatedHistory.Run(seed, pools);
        }
        catch (Exception exception)
        {
            why = exception;
        }

        lock (_lock)
        {
            _done++;
            _fingerprint += fingerprint;
            bool isFirst = _failure is not { } failure || seed < failure.Seed;
            if (why is not null && isFirst)
            {
                _failure = (seed, why);
                _hasFailed = true;
            }
        }
    }

    private bool TryTake(out ulong seed, out ulong end)
    {
        lock (_lock)
        {
            seed = _next;
            end = Math.Min(_end, seed + SeedsAtOnce);
            bool isOver = _hasFailed || _time.GetElapsedTime(_begin) >= _limit;
            if (isOver || seed >= _end)
            {
                return false;
            }

            _next = end;
            return true;
        }
    }

    private int Report()
    {
        TimeSpan time = _time.GetElapsedTime(_begin);
        if (_failure is { } failure)
        {
            Console.Error.WriteLine($"seed {failure.Seed} failed: {failure.Why}");
            Console.Error.WriteLine($"its world: {SimulationOptions.Draw(failure.Seed)}");
            Console.Error.WriteLine($"replay it: eng/sim --first {failure.Seed} --seeds 1");
        }

        double perMinute = _done / Math.Max(time.TotalMinutes, 1e-9);
        Console.WriteLine(
            $"{_done} histories from seed {_first}, {(_failure is null ? 0 : 1)} failed, in " +
            $"{time.TotalSeconds:F1} s ({perMinute:F0} a minute), fingerprint {_fingerprint:x16}");
        return _failure is null ? 0 : 1;
    }
}
