using Ublk.Replication.State;
using Ublk.Tests.Simulation.Judge;
using Ublk.Uring;
using Ublk.Wire.Blocks;

namespace Ublk.Tests.Simulation.Cluster;

/// <summary>
/// The host that uses the volume: several requests in flight, every one of them put before the judge. Who
/// loses its writer gets no answers any more; the next ones go to the next writer.
/// </summary>
internal sealed class HostClient : IBlockCompletion
{
    private readonly ClusterWorld _world;
    private readonly WorkloadGenerator _workload;
    private readonly Dictionary<ulong, HostCall> _calls = [];
    private readonly Dictionary<ulong, (PrimaryHost Writer, HostCall Call)> _late = [];
    private readonly World.SimulationRandom _random;
    private PrimaryHost? _writer;
    private int _asking;
    private int _lastBlock;

    /// <summary>Has asked for nothing yet.</summary>
    /// <param name="world">The world.</param>
    public HostClient(ClusterWorld world)
    {
        _world = world;
        _workload = new WorkloadGenerator(
            world.Options.Workload, world.Options.BlockBytes, world.Random.Fork());
        _random = world.Random.Fork();
    }

    /// <summary>Whether everything was asked for and answered.</summary>
    public bool IsDone => _workload.IsDone && _asking == 0 && _calls.Count == 0;

    /// <summary>Requests without an answer.</summary>
    public int OpenCount => _calls.Count;

    /// <summary>Whether nothing can be asked for at the moment.</summary>
    public bool IsHeldUp => _writer is null || _writer.Node.IsFrozen || !_writer.Node.IsRunning;

    /// <summary>Whether all is well, so that nothing may fail any more.</summary>
    public bool MustRead { get; set; }

    /// <summary>Answers by status.</summary>
    public int OkCount { get; private set; }

    /// <summary>A writer serves from now on; null: none does, and nobody will be answered.</summary>
    /// <param name="writer">The writer.</param>
    public void Use(PrimaryHost? writer)
    {
        if (_writer == writer)
        {
            return;
        }

        // Buffers of reads may still be filled: they are not used again in this history.
        foreach (HostCall call in _calls.Values.OrderBy(call => call.Number))
        {
            if (_writer is { IsOver: false } && call.Operation == BlockOperation.Read)
            {
                _late.Add((ulong)call.Number, (_writer, call)); // Its host may still see the answer.
            }
            else
            {
                _world.Checker.Abandon(_world.Clock.Now, call.Number);
            }
        }

        if (_writer is { IsOver: false } former)
        {
            ReadLate(former);
        }

        _calls.Clear();
        _writer = writer;
        Ask();
    }

    /// <summary>A writer is gone, and whoever still read from it.</summary>
    /// <param name="writer">The writer.</param>
    public void Forget(PrimaryHost writer)
    {
        foreach ((ulong number, (PrimaryHost late, _)) in _late.OrderBy(one => one.Key).ToArray())
        {
            if (late == writer)
            {
                _ = _late.Remove(number);
                _world.Checker.Abandon(_world.Clock.Now, (int)number);
            }
        }
    }

    /// <summary>Asks for something of its own: the last look at everything.</summary>
    public void Submit(BlockOperation operation, int block, int count, bool isDurable = false)
    {
        bool hasBytes = operation is BlockOperation.Read or BlockOperation.Write;
        IoBuffer buffer = hasBytes ? _world.Memory.Rent(count * _world.Options.BlockBytes) : default;
        Submit(new HostWish(operation, isDurable, block, count, PauseNs: 0), buffer);
    }

    /// <inheritdoc/>
    public void OnBlockCompleted(ulong token, BlockStatus status)
    {
        if (_late.Remove(token, out (PrimaryHost Writer, HostCall Call) late))
        {
            ThrowUnlessLeased(late.Writer, status);
            _world.Checker.Complete(_world.Clock.Now, late.Call.Number, status, late.Call.Buffer.Span);
            return;
        }

        if (!_calls.Remove(token, out HostCall? call))
        {
            return; // Its writer is gone, and the judge knows.
        }

        bool isRead = call.Operation == BlockOperation.Read;
        if (status == BlockStatus.Ok && call.Operation == BlockOperation.Write && !call.IsCrossed &&
            call.LostBefore == _world.LostCount && !_world.IsDecaying)
        {
            _world.Watch.Acknowledged(_writer!, call.Number, call.Block, call.Count);
        }

        if (MustRead && status == BlockStatus.IoError)
        {
            throw new HistoryException(
                $"{call.Operation} of {call.Block}+{call.Count} fails, and all is well");
        }

        OkCount += status == BlockStatus.Ok ? 1 : 0;
        _world.Checker.Complete(_world.Clock.Now, call.Number, status, isRead ? call.Buffer.Span : []);
        if (isRead)
        {
            ThrowUnlessLeased(_writer!, status);
            _world.Memory.Return(call.Buffer);
        }

        Ask();
    }

