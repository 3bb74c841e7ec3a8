using Ublk.Replication.Replica;
using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Runtime;

/// <summary>
/// One life of a replica on the loop, from its opened files to their closing: carries out what its machine
/// decides. Ring records are written with RWF_DSYNC, the image in place, syncs are fdatasync and never
/// repeated. Used on the loop's thread.
/// </summary>
internal sealed class ReplicaDriver : IReplicaEffects, IReplicaImageOwner, IDisposable
{
    /// <summary>Pages of checksums in memory: 4 MiB, for 4 GiB of the volume.</summary>
    private const int ChecksumPagesAtOnce = 1024;

    private readonly ReplicaFiles _files;
    private readonly Loop _loop;
    private readonly VolumeMemory _memory;
    private readonly EventTurn _turn;
    private readonly IReplicaHome _home;
    private readonly Dictionary<int, IReplicaSession> _sessions = [];
    private readonly PayloadHolder _payloads;
    private readonly MemoryMapping _record = MemoryMapping.Allocate(MetadataRecord.Bytes);
    private readonly BlockFile<RecordEnding> _metadata;
    private readonly ReplicaImage _image;
    private readonly ReplicaImage? _checksums;
    private readonly MemoryMapping? _checksumMemory;
    private int _metadataInFlight;
    private int _elsewhere;
    private int _hostReads;
    private int _lastSession;
    private bool _isDisposed;

    /// <summary>Opens a replica; its machine answers once it has recorded that.</summary>
    /// <param name="files">Its files; owned from now on, but not when this throws.</param>
    /// <param name="options">Settings.</param>
    /// <param name="loop">The loop; the caller is its thread.</param>
    /// <param name="memory">Memory for payload.</param>
    /// <param name="turn">The turn of those who share it.</param>
    /// <param name="home">Hears of what happens.</param>
    /// <exception cref="LoopFullException">The loop has no room.</exception>
    public ReplicaDriver(
        ReplicaFiles files, ReplicaOptions options, Loop loop, VolumeMemory memory, EventTurn turn,
        IReplicaHome home)
    {
        _files = files;
        _loop = loop;
        _memory = memory;
        _turn = turn;
        _home = home;
        _payloads = new PayloadHolder(memory);
        _metadata = new BlockFile<RecordEnding>(
            files.Metadata, loop, maxOperations: 1, isInTable: false);
        try
        {
            _image = new ReplicaImage(files.Image, loop, this);
            IoBuffer checksums = default;
            if (files.Checksums is { } file)
            {
                int bytes = ReplicaMachine.MemoryForChecksums(options, ChecksumPagesAtOnce);
                _checksumMemory = MemoryMapping.Allocate(bytes);
                checksums = _checksumMemory.Slice(0, bytes);
                _checksums = new ReplicaImage(file, loop, this);
            }

            Machine = new ReplicaMachine(
                options, files.Opened, files.Live.Page, files.Boot,
                _record.Slice(0, MetadataRecord.Bytes), checksums, this, loop.NowNs);
        }
        catch
        {
            _checksums?.Dispose();
            _checksumMemory?.Dispose();
            _image?.Dispose();
            _metadata.Dispose();
            throw;
        }
    }

    /// <summary>The machine.</summary>
    public ReplicaMachine Machine { get; }

    /// <summary>Its files.</summary>
    public ReplicaFiles Files => _files;

    /// <summary>Whether it is being closed: its machine hears of nothing any more.</summary>
    public bool IsStopped { get; private set; }

    /// <summary>Whether it has failed, durably where that was possible: only opening it anew helps.</summary>
    public bool IsLost => Machine.IsDead || (Machine.HasFailed &&
        (Machine.State.Condition & ReplicaCondition.Failed) != ReplicaCondition.Sound);

    /// <summary>Whether the kernel and other threads have nothing of it.</summary>
    public bool IsQuiet => _image.InFlightCount == 0 && _checksums is not { InFlightCount: > 0 } &&
        _metadataInFlight == 0 && _elsewhere == 0;

    /// <summary>The machine in numbers, for who looks at a failure.</summary>
    public string Describe() =>
        $"{OperationCount} operations, A {Machine.Applied}, D {Machine.Durable}, C {Machine.Committed}, " +
        $"promise " +
        $"{Machine.Promise.Epoch}, history {Machine.State.History.Last}, missing " +
        $"{Machine.State.Missing.Count}, intents {Machine.State.Intents.Count}, " +
        $"{Machine.State.Condition}, idle {Machine.IsIdle}, dead {Machine.IsDead}, failed " +
        $"{Machine.HasFailed}, stopped {IsStopped}, {_image.InFlightCount} under way, " +
        $"{_payloads.Count} payload blocks";

