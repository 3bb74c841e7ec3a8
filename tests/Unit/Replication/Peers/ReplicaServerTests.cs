using Microsoft.AspNetCore.Connections;
using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;
using Ublk.Wire.Sessions;
using Ublk.Wire.Transport;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Peers;

/// <summary>What a node answers to those who want one of its replicas, and may not have it.</summary>
public sealed class ReplicaServerTests : IDisposable
{
    private const uint Node = 2; // The replica's number too.

    private readonly PeerVolume _world = new([new LoopbackNet()], hasLocal: false);

    public void Dispose() => _world.Dispose();

    [Fact]
    public void AReplicaThatIsNotHereIsUnknown()
    {
        using var peer = new Asker(_world);
        peer.Say(OpenOf(replica: 9));
        Assert.Equal(CloseReason.UnknownReplica, peer.End().Reason);
    }

    [Fact]
    public void AnotherFormatOfAReplicaIsUnknown()
    {
        using var peer = new Asker(_world);
        peer.Say(OpenOf(replica: Node) with { Incarnation = new Incarnation(1) });
        Assert.Equal(CloseReason.UnknownReplica, peer.End().Reason);
    }

    [Fact]
    public void AWriterSpeaksForItself()
    {
        using var peer = new Asker(_world);
        peer.Say(OpenOf(replica: Node) with { Writer = new Writer(new NodeId(3), 1) });
        SessionEnd end = peer.End();
        Assert.Equal(CloseReason.NotTrusted, end.Reason);
        Assert.Contains("node 1 speaks for a writer of node 3", end.Text, StringComparison.Ordinal);
    }

    [Fact]
    public void NothingComesBeforeTheSessionIsOpened()
    {
        using var peer = new Asker(_world);
        peer.Say(new Read(new Epoch(1), new RequestId(1), 0, 4096, new Sequence(0)));
        Assert.Equal(CloseReason.ProtocolError, peer.End().Reason);
    }

    // It would need memory before it is known whose.
    [Fact]
    public void NorDoesPayload()
    {
        using var peer = new Asker(_world);
        peer.SayWithPayload(new CopyRequest(new Epoch(1), new RequestId(1), 0, 1 << 20));
        Assert.Equal(CloseReason.ProtocolError, peer.End().Reason);
        _world.Until(() => _world.Nodes[0].Acceptor!.SessionCount == 0);
        Assert.Empty(_world.Nodes[0].Failures);
    }

    // The stream belongs to the session that came last; who went on over it is told.
    [Fact]
    public void ASecondSessionOfTheWriterTakesTheStreamOver()
    {
        using var first = new Asker(_world);
        using var second = new Asker(_world);
        Promise(first);
        second.Say(OpenOf(replica: Node));
        _world.Until(() => second.Heard.Contains(MessageKind.SessionState));
        Assert.Equal(CloseReason.Superseded, first.End().Reason);
    }

    [Fact]
    public void WhoAsksWithoutEndLosesItsSession()
    {
        using var peer = new Asker(_world);
        Promise(peer);
        for (uint id = 0; id < 100_000 && !peer.HasEnded; id++)
        {
            // Of what has not been applied yet: it waits.
            peer.Say(new Read(new Epoch(1), new RequestId(id), 0, 4096, new Sequence(1000)));
        }

        Assert.Equal(CloseReason.Overloaded, peer.End().Reason);
    }

    private static OpenSession OpenOf(uint replica) => new(
        new Epoch(1), SessionRole.Writer, PeerNode.Volume, new ReplicaId(replica),
        new Incarnation(1000 + replica), new ConfigurationNumber(1), new Writer(new NodeId(1), 1), 16 << 20,
        PeerVolume.BlockBytes, StoreFormat.RegionBytes, StoreFormat.GrainBytes);

    private void Promise(Asker peer)
    {
        peer.Say(OpenOf(replica: Node));
        _world.Until(() => peer.Heard.Contains(MessageKind.SessionState));
        peer.Say(new Promise(new Epoch(1), new Writer(new NodeId(1), 1), new ConfigurationNumber(1)));
        _world.Until(() => peer.Heard.Contains(MessageKind.Claim));
    }

    // Node 1, which may say what it wants.
    private sealed class Asker : ISessionHandler, ISessionMemory, IDisposable
    {
        private readonly PeerVolume _world;
        private readonly PayloadPool _pool = new(4 << 20, table: null);
        private readonly Session _session;
        private readonly Task _run;
        private SessionEnd? _end;

        public Asker(PeerVolume world)
        {
            _world = world;
            PeerNode node = world.Nodes[0];
            world.Until(() => node.Served.IsOpen);
            Task<ConnectionContext> connecting = new RingConnectionFactory(world.Transport)
                .ConnectAsync(node.Place.Peer!.EndPoint).AsTask();
            world.Until(() => connecting.IsCompleted);
#pragma warning disable VSTHRD002 // It has ended.
            _session = new Session(
                connecting.Result, world.SessionOf(1, isAsked: false), this, this);
#pragma warning restore VSTHRD002
            _run = _session.RunAsync();
            world.Until(() => _session.Stage == SessionStage.Open);
        }

        public List<MessageKind> Heard { get; } = [];

        public bool HasEnded => _end is not null;

        public void Say<T>(in T message) where T : struct, IMessage<T>, allows ref struct
        {
            _session.Send(message);
            _session.Flush();
            _ = _world.Loop.Drain();
        }

        public void SayWithPayload(in CopyRequest message)
        {
            Assert.True(_pool.TryRent(message.PayloadBytes, out IoBuffer payload));
            _session.Send(message, payload);
            _session.Flush();
        }

        public SessionEnd End()
        {
            _world.Until(() => HasEnded);
            Assert.Equal(SessionEndCause.Peer, _end!.Cause);
            return _end;
        }

        public void OnOpened(Session session)
        {
        }

        public void OnMessage(Session session, scoped in MessageHead head, in IoBuffer payload)
        {
            Heard.Add(head.Kind);
            if (payload.LengthBytes > 0)
            {
                _pool.Return(payload);
            }
        }

        public void OnEnded(Session session, SessionEnd end) => _end = end;

        public bool TryRent(int lengthBytes, out IoBuffer buffer) => _pool.TryRent(lengthBytes, out buffer);

        public void Wait(IPayloadWaiter waiter) => _pool.Wait(waiter);

        public void Return(in IoBuffer buffer) => _pool.Return(buffer);

        public void Dispose()
        {
            _session.Close(CloseReason.Done, "");
            _world.Run(_run);
            Assert.Equal(_pool.CapacityBytes, _pool.FreeBytes);
            _pool.Dispose();
        }
    }
}
