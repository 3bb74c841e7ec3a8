using Ublk.Frontend.Ublk;
using Ublk.Uring.Native;

namespace Ublk.Tests.Guest;

internal static class ThreadCases
{
    public static async Task WrongThreadAsync()
    {
        await using Bench owner = await Bench.StartAsync();
        await using Bench other = await Bench.StartAsync();
        KernelUblkDriver driver = owner.Driver;
        var info = new UblkDeviceInfo
        {
            DeviceId = uint.MaxValue,
            QueueCount = 1,
            QueueDepth = 1,
            MaxIoBufferBytes = 65536,
            Flags = UblkFeatures.UserCopy,
            ServerFlags = UblkDeviceOptions.Mark,
        };
        Bench.Equal(0, driver.Add(ref info), "add");
        int id = (int)info.DeviceId;
        var parameters = new UblkParameters
        {
            Length = UblkParameters.SizeBytes,
            Types = UblkParameters.TypeBasic,
            LogicalBlockShift = 9,
            PhysicalBlockShift = 12,
            OptimalIoShift = 12,
            MinimalIoShift = 12,
            MaxSectors = 128,
            DeviceSectors = 2048,
        };
        Bench.Equal(0, driver.SetParameters(id, parameters), "parameters");
        Bench.Equal(0, driver.OpenDevice(id, out IUblkCharDevice? device), "open");
        var mine = new Sink();
        var foreign = new Sink();
        IUblkQueueDriver queue = await owner.OnLoopAsync(() => device!.OpenQueue(owner.Loop, 0, 1));
        IUblkQueueDriver intruder =
            await other.OnLoopAsync(() => device!.OpenQueue(other.Loop, 0, 1));
        queue.Sink = mine;
        intruder.Sink = foreign;
        await owner.OnLoopAsync(() => Do(() => queue.Fetch(0, 0)));
        Task<int> start = Task.Run(() => driver.Start(id, Environment.ProcessId));

        // The partition scan's first read arrives; the intruder tries to answer it.
        Bench.Equal(0, await mine.NextAsync(), "first request");
        int length = (int)queue.Descriptor(0).SectorCount * 512;
        await other.OnLoopAsync(() => Do(() => intruder.Commit(0, length, 0)));
        Bench.Equal(-Errno.EINVAL, await foreign.NextAsync(), "commit from the other thread");

        using var stopping = new CancellationTokenSource();
        Task serve = ServeAsync(owner, queue, mine, stopping.Token);
        Bench.Equal(0, await start, "start");
        Bench.Equal(0, await Task.Run(() => driver.Stop(id)), "stop");
        await serve;
        await owner.OnLoopAsync(() => Do(queue.Dispose));
        await other.OnLoopAsync(() => Do(intruder.Dispose));
        device!.Dispose();
        Bench.Equal(0, UblkSupport.Delete(driver, id), "delete");
    }

    // Answers every request with success until the driver takes the tag back.
    private static async Task ServeAsync(
        Bench owner, IUblkQueueDriver queue, Sink sink, CancellationToken token)
    {
        do
        {
            int length = (int)queue.Descriptor(0).SectorCount * 512;
            await owner.OnLoopAsync(() => Do(() => queue.Commit(0, length, 0)));
        }
        while (await sink.NextAsync() == 0 && !token.IsCancellationRequested);
    }

    private static bool Do(Action action)
    {
        action();
        return true;
    }

    private sealed class Sink : IUblkCommandSink
    {
        private readonly System.Threading.Channels.Channel<int> _results =
            System.Threading.Channels.Channel.CreateUnbounded<int>();

        public void OnCommandCompleted(int tag, int result) => _results.Writer.TryWrite(result);

        public async Task<int> NextAsync() =>
            await _results.Reader.ReadAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(20));
    }
}
