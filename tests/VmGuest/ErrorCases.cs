using Ublk.Frontend.Targets;
using Ublk.Frontend.Ublk;
using Ublk.Testing;
using Ublk.Uring.Native;
using Ublk.Wire.Blocks;

namespace Ublk.Tests.Guest;

internal static class ErrorCases
{
    public static async Task TargetErrorsAsync()
    {
        await using Bench bench = await Bench.StartAsync();
        var options = new UblkDeviceOptions { QueueDepth = 4 };
        var target = new FaultTarget(
            new MemoryTarget(Bench.DiskBytes, options.RequiredTargetRequests));
        UblkDevice device = await bench.CreateAsync(target, options);
        using (var client = new Client(device))
        {
            (BlockStatus Status, int Errno)[] expected =
            [
                (BlockStatus.IoError, Errno.EIO),
                (BlockStatus.NoSpace, Errno.ENOSPC),
                (BlockStatus.TimedOut, Errno.ETIMEDOUT),
                (BlockStatus.ReadOnly, Errno.EIO),
            ];
            foreach ((BlockStatus status, int errno) in expected)
            {
                var rule = new FaultRule { Action = FaultAction.Fail, Status = status };
                await bench.OnLoopAsync(() =>
                {
                    target.Add(rule);
                    return true;
                });
                Bench.Equal(-errno, client.ReadNow(4096, 0), $"read with {status}");
                Bench.Equal(-errno, client.WriteNow(4096, 0), $"write with {status}");
                await bench.OnLoopAsync(() =>
                {
                    target.Clear();
                    return true;
                });
                Bench.Equal(4096, client.ReadNow(4096, 0), "read after the error");
            }

            Bench.Check(bench.Counters[UblkCounter.Errors] >= 8, "errors are counted");
        }

        await device.StopAsync(force: false);
    }
}
