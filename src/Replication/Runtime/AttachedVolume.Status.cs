using Ublk.Replication.State;

namespace Ublk.Replication.Runtime;

/// <content>How it stands.</content>
public sealed partial class AttachedVolume
{
    /// <summary>How far each replica is.</summary>
    public IReadOnlyList<VolumePlaceStatus> Status()
    {
        var status = new VolumePlaceStatus[_ways.Length];
        for (int place = 0; place < status.Length; place++)
        {
            LocalReplicaStage stage = StageOf(place);
            var peer = _ways[place] as PeerLink;
            string? problem = peer?.Snapshot.LastFailure ?? _problems[place] ??
                _options.Places[place].Local?.Problem;
            status[place] = new VolumePlaceStatus(
                stage, peer?.EndPoint.ToString(), stage == LocalReplicaStage.InSync ? null : problem,
                _damages[place]);
        }

        return status;
    }

    /// <summary>Writer and replicas in numbers, for who looks at a failure.</summary>
    public string Describe()
    {
        VolumeMachine? volume = _writer.HasBegun ? _writer.Primary.Volume : null;
        return $"epoch {Epoch}, {Stage}, counting {volume?.Replicas.Counting}, in stream " +
            $"{volume?.Replicas.InStream}, window {volume?.Window.Base} to {volume?.Window.Next}, " +
            $"{volume?.RequestCount} requests, C {volume?.Replicas.Committed}, {_writer.PayloadCount} " +
            $"payload blocks; {string.Join("; ", Status())}; {_local?.Describe()}";
    }

    private LocalReplicaStage StageOf(int place) =>
        _ways[place].IsOpen ? _writer.StageOf(place) : LocalReplicaStage.Closed;

    private void TellChanges()
    {
        bool hasChanged = false;
        for (int place = 0; place < _stages.Length; place++)
        {
            LocalReplicaStage stage = StageOf(place);
            hasChanged |= stage != _stages[place];
            _stages[place] = stage;
            if (stage == LocalReplicaStage.InSync)
            {
                _problems[place] = null;
            }
        }

        if (hasChanged)
        {
            OnChanged?.Invoke();
        }
    }
}
