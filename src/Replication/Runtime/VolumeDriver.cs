using Ublk.Replication.Primary;
using Ublk.Replication.State;
using Ublk.Uring;
using Ublk.Wire.Blocks;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Runtime;

/// <summary>
/// A volume and all its replicas on one loop: opens what can be opened, asks for the volume in one epoch
/// after the other, and decides when a replica may come. Used on the loop's thread.
/// </summary>
internal sealed partial class VolumeDriver : IWriterHome, IReplicaKeeper
{
    private const long AttemptPauseNs = 200_000_000;

    /// <summary>Smallest pool that a window can be cut from, in bytes.</summary>
    public const long MinPoolBytes = 8 << 20;

    private readonly Loop _loop;
    private readonly VolumeMemory _memory;
    private readonly LocalVolumeFiles _found;
    private readonly EventTurn _turn = new();
    private readonly LocalReplica[] _replicas;
    private readonly LocalLink[] _links;
    private readonly bool[] _isNewcomer;
    private readonly ReplicaMember?[] _members;
    private readonly WriterDriver _writer;
    private readonly LoopTimer _timer;
    private readonly int _local;
    private readonly TaskCompletionSource _served = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _stopped = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Epoch _epoch;
    private long _nextAttemptAt = long.MaxValue;
    private long _stopAt = long.MaxValue;
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
        _memory = new VolumeMemory(
            incoming: null, new PayloadPool(VolumeMemory.AnswerBytes, loop.Buffers)) { Host = host };
        _timer = new LoopTimer(OnTimer);
        _epoch = found.FirstEpoch;
        _sizeBytes = found.SizeBytes;
        LocalVolumeOptions options = found.Options;
        int count = found.Replicas.Count;
        _replicas = new LocalReplica[count];
        _links = new LocalLink[count];
        _isNewcomer = new bool[count];
        _members = found.Members();
        _stages = new LocalReplicaStage[count];
        _local = -1;
        var settings = new LocalReplicaSettings(options.Direct, options.LiveDirectory, options.Writer.Node);
        _turn.Begin();
        for (int place = 0; place < count; place++)
        {
            var replica = new LocalReplica(options.Images[place], settings, loop, _memory, _turn, this)
            {
                Problem = found.Problems[place],
            };
            _replicas[place] = replica;
            _links[place] = new LocalLink(replica, _memory);
            _isNewcomer[place] = found.IsBlank(place) && !found.NeedsAll;
            if (found.Replicas[place] is { } files)
            {
                Name(place, files);
                replica.Attach(files);
                _local = _local < 0 && !_isNewcomer[place] ? place : _local;
            }
        }

        _writer = new WriterDriver(loop, _turn, _memory, _links, _local < 0 ? null : _replicas[_local], this);
        _turn.Add(_writer);
        Begin();
        _turn.End();
        _loop.Schedule(_timer, options.Tick);
    }

    /// <summary>Ends when the volume is served for the first time.</summary>
    public Task Served => _served.Task;

    /// <summary>How far the writer is.</summary>
    public PrimaryStage Stage => Primary.Stage;

    /// <summary>The epoch of the writer, or of its last attempt.</summary>
    public Epoch Epoch => _epoch;

    private long Now => _loop.NowNs;

    private VolumePrimary Primary => _writer.Primary;

    private ReplicaGroup Group => new(ReplicaMask.First(_replicas.Length), _found.Rule);

    /// <summary>Takes a request of the host.</summary>
    /// <param name="request">In range and aligned; the volume is served.</param>
    /// <param name="completion">Hears of the end.</param>
    public void Submit(in BlockRequest request, IBlockCompletion completion) =>
        _writer.Submit(request, completion);

    void IWriterHome.OnClosing(int place, CloseReason reason, string text)
    {
        _replicas[place].Problem = text;
        _replicas[place].MustReopen |= reason == CloseReason.Failed;
    }

    void IWriterHome.OnSessionEnded(int place) => _replicas[place].Pause();

    void IWriterHome.OnStage(PrimaryStage stage)
    {
        switch (stage)
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
    }

    // Each attempt is an epoch of its own.
    private void Begin()
    {
        _nextAttemptAt = long.MaxValue;
        LocalVolumeOptions options = _found.Options;
        LocalAgreement agreement = _found.Agreement;
        Volatile.Write(ref _sizeBytes, agreement.SizeBytes);
        const long Forever = long.MaxValue / 4;
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
            Serving = WriterDriver.WindowOf(_memory.Host!.CapacityBytes) with
            {
                MaxRequests = options.MaxRequests,
                ChecksLocalReads = _found.HasChecksums,
            },
        };
        _writer.Begin(_found.NeedsAll ? primary with { ClaimGraceNs = Forever } : primary);
        ConnectAll();
    }
}
