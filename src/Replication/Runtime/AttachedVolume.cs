using Ublk.Replication.Primary;
using Ublk.Uring;
using Ublk.Wire.Blocks;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Runtime;

/// <summary>
/// A volume that is attached to this node, with replicas on this and other nodes, as a frontend sees it.
/// Reads go to the replica of this node where there is one. On the loop's thread, except where said.
/// </summary>
public sealed partial class AttachedVolume : IBlockTarget, IWriterHome
{
    private const long AttemptPauseNs = 200_000_000;
    private const long MaxRangeBytes = 1L << 30;

    private readonly Loop _loop;
    private readonly AttachedVolumeOptions _options;
    private readonly PayloadPool _pool;
    private readonly int _localPlace;
    private readonly ServedReplica? _local;
    private readonly EventTurn _turn;
    private readonly VolumeMemory _memory;
    private readonly IReplicaWay[] _ways;
    private readonly WriterDriver _writer;
    private readonly string?[] _problems;
    private readonly string?[] _damages;
    private readonly LocalReplicaStage[] _stages;
    private readonly LoopTimer _timer;
    private readonly TaskCompletionSource _served = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _stopped = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _nextAttemptAt = long.MaxValue;
    private long _stopAt = long.MaxValue;
    private bool _isStopping;
    private bool _isClosing;
    private bool _isQuietElsewhere;
    private bool _isClosed;

    private AttachedVolume(AttachedVolumeOptions options, Loop loop, PayloadPool pool, TimeProvider time)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(
            pool.CapacityBytes, VolumeDriver.MinPoolBytes, nameof(pool));
        _options = options;
        _loop = loop;
        _pool = pool;
        _timer = new LoopTimer(OnTimer);
        int count = options.Places.Count;
        _localPlace = options.Places.ToList().FindIndex(place => place.Local is not null);
        _local = _localPlace < 0 ? null : options.Places[_localPlace].Local;
        _turn = _local?.Turn ?? new EventTurn();
        _memory = _local?.Memory ??
            new VolumeMemory(incoming: null, new PayloadPool(VolumeMemory.AnswerBytes, loop.Buffers));
        if (_memory.Host is not null)
        {
            throw new InvalidOperationException($"volume {options.Volume} is attached here already");
        }