    /// <summary>Somebody is about to speak with it.</summary>
    /// <param name="session">The way back.</param>
    /// <returns>Number of the session, never used before.</returns>
    public int Open(IReplicaSession session)
    {
        _sessions.Add(++_lastSession, session);
        return _lastSession;
    }

    /// <summary>A session has ended, and not by the replica.</summary>
    /// <param name="session">Its number.</param>
    public void OnSessionEnded(int session)
    {
        if (_sessions.Remove(session) && !IsStopped)
        {
            Machine.OnSessionEnded(session, _loop.NowNs);
        }
    }

    /// <summary>A message for it, with payload that is its own from now on.</summary>
    /// <param name="session">The session.</param>
    /// <param name="head">The message.</param>
    /// <param name="payload">Its payload; empty without.</param>
    public void OnMessage(int session, scoped in MessageHead head, in IoBuffer payload)
    {
        _payloads.Take(payload);
        Machine.OnMessage(session, head, payload, _loop.NowNs);
    }

    /// <summary>Reads for the host, past the machine; the caller has asked whether that is allowed.</summary>
    /// <param name="read">Names the read.</param>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="buffer">Where the bytes go; also a buffer that is registered only.</param>
    public void ReadForHost(ulong read, long offsetBytes, in IoBuffer buffer)
    {
        _hostReads++;
        _image.Start(
            new ImageOperation(ImageAction.HostRead, read, offsetBytes, buffer.LengthBytes, buffer));
    }

    /// <summary>Operations of the stream that were begun in the image, since it was opened.</summary>
    public long OperationCount { get; private set; }

    /// <summary>Whether reads of the host are under way.</summary>
    public bool IsReadByHost => _hostReads > 0;

    /// <summary>Whether bytes of a pool are with it: being written, or waiting for that.</summary>
    /// <param name="pool">The pool.</param>
    public bool Holds(PayloadPool pool) => _payloads.Holds(pool);

    /// <summary>Forgets a pool of which it holds nothing.</summary>
    /// <param name="pool">The pool.</param>
    public void Forget(PayloadPool pool) => _payloads.Forget(pool);

    /// <summary>
    /// Has another thread do something with the files, because the filesystem may take its time; they stay
    /// open until it has ended.
    /// </summary>
    /// <param name="work">What; throws nothing.</param>
    /// <param name="onEnd">Hears of its end on the loop's thread, whatever has become of the replica.</param>
    /// <typeparam name="T">What it answers.</typeparam>
    public void WorkElsewhere<T>(Func<T> work, Action<T> onEnd)
    {
        _elsewhere++;
        _ = Task.Run(() =>
        {
            T result = work();
            _ = _loop.Post(() =>
            {
                _turn.Begin();
                _elsewhere--;
                onEnd(result);
                TellIfQuiet();
                _turn.End();
            });
        });
    }

    /// <summary>
    /// Ends its life and all its sessions: nothing new is begun, and when what the kernel has is done, its
    /// home hears of it.
    /// </summary>
    /// <param name="hasFailed">Whether its disk failed: then its live page is worth nothing.</param>
    /// <param name="text">Why, for people.</param>
    public void Stop(bool hasFailed, string text)
    {
        if (IsStopped)
        {
            return;
        }

        IsStopped = true;
        foreach (IReplicaSession session in _sessions.Values)
        {
            session.End(hasFailed ? CloseReason.Failed : CloseReason.Shutdown, text);
        }

        _sessions.Clear();
        if (hasFailed)
        {
            _files.DistrustLive();
        }

        while (_image.TryTakeWaiting(out ImageOperation waiting))
        {
            if (waiting.Action == ImageAction.HostRead)
            {
                _hostReads--;
                _home.OnHostReadEnded(this, waiting, -Errno.EIO);
            }
        }

        while (_checksums?.TryTakeWaiting(out _) == true)
        {
            // Nobody hears of it any more.
        }

        TellIfQuiet();
    }

    /// <summary>Closes the files; nothing may be with the kernel.</summary>
    public void Dispose()
    {
        if (_isDisposed)
        {
            return;
        }

        _isDisposed = true;
        _payloads.ReturnAll();
        _image.Dispose();
        _checksums?.Dispose();
        _checksumMemory?.Dispose();
        _metadata.Dispose();
        _files.CloseLive();
        _record.Dispose();
    }

    /// <inheritdoc/>
    void IReplicaImageOwner.OnImageOperationEnded(in ImageOperation operation, int result)
    {
        _turn.Begin();
        if (operation.Action == ImageAction.HostRead)
        {
            _hostReads--;
            _home.OnHostReadEnded(this, operation, result);
        }
        else if (!IsStopped)
        {
            Machine.OnImageEnded(operation.Name, result, _loop.NowNs);
        }

        TellIfQuiet();
        _turn.End();
    }

