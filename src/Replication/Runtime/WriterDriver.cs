using Ublk.Replication.Primary;
using Ublk.Replication.State;
using Ublk.Uring;
using Ublk.Wire.Blocks;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Runtime;

/// <summary>Hears what a writer comes to. Called within its turn.</summary>
internal interface IWriterHome
{
    /// <summary>The writer has come to another stage.</summary>
    void OnStage(PrimaryStage stage);

    /// <summary>The writer ends a session.</summary>
    /// <param name="place">To whom.</param>
    /// <param name="reason">Why.</param>
    /// <param name="text">For people.</param>
    void OnClosing(int place, CloseReason reason, string text);

    /// <summary>A session has ended, and the writer knows of it.</summary>
    /// <param name="place">To whom.</param>
    void OnSessionEnded(int place);

    /// <summary>A configuration has come into force.</summary>
    void OnConfigured();

    /// <summary>What is known of a replica's bytes: its disk or memory cannot be trusted.</summary>
    /// <param name="place">Which.</param>
    /// <param name="damage">What it did.</param>
    void OnDamaged(int place, string damage);

    /// <summary>A scrub has found a difference.</summary>
    void OnDifference(in ScrubDifference difference);

    /// <summary>A scrub has ended.</summary>
    void OnScrubbed(ScrubReport report);
}

/// <summary>
/// The writer of a volume on a loop, one attempt after the other: carries out what
/// <see cref="VolumePrimary"/> decides, over one way to each replica, near or far. Used on the loop's thread.
/// </summary>
internal sealed class WriterDriver : IPrimaryEffects, ITurnParty, IHostReader
{
    private readonly Loop _loop;
    private readonly EventTurn _turn;
    private readonly VolumeMemory _memory;
    private readonly IReplicaWay[] _ways;
    private readonly LocalReplica? _local;
    private readonly IWriterHome _home;
    private readonly PayloadHolder _payloads;
    private VolumePrimary? _primary;
    private bool _hasStageChanged;

    /// <summary>Asks for nothing before <see cref="Begin"/>.</summary>
    /// <param name="loop">The loop; the caller is its thread.</param>
    /// <param name="turn">The turn of the volume.</param>
    /// <param name="memory">Memory of the volume's payload.</param>
    /// <param name="ways">To each place.</param>
    /// <param name="local">The replica that the host reads; null without one.</param>
    /// <param name="home">Hears what it comes to.</param>
    public WriterDriver(
        Loop loop, EventTurn turn, VolumeMemory memory, IReplicaWay[] ways, LocalReplica? local,
        IWriterHome home)
    {
        _loop = loop;
        _turn = turn;
        _memory = memory;
        _ways = ways;
        _local = local;
        _home = home;
        _payloads = new PayloadHolder(memory);
        if (local is not null)
        {
            local.Reader = this;
        }
    }

    /// <summary>What decides now.</summary>
    public VolumePrimary Primary => _primary!;

    /// <summary>Whether an attempt was begun.</summary>
    public bool HasBegun => _primary is not null;

    /// <summary>How far a replica is that can be spoken with.</summary>
    /// <param name="place">Its place.</param>
    public LocalReplicaStage StageOf(int place)
    {
        ReplicaTable? table = _primary?.Volume?.Replicas;
        return table is null || !table.InStream.Has(place) ? LocalReplicaStage.Behind
            : table.Counting.Has(place) ? LocalReplicaStage.InSync : LocalReplicaStage.Resyncing;
    }

    /// <summary>Blocks of payload held.</summary>
    public int PayloadCount => _payloads.Count;

    private long Now => _loop.NowNs;

    /// <summary>Begins an attempt; what the one before held goes back.</summary>
    /// <param name="options">The attempt: an epoch of its own.</param>
    public void Begin(PrimaryOptions options)
    {
        _payloads.ReturnAll();
        _primary = new VolumePrimary(options, this);
    }

    /// <summary>Opens a session to a place that can have one.</summary>
    /// <param name="place">The place.</param>
    public void Connect(int place)
    {
        _ways[place].Open();
        Primary.OnSession(place, Now);
    }

    /// <summary>Ends all sessions: the next attempt begins with new ones.</summary>
    /// <param name="reason">Why.</param>
    /// <param name="text">For people.</param>
    public void CloseAll(CloseReason reason, string text)
    {
        foreach (IReplicaWay way in _ways)
        {
            way.Close(reason, text);
        }
    }

    /// <summary>
    /// Takes a request of the host. Of a write's payload the writer holds a share of its own until every
    /// replica that follows has it.
    /// </summary>
    /// <param name="request">In range and aligned; the volume is served.</param>
    /// <param name="completion">Hears of the end.</param>
    public void Submit(in BlockRequest request, IBlockCompletion completion)
    {
        _turn.Begin();
        if (request.Operation == BlockOperation.Write)
        {
            _memory.Share(request.Buffer);
            _payloads.Take(request.Buffer);
        }

        Primary.Submit(request, completion, Now);
        _turn.End();
    }

