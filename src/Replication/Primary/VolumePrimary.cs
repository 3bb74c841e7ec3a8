using Ublk.Replication.State;
using Ublk.Uring;
using Ublk.Wire;
using Ublk.Wire.Blocks;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Primary;

/// <summary>
/// The writer of a volume in one epoch, from the first promise to the last answer: gets the volume, serves
/// it, lets replicas that were away come back. It only decides: no thread, no clock, no socket, no file.
/// Used on one thread; effects answer later.
/// </summary>
public sealed partial class VolumePrimary : IVolumeEffects
{
    private const string NotServed = "the volume is not served yet";

    private readonly PrimaryOptions _options;
    private readonly IPrimaryEffects _effects;
    private readonly Membership _membership;
    private readonly Promotion _promotion;
    private readonly Admissions _admissions;
    private readonly PeerReads _reads;
    private readonly Scrub _scrub;
    private readonly bool[] _isOpen = new bool[ReplicaMask.Places];
    private VolumeMachine? _volume;
    private long _now;

    /// <summary>Begins to ask for the volume, once sessions come.</summary>
    /// <param name="options">The attachment.</param>
    /// <param name="effects">The surroundings.</param>
    public VolumePrimary(PrimaryOptions options, IPrimaryEffects effects)
    {
        _options = options;
        _effects = effects;
        _membership = new Membership(options, effects);
        var ids = new RequestIds();
        _promotion = new Promotion(options, ids, effects, _membership);
        _admissions = new Admissions(options, ids, effects, _promotion, _membership);
        _reads = new PeerReads(options.Epoch, ids, effects);
        _scrub = new Scrub(options, ids, effects);
    }

    /// <summary>How far it is.</summary>
    public PrimaryStage Stage { get; private set; } = PrimaryStage.Claiming;

    /// <summary>The highest epoch that was seen promised to somebody else; 0 for none.</summary>
    public Epoch HigherEpoch { get; private set; }

    /// <summary>What serves; null before.</summary>
    public VolumeMachine? Volume => _volume;

    /// <summary>The configuration in force.</summary>
    public VolumeConfiguration Configuration => _membership.Current;

    /// <summary>Number of the newest configuration, in force or not.</summary>
    public ConfigurationNumber NewestConfiguration => _membership.Newest;

    /// <summary>Whether all who decide are known by name: only then can they be told who decides.</summary>
    public bool IsNamed => _membership.IsNamed;

    /// <summary>The volume's size in force, in bytes.</summary>
    public long SizeBytes => _membership.SizeBytes;

    /// <summary>Whether the configuration given last is not in force yet.</summary>
    public bool IsReconfiguring => _membership.IsChanging;

    /// <summary>
    /// While serving, whether a joint configuration may be followed by one of its new set: what was
    /// acknowledged before it is on stable media on W of the new set too.
    /// </summary>
    public bool IsSettled => _volume is not null && _membership.IsSettled(_volume);

    /// <summary>A session to a replica is there: it is opened.</summary>
    /// <param name="place">Which.</param>
    /// <param name="now">The clock.</param>
    public void OnSession(int place, long now)
    {
        SetClock(now);
        if (_membership[place] is not { } member)
        {
            _effects.Close(place, CloseReason.WrongConfiguration, "it is no replica of the volume");
            return;
        }

        _effects.Send(place, new OpenSession(
            _options.Epoch, SessionRole.Writer, _options.Volume, member.Replica, member.Incarnation,
            _membership.Newest, _options.Writer, _membership.SizeBytes, _options.BlockBytes,
            Store.StoreFormat.RegionBytes, Store.StoreFormat.GrainBytes));
    }

    /// <summary>A session has ended.</summary>
    /// <param name="place">Whose.</param>
    /// <param name="now">The clock.</param>
    public void OnSessionEnded(int place, long now)
    {
        SetClock(now);
        _isOpen[place] = false;
        _promotion.OnLost(place);
        if (_volume is not null)
        {
            _volume.OnReplicaLost(place, now);
            _reads.OnLost(place, read => _volume.OnReadEnded(read, place, BlockStatus.Gone, now));
        }

        _scrub.OnLost(place);
        _admissions.OnLost(place); // Copies from it need another source, which is not this one.
        Step();
    }

