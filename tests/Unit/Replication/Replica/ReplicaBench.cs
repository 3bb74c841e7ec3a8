using Ublk.Replication.Replica;
using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Tests.Unit.Replication.Replica;

/// <summary>
/// One replica whose disks answer at once, when asked to: its writer sends messages, and counts the answers.
/// Nothing here allocates once it is warm.
/// </summary>
internal sealed class ReplicaBench : IReplicaEffects, IDisposable
{
    public const int BlockBytes = 4096;

    private const int Session = 1;

    private static readonly VolumeId s_volume = new(7);
    private static readonly Writer s_writer = new(new NodeId(1), 1);

    private readonly MemoryMapping _memory = MemoryMapping.Allocate(3 * BlockBytes);
    private readonly MemoryMapping _live;
    private readonly Queue<(ulong Io, int Result)> _image = new(4096);
    private readonly byte[] _head = new byte[MessageLimits.MaxListMessageBytes];
    private readonly Superblock _superblock;
    private ulong _next;
    private bool _isWritingMetadata;

    public ReplicaBench(long sizeBytes) : this(New(sizeBytes))
    {
    }

    /// <summary>A replica as it was found.</summary>
    public ReplicaBench(OpenedReplica opened)
    {
        _superblock = opened.Superblock;
        _live = MemoryMapping.Allocate(LivePageLayout.BytesOf(opened.State.Versions.Regions));
        var options = new ReplicaOptions { Volume = s_volume, BlockBytes = BlockBytes };
        var page = new LivePage<MappedLiveMemory>(new MappedLiveMemory(_live));
        var boot = new BootEntry(new Guid(1, 2, 3, new byte[8]), 0);
        Machine = new ReplicaMachine(
            options, opened, page, boot, _memory.Slice(0, MetadataRecord.Bytes), default, this, 0);
        Run();
    }

    public static ReplicaIdentity Identity { get; } = new(
        new ClusterId(1), s_volume, new ReplicaId(1), new Incarnation(100));

    public ReplicaMachine Machine { get; }

    /// <summary>Length of the live page.</summary>
    public long LiveBytes => _live.LengthBytes;

    /// <summary>Messages of any kind that were sent.</summary>
    public long SentCount { get; private set; }

    /// <summary>Answers Ok to operations.</summary>
    public int AppliedCount { get; private set; }

    /// <summary>Answers Ok to flushes.</summary>
    public int FlushedCount { get; private set; }

    /// <summary>Statuses of answers that were not Ok, and reasons of closes.</summary>
    public List<string> Complaints { get; } = [];

    /// <summary>Writes of the metadata ring.</summary>
    public int RecordCount { get; private set; }

    /// <summary>The time.</summary>
    public long Now { get; set; }

    /// <summary>Whether the image answers by itself.</summary>
    public bool IsHeld { get; set; }

    public void Dispose()
    {
        _memory.Dispose();
        _live.Dispose();
    }

    /// <summary>Makes it a replica of epoch 1, from sequence 1 on.</summary>
    public void Start()
    {
        AskForClaim();
        StartAt(0);
    }

    /// <summary>Makes it follow the stream of epoch 1, from a position on.</summary>
    public void StartAt(ulong position)
    {
        Send(new EpochStart(
            new Epoch(1), s_writer, new ConfigurationNumber(1), new Sequence(1), new Sequence(position),
            new Sequence(0), new Epoch(0)));
        _next = position + 1;
    }

    /// <summary>Makes it promise epoch 1; answers how many messages that takes it.</summary>
    public long AskForClaim()
    {
        long before = SentCount;
        Send(new OpenSession(
            new Epoch(1), SessionRole.Writer, s_volume, new ReplicaId(1), new Incarnation(100),
            new ConfigurationNumber(1), s_writer, _superblock.SizeBytes, BlockBytes, StoreFormat.RegionBytes,
            StoreFormat.GrainBytes));
        Send(new Promise(new Epoch(1), s_writer, new ConfigurationNumber(1)));
        return SentCount - before;
    }

    /// <summary>Sends a write of one block of zeros.</summary>
    public void Write(long offsetBytes)
    {
        IoBuffer payload = _memory.Slice(BlockBytes, BlockBytes);
        var write = new Write(
            new Epoch(1), new Sequence(_next++), Mutation.Write, MutationFlags.None, offsetBytes, BlockBytes,
            Crc32C.Compute(payload.Span), new Sequence(Machine.Durable), new View(1));
        Send(write, payload);
    }

    public void Flush() =>
        Send(new Flush(new Epoch(1), new Sequence(_next - 1), new Sequence(Machine.Durable)));

