using Microsoft.AspNetCore.Connections;
using Ublk.Uring;
using Ublk.Wire.Messages;
using Ublk.Wire.Sessions;

namespace Ublk.Replication.Runtime;

/// <summary>
/// One connection of another node: its first message says with which replica it wants to speak, and from then
/// on it belongs to that. Used on the loop's thread.
/// </summary>
internal sealed class ReplicaPeer : ISessionHandler, ISessionMemory, IReplicaSession
{
    private readonly ReplicaServer _server;
    private readonly Action _onOpened;
    private ServedReplica? _replica;
    private int _number;
    private bool _isReceiving;

    /// <summary>Nothing is said before the session runs.</summary>
    /// <param name="server">Knows the replicas.</param>
    /// <param name="connection">The connection; owned from now on.</param>
    /// <param name="options">What this side is.</param>
    /// <param name="onOpened">To be called when the peer has said who it is.</param>
    public ReplicaPeer(
        ReplicaServer server, ConnectionContext connection, SessionOptions options, Action onOpened)
    {
        _server = server;
        _onOpened = onOpened;
        Session = new Session(connection, options, this, this);
    }

    /// <summary>The session.</summary>
    public Session Session { get; }

    void IReplicaSession.Answer<T>(in T message)
    {
        Session.Send(message);
        FlushLater();
    }

    void IReplicaSession.Answer<T>(in T message, in IoBuffer payload)
    {
        Session.Send(message, payload);
        FlushLater();
    }

    void IReplicaSession.End(CloseReason reason, string text)
    {
        _number = 0;
        Session.Close(reason, text);
    }

    void ISessionHandler.OnOpened(Session session) => _onOpened();

    void ISessionHandler.OnMessage(Session session, scoped in MessageHead head, in IoBuffer payload)
    {
        if (_replica is null && !TryOpen(head))
        {
            return;
        }

        EventTurn turn = _replica!.Turn;
        turn.Begin();
        _isReceiving = true;
        _replica.Replica.Driver!.OnMessage(_number, head, payload);
        turn.End();
        _isReceiving = false;
    }

    void ISessionHandler.OnEnded(Session session, SessionEnd end)
    {
        if (_replica is null)
        {
            return;
        }

        _replica.Turn.Begin();
        _replica.Replica.Driver?.OnSessionEnded(_number);

        // The writer has seen that it cannot do what it is asked.
        _replica.Replica.MustReopen |= end is { Cause: SessionEndCause.Peer, Reason: CloseReason.Failed };
        _replica.Turn.End();
    }

    bool ISessionMemory.TryRent(int lengthBytes, out IoBuffer buffer)
    {
        if (_replica is not null)
        {
            return _replica.Memory.Incoming!.TryRent(lengthBytes, out buffer);
        }

        // Before it is known for whom it is, nothing has payload.
        Session.Close(CloseReason.ProtocolError, ReplicaServer.MustOpen);
        buffer = default;
        return false;
    }

    void ISessionMemory.Wait(IPayloadWaiter waiter) => _replica!.Memory.Incoming!.Wait(waiter);

    void ISessionMemory.Return(in IoBuffer buffer) => _replica!.Memory.Return(buffer);

    private bool TryOpen(scoped in MessageHead head)
    {
        if (head.Kind != MessageKind.OpenSession)
        {
            Session.Close(CloseReason.ProtocolError, ReplicaServer.MustOpen);
            return false;
        }

        OpenSession open = head.Read<OpenSession>();
        if (open.Role == SessionRole.Writer && open.Writer.Node != Session.Peer)
        {
            Session.Close(
                CloseReason.NotTrusted,
                $"node {Session.Peer} speaks for a writer of node {open.Writer.Node}");
            return false;
        }

        ServedReplica? found = _server.Find(open.Volume, open.Replica);
        if (found is not { Replica.Driver: { IsStopped: false } driver })
        {
            Session.Close(
                CloseReason.UnknownReplica,
                $"replica {open.Replica} of volume {open.Volume} is not open on this node");
            return false;
        }

        _replica = found;
        _number = driver.Open(this);
        return true;
    }

    // What is sent while a message is taken goes out with the session's own flush.
    private void FlushLater()
    {
        if (!_isReceiving)
        {
            _replica!.Turn.FlushAtEnd(Session);
        }
    }
}