    /// <summary>A message has come.</summary>
    /// <param name="place">From whom.</param>
    /// <param name="head">The message, parsed.</param>
    /// <param name="payload">Its payload; ours until we release it. Empty without.</param>
    /// <param name="now">The clock.</param>
    public void OnMessage(int place, scoped in MessageHead head, in IoBuffer payload, long now)
    {
        SetClock(now);
        switch (head.Kind)
        {
            case MessageKind.Applied: Take(place, head.Read<Applied>()); break;
            case MessageKind.Flushed: Take(place, head.Read<Flushed>()); break;
            case MessageKind.Grant: Take(place, head.Read<Grant>()); break;
            case MessageKind.SessionState: Take(place, head.Read<SessionState>()); break;
            case MessageKind.Claim: Take(place, head.Read<Claim>()); break;
            case MessageKind.ClaimEntries:
                Answers.OnClaimEntries(place, head.Read<ClaimEntries>(), now);
                break;
            case MessageKind.Versions: Answers.OnVersions(place, head.Read<Versions>()); break;
            case MessageKind.EpochStarted: Take(place, head.Read<EpochStarted>()); break;
            case MessageKind.Digests: Take(place, head.Read<Digests>(), payload); break;
            case MessageKind.CopyChunk: Take(place, head.Read<CopyChunk>(), payload); break;
            case MessageKind.Copied: Take(place, head.Read<Copied>()); break;
            case MessageKind.ReadReply: Take(place, head.Read<ReadReply>(), payload); break;
            case MessageKind.Configured: Take(place, head.Read<Configured>()); break;
            case MessageKind.Close: break; // The driver ends the session.
            default:
                _effects.Close(
                    place, CloseReason.ProtocolError, $"{head.Kind} is nothing a replica says");
                break;
        }

        Step();
    }

    /// <summary>Takes a request of the host, while serving. A write's payload is ours.</summary>
    /// <param name="request">In range and aligned.</param>
    /// <param name="completion">Hears of the end, exactly once.</param>
    /// <param name="now">The clock.</param>
    public void Submit(in BlockRequest request, IBlockCompletion completion, long now)
    {
        SetClock(now);
        VolumeMachine volume = _volume ?? throw new InvalidOperationException(NotServed);
        uint crc = request.Operation == BlockOperation.Write ? Crc32C.Compute(request.Buffer.Span) : 0;
        volume.Submit(request, crc, completion, now);
        Step();
    }

    /// <summary>A read of the local image has ended.</summary>
    /// <param name="read">As it was named.</param>
    /// <param name="result">Bytes, or −errno.</param>
    /// <param name="lengthBytes">What was asked for.</param>
    /// <param name="now">The clock.</param>
    public void OnLocalReadEnded(ulong read, int result, int lengthBytes, long now)
    {
        SetClock(now);
        BlockStatus status = result == lengthBytes ? BlockStatus.Ok : BlockStatus.IoError;
        _volume!.OnReadEnded(read, _options.Local, status, now);
        Step();
    }

    /// <summary>Finishes what it has, flushes it and gives the volume back.</summary>
    /// <param name="now">The clock.</param>
    public void Release(long now)
    {
        SetClock(now);
        _volume?.Release(now);
        Step();
    }

    /// <summary>
    /// Begins to compare all replicas that are in sync, while serving; ends with
    /// <see cref="IPrimaryEffects.ScrubEnded"/>. One that is under way begins anew.
    /// </summary>
    /// <param name="options">How fast.</param>
    /// <param name="now">The clock.</param>
    public void BeginScrub(ScrubOptions options, long now)
    {
        SetClock(now);
        _scrub.Begin(options, _volume ?? throw new InvalidOperationException(NotServed), _membership);
        Step();
    }

    /// <summary>Whether a replica is in a place.</summary>
    /// <param name="place">The place.</param>
    public bool Knows(int place) => _membership[place] is not null;

    /// <summary>
    /// A replica gets a place, and learns what the volume holds; it decides nothing yet. One that takes the
    /// place of a member whose disk was lost must have no session before the volume is served.
    /// </summary>
    /// <param name="place">The place.</param>
    /// <param name="member">Who.</param>
    public void Add(int place, ReplicaMember member) => _membership.Add(place, member);

    /// <summary>
    /// Others are to decide, or the volume to be larger, while serving: one step of the way that rule 18
    /// prescribes. The cluster metadata has recorded it before.
    /// </summary>
    /// <param name="next">Numbered above the one in force.</param>
    /// <param name="sizeBytes">Size in bytes, at least that in force.</param>
    /// <param name="now">The clock.</param>
    public void Reconfigure(VolumeConfiguration next, long sizeBytes, long now)
    {
        SetClock(now);
        _membership.Begin(next, sizeBytes);
        foreach (int place in _volume!.Replicas.Connected)
        {
            if (_admissions.MayConfigure(place))
            {
                _membership.Tell(place);
            }
        }

        Step();
    }

    /// <summary>Time passes.</summary>
    /// <param name="now">The clock.</param>
    public void OnTick(long now)
    {
        SetClock(now);
        _promotion.OnTick(now);
        _volume?.OnTick(now);
        _admissions.Compare();
        _admissions.Copies.OnTick();
        Step();
    }

