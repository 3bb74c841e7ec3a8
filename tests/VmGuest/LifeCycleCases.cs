using Ublk.Frontend.Targets;
using Ublk.Frontend.Ublk;
using Ublk.Testing;
using Ublk.Uring.Native;
using Ublk.Wire.Blocks;

namespace Ublk.Tests.Guest;

internal static class LifeCycleCases
{
    private static readonly UblkDeviceOptions s_options = new()
    {
        QueueDepth = 4,
        RecoveryLimit = TimeSpan.FromSeconds(2),
    };

    public static async Task StopWhileBusyAsync()
    {
        await using Bench bench = await Bench.StartAsync();
        var target = new FaultTarget(new MemoryTarget(Bench.DiskBytes, 4));
        UblkDevice device = await bench.CreateAsync(target, s_options);
        var client = new Client(device);
        await bench.OnLoopAsync(() =>
        {
            target.Add(new FaultRule { Action = FaultAction.HoldRequest, Count = 1 });
            return true;
        });
        Task<int> read = client.ReadAsync(4096, 0);
        while (await bench.OnLoopAsync(() => target.HeldCount) == 0)
        {
            await Task.Delay(10);
        }

        bench.Driver.GetFeatures(out UblkFeatures features);
        if (features.HasFlag(UblkFeatures.SafeStop))
        {
            UblkError error = await ErrorOfAsync(() => device.StopAsync(force: false));
            Bench.Equal(UblkError.Busy.ToString(), error.ToString(), "stop of an open device");
        }

        Task stop = device.StopAsync(force: true);
        await Task.Delay(300);
        Bench.Check(!stop.IsCompleted, "stop must wait for the request in hand");
        await bench.OnLoopAsync(() => target.Release(1));
        Bench.Equal(4096, await read, "the request in hand");
        client.Dispose();
        await stop;
        Bench.Equal(-Errno.ENODEV, bench.Driver.GetInfo(device.Id, out _), "the device is gone");
        Bench.Equal(0, await bench.OnLoopAsync(() => bench.Loop.InFlightCount - 1), "in flight");
    }

    // Start waits for fetches that never come.
    public static async Task StuckStartAsync()
    {
        await using Bench bench = await Bench.StartAsync();
        using KernelUblkDriver driver =
            KernelUblkDriver.Open(TimeProvider.System, TimeSpan.FromSeconds(1));
        int id = Add(driver, UblkDeviceOptions.Mark);
        var parameters = UblkParametersBuilder.Build(
            new BlockLimits(), Bench.DiskBytes, 65536, usesAutoBuffers: false);
        Bench.Equal(0, driver.SetParameters(id, parameters), "parameters");
        Bench.Equal(0, driver.OpenDevice(id, out IUblkCharDevice? device), "open");
        int result = await Task.Run(() => driver.Start(id, Environment.ProcessId));
        Bench.Equal(-Errno.ETIME, result, "start without a fetch");
        Bench.Equal(0, driver.GetInfo(id, out _), "other commands still work");
        device!.Dispose();
        Bench.Equal(0, UblkSupport.Delete(driver, id), "delete");
    }

    public static async Task NoTakeOverAsync()
    {
        await using Bench bench = await Bench.StartAsync();
        var target = new MemoryTarget(Bench.DiskBytes, 4);
        int foreign = Add(bench.Driver, mark: 1);
        Bench.Equal("Foreign", (await RecoverErrorAsync(bench, foreign, target)).ToString(), "foreign");
        Bench.Equal(0, UblkSupport.Delete(bench.Driver, foreign), "delete");

        int dead = Add(bench.Driver, UblkDeviceOptions.Mark);
        Bench.Equal("Failed", (await RecoverErrorAsync(bench, dead, target)).ToString(), "dead");
        Bench.Equal(0, UblkSupport.Delete(bench.Driver, dead), "delete");

        UblkDevice live = await bench.CreateAsync(target, s_options);
        Bench.Equal("Busy", (await RecoverErrorAsync(bench, live.Id, target)).ToString(), "live");
        using var small = new MemoryTarget(Bench.DiskBytes / 2, 4);
        Bench.Equal("Mismatch", (await RecoverErrorAsync(bench, live.Id, small)).ToString(), "small");
        await live.StopAsync(force: false);
        Bench.Equal("NoSuchDevice", (await RecoverErrorAsync(bench, 777, target)).ToString(), "absent");
    }

    public static async Task SharedRingAsync()
    {
        await using Bench bench = await Bench.StartAsync();
        UblkDevice first = await bench.CreateAsync(await bench.NullAsync(4), s_options);
        UblkDevice second = await bench.CreateAsync(new MemoryTarget(Bench.DiskBytes, 4), s_options);
        using (var one = new Client(first))
        using (var two = new Client(second))
        {
            two.Memory(4096).Fill(0x77);
            Bench.Equal(4096, two.WriteNow(4096, 0), "write to the second");
            Bench.Equal(4096, one.ReadNow(4096, 0), "read from the first");
            Bench.Equal((byte)0, one.Memory(1)[0], "first content");
            Bench.Equal(4096, two.ReadNow(4096, 0), "read from the second");
            Bench.Equal((byte)0x77, two.Memory(1)[0], "second content");
        }

        await first.StopAsync(force: false);
        using (var two = new Client(second))
        {
            Bench.Equal(4096, two.ReadNow(4096, 0), "the second serves on");
        }

        await second.StopAsync(force: false);
    }

    public static async Task SameProcessAsync()
    {
        var target = new MemoryTarget(Bench.DiskBytes, 4);
        int id;
        await using (Bench first = await Bench.StartAsync())
        {
            UblkDevice device = await first.CreateAsync(target, s_options);
            id = device.Id;
            using var client = new Client(device);
            client.Memory(4096).Fill(0x33);
            Bench.Equal(4096, client.WriteNow(4096, 0), "write");
            client.Dispose();
            if (device.Info.Flags.HasFlag(UblkFeatures.Quiesce))
            {
                Bench.Check(await device.QuiesceAsync(), "quiesce");
            }

            await device.LetGoAsync();
        }

        await using Bench second = await Bench.StartAsync();
        UblkDevice again = await UblkDevice.RecoverAsync(
            second.Driver, id, second.Loop, target, second.Pool, s_options, second.Counters,
            TimeProvider.System);
        using (var client = new Client(again))
        {
            Bench.Equal(4096, client.ReadNow(4096, 0), "read after the take-over");
            Bench.Equal((byte)0x33, client.Memory(1)[0], "content");
        }

        await again.StopAsync(force: false);
    }

    private static int Add(KernelUblkDriver driver, ulong mark)
    {
        driver.GetFeatures(out UblkFeatures features);
        var info = new UblkDeviceInfo
        {
            DeviceId = uint.MaxValue,
            QueueCount = 1,
            QueueDepth = 4,
            MaxIoBufferBytes = 65536,
            Flags = UblkSupport.WantedFlags(features, s_options),
            ServerFlags = mark,
        };
        Bench.Equal(0, driver.Add(ref info), "add");
        return (int)info.DeviceId;
    }

    private static Task<UblkError> RecoverErrorAsync(Bench bench, int id, MemoryTarget target) =>
        ErrorOfAsync(() => UblkDevice.RecoverAsync(
            bench.Driver, id, bench.Loop, target, bench.Pool, s_options, bench.Counters,
            TimeProvider.System));

    private static async Task<UblkError> ErrorOfAsync(Func<Task> action)
    {
        try
        {
            await action();
        }
        catch (UblkException exception)
        {
            return exception.Error;
        }

        throw new CheckException("an error was expected");
    }
}
