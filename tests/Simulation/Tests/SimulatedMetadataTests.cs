using Ublk.Replication.Store;
using Ublk.Tests.Simulation.World;
using Ublk.Uring;
using Ublk.Wire.Ids;
using Xunit;

namespace Ublk.Tests.Simulation.Tests;

/// <summary>The metadata file and the live page of a replica, with the real log on them.</summary>
public sealed class SimulatedMetadataTests : IDisposable
{
    private const long VolumeBytes = 1 << 30;

    private readonly WorldPools _pools = new();

    public void Dispose() => _pools.Dispose();

    [Fact]
    public void WhatWasDurableIsRecoveredAfterAnyCrash()
    {
        int torn = 0;
        for (ulong seed = 1; seed <= 60; seed++)
        {
            _pools.Reset();
            var random = new SimulationRandom(seed);
            var node = new SimulatedNode(0, _pools.Clock, random.Fork());
            var file = new SimulatedMetadata(
                node, _pools.Clock, _pools, random.Fork(),
                new RingLayout(new Incarnation(123), 256));
            using var log = new RunningLog(file, _pools, VolumeBytes);
            for (uint grain = 0; grain < 2000; grain++)
            {
                log.Append(new IntentAddEntry(grain, 1));
                if (random.Chance(10))
                {
                    _pools.Clock.RunUntil(_pools.Clock.Now + random.Below(300_000));
                }
            }

            if (random.Chance(500))
            {
                node.Kill();
            }
            else
            {
                node.LosePower();
            }

            RecoveryResult found = MetadataRecovery.Run(file, file.Layout, VolumeBytes);
            Assert.Equal("", found.Text);
            Assert.True(found.State!.Intents.Count >= log.CompletedCount);
            torn += found.HasTornTail ? 1 : 0;
        }

        Assert.True(torn > 0);
    }

    [Fact]
    public void OneWriteAtATime()
    {
        var node = new SimulatedNode(0, _pools.Clock, new SimulationRandom(1));
        var file = new SimulatedMetadata(
            node, _pools.Clock, _pools, new SimulationRandom(1), new RingLayout(new Incarnation(7), 256));
        IoBuffer record = _pools.Memory.Rent(MetadataRecord.Bytes);
        file.Write(StoreFormat.RingOffsetBytes, record);
        Assert.True(file.IsBusy);
        _ = Assert.Throws<InvalidOperationException>(() => file.Write(StoreFormat.RingOffsetBytes, record));
    }

    [Fact]
    public void TheLivePageOutlivesTheProcessOnly()
    {
        var boots = new SortedSet<LivePageTrust>();
        for (ulong seed = 1; seed <= 20; seed++)
        {
            _pools.Reset();
            var node = new SimulatedNode(0, _pools.Clock, new SimulationRandom(seed));
            var memory = new SimulatedLivePage(node, _pools, new SimulationRandom(seed));
            var incarnation = new Incarnation(123);
            var state = new MetadataState(4 << 20);
            LivePage<MappedLiveMemory> page = memory.Open();
            Assert.Equal(LivePageTrust.Absent, page.TrustOf(incarnation, new BootEntry(node.BootId, 1), 4));
            page.Initialize(incarnation, new BootEntry(node.BootId, 1), state, 1, new HistoryPoint(1, 5));

            node.Kill();
            node.Start();
            page = memory.Open();
            Assert.Equal(LivePageTrust.Trusted, page.TrustOf(incarnation, new BootEntry(node.BootId, 1), 4));
            Assert.Equal(5ul, page.Applied.Sequence);

            node.LosePower();
            node.Start();
            boots.Add(memory.Open().TrustOf(incarnation, new BootEntry(node.BootId, 1), 4));
        }

        Assert.Equal([LivePageTrust.Absent, LivePageTrust.OtherBoot], boots);
    }

    /// <summary>The real log of the metadata, on a file of the world.</summary>
    private sealed class RunningLog : IMetadataLogEffects, IDisposable
    {
        private readonly SimulatedMetadata _file;
        private readonly MetadataLog _log;

        public RunningLog(SimulatedMetadata file, WorldPools pools, long volumeBytes)
        {
            _file = file;
            _log = new MetadataLog(new MetadataState(volumeBytes), file.Layout, LogPosition.Empty,
                pools.Memory.Rent(MetadataRecord.Bytes), this);
            file.Ended = result =>
            {
                _log.WriteCompleted(result);
                _log.Issue();
            };
            _log.Issue();
            while (file.IsBusy)
            {
                _ = pools.Clock.Step();
            }
        }

        public int CompletedCount { get; private set; }

        public void Append(in IntentAddEntry entry)
        {
            Assert.Equal(AppendResult.Queued, _log.Append(entry, 1));
            _log.Issue();
        }

        public void WriteDurably(long offsetBytes, in IoBuffer record) => _file.Write(offsetBytes, record);

        public void RecordDurable(ulong number)
        {
        }

        public void Completed(ulong token) => CompletedCount++;

        public void MetadataFailed(int result) => Assert.Fail($"{result}");

        public void Dispose() => _file.Ended = _ => { };
    }
}
