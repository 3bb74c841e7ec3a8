using Ublk.Replication.State;
using Ublk.Replication.Store;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Primary;

/// <summary>
/// Replicas that come while the volume serves: those that lack only what the window holds follow at once;
/// the others are told what they miss, follow the stream, and have the rest pushed underneath (replication
/// design, section 7 and rules 2, 19, 20). The source is a replica that counts, the local one if it does.
/// </summary>
internal sealed partial class Admissions : IReplicaAnswers
{
    private readonly PrimaryOptions _options;
    private readonly IPrimaryEffects _effects;
    private readonly Promotion _promotion;
    private readonly Membership _membership;
    private readonly Join?[] _joins = new Join?[ReplicaMask.Places];
    private readonly RequestIds _ids;
    private VolumeMachine? _volume;

    /// <summary>Nobody has come yet.</summary>
    /// <param name="options">The attachment.</param>
    /// <param name="ids">Names questions.</param>
    /// <param name="effects">Sends messages.</param>
    /// <param name="promotion">Knows the epoch's history.</param>
    /// <param name="membership">Knows the newest configuration.</param>
    public Admissions(
        PrimaryOptions options, RequestIds ids, IPrimaryEffects effects, Promotion promotion,
        Membership membership)
    {
        _options = options;
        _ids = ids;
        _effects = effects;
        _promotion = promotion;
        _membership = membership;
        Copies = new RegionCopies(options, ids, effects)
        {
            Position = () => new Sequence(_volume!.Window.Next - 1),
            Others = () => _volume!.Replicas.Counting,
            OnDone = OnCopied,
            OnFailed = OnCopyFailed,
        };
    }

    /// <summary>The clock.</summary>
    public long Now { get; set; }

    private int Regions => MetadataState.RegionsOf(_membership.SizeBytes);

    /// <inheritdoc/>
    public RegionCopies Copies { get; }

    /// <summary>Whether the start of a joining replica is awaited.</summary>
    /// <param name="place">Its place.</param>
    public bool IsJoining(int place) => _joins[place] is { Stage: JoinStage.Starting };

    /// <summary>A replica says where it stands.</summary>
    /// <param name="place">Its place.</param>
    /// <param name="state">Where.</param>
    /// <param name="volume">What serves.</param>
    public void OnState(int place, scoped in SessionState state, VolumeMachine volume)
    {
        _volume = volume;
        bool isOurs = state.PromisedEpoch == _options.Epoch && state.PromisedWriter == _options.Writer;
        if (!isOurs)
        {
            _joins[place] = new Join(JoinStage.Claiming);
            _effects.Send(place, _promotion.Wanted);
            return;
        }

        const ReplicaFlags Unsound = ReplicaFlags.Voided | ReplicaFlags.Failed;
        bool isSound = (state.Flags & Unsound) == ReplicaFlags.None;
        var join = new Join(JoinStage.Configuring)
        {
            Standing = new Standing(
                state.Applied.Value, state.Durable.Value, state.Stage != StreamStage.Behind && isSound,
                state.MissingRegions == 0),
            Common = _promotion.History!.CommonWith(
                ReplicaClaim.HistoryOf(state.History), state.Applied.Value),
            HasFailed = (state.Flags & ReplicaFlags.Failed) != ReplicaFlags.None,
        };
        _joins[place] = join;
        Configure(place, join, state.Configuration.Value);
    }

    /// <summary>Whether a replica may be told a configuration: not before it has promised.</summary>
    /// <param name="place">Its place.</param>
    public bool MayConfigure(int place) =>
        _joins[place] is not { Stage: JoinStage.Claiming or JoinStage.Configuring };

    /// <summary>A replica has the newest configuration.</summary>
    /// <param name="place">Its place.</param>
    public void OnConfigured(int place)
    {
        if (_joins[place] is not { Stage: JoinStage.Configuring } join)
        {
            return;
        }

        if (join.Standing is { IsCurrent: false })
        {
            // What it misses was told while the configuration was on its way.
            _effects.Close(place, CloseReason.Superseded, "it has another configuration now");
        }
        else
        {
            Admit(place, join);
        }
    }

    /// <summary>The volume may have grown.</summary>
    public void Grow() => Array.ForEach(_joins, join => join?.Missing?.Grow(Regions));

    /// <inheritdoc/>
    public void OnClaim(int place, scoped in Claim claim)
    {
        if (_joins[place] is { Stage: JoinStage.Claiming } join && claim.Epoch == _options.Epoch)
        {
            if (claim.Answer == ClaimAnswer.Granted)
            {
                join.Claim = new ReplicaClaim(claim);
            }
            else
            {
                _effects.Close(place, CloseReason.TimedOut, "the promise could not be given yet");
            }
        }
    }

    /// <inheritdoc/>
    public void OnClaimEntries(int place, scoped in ClaimEntries entries, long now)
    {
        if (_joins[place] is not { } join || entries.Epoch != _options.Epoch)
        {
            return;
        }

        if (join.Stage == JoinStage.Claiming && join.Claim is { } claim)
        {
            _ = claim.TryAdd(entries);
            if (claim.IsComplete)
            {
                join.Stage = JoinStage.Configuring;
                join.Common = _promotion.History!.CommonWith(claim.History, claim.Applied);
                join.HasFailed = claim.HasFailed;
                Configure(place, join, claim.Configuration);
            }
        }
        else if (join.Stage == JoinStage.Copying)
        {
            foreach (MissingRun run in entries.Missing)
            {
                AddCopies(place, join, run);
            }

            join.IsListed = !entries.HasMore;
            EndWhenWhole(place, join);
        }
    }

