using Ublk.Replication.Replica;
using Ublk.Replication.Store;
using Ublk.Tests.Simulation.Network;
using Ublk.Tests.Simulation.World;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Tests.Simulation.Cluster;

/// <summary>
/// A replica on its host: the production machine over the disk, the memory and the network of the world. Its
/// files outlive its process.
/// </summary>
internal sealed partial class ReplicaHost : ISessionListener, ISessionHandler, IReplicaEffects
{
    private const ulong LocalReads = 1ul << 63;
    private const int MaxImageOperations = 48;

    private readonly ClusterWorld _world;
    private readonly SimulatedNode _node;
    private readonly SimulatedMetadata _metadata;
    private readonly SimulatedLivePage _live;
    private readonly MemoryMapping _record;
    private readonly MemoryMapping? _checksumMemory;
    private readonly ReplicaOptions _machineOptions;
    private readonly Dictionary<int, SessionEnd> _sessions = [];
    private readonly Dictionary<ulong, Action<int>> _localReads = [];
    private readonly Superblock _superblock;
    private MetadataState _state;
    private ulong _lastLocalRead;
    private int _lastSession;

    /// <summary>Formats a replica.</summary>
    /// <param name="world">The world.</param>
    /// <param name="node">Its host.</param>
    /// <param name="place">Its place.</param>
    /// <param name="member">Who it is.</param>
    public ReplicaHost(ClusterWorld world, SimulatedNode node, int place, ReplicaMember member)
    {
        _world = world;
        _node = node;
        Place = place;
        Member = member;
        Watch = new ReplicaWatch(world, place);
        _superblock = new Superblock
        {
            Identity = new ReplicaIdentity(
                new ClusterId(1), world.Volume, member.Replica, member.Incarnation),
            SizeBytes = world.Options.VolumeBytes,
            LogicalBlockBytes = world.Options.BlockBytes,
            RingRecords = world.Options.RingRecords,
            Options = world.Options.HasChecksums ? StoreOptions.Checksums : StoreOptions.None,
        };
        var layout = new RingLayout(member.Incarnation, world.Options.RingRecords);
        Image = new SimulatedImage(
            node, world.Clock, world.Pools, world.Random.Fork(), world.Options.VolumeBytes)
        {
            AtomicBytes = world.Options.AtomicBytes > 0
                ? world.Options.AtomicBytes : world.Options.BlockBytes,
            Faults = world.Options.Image,
            Latency = place == world.Options.SlowReplica ? Slow(world.Options.Disk) : world.Options.Disk,
            SyncLatency = place == world.Options.SlowReplica ? Slow(world.Options.Sync) : world.Options.Sync,
            Ended = OnImageEnded,
        };
        _metadata = new SimulatedMetadata(node, world.Clock, world.Pools, world.Random.Fork(), layout)
        {
            WriteErrorPermille = world.Options.MetadataErrorPermille,
            Ended = OnMetadataWritten,
        };
        _state = new MetadataState(world.Options.VolumeBytes);
        _live = new SimulatedLivePage(node, world.Pools, world.Random.Fork());
        _record = world.RentRecord();
        _machineOptions = new ReplicaOptions
        {
            Volume = world.Volume,
            BlockBytes = world.Options.BlockBytes,
            MaxOperations = world.Options.WindowOperations,
            MaxImageOperations = MaxImageOperations,
            DrainLimitNs = 10 * LatencyModel.Second,
            Intents = new IntentPolicyOptions { MaxHotGrains = world.MaxHotGrains },
        };
        if (world.Options.HasChecksums)
        {
            Checksums = new SimulatedImage(
                node, world.Clock, world.Pools, world.Random.Fork(),
                ChecksumFile.LengthOf(world.Options.VolumeBytes))
            {
                Faults = world.Options.Image with { ReadsRace = false },
                Latency = world.Options.Disk,
                SyncLatency = world.Options.Sync,
                Ended = OnImageEnded,
            };
            _checksumMemory = world.Pools.RentChecksums();
            Image.LosesPower = () => Image.Mend(IsHot);
            Image.MayLand = MayRot;
        }

        Format(layout);
    }

    /// <summary>Its host.</summary>
    public SimulatedNode Node => _node;

    /// <summary>Its place in the volume.</summary>
    public int Place { get; }

    /// <summary>Who it is.</summary>
    public ReplicaMember Member { get; }

    /// <summary>The image.</summary>
    public SimulatedImage Image { get; }

