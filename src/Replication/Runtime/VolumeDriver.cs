using Ublk.Replication.Primary;
using Ublk.Replication.State;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Blocks;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Runtime;

/// <summary>
/// The writer of a volume and its replicas on one loop: carries out what <see cref="VolumePrimary"/> decides
/// and brings the messages of all to each other. What an event makes one of them say is delivered when the
/// event has been dealt with, in the same round of the loop, so that a write and its answers cost no round
/// more than their disks do. Used on the loop's thread.
/// </summary>
internal sealed partial class VolumeDriver : IPrimaryEffects, IReplicaHome
{
    private const long AttemptPauseNs = 200_000_000;

    /// <summary>Smallest pool that a window can be cut from, in bytes.</summary>
    public const long MinPoolBytes = 8 << 20;

    private readonly Loop _loop;
    private readonly VolumeMemory _memory;
    private readonly LocalVolumeFiles _found;
    private readonly LocalReplica[] _replicas;
    private readonly ReplicaMember?[] _members;
    private readonly PayloadHolder _payloads;
    private readonly LoopTimer _timer;
    private readonly int _local;
    private readonly TaskCompletionSource _served = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _stopped = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private VolumePrimary? _writer;
    private Epoch _epoch;
    private long _nextAttemptAt = long.MaxValue;
    private long _stopAt = long.MaxValue;
    private int _depth;
    private bool _hasStageChanged;
    private bool _isStopping;
    private bool _isClosing;

    /// <summary>Opens the replicas and begins to ask for the volume.</summary>
    /// <param name="found">The replicas; owned from now on.</param>
    /// <param name="loop">The loop; the caller is its thread.</param>
    /// <param name="host">Where the host's writes lie.</param>
    /// <exception cref="LoopFullException">The loop has no room.</exception>
    public VolumeDriver(LocalVolumeFiles found, Loop loop, PayloadPool host)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(host.CapacityBytes, MinPoolBytes, nameof(host));
        _found = found;
        _loop = loop;
        _memory = new VolumeMemory(host, new PayloadPool(VolumeMemory.AnswerBytes, loop.Buffers));
        _payloads = new PayloadHolder(_memory);
        _timer = new LoopTimer(OnTimer);
        _epoch = found.FirstEpoch;
        _sizeBytes = found.SizeBytes;
        int count = found.Replicas.Count;
        _replicas = new LocalReplica[count];
        _members = found.Members();
        _stages = new LocalReplicaStage[count];
        _local = -1;
        BeginEvent();
        for (int place = 0; place < count; place++)
        {
            _replicas[place] = new LocalReplica(found.Options.Images[place], new LocalLink(_memory))
            {
                Problem = found.Problems[place],
                IsNewcomer = found.IsBlank(place) && !found.NeedsAll,
            };
            if (found.Replicas[place] is { } files)
            {
                Attach(place, files);
                _local = _local < 0 && !_replicas[place].IsNewcomer ? place : _local;
            }
        }

