namespace Ublk.Replication.State;

/// <content>Replicas that follow, and those that do not any more.</content>
public sealed partial class VolumeMachine
{
    /// <summary>A replica has opened a session and says where it stands.</summary>
    /// <param name="replica">Its place.</param>
    /// <param name="applied">Its A, in this epoch's history.</param>
    /// <param name="durable">Its D.</param>
    /// <param name="isReconciled">Its newest history entry is this epoch's.</param>
    /// <param name="isCurrent">None of it is stale.</param>
    /// <param name="now">The clock.</param>
    /// <returns>
    /// Whether it follows the stream from its A on; otherwise it has to be brought up by resync first.
    /// </returns>
    public bool OnReplicaReady(
        int replica, ulong applied, ulong durable, bool isReconciled, bool isCurrent, long now)
    {
        _now = now;
        bool canFollow = isReconciled && applied + 1 >= Window.Base && applied < Window.Next;
        if (canFollow)
        {
            _writes.Enter(replica, applied, isCurrent);
            _replicas.Know(replica);
            Report(replica, applied, durable);
        }
        else
        {
            _writes.Leave(replica, ReplicaStage.Behind);
        }

        Settle();
        return canFollow;
    }

    /// <summary>The sequence before the first operation that a replica is sent when it joins.</summary>
    /// <param name="common">What it has, apart from what is missing.</param>
    public ulong PositionFor(ulong common) => _writes.PositionFor(common);

    /// <summary>A replica that is being resynced is sent operations from now on.</summary>
    /// <param name="replica">Its place.</param>
    /// <param name="position">From <see cref="PositionFor"/>.</param>
    /// <param name="hasFailed">
    /// Whether it has failed: before it is whole, a restart of its process takes what was not synced, and its
    /// answers do not count.
    /// </param>
    /// <param name="now">The clock.</param>
    public void OnReplicaJoins(int replica, ulong position, bool hasFailed, long now)
    {
        _now = now;
        _writes.Enter(replica, position, isCurrent: Mistakes.Make(Mistake.LearnerCounts));
        _replicas.Doubt(replica, hasFailed && !Mistakes.Make(Mistake.FailedReplicaCounts));
        Settle();
    }

    /// <summary>A replica that joined has recorded what it misses: the rest of it may be read.</summary>
    /// <param name="replica">Its place.</param>
    public void OnReplicaJoined(int replica) => _replicas.Know(replica);

    /// <summary>A replica of the stream has become current: from now on it counts.</summary>
    /// <param name="replica">Its place.</param>
    /// <param name="applied">Its A.</param>
    /// <param name="durable">Its D.</param>
    /// <param name="now">The clock.</param>
    public void OnReplicaCurrent(int replica, ulong applied, ulong durable, long now)
    {
        _now = now;
        if (_replicas.InStream.Has(replica))
        {
            _writes.BecomeCurrent(replica, applied);
            Report(replica, applied, durable);
        }

        Settle();
    }

    /// <summary>A replica's session has ended.</summary>
    /// <param name="replica">Its place.</param>
    /// <param name="now">The clock.</param>
    public void OnReplicaLost(int replica, long now)
    {
        _now = now;
        bool mayReturn = Stage == VolumeStage.Serving && _options.KeepsForAbsent &&
            _replicas.Configuration.Members.Has(replica);
        _writes.Leave(replica, ReplicaStage.Absent, mayReturn);
        Settle();
    }
}
