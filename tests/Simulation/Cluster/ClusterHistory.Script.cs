using Ublk.Replication.State;
using Ublk.Tests.Simulation.Judge;
using Ublk.Tests.Simulation.World;
using Ublk.Wire.Blocks;

namespace Ublk.Tests.Simulation.Cluster;

/// <content>
/// Histories that are told step by step: the schedule of one rule, with the same world, watchers and judge as
/// any other. Nothing happens by chance but small differences in time.
/// </content>
internal sealed partial class ClusterHistory
{
    private const long StepLimitNs = 120 * LatencyModel.Second;

    /// <summary>Plays a schedule, then lets everything come to its end, and judges.</summary>
    /// <param name="options">The world; without faults of its own.</param>
    /// <param name="pools">Memory.</param>
    /// <param name="script">The schedule.</param>
    /// <exception cref="HistoryException">A promise was broken, or a step has no end.</exception>
    public static void Play(SimulationOptions options, WorldPools pools, Action<ClusterHistory> script)
    {
        pools.Reset();
        var world = new ClusterWorld(options, pools) { MaxHotGrains = 4096 };
        try
        {
            var history = new ClusterHistory(world) { _isScripted = true };
            foreach (ReplicaHost host in history._hosts)
            {
                host.Open();
                host.Image.Survives = Survival.Nothing;
                if (host.Checksums is not null)
                {
                    host.Checksums.Survives = Survival.Nothing;
                }
            }

            history.Control();
            script(history);
            history.Finish();
        }
        catch (Exception failure)
        {
            throw new HistoryException($"{failure.Message}\n{world.Story()}", failure);
        }
    }

    /// <summary>The replica in a place.</summary>
    public ReplicaHost this[int place] => _hosts[place];

    /// <summary>What serves the volume now; null for nothing.</summary>
    public VolumeMachine? Volume => _writer?.Machine.Volume;

    /// <summary>A bit of a block turns on one replica.</summary>
    /// <param name="place">Which replica.</param>
    /// <param name="block">Which block.</param>
    public void TurnBit(int place, int block)
    {
        _world.IsDecaying = true;
        TurnBit(_hosts[place], (block + 1L) * _options.BlockBytes - 1, 0);
    }

    /// <summary>Who serves the volume now.</summary>
    public PrimaryHost Writer => _writer!;

    /// <summary>Lets time pass.</summary>
    /// <param name="milliseconds">How much.</param>
    public void Pass(int milliseconds) =>
        RunUntil(() => false, milliseconds * LatencyModel.Millisecond, mustCome: false);

    /// <summary>Lets time pass until something is so.</summary>
    /// <param name="isSo">What.</param>
    public void Until(Func<bool> isSo) => RunUntil(isSo, StepLimitNs, mustCome: true);

    /// <summary>A node asks for the volume, in a new epoch.</summary>
    /// <param name="node">Which.</param>
    public void Attach(int node) => StartWriter(node, ++_epoch);

    /// <summary>A node asks for the volume in an epoch that the metadata gave out before.</summary>
    /// <param name="node">Which.</param>
    /// <param name="epoch">The epoch.</param>
    public void AttachIn(int node, ulong epoch) => StartWriter(node, epoch);

    /// <summary>A node that knows an old configuration asks for the volume, in a new epoch.</summary>
    /// <param name="node">Which.</param>
    /// <param name="configuration">The number of the configuration.</param>
    public void AttachAsOf(int node, ulong configuration) => StartWriter(
        node, ++_epoch, _records.FindLast(record => record.Configuration.Number == configuration));

    /// <summary>A node gets the volume, in a new epoch.</summary>
    /// <param name="node">Which.</param>
    public void Serve(int node)
    {
        Attach(node);
        Until(() => _writer?.Node == _nodes[node]);
    }

    /// <summary>The host writes a block; the answer is not waited for.</summary>
    /// <param name="block">Which.</param>
    /// <param name="count">How many.</param>
    public void Write(int block, int count = 1) => _client.Submit(BlockOperation.Write, block, count);

    /// <summary>The host writes a block, and has its answer.</summary>
    /// <param name="block">Which.</param>
    public void WriteDone(int block)
    {
        Write(block);
        Done();
    }

    /// <summary>The host reads a block; the answer is not waited for.</summary>
    /// <param name="block">Which.</param>
    /// <param name="count">How many.</param>
    public void Read(int block, int count = 1) => _client.Submit(BlockOperation.Read, block, count);

    /// <summary>The host reads a block, and has its answer.</summary>
    /// <param name="block">Which.</param>
    public void ReadDone(int block)
    {
        Read(block);
        Done();
    }

    /// <summary>The host reads a block, and is told that this cannot be.</summary>
    /// <param name="block">Which.</param>
    public void ReadFails(int block)
    {
        int before = _client.OkCount;
        ReadDone(block);
        Expect(_client.OkCount == before, $"block {block} cannot be read");
    }

    /// <summary>The host reads a block, and is not told that this cannot be.</summary>
    /// <param name="block">Which.</param>
    public void ReadSucceeds(int block)
    {
        int before = _client.OkCount;
        ReadDone(block);
        Expect(_client.OkCount == before + 1, $"block {block} can be read");
    }

    /// <summary>The replicas are compared.</summary>
    public void Scrub()
    {
        PrimaryHost writer = Writer;
        writer.Scrub();
        Until(() => writer.Scrubbed is not null);
    }

