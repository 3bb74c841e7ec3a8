using Ublk.Replication.Primary;
using Ublk.Replication.Replica;
using Ublk.Replication.State;
using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Blocks;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Tests.Unit.Benchmarks;

/// <summary>
/// A volume with its writer and N replicas in one thread: the production machines, messages as bytes between
/// them, and disks that end everything at once and keep nothing.
/// </summary>
internal sealed class CoreCluster : IPrimaryEffects, IBlockCompletion, IDisposable
{
    public const int BlockBytes = 4096;

    private const int Session = 1;
    private const long TickNs = 50_000_000;

    private static readonly VolumeId s_volume = new(7);

    private readonly MemoryMapping _payload = MemoryMapping.Allocate(1 << 20);
    private readonly Queue<Happening> _happenings = new(4096);
    private readonly Stack<byte[]> _heads = new();
    private readonly CoreReplica[] _replicas;
    private readonly VolumePrimary _primary;
    private long _now = 1_000_000_000;

    public CoreCluster(int replicas, long sizeBytes)
    {
        ReplicaMember[] members = [.. Enumerable.Range(1, replicas).Select(
            number => new ReplicaMember(new ReplicaId((uint)number), new Incarnation((ulong)number)))];
        _replicas = [.. members.Select(
            (member, place) => new CoreReplica(this, place, member, sizeBytes, _now))];
        var group = new ReplicaGroup(ReplicaMask.First(replicas), QuorumRule.Majority(replicas));
        _primary = new VolumePrimary(
            new PrimaryOptions
            {
                Volume = s_volume,
                Epoch = new Epoch(1),
                Writer = new Writer(new NodeId(1), 1),
                Configuration = new VolumeConfiguration(1, group),
                Members = [.. members],
                Local = 0,
                SizeBytes = sizeBytes,
                BlockBytes = BlockBytes,
            },
            this);
        Run();
        for (int place = 0; place < replicas; place++)
        {
            _primary.OnSession(place, _now);
        }

        for (int i = 0; i < 1000 && _primary.Stage != PrimaryStage.Serving; i++)
        {
            Tick();
        }

        if (_primary.Stage != PrimaryStage.Serving)
        {
            throw new InvalidOperationException($"the volume is {_primary.Stage}");
        }
    }

    /// <summary>Requests answered well.</summary>
    public long CompletedCount { get; private set; }

    /// <summary>Messages between writer and replicas.</summary>
    public long MessageCount { get; private set; }

    /// <summary>Records of all rings.</summary>
    public long RecordCount => _replicas.Sum(replica => replica.RecordCount);

    public void Dispose()
    {
        Array.ForEach(_replicas, replica => replica.Dispose());
        _payload.Dispose();
    }

    /// <summary>Requests, so many of them under way at once.</summary>
    public void Play(BlockOperation operation, int count, int depth, Func<int, long> offsetOf)
    {
        const int PerTick = 512;
        for (int i = 0; i < count;)
        {
            for (int end = Math.Min(count, i + depth); i < end; i++)
            {
                bool hasBytes = operation is BlockOperation.Write or BlockOperation.Read;
                IoBuffer buffer = hasBytes ? _payload.Slice(0, BlockBytes) : default;
                int length = operation == BlockOperation.Flush ? 0 : BlockBytes;
                var request = new BlockRequest(
                    operation, BlockRequestFlags.None, offsetOf(i), length, buffer, (ulong)i);
                _primary.Submit(request, this, _now);
                if (i % PerTick == 0)
                {
                    Tick();
                }
            }

            Run();
        }
    }

    public void OnBlockCompleted(ulong token, BlockStatus status) =>
        CompletedCount += status == BlockStatus.Ok ? 1 : 0;

    void IPrimaryEffects.Send<T>(int replica, in T message) => Post(true, replica, message, default);

    void IPrimaryEffects.Send<T>(int replica, in T message, in IoBuffer payload) =>
        Post(true, replica, message, payload);

    void IPrimaryEffects.SendBytes<T>(int replica, in T message, ReadOnlySpan<byte> payload) =>
        throw new NotSupportedException();

    void IPrimaryEffects.Close(int replica, CloseReason reason, string text) =>
        throw new InvalidOperationException($"closed: {reason}, {text}");

    bool IPrimaryEffects.CanReadLocally(long offsetBytes, long lengthBytes) =>
        _replicas[0].Machine.IsCurrent(offsetBytes, lengthBytes);

    void IPrimaryEffects.ReadLocally(ulong read, long offsetBytes, in IoBuffer buffer) =>
        _happenings.Enqueue(new Happening(What.LocalRead, 0, read, buffer.LengthBytes, null, default));

    void IPrimaryEffects.ReleasePayload(in IoBuffer payload)
    {
    }

    void IPrimaryEffects.ConfigurationChanged()
    {
    }

    void IPrimaryEffects.BlockLost(int replica, long offsetBytes) => throw new NotSupportedException();

    void IPrimaryEffects.StillDiffers(int replica, int region)
    {
    }

    void IPrimaryEffects.Differs(in ScrubDifference difference)
    {
    }

    void IPrimaryEffects.ScrubEnded(ScrubReport report)
    {
    }

    void IPrimaryEffects.StageChanged(PrimaryStage stage)
    {
    }

    private void Post<T>(bool isToReplica, int place, in T message, in IoBuffer payload)
        where T : struct, IMessage<T>, allows ref struct
    {
        byte[] head = _heads.TryPop(out byte[]? free) ? free : new byte[MessageLimits.MaxListMessageBytes];
        int length = MessageWriter.Write(message, head);
        What what = isToReplica ? What.ToReplica : What.ToPrimary;
        _happenings.Enqueue(new Happening(what, place, 0, length, head, payload));
        MessageCount++;
    }

