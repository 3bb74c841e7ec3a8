using Ublk.Replication.Primary;
using Ublk.Replication.State;
using Ublk.Tests.Simulation.Judge;
using Ublk.Tests.Simulation.Network;
using Ublk.Tests.Simulation.World;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Blocks;
using Ublk.Wire.Messages;

namespace Ublk.Tests.Simulation.Cluster;

/// <summary>
/// The writer of a volume on its host: the production machine over the network of the world. Lives as long as
/// its process, or until it has ended.
/// </summary>
internal sealed class PrimaryHost : ISessionHandler, IPrimaryEffects
{
    private readonly ClusterWorld _world;
    private readonly SimulatedNode _node;
    private readonly SessionEnd?[] _sessions = new SessionEnd?[ReplicaMask.Places];
    private readonly ReplicaHost?[] _hosts = new ReplicaHost?[ReplicaMask.Places];
    private readonly ReplicaHost? _local;
    private readonly int _process;

    /// <summary>Begins to ask for the volume.</summary>
    /// <param name="world">The world.</param>
    /// <param name="node">Its host.</param>
    /// <param name="options">The attachment.</param>
    /// <param name="hosts">Who is in which place.</param>
    /// <param name="local">The replica of the same process.</param>
    public PrimaryHost(
        ClusterWorld world, SimulatedNode node, PrimaryOptions options, IReadOnlyList<ReplicaHost> hosts,
        ReplicaHost? local)
    {
        _world = world;
        _node = node;
        _local = local;
        _process = node.Process;
        Options = options;
        Machine = new VolumePrimary(options, this);
        for (int place = 0; place < options.Members.Count; place++)
        {
            _hosts[place] = options.Members[place] is null ? null : hosts[place];
            Connect(place);
        }

        Tick();
    }

    /// <summary>The attachment.</summary>
    public PrimaryOptions Options { get; }

    /// <summary>The machine.</summary>
    public VolumePrimary Machine { get; }

    /// <summary>Its host.</summary>
    public SimulatedNode Node => _node;

    /// <summary>When it last asked for a lease, by its clock.</summary>
    public long LastHeartbeat { get; private set; }

    /// <summary>How often replicas were asked for blocks, to copy them.</summary>
    public int CopiesAsked { get; private set; }

    /// <summary>Copies that were pushed to replicas.</summary>
    public int CopiesPushed { get; private set; }

    /// <summary>Their bytes, where they have any.</summary>
    public long PushedBytes { get; private set; }

    /// <summary>What scrubs have found.</summary>
    public List<ScrubDifference> Differences { get; } = [];

    /// <summary>The last scrub that has come to an end.</summary>
    public ScrubReport? Scrubbed { get; private set; }

    /// <summary>Nothing is done any more.</summary>
    public bool IsOver { get; private set; }

    private long Now => _node.Clock.Now;

    /// <summary>The host asks for something.</summary>
    public void Submit(in BlockRequest request, IBlockCompletion completion) =>
        Machine.Submit(request, completion, Now);

    /// <summary>A replica learns what the volume holds; the second time nothing happens.</summary>
    public void Add(int place, ReplicaHost host)
    {
        if (_hosts[place] is null)
        {
            _hosts[place] = host;
            Machine.Add(place, host.Member);
            Connect(place);
        }
    }

    /// <summary>The next configuration is to come into force.</summary>
    public void Reconfigure(VolumeRecord record)
    {
        Machine.Reconfigure(record.Configuration, record.SizeBytes, Now);
        _world.OnPrimaryEvent(this);
    }

    /// <summary>All replicas are to be compared.</summary>
    public void Scrub()
    {
        Scrubbed = null;
        Machine.BeginScrub(new ScrubOptions(), Now);
        _world.OnPrimaryEvent(this);
    }

    /// <summary>Gives the volume back.</summary>
    public void Release() => Machine.Release(Now);

    /// <summary>Ends it: all sessions are closed.</summary>
    public void Close()
    {
        IsOver = true;
        foreach (SessionEnd? session in _sessions)
        {
            CloseOpen(session);
        }

        Array.Clear(_sessions);
    }

    /// <inheritdoc/>
    public void OnOpened(SessionEnd session)
    {
        int place = Array.IndexOf(_sessions, session);
        if (!IsOver && place >= 0)
        {
            Machine.OnSession(place, Now);
        }
        else
        {
            session.Close();
        }
    }

    /// <inheritdoc/>
    public void OnMessage(SessionEnd session, in MessageHead head, in IoBuffer payload)
    {
        int place = Array.IndexOf(_sessions, session);
        if (IsOver || place < 0)
        {
            _world.Memory.Return(payload);
            return;
        }

        if (head.Kind is not (MessageKind.Applied or MessageKind.Grant or MessageKind.Flushed))
        {
            _world.Note($"{Options.Epoch} <- {place}: {head.Kind}");
        }

        Machine.OnMessage(place, head, payload, Now);
        _world.OnPrimaryEvent(this);
    }

    /// <inheritdoc/>
    public void OnEnded(SessionEnd session)
    {
        int place = Array.IndexOf(_sessions, session);
        if (!IsOver && place >= 0)
        {
            Lose(place);
            _world.OnPrimaryEvent(this);
        }
    }

