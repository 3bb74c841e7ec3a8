using Ublk.Replication.State;
using Ublk.Uring;
using Ublk.Wire.Blocks;

namespace Ublk.Tests.Unit.Replication;

/// <summary>
/// A small world around a volume's primary: replicas that apply what they are sent, later or never, hold
/// one number per block, and a checker that knows what the host was promised. One seed is one history.
/// </summary>
internal sealed class VolumeWorld : IVolumeEffects, IBlockCompletion
{
    public const int Blocks = 32;
    public const int BlockBytes = 4096;
    private const long Lease = 1000;

    private readonly Random _random;
    private readonly WorldReplica[] _replicas;
    private readonly Dictionary<ulong, HostCall> _calls = [];
    private readonly List<WindowOperation> _log = [];
    private readonly ulong[] _shown = new ulong[Blocks];
    private readonly int _quorum;
    private readonly Queue<int> _left = [];
    private ulong _nextToken = 1;

    public VolumeWorld(int seed, int replicas, int quorum, VolumeOptions options)
    {
        _random = new Random(seed);
        _quorum = quorum;
        _replicas = new WorldReplica[replicas];
        var group = new ReplicaGroup(ReplicaMask.First(replicas), new QuorumRule(replicas, quorum));
        Machine = new VolumeMachine(options, new VolumeConfiguration(1, group), 1, local: 0, this);
        for (int i = 0; i < replicas; i++)
        {
            _replicas[i] = new WorldReplica();
            Connect(i);
        }
    }

    public VolumeMachine Machine { get; }

    public long Now { get; private set; }

    public int Outstanding => _calls.Count;

    public int PayloadsOut { get; private set; }

    public int ReadCount { get; private set; }

    public bool IsConnected(int replica) => _replicas[replica].IsConnected;

    public void Submit(BlockOperation operation, int block, int count, BlockRequestFlags flags)
    {
        ulong token = _nextToken++;
        bool hasRange = operation != BlockOperation.Flush;
        var call = new HostCall(operation, block, count, Machine.Acknowledged, flags);
        if (operation == BlockOperation.Read)
        {
            for (int i = 0; i < count; i++)
            {
                call.Oldest.Add(_shown[block + i]);
            }
        }

        PayloadsOut += operation == BlockOperation.Write ? 1 : 0;
        _calls.Add(token, call);
        Machine.Submit(
            new BlockRequest(operation, flags, hasRange ? (long)block * BlockBytes : 0,
                hasRange ? (long)count * BlockBytes : 0, BufferOf(token, count), token),
            0, this, Now);
    }

    /// <summary>Where everything stands, for a message.</summary>
    public string Describe() => string.Join('\n', [
        $"at {Now}, window {Machine.Window.Base}..{Machine.Window.Next} of {Machine.Window.Bytes} bytes, " +
        $"acknowledged {Machine.Acknowledged}, committed {Machine.Replicas.Committed}, " +
        $"lease until {Machine.Replicas.LeaseUntil}, in stream {Machine.Replicas.InStream}, " +
        $"counting {Machine.Replicas.Counting}",
        .. _replicas.Select((replica, i) => $"replica {i}: connected {replica.IsConnected}, " +
            $"A {replica.Applied}, D {replica.Durable}, {replica.Inbox.Count} to do"),
        .. _calls.Select(call => $"open: {call.Key} {call.Value}"),
    ]);

    /// <summary>One thing happens somewhere.</summary>
    public void Step()
    {
        Now += _random.Next(20);
        while (_left.TryDequeue(out int gone))
        {
            Disconnect(gone);
        }

        int replica = _random.Next(_replicas.Length);
        WorldReplica at = _replicas[replica];
        if (at.IsConnected && !at.IsFrozen && at.Inbox.TryDequeue(out Action? work))
        {
            work();
        }

        Machine.OnTick(Now);
    }

    public void Freeze(int replica) => _replicas[replica].IsFrozen = true;

    public void Disconnect(int replica)
    {
        WorldReplica at = _replicas[replica];
        if (at.IsConnected)
        {
            at.Disconnect();
            Machine.OnReplicaLost(replica, Now);
            ulong[] reads = [.. at.Reads];
            at.Reads.Clear();
            foreach (ulong read in reads)
            {
                Machine.OnReadEnded(read, replica, BlockStatus.Gone, Now);
            }
        }
    }

    public void Connect(int replica)
    {
        WorldReplica at = _replicas[replica];
        if (at.IsConnected)
        {
            return;
        }

        at.IsConnected = true;
        if (!Machine.OnReplicaReady(replica, at.Applied, at.Durable, isReconciled: true, at.IsCurrent, Now))
        {
            // Resync, in one step: everything up to the position from the world's own log.
            ulong position = Machine.PositionFor(at.Applied);
            Machine.OnReplicaJoins(replica, position, hasFailed: false, Now);
            at.CatchUp(_log, position);
            at.Inbox.Enqueue(() =>
            {
                at.Durable = at.Applied;
                Machine.OnReplicaCurrent(replica, at.Applied, at.Durable, Now);
            });
        }
    }

    public void SendOperation(int replica, in WindowOperation operation, ulong committed)
    {
        WindowOperation copy = operation;
        if (copy.Sequence == (ulong)_log.Count + 1)
        {
            _log.Add(copy);
        }

        WorldReplica at = _replicas[replica];
        at.Inbox.Enqueue(() =>
        {
            at.Apply(copy);
            Machine.OnApplied(replica, copy.Sequence, ApplyStatus.Applied, at.Applied, at.Durable, Now);
        });
    }