    public void Heartbeat() => Send(new Heartbeat(
        new Epoch(1), Now, 1000, new Sequence(Machine.Durable), new Sequence(_next - 1)));

    public void Send<T>(in T message, in IoBuffer payload = default)
        where T : struct, IMessage<T>, allows ref struct
    {
        int length = MessageWriter.Write(message, _head);
        Machine.OnMessage(Session, MessageParser.Parse(_head.AsSpan(0, length)), payload, Now);
        Run();
    }

    /// <summary>Ends what is under way, until nothing is.</summary>
    public void Run()
    {
        while (_isWritingMetadata || !IsHeld && _image.Count > 0)
        {
            if (_isWritingMetadata)
            {
                _isWritingMetadata = false;
                Machine.OnMetadataWritten(0, Now);
            }
            else
            {
                EndOne();
            }
        }
    }

    /// <summary>Ends the operation of the image that was asked for first.</summary>
    public void EndOne(int? result = null)
    {
        (ulong io, int expected) = _image.Dequeue();
        Machine.OnImageEnded(io, result ?? expected, Now);
    }

    void IReplicaEffects.WriteMetadata(long offsetBytes, in IoBuffer record)
    {
        RecordCount++;
        _isWritingMetadata = true;
    }

    void IReplicaEffects.WriteImage(ulong io, long offsetBytes, in IoBuffer bytes) =>
        _image.Enqueue((io, bytes.LengthBytes));

    void IReplicaEffects.ZeroImage(ulong io, long offsetBytes, long lengthBytes, bool keepsSpace) =>
        _image.Enqueue((io, 0));

    void IReplicaEffects.ReadImage(ulong io, long offsetBytes, in IoBuffer buffer) =>
        _image.Enqueue((io, buffer.LengthBytes));

    void IReplicaEffects.SyncImage(ulong io) => _image.Enqueue((io, 0));

    void IReplicaEffects.FoundCorrupt(long offsetBytes) => throw new NotSupportedException();

    void IReplicaEffects.ReadChecksums(ulong io, int page, in IoBuffer buffer) =>
        throw new NotSupportedException();

    void IReplicaEffects.WriteChecksums(ulong io, int page, in IoBuffer buffer) =>
        throw new NotSupportedException();

    void IReplicaEffects.SyncChecksums(ulong io) => throw new NotSupportedException();

    void IReplicaEffects.GrowImage(ulong io, long sizeBytes) => throw new NotSupportedException();

    bool IReplicaEffects.TryRent(int lengthBytes, out IoBuffer buffer)
    {
        buffer = _memory.Slice(2 * BlockBytes, lengthBytes);
        return true;
    }

    void IReplicaEffects.Return(in IoBuffer buffer)
    {
    }

    void IReplicaEffects.ReleasePayload(in IoBuffer payload)
    {
    }

    void IReplicaEffects.Send<T>(int session, in T message) => Take(message);

    void IReplicaEffects.Send<T>(int session, in T message, in IoBuffer payload) => Take(message);

    void IReplicaEffects.Close(int session, CloseReason reason, string text) =>
        Complaints.Add($"{reason}: {text}");

    /// <summary>A replica that knows nothing.</summary>
    public static OpenedReplica New(long sizeBytes) => new()
    {
        Superblock = new Superblock
        {
            Identity = Identity,
            SizeBytes = sizeBytes,
            LogicalBlockBytes = BlockBytes,
            RingRecords = RingSpace.RingRecordsFor(sizeBytes),
        },
        State = new MetadataState(sizeBytes),
        Position = LogPosition.Empty,
        Trust = LivePageTrust.Absent,
        Applied = default,
        OutOfOrder = [],
        MustBeVoided = false,
        Findings = [],
    };

    private void Take<T>(in T message) where T : struct, IMessage<T>, allows ref struct
    {
        Span<byte> bytes = _head;
        SentCount++;
        if (T.Kind is not (MessageKind.Applied or MessageKind.Flushed or MessageKind.Configured))
        {
            return;
        }

        int length = MessageWriter.Write(message, bytes);
        MessageHead head = MessageParser.Parse(bytes[..length]);
        AnswerStatus status = T.Kind switch
        {
            MessageKind.Applied => head.Read<Applied>().Status,
            MessageKind.Flushed => head.Read<Flushed>().Status,
            _ => head.Read<Configured>().Status,
        };
        AppliedCount += T.Kind == MessageKind.Applied && status == AnswerStatus.Ok ? 1 : 0;
        FlushedCount += T.Kind == MessageKind.Flushed && status == AnswerStatus.Ok ? 1 : 0;
        if (status != AnswerStatus.Ok)
        {
            Complaints.Add($"{T.Kind} {status}");
        }
    }
}
