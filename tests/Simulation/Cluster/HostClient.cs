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
    private PrimaryHost? _writer;
    private int _asking;

    /// <summary>Has asked for nothing yet.</summary>
    /// <param name="world">The world.</param>
    public HostClient(ClusterWorld world)
    {
        _world = world;
        _workload = new WorkloadGenerator(
            world.Options.Workload, world.Options.BlockBytes, world.Random.Fork());
    }

    /// <summary>Whether everything was asked for and answered.</summary>
    public bool IsDone => _workload.IsDone && _calls.Count == 0;

    /// <summary>Requests without an answer.</summary>
    public int OpenCount => _calls.Count;

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
            _world.Checker.Abandon(_world.Clock.Now, call.Number);
        }

        _calls.Clear();
        _writer = writer;
        Ask();
    }

    /// <summary>Asks for something of its own: the last look at everything.</summary>
    public void Submit(BlockOperation operation, int block, int count)
    {
        bool hasBytes = operation is BlockOperation.Read or BlockOperation.Write;
        IoBuffer buffer = hasBytes ? _world.Memory.Rent(count * _world.Options.BlockBytes) : default;
        Submit(new HostWish(operation, IsDurable: false, block, count, PauseNs: 0), buffer);
    }

    /// <inheritdoc/>
    public void OnBlockCompleted(ulong token, BlockStatus status)
    {
        if (!_calls.Remove(token, out HostCall? call))
        {
            return; // Its writer is gone, and the judge knows.
        }

        bool isRead = call.Operation == BlockOperation.Read;
        OkCount += status == BlockStatus.Ok ? 1 : 0;
        _world.Checker.Complete(_world.Clock.Now, call.Number, status, isRead ? call.Buffer.Span : []);
        if (isRead)
        {
            _world.Memory.Return(call.Buffer);
        }

        Ask();
    }

    private void Ask()
    {
        while (_writer is not null && !_workload.IsDone &&
            _calls.Count + _asking < _world.Options.Workload.QueueDepth)
        {
            _asking++;
            HostWish wish = _workload.Next(_world.Checker.Blocks);
            _world.Clock.After(wish.PauseNs, () => Try(wish));
        }
    }

    private void Try(HostWish wish)
    {
        if (_writer is null || _writer.Node.IsFrozen || !_writer.Node.IsRunning)
        {
            _world.Clock.After(World.LatencyModel.Millisecond, () => Try(wish));
            return;
        }

        _asking--;
        bool hasBytes = wish.Operation is BlockOperation.Read or BlockOperation.Write;
        IoBuffer buffer = hasBytes ? _world.Memory.Rent(wish.Count * _world.Options.BlockBytes) : default;
        Submit(wish, buffer);
        Ask();
    }

    // The bytes of a write are the volume's from now on.
    private void Submit(HostWish wish, IoBuffer buffer)
    {
        int number = _world.Checker.Begin(
            _world.Clock.Now, wish.Operation, wish.IsDurable, wish.Block, wish.Count,
            buffer.LengthBytes > 0 ? buffer.Span : []);
        _calls.Add((ulong)number, new HostCall(number, wish.Operation, buffer));
        int blockBytes = _world.Options.BlockBytes;
        var request = new BlockRequest(
            wish.Operation, wish.IsDurable ? BlockRequestFlags.ForceUnitAccess : BlockRequestFlags.None,
            (long)wish.Block * blockBytes, (long)wish.Count * blockBytes, buffer, (ulong)number);
        _writer!.Submit(request, this);
    }

    private sealed record HostCall(int Number, BlockOperation Operation, IoBuffer Buffer);
}
