using Ublk.Replication.Store;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Store;

/// <summary>Maps take at most 32 MiB per TiB of volume, however full they are.</summary>
public sealed class StoreMemoryTests
{
    private const long TiB = 1L << 40;
    private const long Limit = 32L << 20;

    [Fact]
    public void MapsOfATebibyte()
    {
        _ = Full(1L << 30); // Warm-up.
        long before = GC.GetAllocatedBytesForCurrentThread();
        (MetadataState state, IntentPolicy policy) = Full(TiB);
        long heap = GC.GetAllocatedBytesForCurrentThread() - before;
        long live = LivePageLayout.BytesOf(MetadataState.RegionsOf(TiB));
        TestContext.Current.TestOutputHelper?.WriteLine(
            $"{heap} bytes of heap and {live} of the live page");
        Assert.InRange(heap + live, 1, Limit);
        GC.KeepAlive(state);
        GC.KeepAlive(policy);
    }

    [Fact]
    public void ARingOfATebibyteIsSmallAndHoldsItsState()
    {
        int records = RingSpace.RingRecordsFor(TiB);
        Assert.True(records * (long)MetadataRecord.Bytes <= 96L << 20, $"{records} records");
        (MetadataState state, _) = Full(TiB);
        long free = records - RingSpace.RecordsOf(CheckpointWriter.BytesOf(state));
        Assert.True(free > RingSpace.StartOf(state, 0, records), $"{free}");
        Assert.True(RingSpace.IsEnough(StoreFormat.MaxRingRecords, StoreFormat.MaxVolumeBytes));
        Assert.True(RingSpace.IsEnough(RingSpace.RingRecordsFor(512), 512));
    }

    // Every region has a version and is missing, with the most hot grains that the policy takes.
    private static (MetadataState State, IntentPolicy Policy) Full(long sizeBytes)
    {
        var state = new MetadataState(sizeBytes);
        int regions = state.Versions.Regions;
        state.Versions.Fill(0, regions, 5);
        state.Missing.TryAdd(0, regions, new HistoryPoint(1, 2));
        var options = new IntentPolicyOptions();
        for (int grain = 0; grain < Math.Min(state.Intents.Grains, options.MaxHotGrains); grain += 2)
        {
            state.Intents.Add(grain, 1);
        }

        return (state, new IntentPolicy(state, region => state.Versions[region], options));
    }
}