        _memory.Host = pool;
        Limits = LimitsOf(options);
        _problems = new string?[count];
        _damages = new string?[count];
        _stages = new LocalReplicaStage[count];
        _ways = [.. options.Places.Select(place => WayTo(place, time))];
        _writer = new WriterDriver(loop, _turn, _memory, _ways, _local?.Replica, this);
        _turn.Add(_writer);
    }

    /// <summary>Called when a replica has come to another stage; on the loop's thread.</summary>
    public Action? OnChanged { get; set; }

    /// <inheritdoc/>
    public BlockLimits Limits { get; }

    /// <summary>Size in bytes that counts, on any thread.</summary>
    public long SizeBytes => _options.SizeBytes;

    /// <summary>Ends when the volume is served; no request before.</summary>
    public Task Served => _served.Task;

    /// <summary>How far the writer is.</summary>
    public PrimaryStage Stage => _writer.HasBegun ? _writer.Primary.Stage : PrimaryStage.Claiming;

    /// <summary>The epoch it writes in, or tries to.</summary>
    public Epoch Epoch { get; private set; }

    /// <summary>Why it has no epoch; null when it has.</summary>
    public string? Problem { get; private set; }

    /// <summary>The last operation that has a place in history; 0 before the volume is served.</summary>
    public ulong LastSequence => _writer.HasBegun ? (_writer.Primary.Volume?.Window.Next ?? 1) - 1 : 0;

    /// <summary>Connects to all replicas and begins to ask for the volume.</summary>
    /// <param name="options">The attachment.</param>
    /// <param name="loop">The loop; the caller is its thread.</param>
    /// <param name="pool">Where the payload of writes lies: at least 8 MiB, and this volume's alone.</param>
    /// <param name="time">The clock of connectors.</param>
    /// <exception cref="InvalidOperationException">The volume is attached to this node already.</exception>
    public static AttachedVolume Create(
        AttachedVolumeOptions options, Loop loop, PayloadPool pool, TimeProvider time)
    {
        var volume = new AttachedVolume(options, loop, pool, time);
        for (int place = 0; place < volume._ways.Length; place++)
        {
            (volume._ways[place] as PeerLink)?.Start(place, volume._writer);
        }

        volume.AskForEpoch(default);
        loop.Schedule(volume._timer, options.Tick);
        return volume;
    }

    /// <inheritdoc/>
    public void Submit(in BlockRequest request, IBlockCompletion completion) =>
        _writer.Submit(request, completion);

    /// <inheritdoc/>
    public long RefreshSize() => SizeBytes;

    /// <summary>
    /// Finishes what was asked for, brings it to stable media and gives the volume back. Any thread.
    /// </summary>
    public async Task StopAsync()
    {
        Task stopped = await _loop.InvokeAsync(Stop).ConfigureAwait(false);
        await stopped.ConfigureAwait(false);
    }

    /// <summary>Begins an orderly stop, if none was asked for.</summary>
    public void Dispose() => _ = Stop();

    void IWriterHome.OnStage(PrimaryStage stage)
    {
        switch (stage)
        {
            case PrimaryStage.Serving:
                _served.TrySetResult();
                break;
            case PrimaryStage.Failed:
                _nextAttemptAt = _loop.NowNs + AttemptPauseNs;
                break;
            case PrimaryStage.Ended when _isStopping:
                Close();
                break;
            default:
                break; // Fenced: from now on the machine answers every request that the volume is gone.
        }
    }

    void IWriterHome.OnClosing(int place, CloseReason reason, string text)
    {
        _problems[place] = text;
        if (_options.Places[place].Local is { } local)
        {
            local.Replica.MustReopen |= reason == CloseReason.Failed;
        }
    }

    void IWriterHome.OnSessionEnded(int place) => _options.Places[place].Local?.Replica.Pause();

    void IWriterHome.OnConfigured()
    {
    }

    void IWriterHome.OnDamaged(int place, string damage)
    {
        _damages[place] = damage;
        OnChanged?.Invoke();
    }

    void IWriterHome.OnDifference(in ScrubDifference difference)
    {
    }

    void IWriterHome.OnScrubbed(ScrubReport report)
    {
    }

    private static BlockLimits LimitsOf(AttachedVolumeOptions options)
    {
        const int PageBytes = 4096;
        int physical = options.HasChecksums ? Math.Max(options.BlockBytes, PageBytes) : options.BlockBytes;
        return new BlockLimits
        {
            LogicalBlockBytes = options.BlockBytes,
            PhysicalBlockBytes = physical,
            OptimalIoBytes = Math.Max(physical, PageBytes),
            MemoryAlignBytes = options.BlockBytes,
            MaxRequests = options.MaxRequests,
            HasVolatileCache = true,
            CanForceUnitAccess = true,
            DiscardGranularityBytes = Math.Max(PageBytes, options.BlockBytes),
            MaxDiscardBytes = MaxRangeBytes,
            MaxWriteZeroesBytes = MaxRangeBytes,
            ReadsIntoRegistered = !options.HasChecksums,
        };
    }

    private IReplicaWay WayTo(VolumePlace place, TimeProvider time) =>
        place.Local is { } local ? new LocalLink(local.Replica, _memory)
        : place.Peer is { } peer
        ? new PeerLink(peer, _loop, _turn, _memory, time) { OnReachable = ConnectAll }
        : NoWay.Instance;

    private Task Stop()
    {
        if (_isStopping)
        {
            return _stopped.Task;
        }

        _turn.Begin();
        _isStopping = true;
        _stopAt = _loop.NowNs + (long)_options.StopLimit.TotalNanoseconds;
        if (Stage == PrimaryStage.Serving)
        {
            _writer.Primary.Release(_loop.NowNs);
        }
        else
        {
            Close();
        }

        _turn.End();
        return _stopped.Task;
    }

    private void OnTimer()
    {
        _turn.Begin();
        long now = _loop.NowNs;
        if (_writer.HasBegun)
        {
            _writer.Primary.OnTick(now);
        }

        if (now >= _nextAttemptAt && !_isStopping)
        {
            _nextAttemptAt = long.MaxValue;
            _writer.CloseAll(CloseReason.Done, "another attempt");
            Epoch higher = _writer.HasBegun ? _writer.Primary.HigherEpoch : default;
            AskForEpoch(higher > Epoch ? higher : Epoch);
        }

        foreach (IReplicaWay way in _ways)
        {
            (way as PeerLink)?.OnTick();
        }

        ConnectAll();
        if (now >= _stopAt && !_isClosing)
        {
            _writer.Primary.Volume?.OnFenced(now); // What was not finished is answered all the same.
            Close();
        }

        _turn.End();
        TellChanges();
        EndIfQuiet();
        if (!_isClosed)
        {
            _loop.Schedule(_timer, _options.Tick);
        }
    }

    // As often as it takes: without the metadata there is no epoch.
    private void AskForEpoch(Epoch above) => _ = Task.Run(async () =>
    {
        try
        {
            Epoch epoch = await _options.NextEpoch(above).ConfigureAwait(false);
            _ = _loop.Post(() => Begin(epoch));
        }
        catch (Exception failure) when (
            failure is IOException or TimeoutException or InvalidOperationException)
        {
            _ = _loop.Post(() => OnNoEpoch(failure.Message));
        }
    });

    private void OnNoEpoch(string problem)
    {
        Problem = problem;
        _nextAttemptAt = _loop.NowNs + AttemptPauseNs;
    }

    private void Begin(Epoch epoch)
    {
        if (_isStopping)
        {
            return;
        }

        _turn.Begin();
        Epoch = epoch;
        Problem = null;
        _writer.Begin(new PrimaryOptions
        {
            Volume = _options.Volume,
            Epoch = epoch,
            Writer = _options.Writer,
            Configuration = _options.Configuration,
            Members = [.. _options.Places.Select(place => place.Member)],
            Local = _localPlace,
            SizeBytes = _options.SizeBytes,
            BlockBytes = _options.BlockBytes,
            LeaseMs = _options.LeaseMs,
            Serving = WriterDriver.WindowOf(_pool.CapacityBytes) with
            {
                MaxRequests = _options.MaxRequests,
                ChecksLocalReads = _options.HasChecksums,
            },
        });
        ConnectAll();
        _turn.End();
    }

    private void ConnectAll()
    {
        if (_isClosing || !_writer.HasBegun || Stage is PrimaryStage.Failed or PrimaryStage.Ended)
        {
            return;
        }

        for (int place = 0; place < _ways.Length; place++)
        {
            bool isDue = _options.Places[place].Local is not { } local ||
                _loop.NowNs >= local.Replica.NextAttemptAt;
            if (_ways[place].CanOpen && isDue)
            {
                _writer.Connect(place);
            }
        }
    }

    private void Close()
    {
        _isClosing = true;
        _writer.CloseAll(CloseReason.Done, "the volume is detached");
        Task peers = Task.WhenAll(_ways.OfType<PeerLink>().Select(peer => peer.DisposeAsync().AsTask()));
        _ = peers.ContinueWith(
            _ => _loop.Post(() => _isQuietElsewhere = true), CancellationToken.None,
            TaskContinuationOptions.None, TaskScheduler.Default);
    }

    // The replica of this node lives on; it may still be writing what the host gave it.
    private void EndIfQuiet()
    {
        ReplicaDriver? driver = _local?.Replica.Driver;
        if (!_isQuietElsewhere || _isClosed || driver?.Holds(_pool) == true || driver?.IsReadByHost == true)
        {
            return;
        }

        _isClosed = true;
        _turn.Remove(_writer);
        _writer.Free();
        driver?.Forget(_pool);
        _memory.Host = null;
        if (_local is null)
        {
            _memory.Free();
        }

        _stopped.TrySetResult();
    }
}
