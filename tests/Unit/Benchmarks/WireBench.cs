using System.Diagnostics;
using System.Globalization;
using Ublk.Tests.Unit.Wire.Security;

namespace Ublk.Tests.Unit.Benchmarks;

/// <summary>
/// What a write and its answer cost between two sides of this process, over TCP on the loopback: sessions on
/// the ring, on one loop and on two; the same sessions on the sockets of Kestrel; all of these over TLS; and
/// two yardsticks that have no protocol, threads that block on sockets and move the same bytes, and a copy
/// of the payload in memory. In turn, medians of the rounds. Checksums are not computed: they are the
/// volume's.
/// </summary>
internal static class WireBench
{
    /// <summary>Bytes of the head of a write, and of its answer, about.</summary>
    public const int HeadBytes = 48, AnswerBytes = 24;

    private const int Rounds = 3;
    private static readonly TimeSpan s_each = TimeSpan.FromMilliseconds(400);

    /// <summary>Runs all of it.</summary>
    public static async Task<int> RunAsync()
    {
        using var tls = new TlsCluster();
        (string Name, Func<WireCell, Task<WireFigures>> Play)[] ways =
        [
            ("one loop", cell => RingWire.PlayAsync(cell, loops: 1)),
            ("two loops", cell => RingWire.PlayAsync(cell, loops: 2)),
            ("Kestrel", cell => KestrelWire.PlayAsync(cell)),
            ("blocking", cell => Task.Run(() => BlockingWire.Play(cell))),
            ("copy", cell => Task.FromResult(CopyWire.Play(cell))),
            ("one loop, TLS", cell => RingWire.PlayAsync(cell, loops: 1, tls)),
            ("two loops, TLS", cell => RingWire.PlayAsync(cell, loops: 2, tls)),
            ("Kestrel, TLS", cell => KestrelWire.PlayAsync(cell, tls)),
        ];
        Console.WriteLine($"{Environment.ProcessorCount} processors; each figure is the median of {Rounds}");
        Console.WriteLine("operations per second (CPU microseconds each) median microseconds at depth 1");
        string names = string.Concat(ways.Select(way => $"{way.Name,24}"));
        Console.WriteLine($"{"",-16}{names}{"CPU: Kestrel/ring",20}{"ring/blocking",15}");
        foreach ((int payload, int depth) in Cells())
        {
            var cell = new WireCell(payload, depth, s_each);
            var figures = new List<WireFigures>[ways.Length];
            for (int round = -1; round < Rounds; round++)
            {
                for (int way = 0; way < ways.Length; way++)
                {
                    WireFigures seen = await ways[way].Play(cell).ConfigureAwait(false);
                    figures[way] ??= [];
                    if (round >= 0)
                    {
                        figures[way].Add(seen);
                    }
                }
            }

            Print(cell, [.. figures.Select(MedianOf)]);
        }

        return 0;
    }

    private static IEnumerable<(int Payload, int Depth)> Cells()
    {
        foreach (int payload in new[] { 512, 4 << 10, 64 << 10, 1 << 20 })
        {
            foreach (int depth in new[] { 1, 32, 128 })
            {
                yield return (payload, depth);
            }
        }
    }

    private static WireFigures MedianOf(List<WireFigures> seen)
    {
        double Of(Func<WireFigures, double> part) => seen.Select(part).Order().ElementAt(seen.Count / 2);
        return new WireFigures(Of(one => one.PerSecond), Of(one => one.CpuUs), Of(one => one.MedianUs));
    }

    // The better of one loop and two stands for the ring where a ratio of throughput is taken.
    private static void Print(WireCell cell, WireFigures[] figures)
    {
        string row = string.Create(
            CultureInfo.InvariantCulture, $"{cell.PayloadBytes,8} ({cell.Depth,3})  ");
        foreach (WireFigures one in figures)
        {
            string median = cell.Depth == 1 ? $" {one.MedianUs:F1}" : "";
            row += $"{$"{one.PerSecond:F0} ({one.CpuUs:F2}){median}",24}";
        }

        double cpu = figures[2].CpuUs / figures[0].CpuUs;
        double time = cell.Depth == 1
            ? Math.Min(figures[0].MedianUs, figures[1].MedianUs) / figures[3].MedianUs
            : Math.Max(figures[0].PerSecond, figures[1].PerSecond) / figures[3].PerSecond;
        Console.WriteLine($"{row}{cpu,20:F2}{time,15:F2}");
    }
}

/// <summary>What is measured.</summary>
/// <param name="PayloadBytes">Payload of each write.</param>
/// <param name="Depth">Writes without an answer.</param>
/// <param name="Time">For how long new ones are sent.</param>
internal sealed record WireCell(int PayloadBytes, int Depth, TimeSpan Time);

/// <summary>What was measured.</summary>
/// <param name="PerSecond">Writes answered per second.</param>
/// <param name="CpuUs">Processor time of the whole process for each, in microseconds.</param>
/// <param name="MedianUs">From the sending of a write to its answer; of each of the first 100,000.</param>
internal readonly record struct WireFigures(double PerSecond, double CpuUs, double MedianUs);

/// <summary>Counts writes while their time runs.</summary>
internal sealed class WireClock(WireCell cell)
{
    private const int Kept = 100_000;

    private readonly double[] _took = new double[Kept];
    private readonly Process _process = Process.GetCurrentProcess();
    private TimeSpan _cpu;
    private long _start;
    private long _end;
    private long _count;

    /// <summary>Whether new writes are sent.</summary>
    public bool IsRunning => TimeProvider.System.GetTimestamp() < _end;

    /// <summary>Begins.</summary>
    public void Start()
    {
        _process.Refresh();
        _cpu = _process.TotalProcessorTime;
        _start = TimeProvider.System.GetTimestamp();
        _end = _start + (long)(cell.Time.TotalSeconds * TimeProvider.System.TimestampFrequency);
    }

    /// <summary>A write has its answer.</summary>
    /// <param name="sentAt">When it was sent.</param>
    public void Answered(long sentAt)
    {
        if (_count < Kept)
        {
            _took[_count] = TimeProvider.System.GetElapsedTime(sentAt).TotalMicroseconds;
        }

        _count++;
    }

    /// <summary>Ends, when all have their answers.</summary>
    public WireFigures Stop()
    {
        TimeSpan took = TimeProvider.System.GetElapsedTime(_start);
        _process.Refresh();
        TimeSpan cpu = _process.TotalProcessorTime - _cpu;
        int kept = (int)Math.Min(_count, Kept);
        Array.Sort(_took, 0, kept);
        return new WireFigures(
            _count / took.TotalSeconds, cpu.TotalMicroseconds / _count, kept == 0 ? 0 : _took[kept / 2]);
    }
}
