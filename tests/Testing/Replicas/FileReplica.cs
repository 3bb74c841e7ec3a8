using Ublk.Replication.Replica;
using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Messages;

namespace Ublk.Testing.Replicas;

/// <summary>
/// The production machine of a replica over real files, on the caller's thread: what it asks of its image
/// is done one after the other, in an order by chance, when <see cref="Run"/> is called. Everything that it
/// tells, and everything that happens to its files, goes into a report at once.
/// </summary>
public sealed class FileReplica : IReplicaEffects, IDisposable
{
    /// <summary>The session of the only writer.</summary>
    public const int Session = 1;

    /// <summary>Logical block in bytes.</summary>
    public const int BlockBytes = 4096;

    private const int MaxOperations = 256;

    // Taken in a circle: far more than is ever under way at once.
    private const int BufferBytes = 8 << 20;

    private readonly MemoryMapping _record = MemoryMapping.Allocate(MetadataRecord.Bytes);
    private readonly MemoryMapping _buffers = MemoryMapping.Allocate(BufferBytes);
    private readonly MemoryMapping _checksums;
    private readonly byte[] _head = new byte[MessageLimits.MaxListMessageBytes];
    private readonly ReplicaFiles _files;
    private readonly ReplicaLiveFile _live;
    private readonly Action<string> _report;
    private readonly Random _random;
    private readonly List<ImageStep> _image = [];
    private readonly Write[] _writes = new Write[MaxOperations];
    private (long OffsetBytes, IoBuffer Record)? _metadata;
    private int _nextBuffer;

    /// <summary>Opens a replica and lets it record what it must.</summary>
    /// <param name="files">Its files; the replica's from now on.</param>
    /// <param name="boot">Boot id and backing device of now.</param>
    /// <param name="random">Decides about orders.</param>
    /// <param name="report">Gets a line for everything that is told or happens; see
    /// <see cref="CrashFacts"/>.</param>
    /// <exception cref="ReplicaStoreException">It cannot be used.</exception>
    public FileReplica(ReplicaFiles files, BootEntry boot, Random random, Action<string> report)
    {
        _files = files;
        _random = random;
        _report = report;
        Opened = ReplicaStore.Load(files.Path, new FileInfo(files.Path).Length, boot, null);
        _report($"record {Opened.Position.LastRecord} {CrashFacts.DigestOf(Opened.State)}");
        var options = new ReplicaOptions
        {
            Volume = Opened.Superblock.Identity.Volume,
            BlockBytes = BlockBytes,
            MaxOperations = MaxOperations,
            FormerGrantsAreVoid = true,
            Intents = new IntentPolicyOptions { MaxHotGrains = 64, MaxAheadRegions = 2 },
        };
        _live = ReplicaLiveFile.Open(files.Path, Opened.State.Versions.Regions);
        IoBuffer record = _record.Slice(0, MetadataRecord.Bytes);
        int checksums = ReplicaMachine.MemoryForChecksums(options, pages: 0);
        _checksums = MemoryMapping.Allocate(checksums);
        Machine = new ReplicaMachine(
            options, Opened, _live.Page, boot, record, _checksums.Slice(0, checksums), this, Now);
    }

    /// <summary>As it was found.</summary>
    public OpenedReplica Opened { get; }

    /// <summary>Path of the image.</summary>
    public string Path => _files.Path;

    /// <summary>The machine.</summary>
    public ReplicaMachine Machine { get; }

    /// <summary>The clock in nanoseconds; only goes up.</summary>
    public long Now { get; set; }

    /// <summary>Number of the last durable record.</summary>
    public ulong LastRecord => _live.Page.LastRecord;

    /// <summary>Operations of the image that are under way.</summary>
    public int UnderWay => _image.Count;

    /// <summary>Why the session was closed; null while it is open.</summary>
    public string? Closed { get; private set; }

    /// <summary>Answers that were not Ok, as text.</summary>
    public List<string> Complaints { get; } = [];

    /// <inheritdoc/>
    public void Dispose()
    {
        _live.Dispose();
        _files.Dispose();
        _record.Dispose();
        _buffers.Dispose();
        _checksums.Dispose();
    }

    /// <summary>The writer says something without a payload.</summary>
    public void Tell<T>(in T message) where T : struct, IMessage<T>, allows ref struct =>
        Tell(message, default);

