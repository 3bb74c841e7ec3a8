using Ublk.Replication.Store;

namespace Ublk.Replication.Replica;

/// <summary>
/// Intents of this replica, in the ring: marks before anything is written in place, and their clearing once
/// everything in them is durable here and on W (replication design, section 3 and rule 4).
/// </summary>
internal sealed class ReplicaIntents
{
    private readonly ReplicaContext _context;
    private readonly IntentPolicy _policy;

    /// <summary>Begins with what the ring has.</summary>
    /// <param name="context">The replica.</param>
    public ReplicaIntents(ReplicaContext context)
    {
        _context = context;
        _policy = new IntentPolicy(
            context.State, region => context.Live.Version(region), context.Options.Intents);
    }

    /// <summary>Whether marks are wanted and there is no room: a flush and clearing are due.</summary>
    public bool IsCrowded => _policy.IsCrowded;

    /// <summary>Regions with intents.</summary>
    public int HotRegions => _policy.HotRegions;

    /// <summary>Has intents on their way for a range, or durable already.</summary>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="lengthBytes">Length.</param>
    /// <param name="isForced">Whether the limit of hot grains does not count.</param>
    /// <returns>
    /// Ready: all are durable. Mark or Wait: they are with the ticket. Full: there is no room now.
    /// </returns>
    public IntentNeed Mark(long offsetBytes, long lengthBytes, bool isForced)
    {
        IntentNeed need = _policy.Prepare(offsetBytes, lengthBytes, isForced);
        if (need.Step != IntentStep.Mark)
        {
            return need;
        }

        var entry = new IntentAddEntry((uint)need.First, (uint)need.Count);
        ulong token = ReplicaContext.Name(ReplicaIo.Mark, need.Ticket);
        if (_context.Log.Append(entry, token) != AppendResult.Queued)
        {
            return need with { Step = IntentStep.Full };
        }

        _policy.Confirm(need);
        return need;
    }

    /// <summary>A mark is durable.</summary>
    /// <param name="ticket">Its ticket.</param>
    public void OnMarked(ulong ticket) => _policy.MarkDurable(ticket);

    /// <summary>The volume has grown.</summary>
    public void Grow() => _policy.Grow();

    /// <summary>Clears what may be cleared (the I-rule).</summary>
    /// <param name="committed">C.</param>
    /// <param name="isIdle">Whether also regions go that were hot a moment ago.</param>
    /// <param name="budget">Most regions that are looked at.</param>
    public void Clear(ulong committed, bool isIdle, int budget)
    {
        ulong bound = Mistakes.Make(Mistake.IntentsClearedWithoutCommit) ? _context.Durable
            : Mistakes.Make(Mistake.IntentsClearedWithoutSync) ? committed
            : Math.Min(_context.Durable, committed);
        while (_policy.TryFindClearable(bound, isIdle, ref budget, out IntentClearing clearing))
        {
            var version = new RegionVersionRunEntry((uint)clearing.Region, 1, clearing.Version);
            var clear = new IntentClearEntry((uint)clearing.First, (uint)clearing.Count);
            if (_context.Log.Append(version, MetadataLog.NoToken) != AppendResult.Queued ||
                _context.Log.Append(clear, MetadataLog.NoToken) != AppendResult.Queued)
            {
                _policy.Kept(clearing);
                return;
            }

            _policy.Cleared(clearing);
        }
    }
}
