using Ublk.Replication.Primary;
using Ublk.Replication.State;
using Ublk.Replication.Store;
using Ublk.Tests.Simulation.Judge;
using Ublk.Tests.Simulation.Network;
using Ublk.Tests.Simulation.World;
using Ublk.Wire.Blocks;
using Ublk.Wire.Ids;

namespace Ublk.Tests.Simulation.Cluster;

/// <summary>
/// A history of a replicated volume: its host works while hosts, disks and the network fail; then the faults
/// stop, and everything has to come to an end: every request answered, every replica in sync, all images the
/// same, and nothing shown that the promises forbid.
/// </summary>
internal sealed partial class ClusterHistory
{
    /// <summary>How the message of a history begins that does not come to an end.</summary>
    public const string Endless = "it does not come to an end";

    private const long FaultsLimitNs = 60 * LatencyModel.Second;
    private const long EndLimitNs = 600 * LatencyModel.Second;

    private static readonly FaultKind[] s_kinds =
    [
        FaultKind.KillProcess, FaultKind.LosePower, FaultKind.LosePowerEverywhere, FaultKind.KillEverywhere,
        FaultKind.Freeze, FaultKind.Cut, FaultKind.Isolate, FaultKind.ResetSession, FaultKind.SwitchWriter,
        FaultKind.TwoCandidates, FaultKind.ForgetCommand, FaultKind.Corner, FaultKind.ChangeMembers,
        FaultKind.ReplaceDisk, FaultKind.Grow, FaultKind.Scrub, FaultKind.Rot,
    ];

    private readonly ClusterWorld _world;
    private readonly SimulationOptions _options;
    private readonly SimulationRandom _random;
    private readonly SimulatedNode[] _nodes;
    private readonly List<ReplicaHost> _hosts = [];
    private readonly ReplicaHost?[] _hostOn;
    private readonly List<PrimaryHost> _primaries = [];
    private readonly HostClient _client;
    private PrimaryHost? _writer;
    private ReplicaMask _inSync;
    private ulong _epoch;
    private ulong _nonce;
    private int _wanted;
    private bool _isCalm;
    private bool _isScripted;

    private ClusterHistory(ClusterWorld world)
    {
        _world = world;
        _options = world.Options;
        _random = world.Random.Fork();
        int spare = _options.WeightOf(FaultKind.ChangeMembers) > 0 ? 1 : 0;
        _nodes = new SimulatedNode[_options.Nodes + spare];
        _hostOn = new ReplicaHost?[_nodes.Length];
        for (int i = 0; i < _nodes.Length; i++)
        {
            _nodes[i] = new SimulatedNode(i, world.Clock, _random.Fork());
            _nodes[i].Clock.DriftPerMillion =
                _random.Between(-_options.MaxDriftPerMillion, _options.MaxDriftPerMillion);
        }

        for (int i = 0; i < _options.Replicas; i++)
        {
            AddHost(i);
        }

        var rule = new QuorumRule(_options.Replicas, _options.WriteQuorum);
        var everybody = new ReplicaGroup(ReplicaMask.First(_options.Replicas), rule);
        Record(new VolumeConfiguration(1, everybody), _options.VolumeBytes);
        world.Network = new SimulatedNetwork(_nodes, world.Clock, world.Memory, _random.Fork())
        {
            Faults = _options.Network,
        };
        SetLatencies(_options.Link, variants: 5);
        world.OnStageChanged = OnStageChanged;
        world.OnPrimaryEvent = OnPrimaryEvent;
        world.OnConfigurationChanged = OnConfigurationChanged;
        world.Watch = new ClusterWatch(world, _hosts, _records, _primaries);
        _client = new HostClient(world);
    }

    /// <summary>Runs a history.</summary>
    /// <param name="seed">Which.</param>
    /// <param name="pools">Memory.</param>
    /// <returns>Equal for two runs of one seed.</returns>
    /// <exception cref="HistoryException">A promise was broken.</exception>
    public static ulong Run(ulong seed, WorldPools pools) =>
        Run(SimulationOptions.Draw(seed).WithOnly(s_kinds), pools);

    /// <summary>Runs a history in a given world.</summary>
    /// <param name="options">The world.</param>
    /// <param name="pools">Memory.</param>
    public static ulong Run(SimulationOptions options, WorldPools pools)
    {
        pools.Reset();
        var world = new ClusterWorld(options, pools);
        try
        {
            new ClusterHistory(world).Run();
            return pools.Clock.Fingerprint;
        }
        catch (Exception failure)
        {
            throw new HistoryException($"{failure.Message}\n{world.Story()}", failure);
        }
    }