    /// <summary>The writer says something with a payload.</summary>
    /// <param name="message">The message.</param>
    /// <param name="payload">Rented memory; the replica's from now on.</param>
    public void Tell<T>(in T message, in IoBuffer payload)
        where T : struct, IMessage<T>, allows ref struct
    {
        int length = MessageWriter.Write(message, _head);
        Machine.OnMessage(Session, MessageParser.Parse(_head.AsSpan(0, length)), payload, Now);
    }

    /// <summary>The writer sends an operation.</summary>
    public void Tell(in Write write, in IoBuffer payload)
    {
        _writes[write.Sequence.Value % MaxOperations] = write;
        Tell<Write>(write, payload);
    }

    /// <summary>Time passes.</summary>
    public void Tick() => Machine.OnTick(Now);

    /// <summary>The writer has gone.</summary>
    public void EndSession() => Machine.OnSessionEnded(Session, Now);

    /// <summary>Ends what is under way.</summary>
    /// <param name="leave">Operations of the image that may stay under way.</param>
    public void Run(int leave = 0)
    {
        while (_metadata is not null || _image.Count > leave)
        {
            if (_metadata is { } write && (_image.Count <= leave || _random.Next(2) == 0))
            {
                _metadata = null;
                int result = _files.WriteMetadata(write.OffsetBytes, write.Record.Span);
                Machine.OnMetadataWritten(result, Now);
                _report($"record {LastRecord} {CrashFacts.DigestOf(Machine.State)}");
            }
            else
            {
                int at = _random.Next(_image.Count);
                ImageStep step = _image[at];
                _image.RemoveAt(at);
                Do(step);
            }
        }
    }

    void IReplicaEffects.WriteMetadata(long offsetBytes, in IoBuffer record) =>
        _metadata = (offsetBytes, record);

    void IReplicaEffects.WriteImage(ulong io, long offsetBytes, in IoBuffer bytes) =>
        Add(FileStep.Image, io, offsetBytes, bytes);

    void IReplicaEffects.ZeroImage(ulong io, long offsetBytes, long lengthBytes, bool keepsSpace) =>
        _image.Add(new ImageStep(FileStep.Image, io, offsetBytes, lengthBytes));

    void IReplicaEffects.ReadImage(ulong io, long offsetBytes, in IoBuffer buffer) =>
        Add(FileStep.Image, io, offsetBytes, buffer, isRead: true);

    void IReplicaEffects.SyncImage(ulong io) => _image.Add(new ImageStep(FileStep.Sync, io));

    void IReplicaEffects.FoundCorrupt(long offsetBytes) => throw new NotSupportedException();

    void IReplicaEffects.ReadChecksums(ulong io, int page, in IoBuffer buffer) =>
        Add(FileStep.Checksums, io, ChecksumFile.OffsetOf(page), buffer, isRead: true);

    void IReplicaEffects.WriteChecksums(ulong io, int page, in IoBuffer buffer) =>
        Add(FileStep.Checksums, io, ChecksumFile.OffsetOf(page), buffer);

    void IReplicaEffects.SyncChecksums(ulong io) => _image.Add(new ImageStep(FileStep.ChecksumSync, io));

    void IReplicaEffects.GrowImage(ulong io, long sizeBytes) =>
        _image.Add(new ImageStep(FileStep.Grow, io, 0, sizeBytes));

    bool IReplicaEffects.TryRent(int lengthBytes, out IoBuffer buffer)
    {
        buffer = Rent(lengthBytes);
        return true;
    }

    /// <summary>Memory for a payload, until it was used.</summary>
    public IoBuffer Rent(int lengthBytes)
    {
        _nextBuffer = _nextBuffer + lengthBytes > BufferBytes ? 0 : _nextBuffer;
        IoBuffer buffer = _buffers.Slice(_nextBuffer, lengthBytes);
        _nextBuffer += lengthBytes;
        return buffer;
    }

    void IReplicaEffects.Return(in IoBuffer buffer)
    {
    }

    void IReplicaEffects.ReleasePayload(in IoBuffer payload)
    {
    }

    void IReplicaEffects.Send<T>(int session, in T message) => Hear(message);

    void IReplicaEffects.Send<T>(int session, in T message, in IoBuffer payload) => Hear(message);

    void IReplicaEffects.Close(int session, CloseReason reason, string text) => Closed = $"{reason}: {text}";