    void IReplicaEffects.WriteMetadata(long offsetBytes, in IoBuffer record)
    {
        _metadataInFlight++;
        _metadata.Write(record, offsetBytes, dataSync: true, new RecordEnding(this));
    }

    void IReplicaEffects.WriteImage(ulong io, long offsetBytes, in IoBuffer bytes)
    {
        Count(io);
        _image.Start(new ImageOperation(ImageAction.Write, io, offsetBytes, bytes.LengthBytes, bytes));
    }

    void IReplicaEffects.ZeroImage(ulong io, long offsetBytes, long lengthBytes, bool keepsSpace)
    {
        Count(io);
        _image.Start(new ImageOperation(
            keepsSpace ? ImageAction.Zero : ImageAction.Punch, io, offsetBytes, lengthBytes, default));
    }

    void IReplicaEffects.ReadImage(ulong io, long offsetBytes, in IoBuffer buffer) => _image.Start(
        new ImageOperation(ImageAction.Read, io, offsetBytes, buffer.LengthBytes, buffer));

    void IReplicaEffects.SyncImage(ulong io) =>
        _image.Start(new ImageOperation(ImageAction.Sync, io, 0, 0, default));

    void IReplicaEffects.ReadChecksums(ulong io, int page, in IoBuffer buffer) =>
        _checksums!.Start(new ImageOperation(
            ImageAction.Read, io, ChecksumFile.OffsetOf(page), buffer.LengthBytes, buffer));

    void IReplicaEffects.WriteChecksums(ulong io, int page, in IoBuffer buffer) =>
        _checksums!.Start(new ImageOperation(
            ImageAction.Write, io, ChecksumFile.OffsetOf(page), buffer.LengthBytes, buffer));

    void IReplicaEffects.SyncChecksums(ulong io) =>
        _checksums!.Start(new ImageOperation(ImageAction.Sync, io, 0, 0, default));

    void IReplicaEffects.FoundCorrupt(long offsetBytes) => _home.OnCorrupt(offsetBytes);

    void IReplicaEffects.GrowImage(ulong io, long sizeBytes)
    {
        long before = Machine.State.SizeBytes;
        WorkElsewhere(
            () => ReplicaGrowth.Extend(_files, before, sizeBytes),
            result => OnImageExtended(result, sizeBytes));
    }

    bool IReplicaEffects.TryRent(int lengthBytes, out IoBuffer buffer)
    {
        bool isRented = _memory.TryRentAnswer(lengthBytes, out buffer);
        if (isRented)
        {
            _payloads.Take(buffer);
        }

        return isRented;
    }

    void IReplicaEffects.Return(in IoBuffer buffer) => _payloads.Return(buffer);

    void IReplicaEffects.ReleasePayload(in IoBuffer payload) => _payloads.Return(payload);

    void IReplicaEffects.Send<T>(int session, in T message)
    {
        if (_sessions.TryGetValue(session, out IReplicaSession? peer))
        {
            peer.Answer(message);
        }
    }

    void IReplicaEffects.Send<T>(int session, in T message, in IoBuffer payload)
    {
        if (_sessions.TryGetValue(session, out IReplicaSession? peer))
        {
            _payloads.Pass(payload);
            peer.Answer(message, payload);
        }
        else
        {
            _payloads.Return(payload);
        }
    }

    void IReplicaEffects.Close(int session, CloseReason reason, string text)
    {
        if (_sessions.Remove(session, out IReplicaSession? peer))
        {
            peer.End(reason, text);
        }
    }

    private void Count(ulong io) =>
        OperationCount += ReplicaContext.KindOf(io) == ReplicaIo.Operation ? 1 : 0;

    private void OnRecordWritten(int result)
    {
        _turn.Begin();
        _metadataInFlight--;
        if (!IsStopped)
        {
            Machine.OnMetadataWritten(result, _loop.NowNs);
        }

        TellIfQuiet();
        _turn.End();
    }

    private void OnImageExtended(int result, long sizeBytes)
    {
        if (!IsStopped)
        {
            if (result == 0)
            {
                result = ReplicaGrowth.ExtendLive(_files.Live, sizeBytes);
            }

            Machine.OnImageGrown(result, _files.Live.Page, _loop.NowNs);
        }
    }

    private void TellIfQuiet()
    {
        if (IsStopped && IsQuiet && !_isDisposed)
        {
            _home.OnReplicaQuiet(this);
        }
    }

    private readonly struct RecordEnding(ReplicaDriver driver) : IFileCompletion
    {
        public void OnFileCompleted(int result) => driver.OnRecordWritten(result);
    }
}
