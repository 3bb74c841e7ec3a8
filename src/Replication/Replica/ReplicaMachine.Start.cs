using Ublk.Replication.Store;
using Ublk.Wire.Ids;

namespace Ublk.Replication.Replica;

/// <content>What becomes of the replica when a record is durable that changes what it holds.</content>
public sealed partial class ReplicaMachine
{
    // With the last one gone the replica is all there again, whatever it had lost.
    private void FinishRegion(int region)
    {
        _ = _context.Leaving.Remove(region);
        bool isHealed = State.Missing.Count == 0 && State.Condition != ReplicaCondition.Sound &&
            _context.Breaking.Count == 0 && !_context.IsFailed;
        if (isHealed)
        {
            ulong token = ReplicaContext.Name(ReplicaIo.Healed, (ulong)region);
            _ = _context.Log.Append(new ConditionEntry(ReplicaCondition.Sound, 0), token);
        }
        else
        {
            _resync.OnRecorded(region);
        }
    }

    private void FinishStart()
    {
        int session = _start.Session;
        bool isJoin = !_start.IsReconciled;
        _start.Finish();
        _claims.IsMemoryIntact = true;
        _context.Live.Condition = State.Condition;
        _flushes.IsHeld = false;
        if (session == _sessions.Writer)
        {
            _writes.GoOn();
            _resync.Drop(); // What failed before is among what is missing, and nothing is pushed yet.
            _flushes.Step();
            if (isJoin)
            {
                _claims.SendMissing(session, new Epoch(State.EpochStart.Epoch));
            }

            return;
        }

        // The writer came anew meanwhile, and was told what held before: it asks for another start.
        _writes.Drop();
        _flushes.Drop();
        _writes.Session = _sessions.Writer;
        _writes.Next = _progress.Applied + 1;
    }
}