    /// <summary>The host has changed something: who is about to join misses it.</summary>
    /// <param name="operation">The change.</param>
    public void OnOperation(in WindowOperation operation)
    {
        foreach (Join? join in _joins)
        {
            if (join is { Stage: JoinStage.Comparing })
            {
                join.Miss(operation);
            }
        }
    }

    /// <inheritdoc/>
    public void OnVersions(int place, scoped in Versions versions)
    {
        for (int target = 0; target < _joins.Length; target++)
        {
            if (_joins[target] is not { Stage: JoinStage.Comparing } join || join.Source != place ||
                versions.Page != join.Pages)
            {
                continue;
            }

            foreach (VersionRun run in versions.Runs)
            {
                if (run.Version.Value > join.Common && run.FirstRegion + run.Count <= join.Missing!.Grains)
                {
                    join.Missing.Add((int)run.FirstRegion, (int)run.Count);
                }
            }

            join.Pages++;
            if (join.Pages < StoreFormat.Covering(Regions, MessageLimits.RegionsPerVersionPage))
            {
                _effects.Send(place, new VersionsRequest(_options.Epoch, join.Pages));
            }
            else
            {
                Start(target, join);
            }

            return; // One question, one answer: the next replica asks anew.
        }
    }

    /// <summary>A joining replica has recorded its start, or could not.</summary>
    /// <param name="place">Its place.</param>
    /// <param name="started">The answer.</param>
    public void OnStarted(int place, in EpochStarted started)
    {
        if (started.Epoch == _options.Epoch && started.Status == AnswerStatus.Ok)
        {
            _joins[place]!.Stage = JoinStage.Copying;
            _volume!.OnReplicaJoined(place);
        }
        else
        {
            _effects.Close(place, CloseReason.Failed, $"the start was not recorded: {started.Status}");
        }
    }

    /// <summary>A replica is gone.</summary>
    /// <param name="place">Its place.</param>
    public void OnLost(int place)
    {
        _joins[place] = null;
        Copies.Drop(place);
        for (int target = 0; target < _joins.Length; target++)
        {
            if (_joins[target] is { Stage: JoinStage.Comparing } join && join.Source == place)
            {
                join.Stage = JoinStage.Waiting;
            }
        }
    }

    /// <summary>Whoever waits for a source looks for one.</summary>
    public void Compare()
    {
        for (int target = 0; target < _joins.Length && _volume is not null; target++)
        {
            bool isBusy = Array.Exists(_joins, join => join is { Stage: JoinStage.Comparing });
            int source = SourceFor(target);
            if (_joins[target] is { Stage: JoinStage.Waiting } join && source >= 0 && !isBusy)
            {
                join.Stage = JoinStage.Comparing;
                join.Source = source;
                join.Pages = 0;
                join.Missing = new GrainMap(Regions);
                join.Miss(_volume.Window, _volume.Replicas[source].Applied);
                _effects.Send(source, new VersionsRequest(_options.Epoch, 0));
            }
        }
    }

    /// <summary>A region has left what a replica misses.</summary>
    /// <param name="place">The replica.</param>
    /// <param name="copied">Its answer.</param>
    /// <returns>Whether it was an answer to that.</returns>
    public bool TryTakeDone(int place, in Copied copied)
    {
        if (_joins[place] is not { Stage: JoinStage.Copying } join || !join.Closing.Remove(copied.Id.Value))
        {
            return false;
        }

        join.Left--;
        EndWhenWhole(place, join);
        return true;
    }

    // Before it follows the stream: its image must be as long as the volume.
    private void Configure(int place, Join join, ulong known)
    {
        if (!_membership.IsOutdated(known))
        {
            _membership.Confirm(place);
            Admit(place, join);
        }
        else
        {
            _membership.Tell(place);
        }
    }

    private void Admit(int place, Join join)
    {
        if (join.Standing is { } standing && _volume!.OnReplicaReady(
            place, standing.Applied, standing.Durable, standing.IsReconciled, standing.IsCurrent, Now))
        {
            join.Stage = JoinStage.Copying;
            _joins[place] = standing.IsCurrent ? null : join;
            return;
        }

        join.Stage = JoinStage.Waiting;
        Compare();
    }

    private void Start(int place, Join join)
    {
        VolumeMachine volume = _volume!;
        var runs = new List<MissingRun>();
        foreach ((int first, int count) in join.Missing!.EachRun())
        {
            runs.Add(new MissingRun(first, count, default, default));
        }

        for (int at = 0, part = 0; at < runs.Count; at += MessageLimits.MaxClaimEntries, part++)
        {
            int count = Math.Min(MessageLimits.MaxClaimEntries, runs.Count - at);
            _effects.Send(place, new ClaimEntries
            {
                Epoch = _options.Epoch, List = ClaimList.Missing, Part = part,
                HasMore = at + count < runs.Count,
                Missing = new MessageList<MissingRun>(
                    System.Runtime.InteropServices.CollectionsMarshal.AsSpan(runs).Slice(at, count)),
            });
        }

        join.Stage = JoinStage.Starting;
        ulong position = volume.PositionFor(join.Common);
        _effects.Send(place, _promotion.StartAt(position, Math.Min(join.Common, position)));
        _membership.Tell(place);
        volume.OnReplicaJoins(place, position, join.HasFailed, Now);
        Compare();
    }

    private void EndWhenWhole(int place, Join join)
    {
        if (join.IsListed && join.Left == 0)
        {
            _joins[place] = null;
            ref readonly ReplicaView view = ref _volume!.Replicas[place];
            _volume.OnReplicaCurrent(place, view.Applied, view.Durable, Now);
        }
    }
}
