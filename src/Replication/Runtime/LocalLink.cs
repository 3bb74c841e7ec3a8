using Ublk.Uring;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Runtime;

/// <summary>
/// The way between a writer and a replica of the same process. A session that ends takes along what was under
/// way, as a broken connection would. Used on the loop's thread.
/// </summary>
/// <param name="replica">The replica.</param>
/// <param name="memory">Where payload goes back to that nobody takes.</param>
internal sealed class LocalLink(LocalReplica replica, VolumeMemory memory) : IReplicaWay, IReplicaSession
{
    private const int None = -1;

    private readonly MessageQueue _toReplica = new(memory);
    private readonly MessageQueue _toWriter = new(memory);
    private int _session = None;
    private int _ended = None;
    private bool _mustTellReplica;

    /// <inheritdoc/>
    public bool IsOpen => _session != None;

    /// <inheritdoc/>
    public bool CanOpen => replica.IsOpen && !IsOpen && _ended == None;

    /// <inheritdoc/>
    public void Open() => _session = replica.Driver!.Open(this);

    /// <inheritdoc/>
    public void Send<T>(in T message) where T : struct, IMessage<T>, allows ref struct =>
        _toReplica.Put(message, default);

    /// <inheritdoc/>
    public void Send<T>(in T message, in IoBuffer payload)
        where T : struct, IMessage<T>, allows ref struct => _toReplica.Put(message, payload);

    /// <inheritdoc/>
    public void Close(CloseReason reason, string text) => End(byReplica: false);

    void IReplicaSession.Answer<T>(in T message) => _toWriter.Put(message, default);

    void IReplicaSession.Answer<T>(in T message, in IoBuffer payload) => _toWriter.Put(message, payload);

    void IReplicaSession.End(CloseReason reason, string text) => End(byReplica: true);

    /// <inheritdoc/>
    public bool TryDeliver(int place, WriterDriver writer)
    {
        bool wasAny = false;
        while (!_toReplica.IsEmpty)
        {
            wasAny = true;
            MessageHead head = _toReplica.Take(out IoBuffer payload);
            replica.Driver!.OnMessage(_session, head, payload);
            _toReplica.Done();
        }

        while (!_toWriter.IsEmpty)
        {
            wasAny = true;
            MessageHead head = _toWriter.Take(out IoBuffer payload);
            writer.OnMessage(place, head, payload);
            _toWriter.Done();
        }

        return TryTellEnd(place, writer) || wasAny;
    }

    private bool TryTellEnd(int place, WriterDriver writer)
    {
        if (_ended == None)
        {
            return false;
        }

        int session = _ended;
        _ended = None;
        if (_mustTellReplica)
        {
            replica.Driver?.OnSessionEnded(session);
        }

        writer.OnSessionEnded(place);
        return true;
    }

    private void End(bool byReplica)
    {
        if (IsOpen)
        {
            _ended = _session;
            _mustTellReplica = !byReplica;
            _session = None;
            _toReplica.Clear();
            _toWriter.Clear();
        }
    }
}