    private void Tick()
    {
        _now += TickNs;
        _primary.OnTick(_now);
        foreach (CoreReplica replica in _replicas)
        {
            replica.Machine.OnTick(_now);
        }

        Run();
    }

    private void Run()
    {
        while (_happenings.TryDequeue(out Happening next))
        {
            ReplicaMachine machine = _replicas[next.Place].Machine;
            switch (next.What)
            {
                case What.ToReplica:
                    MessageHead said = MessageParser.Parse(next.Head!.AsSpan(0, next.Number));
                    machine.OnMessage(Session, said, next.Payload, _now);
                    _heads.Push(next.Head!);
                    break;
                case What.ToPrimary:
                    MessageHead head = MessageParser.Parse(next.Head!.AsSpan(0, next.Number));
                    _primary.OnMessage(next.Place, head, next.Payload, _now);
                    _heads.Push(next.Head!);
                    break;
                case What.LocalRead:
                    _primary.OnLocalReadEnded(next.Io, next.Number, next.Number, _now);
                    break;
                case What.Metadata:
                    machine.OnMetadataWritten(0, _now);
                    break;
                default:
                    machine.OnImageEnded(next.Io, next.Number, _now);
                    break;
            }
        }
    }

    private enum What : byte
    {
        ToReplica,
        ToPrimary,
        LocalRead,
        Metadata,
        Image,
    }

    private readonly record struct Happening(
        What What, int Place, ulong Io, int Number, byte[]? Head, IoBuffer Payload);

    /// <summary>A replica without files.</summary>
    private sealed class CoreReplica : IReplicaEffects, IDisposable
    {
        private readonly CoreCluster _cluster;
        private readonly int _place;
        private readonly MemoryMapping _record = MemoryMapping.Allocate(MetadataRecord.Bytes);
        private readonly MemoryMapping _live;

        public CoreReplica(CoreCluster cluster, int place, ReplicaMember member, long sizeBytes, long now)
        {
            _cluster = cluster;
            _place = place;
            _live = MemoryMapping.Allocate(LivePageLayout.BytesOf(MetadataState.RegionsOf(sizeBytes)));
            var superblock = new Superblock
            {
                Identity = new ReplicaIdentity(
                    new ClusterId(1), s_volume, member.Replica, member.Incarnation),
                SizeBytes = sizeBytes,
                LogicalBlockBytes = BlockBytes,
                RingRecords = RingSpace.RingRecordsFor(sizeBytes),
            };
            var opened = new OpenedReplica
            {
                Superblock = superblock,
                State = new MetadataState(sizeBytes),
                Position = LogPosition.Empty,
                Trust = LivePageTrust.Absent,
                Applied = default,
                OutOfOrder = [],
                MustBeVoided = false,
                Findings = [],
            };
            var options = new ReplicaOptions { Volume = s_volume, BlockBytes = BlockBytes };
            var page = new LivePage<MappedLiveMemory>(new MappedLiveMemory(_live));
            var boot = new BootEntry(new Guid(1, 2, 3, new byte[8]), 0);
            Machine = new ReplicaMachine(
                options, opened, page, boot, _record.Slice(0, MetadataRecord.Bytes), default, this, now);
        }

        public ReplicaMachine Machine { get; }

        public long RecordCount { get; private set; }

        public void Dispose()
        {
            _record.Dispose();
            _live.Dispose();
        }

        void IReplicaEffects.WriteMetadata(long offsetBytes, in IoBuffer record)
        {
            RecordCount++;
            Happen(What.Metadata, 0, 0);
        }

        void IReplicaEffects.WriteImage(ulong io, long offsetBytes, in IoBuffer bytes) =>
            Happen(What.Image, io, bytes.LengthBytes);

        void IReplicaEffects.ZeroImage(ulong io, long offsetBytes, long lengthBytes, bool keepsSpace) =>
            Happen(What.Image, io, 0);

        void IReplicaEffects.ReadImage(ulong io, long offsetBytes, in IoBuffer buffer) =>
            Happen(What.Image, io, buffer.LengthBytes);

        void IReplicaEffects.SyncImage(ulong io) => Happen(What.Image, io, 0);

        void IReplicaEffects.FoundCorrupt(long offsetBytes) => throw new NotSupportedException();

        void IReplicaEffects.ReadChecksums(ulong io, int page, in IoBuffer buffer) =>
            throw new NotSupportedException();

        void IReplicaEffects.WriteChecksums(ulong io, int page, in IoBuffer buffer) =>
            throw new NotSupportedException();

        void IReplicaEffects.SyncChecksums(ulong io) => throw new NotSupportedException();

        void IReplicaEffects.GrowImage(ulong io, long sizeBytes) => throw new NotSupportedException();

        bool IReplicaEffects.TryRent(int lengthBytes, out IoBuffer buffer)
        {
            buffer = _cluster._payload.Slice(0, lengthBytes);
            return true;
        }

        void IReplicaEffects.Return(in IoBuffer buffer)
        {
        }

        void IReplicaEffects.ReleasePayload(in IoBuffer payload)
        {
        }

        void IReplicaEffects.Send<T>(int session, in T message) =>
            _cluster.Post(false, _place, message, default);

        void IReplicaEffects.Send<T>(int session, in T message, in IoBuffer payload) =>
            _cluster.Post(false, _place, message, payload);

        void IReplicaEffects.Close(int session, CloseReason reason, string text) =>
            throw new InvalidOperationException($"closed: {reason}, {text}");

        private void Happen(What what, ulong io, int result) =>
            _cluster._happenings.Enqueue(new Happening(what, _place, io, result, null, default));
    }
}
