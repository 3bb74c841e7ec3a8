using Ublk.Frontend.Targets;
using Ublk.Frontend.Ublk;
using Ublk.Uring.Native;

namespace Ublk.Tests.Guest;

internal static class RegistrationCases
{
    private const int Length = 65536;

    public static async Task FallbackAsync()
    {
        await using Bench bench = await Bench.StartAsync();
        bench.Require(UblkFeatures.AutoBufferRegistration);
        UblkDevice device = await DeviceAsync(bench, fallsBack: true);
        using (var client = new Client(device))
        {
            using MemoryMapping squatter = await OccupyAsync(bench);
            client.Memory(Length).Fill(0x5A);
            Bench.Equal(Length, client.ReadNow(Length, 0), "read");
            Bench.Check(client.Memory(Length).IndexOfAnyExcept((byte)0) < 0, "zeros were copied");
            Bench.Check(bench.Counters[UblkCounter.RegistrationFallbacks] > 0, "fallback is counted");
        }

        await device.StopAsync(force: false);
    }

    public static async Task NoFallbackAsync()
    {
        await using Bench bench = await Bench.StartAsync();
        bench.Require(UblkFeatures.AutoBufferRegistration);
        UblkDevice device = await DeviceAsync(bench, fallsBack: false);
        using (var client = new Client(device))
        {
            using (MemoryMapping squatter = await OccupyAsync(bench))
            {
                Bench.Equal(-Errno.EIO, client.ReadNow(Length, 0), "read without a place");
                await bench.OnLoopAsync(() => bench.Loop.Buffers.Clear(0));
            }

            Bench.Equal(Length, client.ReadNow(Length, 0), "read with the place free again");
            Bench.Equal(0L, bench.Counters[UblkCounter.RegistrationFallbacks], "fallbacks");
        }

        await device.StopAsync(force: false);
    }

    public static async Task TableExhaustedAsync()
    {
        await using Bench bench = await Bench.StartAsync(tableSlots: 2);
        bench.Require(UblkFeatures.AutoBufferRegistration);
        NullTarget target = await bench.NullAsync(8);
        UblkDevice device = await bench.CreateAsync(target, new UblkDeviceOptions { QueueDepth = 8 });
        using (var client = new Client(device))
        {
            for (int i = 0; i < 64; i++)
            {
                client.Memory(Length).Fill(0xA5);
                Bench.Equal(Length, client.ReadNow(Length, i * Length), "read");
                Bench.Check(client.Memory(Length).IndexOfAnyExcept((byte)0) < 0, "zeros");
            }
        }

        await device.StopAsync(force: false);
        Bench.Equal(2, await bench.OnLoopAsync(() => bench.Loop.Buffers.FreeCount), "free places");
    }

    // One tag, so that its request always gets place 0, the first of an empty table.
    private static async Task<UblkDevice> DeviceAsync(Bench bench, bool fallsBack)
    {
        NullTarget target = await bench.NullAsync(1);
        return await bench.CreateAsync(
            target, new UblkDeviceOptions { QueueDepth = 1, FallsBack = fallsBack });
    }

    private static async Task<MemoryMapping> OccupyAsync(Bench bench)
    {
        MemoryMapping memory = MemoryMapping.Allocate(4096);
        int result = await bench.OnLoopAsync(
            () => bench.Loop.Ring.UpdateBuffer(0, memory.Slice(0, 4096).Address, 4096));
        Bench.Equal(0, result, "occupy place 0");
        return memory;
    }
}
