using Ublk.Tests.Simulation.Judge;
using Ublk.Tests.Simulation.World;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Blocks;

namespace Ublk.Tests.Simulation;

/// <summary>What may be wrong with who drives a disk, to see that it is found.</summary>
internal enum DiskDefect
{
    /// <summary>Nothing.</summary>
    None,
    /// <summary>A flush is answered without a sync.</summary>
    IgnoresFlush,
    /// <summary>What was under way when the process was killed counts as done.</summary>
    AnswersAfterKill,
    /// <summary>A failed sync is tried again, and then believed.</summary>
    SyncsAgain,
}

/// <summary>
/// A history of one disk without replication, which has to keep the same promises: shows that the parts of
/// the world fit together, and what a history costs. Overlapping requests go one after the other; requests
/// of a killed process are asked again.
/// </summary>
internal sealed class SingleDiskHistory
{
    private const int BlockBytes = 512; // What the disk writes whole.

    private readonly SimulationRandom _random;
    private readonly SimulationOptions _options;
    private readonly WorldPools _pools;
    private readonly SimulationClock _clock;
    private readonly SimulatedNode _node;
    private readonly SimulatedImage _image;
    private readonly WorkloadGenerator _workload;
    private readonly List<Request> _requests = [];
    private readonly DiskDefect _defect;
    private bool _isUp = true;
    private bool _hasFailed;

    private SingleDiskHistory(SimulationOptions options, WorldPools pools, DiskDefect defect)
    {
        _defect = defect;
        _pools = pools;
        _clock = pools.Clock;
        _options = options;
        _random = new SimulationRandom(~options.Seed);
        _node = new SimulatedNode(0, _clock, _random.Fork());
        _image = new SimulatedImage(_node, _clock, pools, _random.Fork(), _options.VolumeBytes)
        {
            Faults = _options.Image,
            Latency = _options.Disk,
            SyncLatency = _options.Sync,
            Ended = OnEnded,
        };
        _workload = new WorkloadGenerator(_options.Workload, BlockBytes, _random.Fork());
        Checker = new HistoryChecker((int)(_options.VolumeBytes / BlockBytes), BlockBytes, 1, 1);
    }

    public HistoryChecker Checker { get; }

    /// <summary>Runs a history.</summary>
    /// <param name="options">Which.</param>
    /// <param name="pools">Memory.</param>
    /// <param name="defect">What is wrong with who drives the disk.</param>
    /// <returns>Equal for two runs with the same options.</returns>
    /// <exception cref="HistoryException">A promise was broken.</exception>
    public static ulong Run(
        SimulationOptions options, WorldPools pools, DiskDefect defect = DiskDefect.None)
    {
        pools.Reset();
        var history = new SingleDiskHistory(options, pools, defect);
        history.Ask();
        history.PlanFault();
        while (pools.Clock.Step())
        {
        }

        history.Checker.Judge();
        if (history.Checker.OpenCount > 0)
        {
            throw new HistoryException($"{history.Checker.OpenCount} requests were never answered");
        }

        return pools.Clock.Fingerprint;
    }

    private void Ask()
    {
        if (_workload.IsDone)
        {
            return;
        }

        if (_requests.Count < _options.Workload.QueueDepth)
        {
            HostWish wish = _workload.Next(Checker.Blocks);
            _clock.After(wish.PauseNs, () => Submit(wish));
        }
        else
        {
            _clock.After(LatencyModel.Millisecond, Ask);
        }
    }

    private void Submit(HostWish wish)
    {
        bool hasBytes = wish.Operation is BlockOperation.Read or BlockOperation.Write;
        IoBuffer buffer = _pools.Memory.Rent(hasBytes ? wish.Count * BlockBytes : 0);
        int number = Checker.Begin(
            _clock.Now, wish.Operation, wish.IsDurable, wish.Block, wish.Count, hasBytes ? buffer.Span : []);
        _requests.Add(new Request(number, wish) { Buffer = buffer });
        Issue();
        Ask();
    }

    // In order, except that nothing overtakes what it overlaps.
    private void Issue()
    {
        for (int i = 0; _isUp && i < _requests.Count; i++)
        {
            Request request = _requests[i];
            if (_hasFailed && !request.IsIssued)
            {
                Answer(request, BlockStatus.IoError);
                i = -1;
            }
            else if (!request.IsIssued && !_requests.Take(i).Any(request.Overlaps))
            {
                request.IsIssued = true;
                Issue(request);
            }
        }
    }

