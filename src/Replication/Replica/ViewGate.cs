using Ublk.Replication.Store;

namespace Ublk.Replication.Replica;

/// <summary>
/// Nothing is applied in a view before it is durable here that there is one: so whoever lost its memory in an
/// older view is known to have been left behind (rule 1).
/// </summary>
/// <param name="context">The replica.</param>
internal sealed class ViewGate(ReplicaContext context)
{
    private ulong _wanted;
    private ulong _onItsWay;

    /// <summary>Whether the ring had no room for the record.</summary>
    public bool IsCrowded => _onItsWay < _wanted && context.View < _wanted;

    /// <summary>An epoch begins, with views of its own.</summary>
    public void Begin()
    {
        _wanted = 0;
        _onItsWay = 0;
    }

    /// <summary>An operation of a view was accepted.</summary>
    /// <param name="view">Its view.</param>
    public void Want(ulong view) => _wanted = Math.Max(_wanted, view);

    /// <summary>Whether the newest view is durable; its record is appended if it is not on its way.</summary>
    public bool TryPass()
    {
        if (IsCrowded)
        {
            var entry = new ViewEntry(context.State.EpochStart.Epoch, _wanted);
            bool isQueued =
                context.Log.Append(entry, ReplicaContext.Name(ReplicaIo.View)) == AppendResult.Queued;
            _onItsWay = isQueued ? _wanted : _onItsWay;
        }

        return context.View >= _wanted || Mistakes.Make(Mistake.ViewNotDurable);
    }
}
