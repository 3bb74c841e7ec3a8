using Ublk.Replication.State;
using Ublk.Tests.Simulation.Judge;
using Ublk.Tests.Simulation.Network;
using Ublk.Tests.Simulation.World;

namespace Ublk.Tests.Simulation.Cluster;

/// <content>What goes wrong, and what is done about it from outside.</content>
internal sealed partial class ClusterHistory
{
    private void PlanFault() => _world.Clock.After(_random.Below(_options.MaxFaultPauseNs), () =>
    {
        if (!_isCalm)
        {
            if (_options.HasFaults)
            {
                Disturb(_options.NextFault(_random));
            }

            RestartDead();
            PlanFault();
        }
    });

    private void Disturb(FaultKind kind)
    {
        bool isWriter = _writer is not null && _random.Chance(300);
        int node = isWriter ? _writer!.Node.Index : _random.Below(_nodes.Length);
        int other = _random.Below(_nodes.Length);
        if (_random.Chance(200))
        {
            Want(_random.Below(2 * LatencyModel.Second)); // Somebody takes it for the end of the writer.
        }

        _world.Note($"fault: {kind} {node} {other}");
        switch (kind)
        {
            case FaultKind.KillProcess:
                Stop(node, losesPower: false);
                break;
            case FaultKind.LosePower:
                Stop(node, losesPower: true);
                break;
            case FaultKind.KillEverywhere or FaultKind.LosePowerEverywhere:
                Array.ForEach(_nodes, one => Stop(one.Index, kind == FaultKind.LosePowerEverywhere));
                break;
            case FaultKind.Freeze:
                _nodes[node].Freeze();
                Later(_nodes[node].Thaw);
                break;
            case FaultKind.Cut:
                _world.Network.Cut(node, other);
                Later(() => _world.Network.Heal(node, other));
                break;
            case FaultKind.Isolate:
                Isolate(node);
                break;
            case FaultKind.ResetSession:
                _world.Network.ResetBetween(node, other);
                break;
            case FaultKind.SwitchWriter:
                _writer?.Release();
                Want(_random.Below(LatencyModel.Second));
                break;
            case FaultKind.TwoCandidates:
                ulong epoch = ++_epoch;
                StartWriter(node, epoch);
                StartWriter(other, _random.Chance(500) ? epoch : ++_epoch);
                break;
            case FaultKind.ForgetCommand:
                _epoch = Math.Max(1, _epoch - 1);
                break;
            case FaultKind.Corner:
                Corner();
                break;
            case FaultKind.ChangeMembers:
                ChangeMembers();
                break;
            case FaultKind.ReplaceDisk:
                ReplaceDisk(node);
                break;
            case FaultKind.Grow:
                Grow();
                break;
            case FaultKind.Scrub when _writer?.Machine.Volume is { Stage: VolumeStage.Serving }:
                _writer.Scrub();
                break;
            case FaultKind.Rot:
                Rot();
                break;
            default:
                break;
        }
    }

    private void Corner()
    {
        int[] hosts = [.. Enumerable.Range(0, _nodes.Length).OrderBy(_ => _random.NextBits())];
        int late = hosts[0], hit = hosts[1 % hosts.Length], away = hosts[2 % hosts.Length];
        Isolate(late);
        _world.Clock.After(_random.Below(500 * LatencyModel.Millisecond), () =>
        {
            if (_isCalm)
            {
                return;
            }

            Join(late);
            Stop(hit, losesPower: _random.Chance(700));
            Isolate(away);
            Want(_random.Below(LatencyModel.Second));
        });
    }

    private void Join(int node)
    {
        for (int other = 0; other < _nodes.Length; other++)
        {
            _world.Network.Heal(node, other);
            _world.Network.Heal(other, node);
        }
    }

    private void Isolate(int node)
    {
        for (int other = 0; other < _nodes.Length; other++)
        {
            _world.Network.Cut(node, other);
            _world.Network.Cut(other, node);
        }

        Later(() => Join(node));
    }

    private void Later(Action mend) => _world.Clock.After(_random.Below(5 * LatencyModel.Second), mend);

    private void Stop(int index, bool losesPower)
    {
        SimulatedNode node = _nodes[index];
        if (!node.IsRunning && !losesPower || !node.IsPowered)
        {
            return;
        }

        if (losesPower)
        {
            node.LosePower();
            if (_hostOn[index] is { } host)
            {
                _world.Lost(host.Place);
            }
        }
        else
        {
            node.Kill();
        }

        foreach (PrimaryHost primary in _primaries.FindAll(one => one.Node == node))
        {
            bool wasWriter = primary == _writer;
            Retire(primary);
            if (wasWriter)
            {
                Want(_random.Below(5 * LatencyModel.Second));
            }
        }

        _hostOn[index]?.Close();
        if (_isScripted)
        {
            return; // It comes back when it is told to.
        }

        long pause = _random.Chance(300) ? 100 * LatencyModel.Millisecond : 3 * LatencyModel.Second;
        _world.Clock.After(_random.Below(pause), () => Start(index));
    }

    private void Start(int index)
    {
        SimulatedNode node = _nodes[index];
        if (node.IsRunning)
        {
            return;
        }

        if (_hostOn[index] is not { } host)
        {
            node.Start();
            return;
        }

        host.WhenUnlocked(() =>
        {
            if (!node.IsRunning)
            {
                node.Start();
                _hostOn[index]!.Open(); // Perhaps over another disk meanwhile.
                if (_hostOn[index]!.Damage is { } damage)
                {
                    throw new HistoryException($"replica {host.Place} is damaged: {damage}");
                }
            }
        });
    }

    // What an operator, or the service manager, does with a replica whose disk has failed.
    private void RestartDead()
    {
        for (int i = 0; i < _hostOn.Length; i++)
        {
            if (_hostOn[i]?.Machine is { } machine && (machine.IsDead || machine.HasFailed))
            {
                Stop(i, losesPower: false);
            }
        }
    }

    private void Calm()
    {
        _isCalm = true;
        _world.Note("calm");
        _world.Network.Faults = NetworkFaults.None with { TimeoutNs = LatencyModel.Second };
        _world.Network.HealAll();
        SetLatencies(LatencyModel.Network, variants: 1); // A lease shorter than a round trip is none.
        for (int i = 0; i < _nodes.Length; i++)
        {
            _nodes[i].Thaw();
            Start(i);
        }

        foreach (ReplicaHost replica in _hosts)
        {
            replica.HasNoFaults();
        }

        RestartDead();
        Watch(wasServing: true);
    }

    // There is always a next attempt while nobody serves, or with too few replicas that count.
    private void Watch(bool wasServing) => _world.Clock.After(5 * LatencyModel.Second, () =>
    {
        _world.Network.HealAll();
        RestartDead();
        bool isServing = _writer?.Machine.Volume?.Replicas.HasWriteQuorum ?? false;
        if (!isServing && !wasServing)
        {
            Want(0);
        }

        Watch(isServing);
    });
}
