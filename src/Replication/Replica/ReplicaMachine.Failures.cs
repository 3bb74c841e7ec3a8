using Ublk.Replication.Store;
using Ublk.Uring.Native;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Replica;

/// <content>Disks that fail: what is missing or void is durable before anybody hears of it.</content>
public sealed partial class ReplicaMachine
{
    private void FailUnless(bool isWell)
    {
        if (!isWell && !_context.IsFailed)
        {
            _context.IsFailed = true;
            var entry = new ConditionEntry(State.Condition | ReplicaCondition.Failed, State.VoidedIn);
            if (_context.Log.Append(entry, ReplicaContext.Name(ReplicaIo.Condition)) != AppendResult.Queued)
            {
                ((IMetadataLogEffects)this).MetadataFailed(-Errno.ENOSPC);
            }
        }
    }

    // It is durably failed: now everybody may hear of it.
    private void FinishFailing()
    {
        _flushes.Fail();
        _sessions.CloseAll(_effects, CloseReason.Failed, "the image could not be written or synced");
        _start.Clear();
        _writes.Session = -1;
    }

    // An operation failed: its regions are missing from now on, and what is claimed for them is what is
    // durable. What is read there may be in memory only and count as written, as after a failed sync: so the
    // replica is marked as failed, which has every block that it misses written anew.
    private void Break(int slot)
    {
        (long offset, long length) = _writes.RangeOf(slot);
        int end = ReplicaContext.RegionOf(offset + length - 1) + 1;
        _context.Breaking.Add((ReplicaContext.RegionOf(offset), end - 1));
        ulong epoch = State.History.Last.Epoch;
        var claim = new HistoryPoint(epoch, _context.Durable);
        const int Fixed = 64;
        int runs = 0;
        for (int region = ReplicaContext.RegionOf(offset); region < end; region++)
        {
            runs += _context.StaysMissing(region) ? 0 : 1;
            _resync.Break(region);
        }

        if (_context.Log.BeginBatch(Fixed + 32 * runs, runs) != AppendResult.Queued)
        {
            FailUnless(isWell: false);
            return;
        }

        for (int region = ReplicaContext.RegionOf(offset); region < end; region++)
        {
            if (!_context.StaysMissing(region))
            {
                _context.Log.AddToBatch(new MissingAddEntry((uint)region, 1, claim));
            }
        }

        bool isVoided = (State.Condition & ReplicaCondition.Voided) != ReplicaCondition.Sound;
        _context.Log.AddToBatch(new ConditionEntry(
            State.Condition | ReplicaCondition.Voided | ReplicaCondition.Failed,
            isVoided ? State.VoidedIn : epoch));
        _context.Log.EndBatch(ReplicaContext.Name(ReplicaIo.Broken, (ulong)slot));
    }
}
