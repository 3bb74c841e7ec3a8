using Ublk.Frontend.Targets;
using Ublk.Frontend.Ublk;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Blocks;

namespace Ublk.Tests.Guest;

/// <summary>The kernel here lacks what the case is about.</summary>
internal sealed class SkipException(string message) : Exception(message);

/// <summary>A condition did not hold.</summary>
internal sealed class CheckException(string message) : Exception(message);

/// <summary>A loop, a pool and a driver for one case, and the client's side of a device.</summary>
internal sealed class Bench : IAsyncDisposable
{
    public const int DiskBytes = 16 << 20;

    private Bench(KernelUblkDriver driver, LoopThread thread, PayloadPool pool)
    {
        Driver = driver;
        Thread = thread;
        Pool = pool;
    }

    public KernelUblkDriver Driver { get; }

    public LoopThread Thread { get; }

    public Loop Loop => Thread.Loop;

    public PayloadPool Pool { get; }

    public UblkCounters Counters { get; } = new();

    public static async Task<Bench> StartAsync(int tableSlots = 1024)
    {
        LoopThread thread = await LoopThread.StartAsync(
            new LoopOptions { BufferTableSlots = tableSlots }, TimeProvider.System,
            exception => Console.WriteLine($"loop died: {exception}"));
        Loop loop = thread.Loop;
        PayloadPool pool = await loop.InvokeAsync(() => new PayloadPool(4 << 20, null));
        return new Bench(KernelUblkDriver.Open(TimeProvider.System), thread, pool);
    }

    /// <summary>Whether the kernel has a feature; otherwise the case is left out.</summary>
    public void Require(UblkFeatures feature)
    {
        Check(Driver.GetFeatures(out UblkFeatures features) == 0, "features");
        if (!features.HasFlag(feature))
        {
            throw new SkipException($"this kernel lacks {feature}");
        }
    }

    public Task<T> OnLoopAsync<T>(Func<T> function) => Loop.InvokeAsync(function);

    public Task<UblkDevice> CreateAsync(IBlockTarget target, UblkDeviceOptions options) =>
        UblkDevice.CreateAsync(
            Driver, Loop, target, Pool, options, Counters, TimeProvider.System);

    /// <summary>A disk that reads into registered pages, as an image does, but from /dev/zero.</summary>
    public Task<NullTarget> NullAsync(int requests) =>
        OnLoopAsync(() => new NullTarget(Loop, DiskBytes, requests));

    public async ValueTask DisposeAsync()
    {
        await Thread.StopAsync();
        Driver.Dispose();
        Counters.Dispose();
    }

    public static void Check(bool condition, string what)
    {
        if (!condition)
        {
            throw new CheckException(what);
        }
    }

    public static void Equal<T>(T want, T got, string what)
        where T : IEquatable<T> => Check(want.Equals(got), $"{what}: wanted {want}, got {got}");
}

/// <summary>A program that uses the block device: direct, aligned, one request at a time.</summary>
internal sealed class Client : IDisposable
{
    private readonly FileHandle _file;
    private readonly MemoryMapping _memory = MemoryMapping.Allocate(1 << 20);

    public Client(UblkDevice device, bool isDirect = true) => _file = FileHandle.Open(
        device.Path, FileAccess.ReadWrite, isDirect ? OpenOptions.Direct : OpenOptions.None);

    public Span<byte> Memory(int length) => _memory.Bytes[..length];

    public int ReadNow(int length, long offset) => _file.ReadAt(Memory(length), offset);

    public int WriteNow(int length, long offset) => _file.WriteAt(Memory(length), offset);

    public Task<int> ReadAsync(int length, long offset) => Task.Run(() => ReadNow(length, offset));

    public void Dispose()
    {
        _file.Dispose();
        _memory.Dispose();
    }
}
