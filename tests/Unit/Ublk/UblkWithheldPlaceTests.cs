using Ublk.Frontend.Ublk;
using Ublk.Testing;
using Ublk.Uring.Native;
using Xunit;
using static Ublk.Tests.Unit.Ublk.QueueBench;

namespace Ublk.Tests.Unit.Ublk;

/// <summary>
/// A commit that the driver refuses for good leaves the request, and so its pages in the buffer table, with
/// the kernel: that place is nobody's until the device is closed.
/// </summary>
public sealed class UblkWithheldPlaceTests
{
    private const int Refusals = 2;

    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(10);

    [Fact]
    public void ThePlaceIsOutOfUseUntilTheDeviceIsClosed()
    {
        using var bench = new QueueBench(new BenchOptions { Depth = 2, TableSlots = 2 });
        bench.Driver.Inject(FakeCommand.Commit, -Errno.EINVAL, count: Refusals);
        bench.Run(Read);
        int place = bench.Target.Last.Buffer.TableIndex;
        Assert.Equal(1, bench.Queue.EndedCount);
        Assert.Equal(1, bench.Count(UblkCounter.WithheldPlaces));
        Assert.NotNull(bench.Driver.RegisteredAt(bench.Loop, place));
        Assert.False(bench.Loop.Buffers.TryRent(out _));

        for (int i = 0; i < 3; i++)
        {
            Assert.True(bench.Run(Read).WasRegistered);
            Assert.NotEqual(place, bench.Target.Last.Buffer.TableIndex);
        }

        bench.Close();
        Assert.Equal(0, bench.Count(UblkCounter.WithheldPlaces));
        Assert.True(bench.Loop.Buffers.TryRent(out ushort free));
        Assert.Equal(place, free);
    }

    [Fact]
    public void ASecondChanceThatIsTakenWithholdsNothing()
    {
        using var bench = new QueueBench(new BenchOptions { Depth = 1 });
        bench.Driver.Inject(FakeCommand.Commit, -Errno.EINVAL);
        Assert.Equal(0, bench.Run(Read).Result);
        Assert.Equal(0, bench.Count(UblkCounter.WithheldPlaces));
        bench.AssertEndsClean();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ThePlaceOfAGivenUpRequestIsToo(bool isClosedFirst)
    {
        using var bench = new QueueBench(
            new BenchOptions { Depth = 1, Timeout = s_limit, TableSlots = 2 });
        bench.Target.IsManual = true;
        bench.Submit(Read);
        bench.Pump();
        int place = bench.Target.Last.Buffer.TableIndex;
        bench.Time.Advance(s_limit);
        bench.Driver.Inject(FakeCommand.Commit, -Errno.EINVAL, count: Refusals);
        Assert.Equal(1, bench.Queue.GiveUpOverdue());
        bench.Pump();
        Assert.StartsWith("fault: commit of tag", bench.Events[0], StringComparison.Ordinal);
        // The place that the tag had asked for instead was never occupied.
        Assert.Equal(1, bench.Loop.Buffers.FreeCount);
        if (isClosedFirst)
        {
            bench.Close();
            Assert.Equal(1, bench.Loop.Buffers.FreeCount);
            bench.Target.Complete();
        }
        else
        {
            bench.Target.Complete();
            Assert.Equal(1, bench.Count(UblkCounter.WithheldPlaces));
            Assert.Equal(1, bench.Loop.Buffers.FreeCount);
            Assert.True(bench.Loop.Buffers.TryRent(out ushort other));
            Assert.NotEqual(place, other);
            bench.Loop.Buffers.Return(other);
            bench.Close();
        }

        Assert.Equal(0, bench.Count(UblkCounter.WithheldPlaces));
        Assert.Equal(2, bench.Loop.Buffers.FreeCount);
    }

    [Theory]
    [InlineData("6.12", true)]
    [InlineData("7.3", false)]
    public void WithoutAPlaceThereIsNothingToWithhold(string kernel, bool usesAutoBuffers)
    {
        using var bench = new QueueBench(new BenchOptions
        {
            Profile = KernelProfile.Of(kernel),
            UsesAutoBuffers = usesAutoBuffers,
        });
        int free = bench.Loop.Buffers.FreeCount;
        bench.Driver.Inject(FakeCommand.Commit, -Errno.EINVAL, count: Refusals);
        bench.Run(Read);
        Assert.Equal(0, bench.Count(UblkCounter.WithheldPlaces));
        bench.Close();
        Assert.Equal(free, bench.Loop.Buffers.FreeCount);
    }

    [Fact]
    public async Task AClosedDeviceHasReturnedThem()
    {
        await using DeviceBench bench = await DeviceBench.StartAsync();
        int free = await bench.OnLoop(() => bench.Loop.Buffers.FreeCount);
        UblkDevice device = await bench.CreateAsync(DeviceBench.Options with { QueueDepth = 1 });
        bench.Driver.Inject(FakeCommand.Commit, -Errno.EINVAL, count: Refusals);
        bench.Driver.Submit(0, Read, 0, Block);
        Assert.Equal(UblkEnd.Faulted, await device.Ended);
        Assert.Equal(1, await bench.OnLoop(() => bench.Counters[UblkCounter.WithheldPlaces]));
        Assert.Equal(free - 1, await bench.OnLoop(() => bench.Loop.Buffers.FreeCount));

        await device.LetGoAsync();
        Assert.Equal(0, await bench.OnLoop(() => bench.Counters[UblkCounter.WithheldPlaces]));
        Assert.Equal(free, await bench.OnLoop(() => bench.Loop.Buffers.FreeCount));
        Assert.Equal(0, bench.Driver.RegisteredCount);
        Assert.Equal(0, bench.Driver.OpenHandleCount);
    }
}