    // The end of every history: no more faults, everything comes to an end, and is looked at.
    private void Finish()
    {
        Calm();
        RunUntil(() => _client.IsDone && IsWhole && !IsChanging, EndLimitNs, mustCome: true);
        MendRot();
        LookAtEverything();
        RunUntil(() => _client.OpenCount == 0 && IsQuiet, EndLimitNs, mustCome: true);
        Decay();
        RunUntil(() => _client.OpenCount == 0 && IsQuiet, EndLimitNs, mustCome: true);
        CompareImages();
        _world.Checker.Judge();
    }

    private void Run()
    {
        foreach (ReplicaHost host in _hosts)
        {
            host.Open();
        }

        Want(0);
        PlanFault();
        Control();
        RunUntil(() => _client.IsDone, FaultsLimitNs, mustCome: false);
        Finish();
    }

    private bool IsWhole => _writer?.Machine.Volume is { Stage: VolumeStage.Serving } volume &&
        volume.Replicas.Counting.HasAll(_writer.Machine.Configuration.Members);

    private bool IsQuiet => IsWhole && _writer!.Machine.Volume!.Window.Count == 0;

    // Ways differ, so that replicas are not all at the same point.
    private void SetLatencies(LatencyModel link, int variants)
    {
        for (int from = 0; from < _nodes.Length; from++)
        {
            for (int to = 0; to < _nodes.Length; to++)
            {
                LatencyModel way = link with { UsualNs = link.UsualNs << _random.Below(variants) };
                _world.Network.SetLatency(from, to, way);
            }
        }
    }

    private void RunUntil(Func<bool> isOver, long limitNs, bool mustCome)
    {
        long end = _world.Clock.Now + limitNs;
        while (!isOver())
        {
            // Attempts in vain change nothing but the time, and only a script may look at that.
            if (!_isScripted && _client.IsHeldUp)
            {
                _world.Clock.PassRetries(end);
            }

            if (_world.Clock.Now > end || !_world.Clock.Step())
            {
                if (mustCome)
                {
                    throw new HistoryException($"{Endless}: {Describe()}");
                }

                return;
            }
        }
    }

    // An epoch from the metadata of the cluster, which may have forgotten that it gave it out.
    private void Want(long delay)
    {
        if (_isScripted && !_isCalm)
        {
            return; // Only who is told to.
        }

        int wish = ++_wanted;
        _world.Clock.After(delay, () =>
        {
            if (wish == _wanted)
            {
                StartWriter(_random.Below(_nodes.Length), ++_epoch);
            }
        });
    }

    private void StartWriter(int index, ulong epoch, VolumeRecord? known = null)
    {
        SimulatedNode node = _nodes[index];
        ReplicaHost? local = _hostOn[index];
        if (!node.IsRunning || local is { Machine: null })
        {
            Want(_random.Below(LatencyModel.Second));
            return;
        }

        foreach (PrimaryHost other in _primaries.FindAll(one => one.Node == node))
        {
            Retire(other);
        }

        _world.Note($"node {index} wants epoch {epoch}");
        VolumeRecord record = known ?? RecordForAttachment();
        bool isMember = local is not null && record.Configuration.Members.Has(local.Place);
        _primaries.Add(new PrimaryHost(_world, node, new PrimaryOptions
        {
            Volume = _world.Volume,
            Epoch = new Epoch(epoch),
            Writer = new Writer(new NodeId((uint)index + 1), ++_nonce),
            Configuration = record.Configuration,
            Members = record.Members,
            GivenUp = record.GivenUp,
            Local = isMember ? local!.Place : -1,
            SizeBytes = record.SizeBytes,
            BlockBytes = _options.BlockBytes,
            LeaseMs = _options.LeaseMs,
            Serving = new VolumeOptions
            {
                WindowOperations = _options.WindowOperations,
                WindowBytes = _options.WindowBytes,
                AcknowledgesDurable = _options.AcknowledgesDurable,
                KeepsForAbsent = _options.KeepsForAbsent,
                ChecksLocalReads = _options.HasChecksums,
                RequestLimit = _options.RequestLimitMs * LatencyModel.Millisecond,
                HeartbeatInterval = _options.LeaseMs * LatencyModel.Millisecond / 5,
                IdleFlushInterval = _random.Between(20, 1000) * LatencyModel.Millisecond,
            },
        }, _hosts, isMember ? local : null));
        Hurry(wish: _wanted);
    }

    // Whoever does not get the volume in time is not waited for.
    private void Hurry(int wish) => _world.Clock.After(20 * LatencyModel.Second, () =>
    {
        if (wish == _wanted && _writer is null)
        {
            Want(0);
        }
    });