        Begin();
        EndEvent();
        _loop.Schedule(_timer, found.Options.Tick);
    }

    /// <summary>Ends when the volume is served for the first time.</summary>
    public Task Served => _served.Task;

    /// <summary>How far the writer is.</summary>
    public PrimaryStage Stage => Primary.Stage;

    /// <summary>The epoch of the writer, or of its last attempt.</summary>
    public Epoch Epoch => _epoch;

    private long Now => _loop.NowNs;

    private VolumePrimary Primary => _writer!;

    private ReplicaGroup Group => new(ReplicaMask.First(_replicas.Length), _found.Rule);

    /// <summary>
    /// Takes a request of the host. Of a write's payload the writer holds a share of its own until every
    /// replica that follows has it.
    /// </summary>
    /// <param name="request">In range and aligned; the volume is served.</param>
    /// <param name="completion">Hears of the end.</param>
    public void Submit(in BlockRequest request, IBlockCompletion completion)
    {
        BeginEvent();
        if (request.Operation == BlockOperation.Write)
        {
            _memory.Share(request.Buffer);
            _payloads.Take(request.Buffer);
        }

        Primary.Submit(request, completion, Now);
        EndEvent();
    }

    /// <inheritdoc/>
    public void BeginEvent() => _depth++;

    /// <inheritdoc/>
    public void EndEvent()
    {
        // Who is told of an answer may ask for more at once: only the outermost event delivers.
        while (_depth == 1 && TryDeliver())
        {
        }

        _depth--;
    }

    void IReplicaHome.OnHostReadEnded(ReplicaDriver driver, in ImageOperation read, int result)
    {
        bool isCurrent = !driver.IsStopped && driver.Machine.IsCurrent(read.OffsetBytes, read.LengthBytes);
        Primary.OnLocalReadEnded(
            read.Name, isCurrent ? result : -Errno.EIO, (int)read.LengthBytes, Now);
    }

    void IPrimaryEffects.Send<T>(int replica, in T message)
    {
        LocalLink link = _replicas[replica].Link;
        if (link.IsOpen)
        {
            link.ToReplica.Put(message, default);
        }
    }

    void IPrimaryEffects.Send<T>(int replica, in T message, in IoBuffer payload)
    {
        LocalLink link = _replicas[replica].Link;
        if (link.IsOpen)
        {
            _memory.Share(payload);
            link.ToReplica.Put(message, payload);
        }
    }

    void IPrimaryEffects.SendBytes<T>(int replica, in T message, ReadOnlySpan<byte> payload)
    {
        LocalLink link = _replicas[replica].Link;
        if (link.IsOpen)
        {
            link.ToReplica.Put(message, _memory.CopyOf(payload));
        }
    }

    void IPrimaryEffects.Close(int replica, CloseReason reason, string text)
    {
        _replicas[replica].Problem = text;
        _replicas[replica].MustReopen |= reason == CloseReason.Failed;
        _replicas[replica].Link.End(byReplica: false);
    }

    bool IPrimaryEffects.CanReadLocally(long offsetBytes, long lengthBytes) =>
        _replicas[_local] is { IsOpen: true, Driver: { } driver } &&
        driver.Machine.IsCurrent(offsetBytes, lengthBytes);

    void IPrimaryEffects.ReadLocally(ulong read, long offsetBytes, in IoBuffer buffer) =>
        _replicas[_local].Driver!.ReadForHost(read, offsetBytes, buffer);

    void IPrimaryEffects.ReleasePayload(in IoBuffer payload) => _payloads.Return(payload);

    void IPrimaryEffects.StageChanged(PrimaryStage stage) => _hasStageChanged = true;

    private bool TryDeliver()
    {
        bool wasAny = false;
        for (int place = 0; place < _replicas.Length; place++)
        {
            LocalReplica replica = _replicas[place];
            LocalLink link = replica.Link;
            while (!link.ToReplica.IsEmpty)
            {
                wasAny = true;
                MessageHead head = link.ToReplica.Take(out IoBuffer payload);
                replica.Driver!.OnMessage(link.Session, head, payload);
                link.ToReplica.Done();
            }

            while (!link.ToPrimary.IsEmpty)
            {
                wasAny = true;
                MessageHead head = link.ToPrimary.Take(out IoBuffer payload);
                _payloads.Take(payload);
                Primary.OnMessage(place, head, payload, Now);
                link.ToPrimary.Done();
            }

            wasAny |= TryTellEnd(place);
        }

        return wasAny || TryFollowStage();
    }

    private bool TryTellEnd(int place)
    {
        LocalReplica replica = _replicas[place];
        LocalLink link = replica.Link;
        int session = link.Ended;
        if (session < 0)
        {
            return false;
        }

        link.ForgetEnded();
        replica.Pause(Now);
        if (link.MustTellReplica && replica.IsOpen)
        {
            replica.Driver!.Machine.OnSessionEnded(session, Now);
        }

        Primary.OnSessionEnded(place, Now);
        return true;
    }

    private bool TryFollowStage()
    {
        if (!_hasStageChanged)
        {
            return false;
        }

        _hasStageChanged = false;
        switch (Primary.Stage)
        {
            case PrimaryStage.Serving:
                _served.TrySetResult();
                ConnectAll();
                break;
            case PrimaryStage.Failed:
                _nextAttemptAt = Now + AttemptPauseNs;
                break;
            case PrimaryStage.Ended when _isStopping:
                CloseAll();
                break;
            default:
                break; // Fenced: from now on the machine answers every request that the volume is gone.
        }

        return true;
    }

    // Each attempt is an epoch of its own; what the one before held goes back.
    private void Begin()
    {
        _nextAttemptAt = long.MaxValue;
        _payloads.ReturnAll();
        LocalVolumeOptions options = _found.Options;
        LocalAgreement agreement = _found.Agreement;
        Volatile.Write(ref _sizeBytes, agreement.SizeBytes);
        var primary = new PrimaryOptions
        {
            Volume = _found.Any.Identity.Volume,
            Epoch = _epoch,
            Writer = options.Writer,
            Configuration = new VolumeConfiguration(agreement.Number, Group),
            Members = _members,
            Local = _local,
            SizeBytes = agreement.SizeBytes,
            BlockBytes = _found.Any.Opened.Superblock.LogicalBlockBytes,
            Serving = WindowOf(_memory.Host.CapacityBytes) with
            {
                MaxRequests = options.MaxRequests,
                ChecksLocalReads = _found.HasChecksums,
            },
        };
        const long Forever = long.MaxValue / 4;
        _writer = new VolumePrimary(
            _found.NeedsAll ? primary with { ClaimGraceNs = Forever } : primary, this);
        ConnectAll();
    }

    // A block of the pool may be up to twice as long as its payload, and 4 KiB for 512 bytes: with a quarter
    // of the pool for the window, and no more operations than pages in another quarter, at least half of the
    // pool is left for what waits to get in. So the window is full before the pool is, and whoever holds it
    // up alone leaves the stream.
    private static VolumeOptions WindowOf(long poolBytes)
    {
        const int MaxOperations = 4096;
        const int Quarter = 4;
        long pages = poolBytes / Quarter / PayloadPool.MinBlockBytes;
        int operations = 1 << System.Numerics.BitOperations.Log2((uint)Math.Min(pages, MaxOperations));
        return new VolumeOptions { WindowBytes = poolBytes / Quarter, WindowOperations = operations };
    }
}