    private void Add(FileStep kind, ulong io, long offsetBytes, in IoBuffer buffer, bool isRead = false) =>
        _image.Add(new ImageStep(kind, io, offsetBytes, buffer.LengthBytes, buffer, isRead));

    private void Do(in ImageStep step)
    {
        int result = step.Kind switch
        {
            FileStep.Image when step.IsRead => _files.ReadImage(step.OffsetBytes, step.Buffer!.Value.Span),
            FileStep.Checksums when step.IsRead =>
                _files.ReadChecksums(step.OffsetBytes, step.Buffer!.Value.Span),
            FileStep.Checksums => _files.WriteChecksums(step.OffsetBytes, step.Buffer!.Value.Span),
            FileStep.Sync => _files.SyncImage(),
            FileStep.ChecksumSync => _files.SyncChecksums(),
            FileStep.Grow => _files.Grow(_live, step.LengthBytes),
            _ => Change(step),
        };
        if (step.Kind == FileStep.Grow)
        {
            Machine.OnImageGrown(result, _live.Page, Now);
        }
        else
        {
            Machine.OnImageEnded(step.Io, result, Now);
        }
    }

    private int Change(in ImageStep step)
    {
        ulong slot = ReplicaContext.ValueOf(step.Io) % MaxOperations;
        bool isOperation = ReplicaContext.KindOf(step.Io) == ReplicaIo.Operation;
        ulong sequence = isOperation ? _writes[slot].Sequence.Value : 0;
        _report(sequence != 0
            ? $"issue {sequence} {step.OffsetBytes} {step.LengthBytes} {(step.Buffer is null ? 0 : sequence)}"
            : $"piece {step.OffsetBytes} {step.LengthBytes}");
        int result = step.Buffer is { } bytes
            ? _files.WriteImage(step.OffsetBytes, bytes.Span)
            : _files.ZeroImage(step.OffsetBytes, step.LengthBytes);
        if (sequence != 0 && result >= 0)
        {
            _report($"ended {sequence}");
        }

        return result;
    }

    private void Hear<T>(in T message) where T : struct, IMessage<T>, allows ref struct
    {
        byte[] bytes = new byte[MessageLimits.MaxListMessageBytes];
        MessageHead head = MessageParser.Parse(bytes.AsSpan(0, MessageWriter.Write(message, bytes)));
        switch (head.Kind)
        {
            case MessageKind.Claim:
                Claim claim = head.Read<Claim>();
                Hear(claim.Answer == ClaimAnswer.Granted, $"promised {claim.PromisedEpoch}", claim.Answer);
                break;
            case MessageKind.EpochStarted:
                EpochStarted started = head.Read<EpochStarted>();
                Hear(started.Status == AnswerStatus.Ok, $"started {started.Epoch}", started.Status);
                break;
            case MessageKind.Applied:
                Applied applied = head.Read<Applied>();
                bool isApplied = applied.Status is AnswerStatus.Ok or AnswerStatus.Missing;
                Hear(isApplied, $"applied {applied.Sequence}", applied.Status);
                _report($"durable {applied.Durable}");
                break;
            case MessageKind.Flushed:
                Flushed flushed = head.Read<Flushed>();
                Hear(flushed.Status == AnswerStatus.Ok, $"durable {flushed.Through}", flushed.Status);
                break;
            case MessageKind.Grant:
                _report($"granted {head.Read<Grant>().GrantedMs}");
                break;
            case MessageKind.Configured:
                Configured configured = head.Read<Configured>();
                Hear(configured.Status == AnswerStatus.Ok,
                    $"configured {configured.Number} {Machine.State.SizeBytes}", configured.Status);
                break;
            case MessageKind.Copied:
                Copied copied = head.Read<Copied>();
                bool isRegion = copied.Id.Value < CrashWorkload.FirstPieceId;
                string? line = isRegion ? $"copied {copied.Id}" : null;
                Hear(copied.Status == AnswerStatus.Ok, line, copied.Status);
                break;
            default:
                break; // What is asked for but never looked at here.
        }
    }

    private void Hear<T>(bool isGood, string? line, T status) where T : struct, Enum
    {
        if (!isGood)
        {
            Complaints.Add($"not {line}: {status}");
        }
        else if (line is not null)
        {
            _report(line);
        }
    }

    private readonly record struct ImageStep(
        FileStep Kind, ulong Io, long OffsetBytes = 0, long LengthBytes = 0, IoBuffer? Buffer = null,
        bool IsRead = false);
}
