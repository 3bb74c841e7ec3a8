using Ublk.Tests.Simulation.World;
using Ublk.Wire.Messages;

namespace Ublk.Tests.Simulation.Network;

/// <summary>
/// Sessions between processes, each an ordered stream of real messages in both directions. Different
/// sessions do not wait for each other, so what an old one carries may arrive after a new one was opened.
/// Ways between hosts can be cut in one direction; a session can be reset at any point, and each end hears
/// of it in its own time.
/// </summary>
internal sealed class SimulatedNetwork
{
    private readonly SimulatedNode[] _nodes;
    private readonly ISessionListener?[] _listeners;
    private readonly LatencyModel[] _latency;
    private readonly bool[] _isCut;
    private readonly List<SessionEnd> _ends = [];
    private readonly Stack<byte[]> _heads = new();
    private readonly byte[] _encoded = new byte[MessageLimits.MaxListMessageBytes];
    private int _forgotten;

    /// <summary>Joins hosts.</summary>
    /// <param name="nodes">The hosts, by their numbers.</param>
    /// <param name="clock">The time of the world.</param>
    /// <param name="memory">Where payload lies.</param>
    /// <param name="random">Where chance comes from.</param>
    public SimulatedNetwork(
        SimulatedNode[] nodes, SimulationClock clock, SimulatedMemory memory, SimulationRandom random)
    {
        _nodes = nodes;
        Clock = clock;
        Memory = memory;
        Random = random;
        _listeners = new ISessionListener?[nodes.Length];
        _isCut = new bool[nodes.Length * nodes.Length];
        _latency = new LatencyModel[nodes.Length * nodes.Length];
        Array.Fill(_latency, LatencyModel.Network);
        foreach (SimulatedNode node in nodes)
        {
            node.Watch(new Cable(this, node));
        }
    }

    /// <summary>How the network behaves.</summary>
    public NetworkFaults Faults { get; set; } = NetworkFaults.None;

    internal SimulationClock Clock { get; }

    internal SimulatedMemory Memory { get; }

    internal SimulationRandom Random { get; }

    /// <summary>A process takes sessions from now on; ends with the process.</summary>
    /// <param name="node">Its host.</param>
    /// <param name="listener">Who takes them; null for nobody.</param>
    public void Listen(int node, ISessionListener? listener) => _listeners[node] = listener;

    /// <summary>How long messages take from one host to another, in sessions opened from now on.</summary>
    public void SetLatency(int from, int to, LatencyModel latency) => _latency[Way(from, to)] = latency;

    /// <summary>Nothing gets from one host to another; the other direction is not touched.</summary>
    public void Cut(int from, int to) => _isCut[Way(from, to)] = from != to;

    /// <summary>The way is free again; what was held, and not given up, goes on.</summary>
    public void Heal(int from, int to)
    {
        _isCut[Way(from, to)] = false;
        foreach (SessionEnd end in _ends.ToArray())
        {
            if (end.Node.Index == from && end.Peer?.Node.Index == to)
            {
                end.Resume();
            }
        }
    }

    /// <summary>Every way is free again.</summary>
    public void HealAll()
    {
        for (int way = 0; way < _isCut.Length; way++)
        {
            if (_isCut[way])
            {
                Heal(way / _nodes.Length, way % _nodes.Length);
            }
        }
    }

    /// <summary>Opens a session from one process to another.</summary>
    /// <param name="from">Host of who asks.</param>
    /// <param name="to">Host of who is asked.</param>
    /// <param name="handler">Hears that it is open, or that it is not to be had.</param>
    /// <returns>The own end; messages may be sent when it is open.</returns>
    public SessionEnd Open(int from, int to, ISessionHandler handler)
    {
        Forget();
        var own = new SessionEnd(this, _ends.Count + _forgotten, _nodes[from], _latency[Way(from, to)])
        {
            Handler = handler,
        };
        _ends.Add(own);
        Clock.After(_latency[Way(from, to)].Draw(Random), () => Accept(own, from, to));
        return own;
    }

    /// <summary>Ends a session in the middle of what it carries.</summary>
    /// <param name="end">One of its ends.</param>
    public void Reset(SessionEnd end)
    {
        if (end.IsReset || end.Peer is null)
        {
            return;
        }

        foreach (SessionEnd one in new[] { end, end.Peer })
        {
            one.Truncate(Random.Below(one.UnderWayCount + 1));
            one.SendEnd(Random.Below(Faults.LatestNewsNs + 1));
        }
    }