    /// <summary>The file of checksums; null without.</summary>
    public SimulatedImage? Checksums { get; }

    /// <summary>How long a record of its ring takes.</summary>
    public LatencyModel RingLatency { set => _metadata.Latency = value; }

    /// <summary>The machine of the process that runs; null while none does.</summary>
    public ReplicaMachine? Machine { get; private set; }

    /// <summary>Looks at what it does.</summary>
    public ReplicaWatch Watch { get; }

    /// <summary>Why the replica could not be opened; null when it could.</summary>
    public string? Damage { get; private set; }

    private long Now => _node.Clock.Now;

    /// <summary>The process has started and has the image for itself: the replica is opened.</summary>
    public void Open()
    {
        var boot = new BootEntry(_node.BootId, 0);
        LivePage<MappedLiveMemory> page = _live.Open();
        Incarnation incarnation = _superblock.Identity.Incarnation;
        int regions = MetadataState.RegionsOf(_superblock.SizeBytes);
        LivePageTrust trust = page.TrustOf(incarnation, boot, regions);
        ulong liveRecord = trust == LivePageTrust.Trusted ? page.LastRecord : 0;
        RecoveryResult found = MetadataRecovery.Run(
            _metadata, _metadata.Layout, _superblock.SizeBytes, liveRecord);
        Damage = found.State is null ? found.Text : null;
        if (found.State is not { } state)
        {
            return;
        }

        // It may have grown since its format.
        trust = page.TrustOf(incarnation, boot, state.Versions.Regions);
        (LiveProgress claim, bool mustBeVoided) = ReplicaStore.ClaimOf(state, trust, page.Progress());
        var opened = new OpenedReplica
        {
            Superblock = _superblock,
            State = state,
            Position = found.Position,
            Trust = trust,
            Applied = claim.Applied,
            OutOfOrder = claim.OutOfOrder,
            MustBeVoided = mustBeVoided,
            Findings = found.Findings,
        };
        // What has decayed where checksums are not known any more cannot be noticed.
        _state = state;
        Image.Mend(at => IsHot(at) || IsUnknownOnDisk(at));
        IoBuffer checksums = default;
        if (_checksumMemory is not null)
        {
            checksums = _checksumMemory.Slice(
                0, ReplicaMachine.MemoryForChecksums(_machineOptions, _world.Options.ChecksumPages));
        }

        IoBuffer record = _record.Slice(0, MetadataRecord.Bytes);
        Machine = new ReplicaMachine(_machineOptions, opened, page, boot, record, checksums, this, Now);
        Watch.Opened(Machine);
        _world.Network.Listen(_node.Index, this);
        Tick();
    }

    /// <summary>
    /// Calls back as soon as nothing of a killed process is under way (<see cref="SimulatedImage"/>).
    /// </summary>
    /// <param name="free">What happens then; maybe at once.</param>
    public void WhenUnlocked(Action free)
    {
        if (Checksums is null)
        {
            Image.WhenUnlocked(free);
        }
        else
        {
            Image.WhenUnlocked(() => Checksums.WhenUnlocked(free));
        }
    }

    /// <summary>From now on its disk is well.</summary>
    public void HasNoFaults()
    {
        Image.Faults = ImageFaults.None;
        if (Checksums is not null)
        {
            Checksums.Faults = ImageFaults.None;
        }

        _metadata.WriteErrorPermille = 0;
    }

    /// <summary>The process is gone.</summary>
    public void Close()
    {
        Machine = null;
        _sessions.Clear();
        _localReads.Clear();
    }

    /// <summary>The primary of the same process reads from the image.</summary>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="buffer">Where the bytes go.</param>
    /// <param name="ended">Hears of the end.</param>
    public void ReadLocally(long offsetBytes, in IoBuffer buffer, Action<int> ended)
    {
        ulong io = LocalReads | ++_lastLocalRead;
        _localReads.Add(io, ended);
        Image.Read(io, offsetBytes, buffer);
    }

    /// <inheritdoc/>
    public ISessionHandler OnSession(SessionEnd session)
    {
        _sessions.Add(++_lastSession, session);
        return this;
    }

    /// <inheritdoc/>
    public void OnOpened(SessionEnd session)
    {
    }

    /// <inheritdoc/>
    public void OnMessage(SessionEnd session, in MessageHead head, in IoBuffer payload)
    {
        int number = NumberOf(session);
        if (Machine is null || number == 0)
        {
            _world.Memory.Return(payload);
            return;
        }

        if (head.Kind == MessageKind.Release)
        {
            Watch.Released();
        }

        Machine.OnMessage(number, head, payload, Now);
    }