    private void Retire(PrimaryHost primary)
    {
        primary.Close();
        _client.Forget(primary);
        _ = _primaries.Remove(primary);
        if (_writer == primary)
        {
            _writer = null;
            _client.Use(null);
        }
    }

    private void OnStageChanged(PrimaryHost primary)
    {
        if (primary.IsOver)
        {
            return;
        }

        switch (primary.Machine.Stage)
        {
            case PrimaryStage.Serving:
                _world.Watch.Serves(primary);
                if (primary.Machine.SizeBytes < (long)_world.Checker.Blocks * _options.BlockBytes)
                {
                    Retire(primary); // The next one has grown the volume before this one heard of its start.
                    break;
                }

                _writer = primary;
                _inSync = default;
                _world.Checker.Recovered(Newest.Groups);
                OnConfigurationChanged(primary);
                _client.Use(primary);
                OnPrimaryEvent(primary);
                break;
            case PrimaryStage.Failed or PrimaryStage.Ended:
                bool wasWriter = _writer == primary;
                _epoch = Math.Max(_epoch, primary.Machine.HigherEpoch.Value);
                Retire(primary);
                if (wasWriter || _writer is null)
                {
                    Want(_random.Below(LatencyModel.Second));
                }

                break;
            default:
                break;
        }
    }

    private void OnConfigurationChanged(PrimaryHost primary)
    {
        if (primary == _writer && !primary.IsOver)
        {
            _world.Checker.Grow((int)(primary.Machine.SizeBytes / _options.BlockBytes));
        }
    }

    private void OnPrimaryEvent(PrimaryHost primary)
    {
        _world.Watch.Happens(primary);
        if (primary != _writer || primary.Machine.Volume is not { } volume)
        {
            return;
        }

        for (int place = 0; place < _hosts.Count; place++)
        {
            bool counts = volume.Replicas.Counting.Has(place);
            if (counts && !_inSync.Has(place))
            {
                _world.Checker.InSync(place);
            }
            else if (!counts)
            {
                _world.Checker.Noted(place);
            }
        }

        _inSync = volume.Replicas.Counting;
    }

    private void LookAtEverything()
    {
        int step = Math.Max(1, (256 << 10) / _options.BlockBytes);
        for (int block = 0; block < _world.Checker.Blocks; block += step)
        {
            _client.Submit(BlockOperation.Read, block, Math.Min(step, _world.Checker.Blocks - block));
        }

        _client.Submit(BlockOperation.Flush, 0, 0);
    }

    private void CompareImages()
    {
        const int Piece = 64 << 10;
        ReplicaHost[] members = [.. _hosts.Where(host => Newest.Configuration.Members.Has(host.Place))];
        for (long offset = 0; offset < Newest.SizeBytes; offset += Piece)
        {
            foreach (ReplicaHost member in members.AsSpan(1))
            {
                if (!members[0].Image.IsSame(member.Image, offset, Piece))
                {
                    byte[] one = new byte[Piece], other = new byte[Piece];
                    members[0].Image.Peek(offset, one);
                    member.Image.Peek(offset, other);
                    int at = one.AsSpan().CommonPrefixLength(other);
                    throw new HistoryException(
                        $"images of replicas {members[0].Place} and {member.Place} differ at {offset + at} " +
                        $"(region {(offset + at) / StoreFormat.RegionBytes}): {Describe()}");
                }
            }
        }
    }

    private string Describe()
    {
        VolumeMachine? volume = _writer?.Machine.Volume;
        IEnumerable<string> replicas = _hosts.Select((host, i) => host.Machine is { } machine
            ? $"replica {i}: A {machine.Applied}, D {machine.Durable}, C {machine.Committed}, promise " +
                $"{machine.Promise.Epoch}, history {machine.State.History.Last}, missing " +
                $"{machine.State.Missing.Count}, intents {machine.State.Intents.Count}, " +
                $"{machine.State.Condition}, idle {machine.IsIdle}"
            : $"replica {i}: down");
        return $"writer {_writer?.Options.Epoch} on {_writer?.Node.Index}, stage {volume?.Stage}, " +
            $"counting {volume?.Replicas.Counting}, in stream {volume?.Replicas.InStream}, window " +
            $"{volume?.Window.Base} to {volume?.Window.Next}, {_client.OpenCount} open, " +
            $"{_primaries.Count} writers ({string.Join(", ", _primaries.Select(p => p.Machine.Stage))})\n" +
            string.Join("\n", replicas);
    }
}