    /// <summary>Resets one of the sessions between two hosts, in whatever direction it was opened.</summary>
    public void ResetBetween(int one, int other)
    {
        foreach (SessionEnd end in _ends)
        {
            if (end.Node.Index == one && end.Peer?.Node.Index == other && end.IsOpen && !end.IsReset)
            {
                Reset(end);
                return;
            }
        }
    }

    internal bool IsCut(SessionEnd from) => _isCut[Way(from.Node.Index, from.Peer.Node.Index)];

    // Within a host nothing is ever lost.
    internal void MayReset(SessionEnd end)
    {
        if (Faults.ResetPerHundredThousand > 0 && end.Node != end.Peer.Node &&
            Random.Below(100_000) < Faults.ResetPerHundredThousand)
        {
            Reset(end);
        }
    }

    // The sender gives up after its time; the other end, which nothing reaches, by itself and later.
    internal void GiveUpLater(SessionEnd end) => Clock.After(Faults.TimeoutNs, () =>
    {
        if (!end.IsStalled || !IsCut(end))
        {
            return;
        }

        end.Truncate(0);
        end.Peer.IsReset = true;
        end.HearEnd();
        Clock.After(Random.Below(Faults.TimeoutNs), end.Peer.HearEnd);
    });

    internal byte[] EncodeHead<T>(in T message, out int headBytes)
        where T : struct, IMessage<T>, allows ref struct
    {
        headBytes = MessageWriter.Write(message, _encoded);
        byte[]? head;
        if (headBytes > MessageLimits.MaxHeadBytes)
        {
            head = new byte[headBytes];
        }
        else if (!_heads.TryPop(out head))
        {
            head = new byte[MessageLimits.MaxHeadBytes];
        }

        _encoded.AsSpan(0, headBytes).CopyTo(head);
        return head;
    }

    internal void ReturnHead(byte[] head)
    {
        if (head.Length == MessageLimits.MaxHeadBytes)
        {
            _heads.Push(head);
        }
    }

    private int Way(int from, int to) => from * _nodes.Length + to;

    private void Accept(SessionEnd own, int from, int to)
    {
        bool isThere = !_isCut[Way(from, to)] && !_isCut[Way(to, from)] && _nodes[to].IsPowered;
        if (isThere && _nodes[to].IsRunning && _listeners[to] is { } listener)
        {
            var other = new SessionEnd(this, _ends.Count + _forgotten, _nodes[to], _latency[Way(to, from)]);
            own.Peer = other;
            other.Peer = own;
            _ends.Add(other);
            _nodes[to].Post(() => other.Handler = listener.OnSession(other));
            Clock.After(_latency[Way(to, from)].Draw(Random), own.HearOpened);
            return;
        }

        // A host without the process refuses at once; one that is not there never answers.
        Clock.After(isThere ? 0 : Faults.TimeoutNs, own.HearEnd);
    }

    // Both ends have ended, and nothing is under way: no session will ever be asked about it again.
    private void Forget()
    {
        if (_ends.Count < 64)
        {
            return;
        }

        int before = _ends.Count;
        _ = _ends.RemoveAll(end => !end.IsOpen && end.UnderWayCount == 0 &&
            (end.Peer is null || (!end.Peer.IsOpen && end.Peer.UnderWayCount == 0)));
        _forgotten += before - _ends.Count;
    }

    private void OnProcessGone(SimulatedNode node, bool isHostGone)
    {
        _listeners[node.Index] = null;
        foreach (SessionEnd end in _ends.ToArray())
        {
            if (end.Node != node || !end.IsOpen)
            {
                continue;
            }

            if (!isHostGone && end.Peer is not null)
            {
                end.Close();
                continue;
            }

            end.Vanish();
            if (end.Peer is { } peer)
            {
                end.IsReset = true;
                Clock.After(Random.Between(0, Faults.TimeoutNs), peer.HearEnd);
            }
        }
    }

    private sealed class Cable(SimulatedNetwork network, SimulatedNode node) : INodeWatcher
    {
        public void OnProcessKilled() => network.OnProcessGone(node, isHostGone: false);

        public void OnPowerLost() => network.OnProcessGone(node, isHostGone: true);
    }
}