    // No read is answered after the lease has ended, by the clock of who answers.
    private static void ThrowUnlessLeased(PrimaryHost writer, BlockStatus status)
    {
        bool isLate = status == BlockStatus.Ok &&
            writer.Machine.Volume is { Stage: VolumeStage.Serving or VolumeStage.Releasing } volume &&
            writer.Node.Clock.Now >= volume.Replicas.LeaseUntil;
        if (isLate)
        {
            throw new HistoryException(
                $"a read is answered after the lease of the writer of {writer.Options.Epoch} has ended");
        }
    }

    private void Ask()
    {
        while (_writer is not null && !_workload.IsDone &&
            _calls.Count + _asking < _world.Options.Workload.QueueDepth)
        {
            _asking++;
            HostWish wish = _workload.Next(_world.Checker.Blocks);
            Action attempt = null!;
            attempt = () => Try(wish, attempt);
            _world.Clock.After(wish.PauseNs, attempt);
        }
    }

    private void Try(HostWish wish, Action attempt)
    {
        if (IsHeldUp)
        {
            _world.Clock.Retry(attempt);
            return;
        }

        _asking--;
        bool hasBytes = wish.Operation is BlockOperation.Read or BlockOperation.Write;
        IoBuffer buffer = hasBytes ? _world.Memory.Rent(wish.Count * _world.Options.BlockBytes) : default;
        Submit(wish, buffer);
        Ask();
    }

    // A host that does not know yet that the volume has another writer goes on to read from it.
    private void ReadLate(PrimaryHost former) => _world.Clock.After(
        _random.Below(20 * World.LatencyModel.Millisecond), () =>
        {
            if (former.IsOver || _workload.IsDone)
            {
                return;
            }

            bool isAsked = _late.Values.Any(late => late.Writer == former);
            if (!isAsked && former.Node is { IsRunning: true, IsFrozen: false })
            {
                int block = _random.Chance(700) ? _lastBlock : _random.Below(_world.Checker.Blocks);
                block = Math.Min(block, (int)(former.Machine.SizeBytes / _world.Options.BlockBytes) - 1);
                IoBuffer buffer = _world.Memory.Rent(_world.Options.BlockBytes);
                int number = _world.Checker.Begin(
                    _world.Clock.Now, BlockOperation.Read, isDurable: false, block, 1, []);
                var call = new HostCall(number, BlockOperation.Read, buffer);
                _late.Add((ulong)number, (former, call));
                former.Submit(RequestFor(call, block, 1, BlockRequestFlags.None), this);
            }

            ReadLate(former);
        });

    // The bytes of a write are the volume's from now on.
    private void Submit(HostWish wish, IoBuffer buffer)
    {
        int number = _world.Checker.Begin(
            _world.Clock.Now, wish.Operation, wish.IsDurable, wish.Block, wish.Count,
            buffer.LengthBytes > 0 ? buffer.Span : []);
        var call = new HostCall(number, wish.Operation, buffer)
        {
            Block = wish.Block, Count = wish.Count, LostBefore = _world.LostCount,
        };
        foreach (HostCall other in _calls.Values)
        {
            call.IsCrossed |= call.Crosses(other);
            other.IsCrossed |= call.Crosses(other);
        }

        _calls.Add((ulong)number, call);
        _lastBlock = wish.Operation == BlockOperation.Write ? wish.Block : _lastBlock;
        _writer!.Submit(RequestFor(call, wish.Block, wish.Count,
            wish.IsDurable ? BlockRequestFlags.ForceUnitAccess : BlockRequestFlags.None), this);
    }

    private BlockRequest RequestFor(HostCall call, int block, int count, BlockRequestFlags flags)
    {
        long blockBytes = _world.Options.BlockBytes;
        return new BlockRequest(
            call.Operation, flags, block * blockBytes, count * blockBytes, call.Buffer, (ulong)call.Number);
    }

    private sealed record HostCall(int Number, BlockOperation Operation, IoBuffer Buffer)
    {
        public int Block { get; init; }

        public int Count { get; init; }

        public int LostBefore { get; init; }

        /// <summary>Another change of the same blocks is, or was, under way too.</summary>
        public bool IsCrossed { get; set; }

        public bool Crosses(HostCall other) => Operation != BlockOperation.Read &&
            other.Operation != BlockOperation.Read &&
            Block < other.Block + other.Count && other.Block < Block + Count;
    }
}
