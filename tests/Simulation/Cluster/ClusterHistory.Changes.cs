using Ublk.Replication.Primary;
using Ublk.Replication.State;
using Ublk.Tests.Simulation.World;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Tests.Simulation.Cluster;

/// <content>
/// Changes of who keeps the volume and how large it is: what an operator begins, and the controller of a
/// cluster brings to its end, over the metadata and whoever writes at the moment.
/// </content>
internal sealed partial class ClusterHistory
{
    private const int NoPlace = -1;

    private readonly List<VolumeRecord> _records = [];
    private int _added = NoPlace;
    private ReplicaGroup? _wantedGroup;
    private ReplicaMask _destroyed;

    private VolumeRecord Newest => _records[^1];

    private bool IsChanging => _wantedGroup is not null ||
        _writer?.Machine is { IsReconfiguring: true } ||
        _writer is { } writer && writer.Machine.Configuration.Number != Newest.Configuration.Number;

    private bool MayChange => !_isCalm && !IsChanging && _hosts.Count < ReplicaMask.Places &&
        _writer?.Machine.Volume is { Stage: VolumeStage.Serving };

    private void Record(VolumeConfiguration configuration, long sizeBytes)
    {
        var members = new ReplicaMember?[_hosts.Count];
        foreach (int place in configuration.Members)
        {
            members[place] = _hosts[place].Member;
        }

        _records.Add(new VolumeRecord(configuration, sizeBytes, members, _destroyed));
        _world.Note($"metadata: configuration {configuration.Number}, {configuration.Group.Members} W " +
            $"{configuration.Group.Rule.WriteQuorum}, next {configuration.Next?.Members}, {sizeBytes} bytes");
    }

    // Mostly the newest; who reads the metadata from a stale copy must do no harm.
    private VolumeRecord RecordForAttachment()
    {
        bool mayBeStale = _records.Count > 1 && !_isCalm && !_isScripted;
        VolumeRecord record = _random.Chance(100) && mayBeStale
            ? _records[_random.Below(_records.Count)] : Newest;
        if (_added == NoPlace || record != Newest)
        {
            return record;
        }

        var members = new ReplicaMember?[_hosts.Count];
        for (int place = 0; place < record.Members.Count; place++)
        {
            members[place] = record.Members[place];
        }

        members[_added] = _hosts[_added].Member;
        return record with { Members = members };
    }

    private void Grow()
    {
        const int LargestRegions = 24;
        long size = Newest.SizeBytes + ((long)_random.Between(1, 4) << 20);
        if (MayChange && size <= (long)LargestRegions << 20)
        {
            VolumeConfiguration current = Newest.Configuration;
            Record(new VolumeConfiguration(current.Number + 1, current.Group), size);
        }
    }

    private void ChangeMembers()
    {
        ReplicaGroup group = Newest.Configuration.Group;
        int spare = Array.FindIndex(_nodes, node => node.IsRunning && !IsMember(node.Index));
        bool isAdded = spare >= 0 && _random.Chance(700);
        bool isRemoved = group.Members.Count > 1 && (!isAdded || _random.Chance(600));
        if (!MayChange || !isAdded && !isRemoved || isAdded && !isRemoved &&
            group.Members.Count == QuorumRule.MaxReplicas)
        {
            return;
        }

        int removed = isRemoved ? _random.Below(group.Members.Count) : NoPlace;
        ReplicaMask members = group.Members;
        foreach (int place in group.Members)
        {
            members = removed-- == 0 ? members.Without(place) : members;
        }

        BeginChange(members, isAdded ? spare : NoPlace);
    }

    // Another disk is in the place of a member's, with nothing on it.
    private void ReplaceDisk(int node)
    {
        ReplicaGroup group = Newest.Configuration.Group;
        bool mayBeLost = group.Rule.WriteQuorum > 1 && group.Members.Count - 1 >= group.Rule.PromiseQuorum;
        if (!MayChange || !mayBeLost || !IsMember(node))
        {
            return;
        }

        int place = _hostOn[node]!.Place;
        Stop(node, losesPower: false);
        _world.Lost(place);
        _destroyed = _destroyed.With(place);
        _records[^1] = Newest with { GivenUp = _destroyed };
        BeginChange(group.Members.Without(place), node);
    }

    private void BeginChange(ReplicaMask members, int node)
    {
        _added = NoPlace;
        if (node >= 0)
        {
            _added = _hosts.Count;
            AddHost(node);
            members = members.With(_added);
            if (_nodes[node].IsRunning)
            {
                _hostOn[node]!.Open();
            }
        }

        int count = members.Count;
        int quorum = _isScripted || _random.Chance(600) ? count / 2 + 1 : _random.Between(1, count);
        _wantedGroup = new ReplicaGroup(members, new QuorumRule(count, quorum));
        _world.Note($"change: to {members} W {quorum}, {_added} is new");
    }

    private bool IsMember(int node) =>
        _hostOn[node] is { } host && Newest.Configuration.Members.Has(host.Place);

    // What the controller of a cluster does from time to time.
    private void Control() => _world.Clock.After(20 * LatencyModel.Millisecond, () =>
    {
        if (_writer is { Node: { IsRunning: true, IsFrozen: false } } writer &&
            writer.Machine.Volume is { Stage: VolumeStage.Serving } volume)
        {
            Control(writer, volume);
        }

        Control();
    });

    private void Control(PrimaryHost writer, VolumeMachine volume)
    {
        VolumePrimary machine = writer.Machine;
        if (_added != NoPlace)
        {
            writer.Add(_added, _hosts[_added]);
        }

        if (machine.IsReconfiguring)
        {
            return;
        }

        if (machine.Configuration.Number < Newest.Configuration.Number)
        {
            writer.Reconfigure(Newest);
        }
        else if (machine.Configuration.Next is { } next && machine.IsSettled)
        {
            Record(new VolumeConfiguration(machine.Configuration.Number + 1, next), Newest.SizeBytes);
        }
        else if (_wantedGroup is { } wanted && machine.Configuration.Next is null)
        {
            VolumeConfiguration current = machine.Configuration;
            if (current.Group == wanted)
            {
                _wantedGroup = null;
                _added = NoPlace;
            }
            else if (_added == NoPlace || volume.Replicas.Counting.Has(_added))
            {
                Record(new VolumeConfiguration(current.Number + 1, current.Group, wanted), Newest.SizeBytes);
            }
        }
    }

    private void AddHost(int node)
    {
        int place = _hosts.Count;
        var incarnation = new Incarnation((UInt128)(100 + place));
        var member = new ReplicaMember(new ReplicaId((uint)place + 1), incarnation);
        var host = new ReplicaHost(_world, _nodes[node], place, member);
        _hostOn[node]?.Close(); // One that is no member any more.
        _hosts.Add(host);
        _hostOn[node] = host;
    }
}
