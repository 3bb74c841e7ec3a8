using Ublk.Tests.Simulation.Network;
using Ublk.Tests.Simulation.World;
using Ublk.Uring;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Tests.Simulation.Tests;

/// <summary>Two hosts that count what comes from the other.</summary>
internal sealed class NetworkBench : ISessionHandler, ISessionListener, IDisposable
{
    private readonly WorldPools _pools = new();

    public NetworkBench(ulong seed = 1)
    {
        var random = new SimulationRandom(seed);
        Nodes = [new SimulatedNode(0, Clock, random.Fork()), new SimulatedNode(1, Clock, random.Fork())];
        Network = new SimulatedNetwork(Nodes, Clock, _pools.Memory, random.Fork());
        Network.Listen(1, this);
    }

    public SimulatedNode[] Nodes { get; }

    public SimulatedNetwork Network { get; }

    public SimulationClock Clock => _pools.Clock;

    public SimulatedMemory Memory => _pools.Memory;

    public List<SessionEnd> Opened { get; } = [];

    public List<SessionEnd> Accepted { get; } = [];

    /// <summary>Numbers of heartbeats and writes, with the end that got them.</summary>
    public List<(SessionEnd End, long Number)> Came { get; } = [];

    public List<SessionEnd> Ended { get; } = [];

    public SessionEnd Open()
    {
        SessionEnd end = Network.Open(0, 1, this);
        while (!Opened.Contains(end) && !Ended.Contains(end) && Clock.Step())
        {
        }

        return end;
    }

    public static void Beat(SessionEnd end, long number) =>
        end.Send(new Heartbeat(new Epoch(1), number, 2000, new Sequence(3), new Sequence(4)));

    public void Write(SessionEnd end, ulong number, int length)
    {
        IoBuffer payload = Memory.Rent(length);
        payload.Span.Fill((byte)number);
        end.Send(
            new Write(new Epoch(1), new Sequence(number), Mutation.Write, MutationFlags.None, 4096, length,
                0, Sequence.None, new View(1)),
            payload);
        Memory.Return(payload);
    }

    public void OnOpened(SessionEnd session) => Opened.Add(session);

    public ISessionHandler OnSession(SessionEnd session)
    {
        Accepted.Add(session);
        return this;
    }

    public void OnMessage(SessionEnd session, in MessageHead head, in IoBuffer payload)
    {
        if (head.Kind == MessageKind.Write)
        {
            Write write = head.Read<Write>();
            bool isWhole = payload.LengthBytes == write.LengthBytes &&
                payload.Span.IndexOfAnyExcept((byte)write.Sequence.Value) < 0;
            Came.Add((session, isWhole ? (long)write.Sequence.Value : -1));
            Memory.Return(payload);
        }
        else
        {
            Came.Add((session, head.Read<Heartbeat>().SentAtNs));
        }
    }

    public void OnEnded(SessionEnd session) => Ended.Add(session);

    public void Dispose() => _pools.Dispose();
}
