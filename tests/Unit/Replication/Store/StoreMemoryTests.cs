using Ublk.Replication.Store;
using Ublk.Tests.Unit.Benchmarks;
using Ublk.Tests.Unit.Replication.Replica;
using Ublk.Wire.Blocks;
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

    // A replica as it runs: with its operations under way, its live page and its claim.
    [Theory]
    [InlineData(1)]
    [InlineData(16)]
    public void AReplicaOfTebibytes(int tebibytes)
    {
        using (var warm = new ReplicaBench(FullReplica(1L << 30)))
        {
            warm.AskForClaim();
        }

        long before = GC.GetAllocatedBytesForCurrentThread();
        using var bench = new ReplicaBench(FullReplica(tebibytes * TiB));
        long heap = GC.GetAllocatedBytesForCurrentThread() - before;
        long messages = bench.AskForClaim();
        long claim = GC.GetAllocatedBytesForCurrentThread() - before - heap;
        TestContext.Current.TestOutputHelper?.WriteLine(
            $"{tebibytes} TiB: {heap} bytes of heap and {bench.LiveBytes} of the live page; " +
            $"{claim} for a claim of {messages} messages, which do not stay");
        Assert.InRange(heap + bench.LiveBytes, 1, tebibytes * Limit);
    }

    // The node of the writer: its machine, one replica's, and writes all over the volume.
    [Fact]
    public void AWriterAndItsReplicaOfATebibyte()
    {
        const int Writes = 20_000;
        using (var warm = new CoreCluster(1, 1L << 30))
        {
            warm.Play(BlockOperation.Write, 100, 10, i => i * 4096L);
        }

        // All that was ever allocated, so more than what stays.
        long before = GC.GetAllocatedBytesForCurrentThread();
        using var cluster = new CoreCluster(1, TiB);
        var random = new Random(1);
        cluster.Play(BlockOperation.Write, Writes, 32, _ => random.NextInt64(TiB / 4096) * 4096);
        long heap = GC.GetAllocatedBytesForCurrentThread() - before;
        long live = LivePageLayout.BytesOf(MetadataState.RegionsOf(TiB));
        TestContext.Current.TestOutputHelper?.WriteLine(
            $"writer and replica: {heap} bytes of heap and {live} of the live page");
        Assert.Equal(Writes, cluster.CompletedCount);
        Assert.InRange(heap + live, 1, Limit);
    }

    private static OpenedReplica FullReplica(long sizeBytes) =>
        ReplicaBench.New(sizeBytes) with { State = Full(sizeBytes).State };

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
