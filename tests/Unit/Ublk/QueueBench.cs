using Microsoft.Extensions.Time.Testing;
using Ublk.Frontend.Ublk;
using Ublk.Testing;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Blocks;
using Xunit;

namespace Ublk.Tests.Unit.Ublk;

/// <summary>What a <see cref="QueueBench"/> is made of.</summary>
internal sealed record BenchOptions
{
    public KernelProfile Profile { get; init; } = KernelProfile.V7_3;
    public int Depth { get; init; } = 4;
    public long SizeBytes { get; init; } = 1 << 20;
    public int MaxTransferBytes { get; init; } = 1 << 16;
    public long PoolBytes { get; init; } = 1 << 20;
    public int TableSlots { get; init; } = 16;
    public bool UsesAutoBuffers { get; init; } = true;
    public bool FallsBack { get; init; } = true;
    public bool CopiesWrites { get; init; } = true;
    public bool IsDirect { get; init; } = true;
    public int BlockBytes { get; init; } = 512;
    public TimeSpan Timeout { get; init; }
    public bool IsStarted { get; init; } = true;
}

/// <summary>
/// One queue between a fake kernel and a model target, all on the test's thread: nothing moves
/// before the test pumps.
/// </summary>
internal sealed class QueueBench : IUblkQueueOwner, IDisposable
{
    public const int Block = 4096;
    public const byte Read = 0;
    public const byte Write = 1;
    public const byte Flush = 2;
    public const byte Discard = 3;
    public const byte WriteZeroes = 5;

    private readonly IUblkQueueDriver _queueDriver;
    private readonly IUblkCharDevice _charDevice;
    private readonly int _freeSlots;

    public QueueBench(BenchOptions? options = null)
    {
        options ??= new BenchOptions();
        Loop = new Loop(
            new LoopOptions { MaxOperations = 64, BufferTableSlots = options.TableSlots }, Time);
        Driver = new FakeUblkDriver(options.Profile) { WaitLimit = TimeSpan.Zero };
        var limits = new BlockLimits
        {
            LogicalBlockBytes = options.BlockBytes,
            MaxRequests = 2 * options.Depth,
            ReadsIntoRegistered = options.IsDirect,
            WritesFromRegistered = options.IsDirect,
            DiscardGranularityBytes = Block,
            MaxDiscardBytes = 1L << 30,
            MaxWriteZeroesBytes = 1L << 30,
        };
        Target = new ModelTarget(options.SizeBytes, limits, Driver, Loop);
        Pool = new PayloadPool(options.PoolBytes, table: null);
        var deviceOptions = new UblkDeviceOptions { UsesAutoBuffers = options.UsesAutoBuffers };
        var info = new UblkDeviceInfo
        {
            QueueCount = 1,
            QueueDepth = (ushort)options.Depth,
            MaxIoBufferBytes = (uint)options.MaxTransferBytes,
            Flags = UblkSupport.WantedFlags(options.Profile.Features, deviceOptions),
        };
        Assert.Equal(0, Driver.Add(ref info));
        bool hasAuto = info.Flags.HasFlag(UblkFeatures.AutoBufferRegistration);
        Assert.Equal(0, Driver.SetParameters(0, UblkParametersBuilder.Build(
            limits, options.SizeBytes, options.MaxTransferBytes, hasAuto)));
        Assert.Equal(0, Driver.OpenDevice(0, out IUblkCharDevice? charDevice));
        _charDevice = charDevice!;
        _queueDriver = _charDevice.OpenQueue(Loop, 0, options.Depth);
        var queueOptions = new UblkQueueOptions
        {
            Depth = options.Depth,
            MaxTransferBytes = options.MaxTransferBytes,
            UsesAutoBuffers = hasAuto,
            FallsBack = options.FallsBack,
            CopiesWrites = options.CopiesWrites,
            RequestTimeout = options.Timeout,
        };
        _freeSlots = Loop.Buffers.FreeCount;
        Queue = new UblkQueue(
            queueOptions, _queueDriver, Target, Pool, Loop.Buffers, Counters, this, Time);
        if (options.IsStarted)
        {
            Queue.Start();
            Assert.Equal(0, Driver.Start(0, Environment.ProcessId));
        }
    }

    public Loop Loop { get; }
    public FakeTimeProvider Time { get; } = new();
    public FakeUblkDriver Driver { get; }
    public ModelTarget Target { get; }
    public PayloadPool Pool { get; }
    public UblkCounters Counters { get; } = new();
    public UblkQueue Queue { get; }
    public List<string> Events { get; } = [];

    public void OnQueueEnded() => Events.Add("ended");

    public void OnQueueFault(string message) => Events.Add($"fault: {message}");

    public long Count(UblkCounter counter) => Counters[counter];

    /// <summary>Enters a request; the queue sees it with the next pump.</summary>
    public FakeBlockRequest Submit(
        byte operation, long offset = 0, long length = Block, uint flags = 0,
        byte[]? data = null) => Driver.Submit(0, operation, offset, length, flags, data);

    public FakeBlockRequest SubmitWrite(long offset, byte value, int length = Block) =>
        Submit(Write, offset, length, 0, Filled(value, length));

    /// <summary>Enters a request and pumps until nothing moves.</summary>
    public FakeBlockRequest Run(
        byte operation, long offset = 0, long length = Block, uint flags = 0, byte[]? data = null)
    {
        FakeBlockRequest request = Submit(operation, offset, length, flags, data);
        Pump();
        return request;
    }

    /// <summary>As <see cref="Run"/>, for what no client would send.</summary>
    public FakeBlockRequest SubmitRaw(byte operation, long offset, long length)
    {
        FakeBlockRequest request =
            Driver.SubmitRaw(0, operation, (ulong)offset / 512, (uint)(length / 512));
        Pump();
        return request;
    }

    public void Pump()
    {
        while (Driver.Pump() > 0)
        {
        }
    }

    /// <summary>Stops the device and checks that nothing is left anywhere.</summary>
    public void AssertEndsClean()
    {
        Target.CompleteAll();
        Pump();
        Target.CompleteAll();
        Assert.Equal(0, Queue.InFlightCount);
        Assert.Equal(0, Count(UblkCounter.InFlight));
        Assert.Equal(0, Driver.Stop(0));
        Pump();
        Assert.Contains(Events, static name => name == "ended");
        Assert.Equal(_freeSlots, Loop.Buffers.FreeCount);
        Assert.Equal(Pool.CapacityBytes, Pool.FreeBytes);
        Assert.Equal(0, Driver.RegisteredCount);
        _queueDriver.Dispose();
        _charDevice.Dispose();
        Assert.Equal(0, Driver.Delete(0, isAsync: false));
        Driver.AssertSound();
    }

    /// <summary>Closes a device that had a fault, as its owner does.</summary>
    public void Close()
    {
        _queueDriver.Dispose();
        _charDevice.Dispose();
        Queue.ReturnWithheldPlaces();
    }

    public static byte[] Filled(byte value, int length = Block)
    {
        var bytes = new byte[length];
        Array.Fill(bytes, value);
        return bytes;
    }

    public void Dispose()
    {
        Counters.Dispose();
        Pool.Dispose();
        Loop.Dispose();
    }

    public const int EIO = -Errno.EIO;
    public const int ETIMEDOUT = -Errno.ETIMEDOUT;
    public const int EOPNOTSUPP = -Errno.EOPNOTSUPP;
}
