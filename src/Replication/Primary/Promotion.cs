using Ublk.Replication.State;
using Ublk.Replication.Store;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Primary;

/// <summary>
/// The way from an epoch's number to its first operation: promises and claims, the regions that differ, the
/// copies that make W replicas agree, the start record on W of them (replication design, section 6). One
/// attempt, one epoch: when a replica that is needed goes away in the middle, the next attempt asks anew.
/// </summary>
internal sealed class Promotion : IReplicaAnswers
{
    private readonly PrimaryOptions _options;
    private readonly IPrimaryEffects _effects;
    private readonly Membership _membership;
    private readonly ReplicaClaim?[] _claims = new ReplicaClaim?[ReplicaMask.Places];
    private ReconcilePlan? _plan;
    private List<long> _pages = [];
    private int _pagesAsked;
    private ReplicaMask _complete;
    private ReplicaMask _unconfigured;
    private ReplicaMask _targets;
    private ReplicaMask _started;
    private long _enoughAt = long.MaxValue;

    /// <summary>Begins to ask.</summary>
    /// <param name="options">The attachment.</param>
    /// <param name="ids">Names questions.</param>
    /// <param name="effects">Sends messages.</param>
    /// <param name="membership">Who decides.</param>
    public Promotion(
        PrimaryOptions options, RequestIds ids, IPrimaryEffects effects, Membership membership)
    {
        _options = options;
        _effects = effects;
        _membership = membership;
        Copies = new RegionCopies(options, ids, effects)
        {
            Position = () => Sequence.None, // Nothing is written before the epoch has started.
            Others = () => _complete,
            OnDone = _ => EndWhenCopied(),
            OnFailed = OnCopyFailed,
        };
    }

    /// <inheritdoc/>
    public RegionCopies Copies { get; }

    /// <summary>How far it is: up to Starting, or Failed.</summary>
    public PrimaryStage Stage { get; private set; } = PrimaryStage.Claiming;

    /// <summary>First sequence of the epoch, once reconciling has begun.</summary>
    public ulong FirstSequence { get; private set; }

    /// <summary>Replicas on which the epoch's start is durable.</summary>
    public ReplicaMask Started => _started;

    /// <summary>Replicas that have, or are about to have, everything up to the epoch's position.</summary>
    public ReplicaMask Targets => _targets;

    /// <summary>Whether W replicas have the start: serving may begin.</summary>
    public bool IsDone => Stage == PrimaryStage.Starting &&
        (_options.Configuration.HasWriteQuorum(_started) ||
            Mistakes.Make(Mistake.FewerStarts) && !_started.IsEmpty);

    /// <summary>Histories of the epoch, for those that come later.</summary>
    public Lineage? History { get; private set; }

    /// <summary>What every replica is asked for.</summary>
    public Promise Wanted => new(_options.Epoch, _options.Writer, _membership.Newest);

    private ulong Position => FirstSequence - 1;

    /// <summary>A replica is there: it is asked for its promise.</summary>
    /// <param name="place">Its place.</param>
    public void OnSession(int place)
    {
        if (Stage == PrimaryStage.Claiming && _membership.Decides(place))
        {
            _effects.Send(place, Wanted);
        }
    }

    /// <summary>A replica is gone.</summary>
    /// <param name="place">Its place.</param>
    public void OnLost(int place)
    {
        if (Stage is PrimaryStage.Claiming or PrimaryStage.Configuring)
        {
            _claims[place] = null;
            _complete = _complete.Without(place);
            CompareWhenConfigured();
        }
        else if (Stage is PrimaryStage.Comparing or PrimaryStage.Reconciling && _complete.Has(place))
        {
            Fail();
        }
        else if (Stage == PrimaryStage.Starting && !_started.Has(place))
        {
            _targets = _targets.Without(place);
            if (!_options.Configuration.HasWriteQuorum(_targets))
            {
                Fail();
            }
        }
    }

