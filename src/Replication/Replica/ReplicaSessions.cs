using Ublk.Wire.Messages;

namespace Ublk.Replication.Replica;

/// <summary>Who speaks with the replica. At most one is the writer: the one with the promise.</summary>
internal sealed class ReplicaSessions
{
    private readonly List<PeerSession> _sessions = [];

    /// <summary>The session of the writer; −1 for none.</summary>
    public int Writer { get; set; } = -1;

    /// <summary>How many.</summary>
    public int Count => _sessions.Count;

    /// <summary>A session.</summary>
    /// <param name="session">Its number.</param>
    /// <param name="found">What it opened with.</param>
    public bool TryFind(int session, out PeerSession found)
    {
        foreach (PeerSession known in _sessions)
        {
            if (known.Session == session)
            {
                found = known;
                return true;
            }
        }

        found = default;
        return false;
    }

    /// <summary>Adds one.</summary>
    /// <param name="session">It.</param>
    public void Add(in PeerSession session) => _sessions.Add(session);

    /// <summary>Forgets one.</summary>
    /// <param name="session">Its number.</param>
    public void Remove(int session)
    {
        _ = _sessions.RemoveAll(known => known.Session == session);
        Writer = Writer == session ? -1 : Writer;
    }

    /// <summary>Ends all.</summary>
    /// <param name="effects">Ends each.</param>
    /// <param name="reason">Why.</param>
    /// <param name="text">For people.</param>
    public void CloseAll(IReplicaEffects effects, CloseReason reason, string text)
    {
        PeerSession[] all = [.. _sessions];
        _sessions.Clear();
        Writer = -1;
        foreach (PeerSession session in all)
        {
            effects.Close(session.Session, reason, text);
        }
    }

    /// <summary>The replica may answer now: takes up those that wait.</summary>
    /// <param name="open">Answers one.</param>
    public void TakeWaiting(Action<PeerSession> open)
    {
        PeerSession[] all = [.. _sessions];
        foreach (PeerSession session in all)
        {
            open(session);
        }
    }
}

/// <summary>A session and what it was opened with.</summary>
internal readonly record struct PeerSession(int Session, OpenSession Opened);
