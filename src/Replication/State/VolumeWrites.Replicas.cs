namespace Ublk.Replication.State;

/// <content>Replicas that follow the stream, leave it, and come back.</content>
internal sealed partial class VolumeWrites
{
    /// <summary>A replica follows the stream from a sequence on.</summary>
    /// <param name="replica">Its place.</param>
    /// <param name="applied">What it says it has; older operations it is not sent.</param>
    /// <param name="isCurrent">None of it is stale.</param>
    public void Enter(int replica, ulong applied, bool isCurrent)
    {
        _lags[replica] = default;
        _kept = _kept.Without(replica);
        _replicas.Move(replica, ReplicaStage.InStream, isCurrent);

        // What it says now replaces what it said before: an answer it has forgotten no longer counts.
        for (ulong sequence = Window.Base; sequence < Window.Next; sequence++)
        {
            ref WindowOperation operation = ref Window[sequence];
            bool hasIt = sequence <= applied;
            operation.AnsweredBy = operation.AnsweredBy.Set(replica, hasIt);
            if (!operation.IsAcknowledged)
            {
                operation.AppliedBy = operation.AppliedBy.Set(replica, hasIt && isCurrent ||
                    Mistakes.Make(Mistake.FormerAnswersCount) && operation.AppliedBy.Has(replica));
            }
            else if (!hasIt)
            {
                _lags[replica].Add(operation.PayloadBytes);
            }

            if (!hasIt)
            {
                _effects.SendOperation(replica, operation, _replicas.Committed);
            }
        }

        _flushes.Repeat(Acknowledged);
        AcknowledgeAll();
        Pump();
    }

    /// <summary>A replica of the stream counts from now on, also for what came with its resync.</summary>
    /// <param name="replica">Its place.</param>
    /// <param name="applied">Its A; what it has answered it has too, and now it is current there.</param>
    public void BecomeCurrent(int replica, ulong applied)
    {
        _replicas.Move(replica, ReplicaStage.InStream, isCurrent: true);
        for (ulong sequence = Window.Base; sequence < Window.Next; sequence++)
        {
            ref WindowOperation operation = ref Window[sequence];
            bool hasIt = sequence <= applied || operation.AnsweredBy.Has(replica);
            operation.AppliedBy = operation.AppliedBy.Set(replica, hasIt);
        }

        AcknowledgeAll();
        Pump();
    }

    /// <summary>
    /// The sequence before the first operation that a replica is sent when it joins; what is older comes with
    /// the resync. Whatever has no quorum yet it is sent: a copy of what one disk makes of an operation is no
    /// second one. It is never told that it has less than it has.
    /// </summary>
    /// <param name="common">What it has, apart from what is missing.</param>
    public ulong PositionFor(ulong common)
    {
        ulong last = Window.Next - 1, first = Window.Base;
        while (first <= last && Window[first].IsAcknowledged)
        {
            first++;
        }

        return Mistakes.Make(Mistake.UnacknowledgedNotSent)
            ? last : Math.Max(first - 1, Math.Min(common, last));
    }

    /// <summary>A replica no longer follows the stream.</summary>
    /// <param name="replica">Its place.</param>
    /// <param name="stage">Where it stands now.</param>
    /// <param name="mayReturn">
    /// Whether the window is to keep what it misses, as long as there is room: one that was current and is
    /// back soon then follows at once.
    /// </param>
    public void Leave(int replica, ReplicaStage stage, bool mayReturn = false)
    {
        _kept = _kept.Set(replica, mayReturn && (_replicas.Counting | _kept).Has(replica));
        _replicas.Move(replica, stage, isCurrent: false);
        if (replica == _local)
        {
            AcknowledgeAll(); // Nobody waits for the local image any more.
        }

        Pump();
    }

    /// <summary>Keeps nothing for replicas that are gone.</summary>
    public void KeepNothing()
    {
        _kept = default;
        Pump();
    }
}