    /// <summary>The volume has been at rest for so long that nothing is hot any more.</summary>
    public void Rest()
    {
        FlushDone();
        Until(() => _hosts.TrueForAll(host => host.Machine is not { State.Intents.Count: > 0 }));
    }

    /// <summary>The host flushes; the answer is not waited for.</summary>
    public void Flush() => _client.Submit(BlockOperation.Flush, 0, 0);

    /// <summary>The host flushes, and has its answer.</summary>
    public void FlushDone()
    {
        Flush();
        Done();
    }

    /// <summary>The host has all its answers.</summary>
    public void Done() => Until(() => _client.OpenCount == 0);

    /// <summary>Requests without an answer.</summary>
    public int OpenCount => _client.OpenCount;

    /// <summary>A node hears nobody, and nobody it.</summary>
    /// <param name="node">Which.</param>
    public void CutOff(int node)
    {
        for (int other = 0; other < _nodes.Length; other++)
        {
            CutBetween(node, other);
        }
    }

    /// <summary>A node hears nobody, and the volume has gone on without it.</summary>
    /// <param name="node">Which.</param>
    public void LeaveOut(int node)
    {
        CutOff(node);
        Until(() => !Volume!.Replicas.Connected.Has(_hostOn[node]!.Place));
    }

    /// <summary>Two nodes do not hear each other.</summary>
    public void CutBetween(int one, int other)
    {
        _world.Network.Cut(one, other);
        _world.Network.Cut(other, one);
    }

    /// <summary>A node hears everybody again.</summary>
    /// <param name="node">Which.</param>
    public void Heal(int node) => Join(node);

    /// <summary>The process of a node is killed.</summary>
    public void Kill(int node) => Stop(node, losesPower: false);

    /// <summary>A node loses power: nothing of its replica survives that was not synced.</summary>
    public void LosePower(int node) => Stop(node, losesPower: true);

    /// <summary>A node comes back.</summary>
    public void Restart(int node)
    {
        Start(node);
        Until(() => _hostOn[node] is null or { Machine: not null });
    }

    /// <summary>A node does nothing.</summary>
    public void Freeze(int node) => _nodes[node].Freeze();

    /// <summary>A node goes on.</summary>
    public void Thaw(int node) => _nodes[node].Thaw();

    /// <summary>An operation of the disk of a replica takes so long from now on.</summary>
    public void SlowDisk(int place, int milliseconds) =>
        _hosts[place].Image.Latency = Exactly(milliseconds);

    /// <summary>A sync of the disk of a replica takes so long from now on.</summary>
    public void SlowSync(int place, int milliseconds) =>
        _hosts[place].Image.SyncLatency = Exactly(milliseconds);

    /// <summary>A record of the ring of a replica takes so long from now on.</summary>
    public void SlowRing(int place, int milliseconds) => _hosts[place].RingLatency = Exactly(milliseconds);

    /// <summary>The disk of a replica has no room for what is written from now on.</summary>
    public void FillDisk(int place) =>
        _hosts[place].Image.Faults = ImageFaults.None with { NoSpacePermille = 1000 };

    /// <summary>Syncs of the disk of a replica fail from now on.</summary>
    public void FailSyncs(int place) =>
        _hosts[place].Image.Faults = ImageFaults.None with { SyncErrorPermille = 1000 };

    /// <summary>The disk of a replica is well again.</summary>
    public void Mend(int place) => _hosts[place].HasNoFaults();

    /// <summary>Messages from a node take so long, in sessions opened from now on.</summary>
    public void SlowWays(int node, int milliseconds)
    {
        for (int other = 0; other < _nodes.Length; other++)
        {
            _world.Network.SetLatency(node, other, Exactly(milliseconds));
        }
    }

    /// <summary>The session between two nodes is reset.</summary>
    public void Reset(int one, int other) => _world.Network.ResetBetween(one, other);

    /// <summary>The disk of a node is lost: an empty one is in its place, and takes the lost one's.</summary>
    /// <param name="node">Which.</param>
    public void LoseDisk(int node)
    {
        ReplaceDisk(node);
        Expect(IsChanging, "the disk is replaced");
        Restart(node);
        Until(() => !IsChanging);
    }

    /// <summary>A member gives its place to an empty replica on a node that has none.</summary>
    /// <param name="place">The member.</param>
    /// <param name="node">The node.</param>
    public void Exchange(int place, int node) =>
        BeginChange(Newest.Configuration.Group.Members.Without(place), node);

    /// <summary>Whether a change of membership is under way.</summary>
    public bool IsExchanging => IsChanging;

    /// <summary>The volume becomes larger.</summary>
    /// <returns>Its first new block.</returns>
    public int GrowDone()
    {
        int block = _world.Checker.Blocks;
        Grow();
        Until(() => !IsChanging && _world.Checker.Blocks > block);
        return block;
    }

    /// <summary>Whether the node with the volume is one.</summary>
    public bool IsServedBy(int node) => _writer?.Node == _nodes[node];

    /// <summary>Whether anybody has the volume.</summary>
    public bool IsServed => _writer is not null;

    /// <summary>Whether a node has the volume, or asks for it.</summary>
    public bool IsAsking(int node) => _primaries.Exists(primary => primary.Node == _nodes[node]);

    /// <summary>Fails the schedule unless something is so.</summary>
    public static void Expect(bool isSo, string what)
    {
        if (!isSo)
        {
            throw new HistoryException($"expected: {what}");
        }
    }

    private static LatencyModel Exactly(int milliseconds) =>
        new(milliseconds * LatencyModel.Millisecond, milliseconds * LatencyModel.Millisecond);
}
