using Ublk.Testing;
using Xunit;
using static Ublk.Tests.Unit.Ublk.QueueBench;

namespace Ublk.Tests.Unit.Ublk;

/// <summary>After warm-up a request allocates nothing, whatever way its bytes go.</summary>
public sealed class UblkQueueAllocationTests
{
    [Theory]
    [InlineData("7.3", true)]
    [InlineData("7.3", false)]
    [InlineData("6.12", true)]
    public void NoRequestAllocates(string kernel, bool copiesWrites)
    {
        using var bench = new QueueBench(new BenchOptions
        {
            Profile = KernelProfile.Of(kernel),
            CopiesWrites = copiesWrites,
        });
        FakeBlockRequest[] requests =
        [
            bench.Run(Read), bench.Run(Write), bench.Run(Flush), bench.Run(Discard),
            bench.Run(WriteZeroes), bench.Run(Read, 8192, 1 << 16), bench.Run(Read, 1 << 20),
        ];
        Serve(bench, requests, 1_000);
        Assert.Equal(0, Allocation.Steady(() => Serve(bench, requests, 10_000)));
        bench.AssertEndsClean();
    }

    private static void Serve(QueueBench bench, FakeBlockRequest[] requests, int count)
    {
        for (int i = 0; i < count; i++)
        {
            bench.Driver.Submit(0, requests[i % requests.Length]);
            if (i % 4 == 3)
            {
                bench.Pump();
            }
        }

        bench.Pump();
    }
}