    /// <summary>A replica has sent a message.</summary>
    /// <param name="place">Its place.</param>
    /// <param name="head">The message.</param>
    /// <param name="payload">Its payload, the writer's from now on; empty without.</param>
    public void OnMessage(int place, scoped in MessageHead head, in IoBuffer payload)
    {
        _payloads.Take(payload);
        Primary.OnMessage(place, head, payload, Now);
    }

    /// <summary>A session has ended.</summary>
    /// <param name="place">To whom.</param>
    public void OnSessionEnded(int place)
    {
        Primary.OnSessionEnded(place, Now);
        _home.OnSessionEnded(place);
    }

    /// <summary>Nothing of it is needed any more.</summary>
    public void Free()
    {
        _payloads.ReturnAll();
        if (_local?.Reader == this)
        {
            _local.Reader = null;
        }
    }

    bool ITurnParty.TryDeliver()
    {
        bool wasAny = false;
        for (int place = 0; place < _ways.Length; place++)
        {
            wasAny |= _ways[place].TryDeliver(place, this);
        }

        if (wasAny || !_hasStageChanged)
        {
            return wasAny;
        }

        _hasStageChanged = false;
        _home.OnStage(Primary.Stage);
        return true;
    }

    void IHostReader.OnHostReadEnded(ulong read, int lengthBytes, int result) =>
        Primary.OnLocalReadEnded(read, result, lengthBytes, Now);

    void IPrimaryEffects.Send<T>(int replica, in T message)
    {
        if (_ways[replica].IsOpen)
        {
            _ways[replica].Send(message);
        }
    }

    void IPrimaryEffects.Send<T>(int replica, in T message, in IoBuffer payload)
    {
        if (_ways[replica].IsOpen)
        {
            _memory.Share(payload);
            _ways[replica].Send(message, payload);
        }
    }

    void IPrimaryEffects.SendBytes<T>(int replica, in T message, ReadOnlySpan<byte> payload)
    {
        if (_ways[replica].IsOpen)
        {
            _ways[replica].Send(message, _memory.CopyOf(payload));
        }
    }

    void IPrimaryEffects.Close(int replica, CloseReason reason, string text)
    {
        _home.OnClosing(replica, reason, text);
        _ways[replica].Close(reason, text);
    }

    bool IPrimaryEffects.CanReadLocally(long offsetBytes, long lengthBytes) =>
        _local is { IsOpen: true, Driver: { } driver } && driver.Machine.IsCurrent(offsetBytes, lengthBytes);

    void IPrimaryEffects.ReadLocally(ulong read, long offsetBytes, in IoBuffer buffer) =>
        _local!.Driver!.ReadForHost(read, offsetBytes, buffer);

    void IPrimaryEffects.ReleasePayload(in IoBuffer payload) => _payloads.Return(payload);

    void IPrimaryEffects.StageChanged(PrimaryStage stage) => _hasStageChanged = true;

    void IPrimaryEffects.ConfigurationChanged() => _home.OnConfigured();

    void IPrimaryEffects.StillDiffers(int replica, int region) => _home.OnDamaged(
        replica,
        $"what was copied to region {region} reads back as something else: its disk or memory is bad");

    void IPrimaryEffects.BlockLost(int replica, long offsetBytes) => _home.OnDamaged(
        replica,
        $"the 4 KiB at {offsetBytes} are not what was written, and no other replica has them: they " +
        "cannot be read until they are written again");

    void IPrimaryEffects.Differs(in ScrubDifference difference) => _home.OnDifference(difference);

    void IPrimaryEffects.ScrubEnded(ScrubReport report) => _home.OnScrubbed(report);

    /// <summary>
    /// How a volume serves whose writes come from a pool. A block of the pool may be up to twice as long as
    /// its payload, and 4 KiB for 512 bytes: with a quarter of the pool for the window, and no more
    /// operations than pages in another quarter, at least half of the pool is left for what waits to get in.
    /// So the window is full before the pool is, and whoever holds it up alone leaves the stream.
    /// </summary>
    /// <param name="poolBytes">Size of the pool.</param>
    public static VolumeOptions WindowOf(long poolBytes)
    {
        const int MaxOperations = 4096;
        const int Quarter = 4;
        long pages = poolBytes / Quarter / PayloadPool.MinBlockBytes;
        int operations = 1 << System.Numerics.BitOperations.Log2((uint)Math.Min(pages, MaxOperations));
        return new VolumeOptions { WindowBytes = poolBytes / Quarter, WindowOperations = operations };
    }
}