    /// <inheritdoc/>
    public void OnEnded(SessionEnd session)
    {
        int number = NumberOf(session);
        if (number != 0 && _sessions.Remove(number))
        {
            Machine?.OnSessionEnded(number, Now);
        }
    }

    void IReplicaEffects.WriteMetadata(long offsetBytes, in IoBuffer record) =>
        _metadata.Write(offsetBytes, record);

    void IReplicaEffects.WriteImage(ulong io, long offsetBytes, in IoBuffer bytes)
    {
        Watch.Changes(io, offsetBytes, bytes.LengthBytes);
        Image.Write(io, offsetBytes, bytes);
    }

    void IReplicaEffects.ZeroImage(ulong io, long offsetBytes, long lengthBytes, bool keepsSpace)
    {
        Watch.Changes(io, offsetBytes, lengthBytes);
        Image.Zero(io, offsetBytes, lengthBytes);
    }

    void IReplicaEffects.ReadImage(ulong io, long offsetBytes, in IoBuffer buffer) =>
        Image.Read(io, offsetBytes, buffer);

    void IReplicaEffects.SyncImage(ulong io)
    {
        Watch.Syncs();
        Image.Sync(io);
    }

    void IReplicaEffects.GrowImage(ulong io, long sizeBytes)
    {
        Checksums?.Extend(ChecksumFile.LengthOf(sizeBytes));
        Image.Grow(io, sizeBytes);
    }

    bool IReplicaEffects.TryRent(int lengthBytes, out IoBuffer buffer) =>
        _world.Memory.TryRent(lengthBytes, out buffer);

    void IReplicaEffects.Return(in IoBuffer buffer) => _world.Memory.Return(buffer);

    void IReplicaEffects.ReleasePayload(in IoBuffer payload) => _world.Memory.Return(payload);

    void IReplicaEffects.Send<T>(int session, in T message)
    {
        Watch.Sends(message);
        if (_sessions.TryGetValue(session, out SessionEnd? end))
        {
            end.Send(message);
        }
    }

    void IReplicaEffects.Send<T>(int session, in T message, in IoBuffer payload)
    {
        if (_sessions.TryGetValue(session, out SessionEnd? end))
        {
            end.SendRented(message, payload);
        }
        else
        {
            _world.Memory.Return(payload);
        }
    }

    void IReplicaEffects.Close(int session, CloseReason reason, string text)
    {
        _world.Note($"replica {Place} closes {session}: {reason}, {text}");
        if (_sessions.Remove(session, out SessionEnd? end))
        {
            end.Close();
        }
    }

    private static LatencyModel Slow(LatencyModel usual) => usual with { UsualNs = 32 * usual.UsualNs };

    private int NumberOf(SessionEnd session)
    {
        foreach ((int number, SessionEnd end) in _sessions)
        {
            if (end == session)
            {
                return number;
            }
        }

        return 0;
    }

    private void OnMetadataWritten(int result)
    {
        Machine?.OnMetadataWritten(result, Now);
        if (result >= 0 && Machine is not null)
        {
            Watch.Recorded();
        }
    }

    private void OnImageEnded(ulong io, int result)
    {
        if ((io & LocalReads) == 0)
        {
            // A write or a sync that failed takes from this replica what it had not synced; so does what must
            // be read for a write.
            ReplicaIo kind = ReplicaContext.KindOf(io);
            if (result < 0 && kind is not (ReplicaIo.Read or ReplicaIo.Configuration))
            {
                _world.Note($"replica {Place}: io {io:x} fails with {result}");
                _world.Lost(Place);
                DoubtAfter(kind);
            }

            Watch.Ended(io, result);
            if (ReplicaContext.KindOf(io) == ReplicaIo.Configuration)
            {
                Machine?.OnImageGrown(result, _live.Open(), Now);
            }
            else
            {
                Machine?.OnImageEnded(io, result, Now);
            }
        }
        else if (_localReads.Remove(io, out Action<int>? ended))
        {
            ended(result);
        }
    }

    private void Tick() => _node.After(_world.TickNs, () =>
    {
        Machine?.OnTick(Now);
        Tick();
    });

    private void Format(RingLayout layout)
    {
        var formatter = new ReplicaFormatter(_metadata, layout, _superblock.SizeBytes, _record);
        formatter.Run(new BootEntry(_node.BootId, 0));
    }
}