    private void Issue(Request request)
    {
        long offset = (long)request.Wish.Block * BlockBytes;
        ulong io = (ulong)request.Number;
        switch (request.Wish.Operation)
        {
            case BlockOperation.Read:
                _image.Read(io, offset, request.Buffer);
                break;
            case BlockOperation.Write:
                _image.Write(io, offset, request.Buffer);
                break;
            case BlockOperation.Flush when _defect == DiskDefect.IgnoresFlush:
                _node.Post(() => OnEnded(io, 0));
                break;
            case BlockOperation.Flush:
                request.IsSync = true;
                _image.Sync(io);
                break;
            default:
                _image.Zero(io, offset, (long)request.Wish.Count * BlockBytes);
                break;
        }
    }

    private void OnEnded(ulong io, int result)
    {
        Request request = _requests.Find(one => (ulong)one.Number == io)!;
        _hasFailed |= result < 0 && request.IsSync && _defect != DiskDefect.SyncsAgain;
        if (result < 0)
        {
            Answer(request, result == -Errno.ENOSPC ? BlockStatus.NoSpace : BlockStatus.IoError);
        }
        else if (request.Wish.IsDurable && !request.IsSync)
        {
            request.IsSync = true;
            _image.Sync(io);
        }
        else
        {
            // What was read before a sync failed may show what the failure has taken away.
            Answer(request, _hasFailed ? BlockStatus.IoError : BlockStatus.Ok);
        }

        Issue();
    }

    private void Answer(Request request, BlockStatus status)
    {
        bool isRead = request.Wish.Operation == BlockOperation.Read;
        Checker.Complete(_clock.Now, request.Number, status, isRead ? request.Buffer.Span : []);
        _ = _requests.Remove(request);
        _pools.Memory.Return(request.Buffer);
    }

    private void PlanFault() => _clock.After(_random.Below(_options.MaxFaultPauseNs), () =>
    {
        if (_workload.IsDone && _requests.Count == 0)
        {
            return;
        }

        if (_isUp && _options.HasFaults)
        {
            Disturb(_options.NextFault(_random));
        }

        PlanFault();
    });

    private void Disturb(FaultKind kind)
    {
        switch (kind)
        {
            case FaultKind.Freeze:
                _node.Freeze();
                _clock.After(_random.Below(LatencyModel.Second), _node.Thaw);
                break;
            case FaultKind.KillProcess or FaultKind.KillEverywhere:
                _isUp = false;
                _node.Kill();
                _image.WhenUnlocked(Restart);
                break;
            case FaultKind.LosePower or FaultKind.LosePowerEverywhere:
                _isUp = false;
                _node.LosePower();
                Checker.Lost(0);
                Abandon();
                _clock.After(LatencyModel.Second, () =>
                {
                    Checker.Recovered();
                    _hasFailed = false;
                    Restart();
                });
                break;
            default:
                break;
        }
    }

    private void Abandon()
    {
        foreach (Request request in _requests)
        {
            Checker.Abandon(_clock.Now, request.Number);
            _pools.Memory.Return(request.Buffer);
        }

        _requests.Clear();
    }

    private void Restart()
    {
        _node.Start();
        _isUp = true;
        if (_defect == DiskDefect.AnswersAfterKill)
        {
            foreach (Request request in _requests.Where(one => one.IsIssued).ToArray())
            {
                Answer(request, BlockStatus.Ok);
            }
        }

        foreach (Request request in _requests)
        {
            Checker.Reissue(request.Number);
            request.IsIssued = false;
            request.IsSync = false;
        }

        Issue();
    }

    private sealed record Request(int Number, HostWish Wish)
    {
        public IoBuffer Buffer { get; init; }

        public bool IsIssued { get; set; }

        public bool IsSync { get; set; }

        public bool Overlaps(Request other) =>
            Wish.Block < other.Wish.Block + other.Wish.Count &&
            other.Wish.Block < Wish.Block + Wish.Count;

        public bool Equals(Request? other) => ReferenceEquals(this, other);

        public override int GetHashCode() => Number;
    }
}