    public void SendFlush(int replica, ulong through)
    {
        WorldReplica at = _replicas[replica];
        at.Inbox.Enqueue(() =>
        {
            Check(at.Applied >= through, "a flush overtook operations of its session");
            at.Durable = at.Applied;
            Machine.OnReport(replica, at.Applied, at.Durable, Now);
        });
    }

    public void SendHeartbeat(int replica, long sentAt, ulong acknowledged, ulong committed) =>
        _replicas[replica].Inbox.Enqueue(() => Machine.OnGrant(replica, sentAt, Lease, Now));

    public bool CanReadLocally(long offsetBytes, long lengthBytes) => true;

    public void ReadLocally(ulong read, long offsetBytes, in IoBuffer buffer) => Read(0, read, buffer, 0);

    public void ReadFromPeer(
        int replica, ulong read, long offsetBytes, in IoBuffer buffer, ulong acknowledged) =>
        Read(replica, read, buffer, acknowledged);

    public void LeaveStream(int replica, LeaveReason reason) => _left.Enqueue(replica);

    public void ReleasePayload(in IoBuffer payload) => PayloadsOut--;

    public void Ended(VolumeStage stage)
    {
    }

    public void OnBlockCompleted(ulong token, BlockStatus status)
    {
        Check(_calls.Remove(token, out HostCall? call), "a request was answered twice");
        if (status != BlockStatus.Ok)
        {
            return;
        }

        switch (call!.Operation)
        {
            case BlockOperation.Read:
                CheckRead(call);
                break;
            case BlockOperation.Flush:
                CheckDurable(call.Acknowledged);
                break;
            default:
                ulong sequence = _log.Last(entry => TokenOf(entry.Payload) == token).Sequence;
                int holders = _replicas.Count(replica => replica.Has(sequence));
                Check(holders >= _quorum, "answered without a quorum");
                for (int i = 0; i < call.Count; i++)
                {
                    _shown[call.Block + i] = Math.Max(_shown[call.Block + i], sequence);
                }

                break;
        }
    }

    // The buffers hold nothing; the place in a table that one names is the request's token.
    private static IoBuffer BufferOf(ulong token, int count) =>
        IoBuffer.Registered(checked((ushort)token), count * BlockBytes);

    private static ulong TokenOf(in IoBuffer buffer) => (ulong)buffer.TableIndex;

    private void Read(int replica, ulong read, in IoBuffer buffer, ulong needed)
    {
        HostCall call = _calls[TokenOf(buffer)];
        ReadCount++;
        WorldReplica at = _replicas[replica];
        at.Reads.Add(read);
        at.Inbox.Enqueue(() =>
        {
            bool isOk = at.Applied >= needed;
            call.Bytes = at.Content[call.Block..(call.Block + call.Count)];
            _ = at.Reads.Remove(read);
            Machine.OnReadEnded(read, replica, isOk ? BlockStatus.Ok : BlockStatus.IoError, Now);
        });
    }

    private void CheckRead(HostCall call)
    {
        for (int i = 0; i < call.Count; i++)
        {
            ulong value = call.Bytes![i];
            Check(value >= call.Oldest[i], $"read {value} after {call.Oldest[i]} was shown");
            Check(value == 0 || _replicas.Count(replica => replica.Has(value)) >= _quorum,
                "a read showed what only a minority has");
            _shown[call.Block + i] = Math.Max(_shown[call.Block + i], value);
        }
    }

    private void CheckDurable(ulong through) =>
        Check(_replicas.Count(replica => replica.Durable >= through) >= _quorum, "flushed without a quorum");

    private void Check(bool isTrue, string complaint)
    {
        if (!isTrue)
        {
            throw new InvalidOperationException($"{complaint} (at {Now})");
        }
    }
}

/// <summary>A request as the host remembers it.</summary>
internal sealed record HostCall(
    BlockOperation Operation, int Block, int Count, ulong Acknowledged, BlockRequestFlags Flags)
{
    /// <summary>What was shown of each block before the read began.</summary>
    public List<ulong> Oldest { get; } = [];

    public ulong[]? Bytes { get; set; }
}

/// <summary>A replica that holds, for each block, the sequence of the last operation on it.</summary>
internal sealed class WorldReplica
{
    private readonly HashSet<ulong> _has = [];

    public Queue<Action> Inbox { get; } = new();

    public List<ulong> Reads { get; } = [];

    public ulong[] Content { get; } = new ulong[VolumeWorld.Blocks];

    public ulong Applied { get; private set; }

    public ulong Durable { get; set; }

    public bool IsConnected { get; set; }

    public bool IsFrozen { get; set; }

    public bool IsCurrent => true;

    public bool Has(ulong sequence) => _has.Contains(sequence);

    public void Disconnect()
    {
        IsConnected = false;
        Inbox.Clear();
    }

    public void Apply(in WindowOperation operation)
    {
        if (operation.Sequence <= Applied)
        {
            return; // Sent again after a new session.
        }

        if (operation.Sequence != Applied + 1)
        {
            throw new InvalidOperationException($"operation {operation.Sequence} after {Applied}");
        }

        Applied = operation.Sequence;
        _has.Add(Applied);
        long end = (operation.OffsetBytes + operation.LengthBytes) / VolumeWorld.BlockBytes;
        for (long block = operation.OffsetBytes / VolumeWorld.BlockBytes; block < end; block++)
        {
            Content[block] = Applied;
        }
    }

    public void CatchUp(List<WindowOperation> log, ulong position)
    {
        while (Applied < position)
        {
            Apply(log[(int)Applied]);
        }
    }
}