    /// <inheritdoc/>
    public void OnClaim(int place, scoped in Claim claim)
    {
        if (claim.Epoch != _options.Epoch || Stage != PrimaryStage.Claiming)
        {
            return;
        }

        if (claim.Answer == ClaimAnswer.Granted)
        {
            _claims[place] = new ReplicaClaim(claim);
        }
        else if (claim.Answer == ClaimAnswer.Failed)
        {
            _effects.Close(place, CloseReason.TimedOut, "the promise could not be given yet");
        }
        else
        {
            Fail();
        }
    }

    /// <summary>A higher epoch is promised somewhere: the volume cannot be had in this one.</summary>
    public void OnOutbid() => Fail();

    /// <inheritdoc/>
    public void OnClaimEntries(int place, scoped in ClaimEntries entries, long now)
    {
        if (Stage != PrimaryStage.Claiming || _claims[place] is not { } claim ||
            entries.Epoch != _options.Epoch)
        {
            return;
        }

        if (!claim.TryAdd(entries))
        {
            _effects.Close(place, CloseReason.ProtocolError, "the parts of the claim are out of order");
        }
        else if (claim.IsComplete)
        {
            _complete = _complete.With(place);
            OnTick(now);
        }
    }

    /// <summary>Time passes: enough claims wait a moment for the others.</summary>
    /// <param name="now">The clock.</param>
    public void OnTick(long now)
    {
        if (Stage != PrimaryStage.Claiming)
        {
            return;
        }

        var complete = new ReplicaClaim?[_claims.Length];
        for (int place = 0; place < complete.Length; place++)
        {
            complete[place] = _complete.Has(place) ? _claims[place] : null;
        }

        if (!ClaimRules.AreEnough(_options.Configuration, complete, _options.GivenUp))
        {
            _enoughAt = long.MaxValue;
            return;
        }

        _enoughAt = Math.Min(_enoughAt, now);
        bool isEverybody = (_complete | _options.GivenUp).HasAll(_options.Configuration.Members);
        if (isEverybody || now >= _enoughAt + _options.ClaimGraceNs)
        {
            complete.CopyTo(_claims, 0);
            Configure();
        }
    }

    /// <summary>A replica has the configuration, and its image the volume's size.</summary>
    /// <param name="place">Whose.</param>
    public void OnConfigured(int place)
    {
        _unconfigured = _unconfigured.Without(place);
        CompareWhenConfigured();
    }

    /// <inheritdoc/>
    public void OnVersions(int place, scoped in Versions versions)
    {
        if (Stage == PrimaryStage.Comparing && _claims[place] is { } claim && !claim.HasPage(versions.Page))
        {
            claim.Add(versions);
            if (--_pagesAsked == 0)
            {
                Reconcile();
            }
        }
    }

    /// <summary>A replica has, or has not, recorded the start.</summary>
    /// <param name="place">Whose.</param>
    /// <param name="started">The answer.</param>
    public void OnStarted(int place, in EpochStarted started)
    {
        if (started.Epoch == _options.Epoch && started.Status == AnswerStatus.Ok && _targets.Has(place))
        {
            _started = _started.With(place);
        }
        else
        {
            _effects.Close(
                place, CloseReason.Failed, $"the epoch's start was not recorded: {started.Status}");
        }
    }

    /// <summary>The epoch's start for one replica, once the epoch has a history.</summary>
    /// <param name="position">The number before the first operation that it is sent.</param>
    /// <param name="common">Last number that it and the volume have in common.</param>
    public EpochStart StartAt(ulong position, ulong common) => new(
        _options.Epoch, _options.Writer, _membership.Newest,
        new Sequence(FirstSequence), new Sequence(position), new Sequence(common),
        new Epoch(History!.Former));

