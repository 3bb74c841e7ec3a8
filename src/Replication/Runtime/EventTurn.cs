using Ublk.Wire.Sessions;

namespace Ublk.Replication.Runtime;

/// <summary>Somebody to whom, or from whom, messages are under way within the process.</summary>
internal interface ITurnParty
{
    /// <summary>Delivers what is under way.</summary>
    /// <returns>Whether there was anything.</returns>
    bool TryDeliver();
}

/// <summary>
/// One event after the other for those who share replicas on a loop. What an event makes one of them say is
/// delivered when the event has been dealt with, in the same round of the loop: so nobody is called back from
/// within a call, and a write and its answers cost no round more than their disks do. What is for other nodes
/// goes out then too. Used on the loop's thread.
/// </summary>
internal sealed class EventTurn
{
    private readonly List<ITurnParty> _parties = [];
    private readonly List<Session> _unflushed = [];
    private int _depth;

    /// <summary>Somebody joins.</summary>
    public void Add(ITurnParty party) => _parties.Add(party);

    /// <summary>Somebody leaves.</summary>
    public void Remove(ITurnParty party) => _parties.Remove(party);

    /// <summary>An event begins.</summary>
    public void Begin() => _depth++;

    /// <summary>An event has been dealt with.</summary>
    public void End()
    {
        // Who is told of an answer may ask for more at once: only the outermost event delivers.
        while (_depth == 1 && TryDeliver())
        {
        }

        if (_depth == 1)
        {
            Flush();
        }

        _depth--;
    }

    /// <summary>What a session was given goes out at the end of the event.</summary>
    /// <param name="session">The session.</param>
    public void FlushAtEnd(Session session)
    {
        if (!_unflushed.Contains(session))
        {
            _unflushed.Add(session);
        }
    }

    private bool TryDeliver()
    {
        bool wasAny = false;
        for (int party = 0; party < _parties.Count; party++)
        {
            wasAny |= _parties[party].TryDeliver();
        }

        return wasAny;
    }

    // Flushing may end a session, which is an event of its own.
    private void Flush()
    {
        for (int session = 0; session < _unflushed.Count; session++)
        {
            _unflushed[session].Flush();
        }

        _unflushed.Clear();
    }
}