    void IVolumeEffects.SendOperation(int replica, in WindowOperation operation, ulong committed)
    {
        _admissions.OnOperation(operation);
        _scrub.OnOperation(operation);
        Write write = StreamMessages.WriteOf(operation, _options.Epoch, committed, _volume!.Replicas.View);
        if (operation.Operation == BlockOperation.Write)
        {
            _effects.Send(replica, write, operation.Payload);
        }
        else
        {
            _effects.Send(replica, write);
        }
    }

    void IVolumeEffects.SendFlush(int replica, ulong through) => _effects.Send(replica, new Flush(
        _options.Epoch, new Sequence(through), new Sequence(_volume!.Replicas.Committed)));

    void IVolumeEffects.SendHeartbeat(int replica, long sentAt, ulong acknowledged, ulong committed) =>
        _effects.Send(replica, new Heartbeat(
            _options.Epoch, sentAt, _options.LeaseMs, new Sequence(committed), new Sequence(acknowledged)));

    bool IVolumeEffects.CanReadLocally(long offsetBytes, long lengthBytes) =>
        _effects.CanReadLocally(offsetBytes, lengthBytes);

    void IVolumeEffects.ReadLocally(ulong read, long offsetBytes, in IoBuffer buffer) =>
        _effects.ReadLocally(read, offsetBytes, buffer);

    void IVolumeEffects.ReadFromPeer(
        int replica, ulong read, long offsetBytes, in IoBuffer buffer, ulong acknowledged) =>
        _reads.Ask(replica, read, offsetBytes, buffer, acknowledged);

    void IVolumeEffects.LeaveStream(int replica, LeaveReason reason) =>
        _effects.Close(replica, reason == LeaveReason.Failed ? CloseReason.Failed : CloseReason.Overloaded,
            "it is brought up to date by a resync");

    void IVolumeEffects.ReleasePayload(in IoBuffer payload) => _effects.ReleasePayload(payload);

    void IVolumeEffects.Ended(VolumeStage stage)
    {
        if (stage == VolumeStage.Released)
        {
            foreach (int place in _volume!.Replicas.Connected)
            {
                _effects.Send(place, new Release(_options.Epoch));
            }
        }
    }

    private void SetClock(long now)
    {
        _now = now;
        _admissions.Now = now;
    }

    private IReplicaAnswers Answers => _volume is null ? _promotion : _admissions;

    private void Fence(Epoch epoch)
    {
        HigherEpoch = epoch > HigherEpoch ? epoch : HigherEpoch;
        if (_volume is null)
        {
            _promotion.OnOutbid();
        }
        else
        {
            _volume.OnFenced(_now);
        }
    }

    // The end of every event.
    private void Step()
    {
        if (_volume is null && _promotion.IsDone)
        {
            _membership.SettlesAt = _promotion.FirstSequence - 1;
            _volume = new VolumeMachine(
                _options.Serving, _membership.Current, _promotion.FirstSequence, _options.Local, this);
            for (int place = 0; place < _isOpen.Length; place++)
            {
                if (_promotion.Started.Has(place) && _isOpen[place])
                {
                    Admit(place);
                }
                else if (_isOpen[place] && _promotion.Targets.Has(place))
                {
                    // Its start is on its way: it is sent everything, and counts once it has recorded that.
                    _volume.OnReplicaJoins(place, _promotion.FirstSequence - 1, hasFailed: false, _now);
                }
                else if (_isOpen[place])
                {
                    _effects.Close(place, CloseReason.Superseded, "serving has begun without its claim");
                }
            }

            _volume.OnTick(_now);
        }

        if (_volume is not null && _membership.TryFinish(_volume))
        {
            _volume.Reconfigure(_membership.Current, _now);
            _admissions.Grow();
            _effects.ConfigurationChanged();
        }

        _scrub.Step(_now);
        PrimaryStage stage = _volume is null ? _promotion.Stage
            : _volume.Stage is VolumeStage.Fenced or VolumeStage.Released ? PrimaryStage.Ended
            : PrimaryStage.Serving;
        if (stage != Stage)
        {
            Stage = stage;
            _effects.StageChanged(stage);
        }
    }

    private void Admit(int place)
    {
        ulong position = _promotion.FirstSequence - 1;
        if (_volume!.Replicas.InStream.Has(place))
        {
            _volume.OnReplicaCurrent(place, position, position, _now);
        }
        else if (!_volume.OnReplicaReady(
            place, position, position, isReconciled: true, isCurrent: true, _now))
        {
            _effects.Close(place, CloseReason.Overloaded, "it is too far behind already");
        }

        _membership.Tell(place); // There may be a newer configuration than when it was claimed.
    }
}
