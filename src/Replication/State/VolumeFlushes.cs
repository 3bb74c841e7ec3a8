using Ublk.Wire.Blocks;

namespace Ublk.Replication.State;

/// <summary>
/// Flushes of the host, and whatever else is to be on stable media before it is answered: complete once what
/// was acknowledged before is durable on a write quorum (replication design, section 4.6).
/// </summary>
internal sealed class VolumeFlushes
{
    private readonly HostRequests _requests;
    private readonly ReplicaTable _replicas;
    private readonly IVolumeEffects _effects;
    private readonly Queue<ulong> _waiting;

    /// <summary>None under way.</summary>
    /// <param name="capacity">Most requests at once.</param>
    /// <param name="requests">The host's requests.</param>
    /// <param name="replicas">Knows what is durable where.</param>
    /// <param name="effects">The surroundings.</param>
    public VolumeFlushes(
        int capacity, HostRequests requests, ReplicaTable replicas, IVolumeEffects effects)
    {
        _requests = requests;
        _replicas = replicas;
        _effects = effects;
        _waiting = new Queue<ulong>(capacity);
    }

    /// <summary>Lets a request wait until everything up to a sequence is durable on a quorum.</summary>
    /// <param name="id">The request.</param>
    /// <param name="acknowledged">Highest acknowledged sequence.</param>
    public void Start(ulong id, ulong acknowledged)
    {
        _ = _requests.TryFind(id, out int slot);
        if (_replicas.Committed >= acknowledged || Mistakes.Make(Mistake.FlushAnsweredAtOnce))
        {
            _requests.Answer(slot, BlockStatus.Ok);
            return;
        }

        _requests[slot].Through = acknowledged;
        _waiting.Enqueue(id);
        Ask(acknowledged);
    }

    /// <summary>Asks all who count to flush what is acknowledged, unless they were asked.</summary>
    /// <param name="acknowledged">Highest acknowledged sequence.</param>
    public void Ask(ulong acknowledged)
    {
        foreach (int place in _replicas.Counting)
        {
            if (_replicas.MarkFlush(place, acknowledged))
            {
                _effects.SendFlush(place, acknowledged);
            }
        }
    }

    /// <summary>A replica has come: it is asked too, if anybody waits.</summary>
    /// <param name="acknowledged">Highest acknowledged sequence.</param>
    public void Repeat(ulong acknowledged)
    {
        if (_waiting.Count > 0)
        {
            Ask(acknowledged);
        }
    }

    /// <summary>More is durable on a quorum than before: flushes may be complete.</summary>
    public void OnCommitted()
    {
        while (_waiting.TryPeek(out ulong id))
        {
            if (_requests.TryFind(id, out int slot))
            {
                if (_requests[slot].Through > _replicas.Committed)
                {
                    return;
                }

                _requests.Answer(slot, BlockStatus.Ok);
            }

            _ = _waiting.Dequeue();
        }
    }
}
