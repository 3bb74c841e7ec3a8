using System.Runtime.CompilerServices;
using Ublk.Frontend.Ublk;
using Xunit;

namespace Ublk.Tests.Unit.Ublk;

/// <summary>
/// What the thread has allocated is looked at now and then, and whenever nothing is in hand.
/// </summary>
public sealed class UblkCountersTests
{
    [Fact]
    public void UnderLoadAllocationShowsWithinTheInterval()
    {
        using var counters = new UblkCounters();
        counters.CountArrival(); // One that stays in hand all the time.
        Serve(counters, UblkCounters.AllocationInterval);
        long before = counters[UblkCounter.LoopAllocatedBytes];
        Assert.True(before > 0);
        Allocate();
        Serve(counters, UblkCounters.AllocationInterval - 1);
        Assert.Equal(before, counters[UblkCounter.LoopAllocatedBytes]);
        Serve(counters, 1);
        Assert.True(counters[UblkCounter.LoopAllocatedBytes] >= before + 100_000);
        Assert.Equal(1, counters[UblkCounter.InFlight]);
    }

    [Fact]
    public void AtRestAllocationIsUpToDate()
    {
        using var counters = new UblkCounters();
        Serve(counters, 1);
        long before = counters[UblkCounter.LoopAllocatedBytes];
        Assert.True(before > 0);
        counters.CountArrival();
        Serve(counters, 3);
        Allocate();
        counters.CountDeparture();
        Assert.True(counters[UblkCounter.LoopAllocatedBytes] >= before + 100_000);
        Assert.Equal(0, counters[UblkCounter.InFlight]);
    }

    private static void Serve(UblkCounters counters, int count)
    {
        for (int i = 0; i < count; i++)
        {
            counters.CountArrival();
            counters.CountDeparture();
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Allocate() => GC.KeepAlive(new byte[100_000]);
}
