using Microsoft.AspNetCore.Connections;
using Ublk.Uring;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;
using Ublk.Wire.Sessions;

namespace Ublk.Replication.Runtime;

/// <summary>How a node serves its replicas.</summary>
public sealed record ReplicaServerOptions
{
    /// <summary>What this side says of itself to whoever comes.</summary>
    public required SessionOptions Session { get; init; }

    /// <summary>Where live pages lie: a directory of a memory filesystem.</summary>
    public required string LiveDirectory { get; init; }

    /// <summary>Whether images go past the page cache.</summary>
    public DirectMode Direct { get; init; }

    /// <summary>Bytes for what other nodes write, for each replica: at least one longest payload.</summary>
    public long IncomingBytes { get; init; } = 16L << 20;

    /// <summary>Time between two looks at everything that waits for time to pass.</summary>
    public TimeSpan Tick { get; init; } = TimeSpan.FromMilliseconds(50);
}

/// <summary>
/// The replicas of a node on one loop, for the writers of other nodes: whoever connects opens a session on
/// one of them. A replica whose disk failed is closed and opened anew, as often as it takes. On the loop's
/// thread, except where said.
/// </summary>
public sealed class ReplicaServer : ISessionHost
{
    internal const string MustOpen = "a session begins with OpenSession";

    private readonly Loop _loop;
    private readonly ReplicaServerOptions _options;
    private readonly LoopTimer _timer;
    private readonly List<ServedReplica> _replicas = [];
    private readonly List<(ReplicaPeer Peer, Task Run)> _peers = [];
    private bool _isStopping;

    /// <summary>Serves nothing yet.</summary>
    /// <param name="loop">The loop; the caller is its thread.</param>
    /// <param name="options">How.</param>
    public ReplicaServer(Loop loop, ReplicaServerOptions options)
    {
        loop.AssertOwner();
        _loop = loop;
        _options = options;
        _timer = new LoopTimer(OnTimer);
        _loop.Schedule(_timer, options.Tick);
    }

    /// <summary>What is served.</summary>
    public IReadOnlyList<ServedReplica> Replicas => _replicas;

    /// <summary>Sessions of other nodes.</summary>
    public int SessionCount => _peers.Count;

    /// <summary>Serves a replica: it is opened as soon as its disk lets it.</summary>
    /// <param name="image">Path of its image.</param>
    public ServedReplica Add(string image)
    {
        var settings = new LocalReplicaSettings(
            _options.Direct, _options.LiveDirectory, _options.Session.Node);
        var replica = new ServedReplica(image, settings, _loop, _options.IncomingBytes);
        _replicas.Add(replica);
        replica.OnTick();
        return replica;
    }

    /// <summary>Begins the session of a connection that has come. Any thread.</summary>
    /// <inheritdoc/>
    public async Task<SessionEnd> RunAsync(ConnectionContext connection, Action onOpened)
    {
        Task<SessionEnd> run;
        try
        {
            run = await _loop.InvokeAsync(() => Begin(connection, onOpened)).ConfigureAwait(false);
        }
        catch (Exception failure) when (failure is LoopFullException or ObjectDisposedException)
        {
            connection.Abort(new ConnectionAbortedException(failure.Message));
            await connection.DisposeAsync().ConfigureAwait(false);
            return new SessionEnd(SessionEndCause.Refused, CloseReason.Overloaded, failure.Message);
        }

        return await run.ConfigureAwait(false);
    }

    /// <summary>Ends all sessions and closes all replicas. Any thread; the caller accepts no more.</summary>
    public async Task StopAsync()
    {
        Task sessions = await _loop.InvokeAsync(EndSessions).ConfigureAwait(false);
        await sessions.ConfigureAwait(false);
        Task replicas = await _loop.InvokeAsync(
            () => Task.WhenAll(_replicas.ConvertAll(replica => replica.Close()))).ConfigureAwait(false);
        await replicas.ConfigureAwait(false);
        _ = await _loop.InvokeAsync(() =>
        {
            _timer.Cancel();
            _replicas.ForEach(replica => replica.Free());
            return true;
        }).ConfigureAwait(false);
    }

    /// <summary>The replica of a volume on this loop; null where none is open.</summary>
    internal ServedReplica? Find(VolumeId volume, ReplicaId replica) => _replicas.Find(
        served => served.Identity is { } known && known.Volume == volume && known.Replica == replica);

    private Task<SessionEnd> Begin(ConnectionContext connection, Action onOpened)
    {
        var peer = new ReplicaPeer(this, connection, _options.Session, onOpened);
        Task<SessionEnd> run = peer.Session.RunAsync();
        _peers.Add((peer, run));
        if (_isStopping)
        {
            peer.Session.Close(CloseReason.Shutdown, "the node ends");
        }

        return run;
    }

    private Task EndSessions()
    {
        _isStopping = true;
        foreach ((ReplicaPeer peer, _) in _peers)
        {
            peer.Session.Close(CloseReason.Shutdown, "the node ends");
        }

        return Task.WhenAll(_peers.ConvertAll(peer => peer.Run));
    }

    private void OnTimer()
    {
        _peers.RemoveAll(peer => peer.Run.IsCompleted);
        foreach ((ReplicaPeer peer, _) in _peers)
        {
            peer.Session.OnTick(_loop.NowNs);
        }

        foreach (ServedReplica replica in _replicas)
        {
            replica.OnTick();
        }

        _loop.Schedule(_timer, _options.Tick);
    }
}