    void IPrimaryEffects.Send<T>(int replica, in T message)
    {
        LastHeartbeat = typeof(T) == typeof(Heartbeat) ? Now : LastHeartbeat;
        CopiesPushed += typeof(T) == typeof(CopyChunk) ? 1 : 0;
        OpenTo(replica)?.Send(message);
    }

    void IPrimaryEffects.Send<T>(int replica, in T message, in IoBuffer payload)
    {
        CopiesPushed += typeof(T) == typeof(CopyChunk) ? 1 : 0;
        PushedBytes += typeof(T) == typeof(CopyChunk) ? payload.LengthBytes : 0;
        OpenTo(replica)?.Send(message, payload);
    }

    void IPrimaryEffects.SendBytes<T>(int replica, in T message, ReadOnlySpan<byte> payload)
    {
        CopiesAsked += typeof(T) == typeof(CopyRequest) ? 1 : 0;
        OpenTo(replica)?.SendRented(message, _world.Memory.Copy(payload));
    }

    void IPrimaryEffects.Close(int replica, CloseReason reason, string text)
    {
        _world.Note($"primary {Options.Epoch} closes {replica}: {reason}, {text}");
        SessionEnd? session = _sessions[replica];
        if (session is not null)
        {
            CloseOpen(session);
            _node.Post(() =>
            {
                if (!IsOver && _sessions[replica] == session)
                {
                    Lose(replica);
                }
            });
        }
    }

    bool IPrimaryEffects.CanReadLocally(long offsetBytes, long lengthBytes) =>
        _local?.Machine?.IsCurrent(offsetBytes, lengthBytes) ?? false;

    void IPrimaryEffects.ReadLocally(ulong read, long offsetBytes, in IoBuffer buffer)
    {
        int length = buffer.LengthBytes;
        _local!.ReadLocally(offsetBytes, buffer, result =>
        {
            if (!IsOver)
            {
                bool isCurrent = _local.Machine?.IsCurrent(offsetBytes, length) ?? false;
                Machine.OnLocalReadEnded(read, isCurrent ? result : -Errno.EIO, length, Now);
                _world.OnPrimaryEvent(this);
            }
        });
    }

    void IPrimaryEffects.ReleasePayload(in IoBuffer payload) => _world.Memory.Return(payload);

    void IPrimaryEffects.StageChanged(PrimaryStage stage)
    {
        _world.Note($"primary {Options.Epoch} on {_node.Index}: {stage}");
        _node.Post(() => _world.OnStageChanged(this));
    }

    void IPrimaryEffects.ConfigurationChanged()
    {
        _world.Note($"primary {Options.Epoch}: configuration {Machine.Configuration.Number} is in force");
        for (int place = 0; place < _hosts.Length; place++)
        {
            _hosts[place] = Machine.Knows(place) ? _hosts[place] : null;
        }

        _node.Post(() => _world.OnConfigurationChanged(this));
    }

    void IPrimaryEffects.StillDiffers(int replica, int region)
    {
        if (!_world.HasRot)
        {
            throw new HistoryException($"replica {replica}: region {region} was copied, and differs still");
        }
    }

    void IPrimaryEffects.BlockLost(int replica, long offsetBytes)
    {
        _world.Note($"primary {Options.Epoch}: the block at {offsetBytes} of replica {replica} is lost");
        _ = _world.LostBlocks.Add(offsetBytes);
        if (!_world.HasRot)
        {
            throw new HistoryException($"a block is lost, and no disk decays: {offsetBytes} of {replica}");
        }
    }

    void IPrimaryEffects.Differs(in ScrubDifference difference)
    {
        _world.Note($"primary {Options.Epoch}: {difference}");
        bool isExpected = _world.HasRot || _world.Options.Image.ReadErrorPermille > 0;
        if (!isExpected)
        {
            throw new HistoryException($"a scrub finds what cannot be: {difference}");
        }

        Differences.Add(difference);
    }

    void IPrimaryEffects.ScrubEnded(ScrubReport report)
    {
        _world.Note($"primary {Options.Epoch}: {report}");
        Scrubbed = report;
    }

    // One that is still being opened is closed when it is there.
    private static void CloseOpen(SessionEnd? session)
    {
        if (session?.Peer is not null)
        {
            session.Close();
        }
    }

    private SessionEnd? OpenTo(int place) => _sessions[place] is { Peer: not null } session ? session : null;

    private void Lose(int place)
    {
        _sessions[place] = null;
        Machine.OnSessionEnded(place, Now);
        _node.After(_world.RetryNs, () => Connect(place));
    }

    private void Connect(int place)
    {
        if (!IsOver && _process == _node.Process && _sessions[place] is null && _hosts[place] is { } host)
        {
            _sessions[place] = _world.Network.Open(_node.Index, host.Node.Index, this);
        }
    }

    private void Tick() => _node.After(_world.TickNs, () =>
    {
        if (!IsOver)
        {
            Machine.OnTick(Now);
            _world.OnPrimaryEvent(this);
            Tick();
        }
    });
}