    // Before anything is compared, so that all are of one size.
    private void Configure()
    {
        Stage = PrimaryStage.Configuring;
        foreach (int place in _complete)
        {
            bool isKnown = !_membership.IsOutdated(_claims[place]!.Configuration);
            _unconfigured = _unconfigured.Set(place, !isKnown);
            if (isKnown)
            {
                _membership.Confirm(place);
            }

            _membership.Tell(place);
        }

        CompareWhenConfigured();
    }

    private void CompareWhenConfigured()
    {
        _unconfigured &= _complete;
        if (Stage != PrimaryStage.Configuring || !_unconfigured.IsEmpty)
        {
            return;
        }

        if (ClaimRules.AreEnough(_options.Configuration, _claims, _options.GivenUp))
        {
            Compare();
        }
        else
        {
            Fail();
        }
    }

    private void Compare()
    {
        Stage = PrimaryStage.Comparing;
        ReplicaClaim?[] claims = _claims;
        for (int place = 0; place < claims.Length; place++)
        {
            _targets = _targets.Set(place, claims[place] is { IsUsable: true });
        }

        FirstSequence = ClaimRules.FirstSequence(claims);
        History = Lineage.Of(_claims, new HistoryPoint(_options.Epoch.Value, FirstSequence));
        _plan = new ReconcilePlan(claims, History, _options.Local, _options.SizeBytes);
        _pages = _plan.PagesToCompare();
        for (int place = 0; place < claims.Length; place++)
        {
            foreach (long page in _pages)
            {
                if (claims[place] is { } claim && !claim.HasPage(page))
                {
                    _pagesAsked++;
                    _effects.Send(place, new VersionsRequest(_options.Epoch, page));
                }
            }
        }

        if (_pagesAsked == 0)
        {
            Reconcile();
        }
    }

    private void Reconcile()
    {
        Stage = PrimaryStage.Reconciling;
        _plan!.Find(_pages);
        for (int region = _plan.Uncertain.NextIn(0); region < _plan.Uncertain.Grains;
            region = _plan.Uncertain.NextIn(region + 1))
        {
            int source = _plan.SourceOf(region);
            Copies.Add(new RegionCopy(
                Copies, region, _plan.RangeOf(region), source, _targets, _plan.Failed,
                _plan.OverlaysOf(region, source), mendsSource: _targets.Has(source)));
        }

        EndWhenCopied();
    }

    private void OnCopyFailed(RegionCopy copy, int place, AnswerStatus status)
    {
        _effects.Close(place, CloseReason.Failed, $"region {copy.Region} could not be reconciled: {status}");
        Fail();
    }

    private void EndWhenCopied()
    {
        if (Stage == PrimaryStage.Reconciling &&
            (Copies.IsIdle || Mistakes.Make(Mistake.StartBeforeCopied)))
        {
            Start();
        }
    }

    private void Start()
    {
        Stage = PrimaryStage.Starting;
        foreach (int place in _targets)
        {
            SendStamps(place);
            _effects.Send(place, StartAt(Position, Position));
        }
    }

    // Every region that might have differed has the epoch's position as its version, on all of them.
    private void SendStamps(int place)
    {
        GrainMap uncertain = Mistakes.Make(Mistake.ReconciledNotStamped)
            ? new GrainMap(_plan!.Uncertain.Grains) : _plan!.Uncertain;
        const int Page = MessageLimits.RegionsPerVersionPage;
        for (int first = uncertain.NextIn(0); first < uncertain.Grains;)
        {
            int page = first / Page, end = Math.Min(uncertain.Grains, (page + 1) * Page);
            var runs = new List<VersionRun>();
            while (first < end)
            {
                int stop = Math.Min(end, uncertain.NextOut(first));
                runs.Add(new VersionRun(first, stop - first, new Sequence(Position)));
                first = uncertain.NextIn(stop);
            }

            _effects.Send(place, new Versions
            {
                Epoch = _options.Epoch, Page = page, Runs = new MessageList<VersionRun>(runs.ToArray()),
            });
        }
    }

    private void Fail()
    {
        Stage = PrimaryStage.Failed;
        Copies.Clear();
    }
}
