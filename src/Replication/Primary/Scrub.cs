using Ublk.Replication.State;
using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Primary;

/// <summary>
/// Compares all replicas that count, region by region, each region at one position of the stream, so that a
/// busy volume gives no false alarm; what differs is repaired from the majority (replication design,
/// section 7). A repair is an operation like any of the host's: it has its place in history, its intents and
/// its quorum, and who is away gets it by resync.
/// </summary>
internal sealed class Scrub
{
    private readonly ScrubWorld _world;
    private ScrubRegion[] _regions = [];
    private ScrubOptions _options = new();
    private ScrubReport? _report;
    private long _nextStart;
    private int _next;

    /// <summary>Nothing to do.</summary>
    /// <param name="options">The attachment.</param>
    /// <param name="ids">Names questions.</param>
    /// <param name="effects">Sends messages.</param>
    public Scrub(PrimaryOptions options, RequestIds ids, IPrimaryEffects effects) =>
        _world = new ScrubWorld(options.Epoch, ids, effects);

    /// <summary>Begins with the first region.</summary>
    /// <param name="options">How fast.</param>
    /// <param name="volume">What serves.</param>
    /// <param name="membership">Who is in it, and how large it is.</param>
    public void Begin(ScrubOptions options, VolumeMachine volume, Membership membership)
    {
        _options = options;
        _world.Volume = volume;
        _world.Membership = membership;
        _report = new ScrubReport();
        _regions = new ScrubRegion[options.RegionsAtOnce];
        for (int i = 0; i < _regions.Length; i++)
        {
            _regions[i] = new ScrubRegion(_world);
        }

        _nextStart = long.MinValue;
        _next = 0;
    }

    /// <summary>Time has passed, or something has happened.</summary>
    /// <param name="now">The clock.</param>
    public void Step(long now)
    {
        if (_report is null)
        {
            return;
        }

        if (_world.Volume.Stage != VolumeStage.Serving)
        {
            End(_report with { IsBrokenOff = true });
            return;
        }

        _world.Now = now;
        bool isBusy = false;
        foreach (ScrubRegion region in _regions)
        {
            region.Step();
            if (region.IsDone)
            {
                _report = region.Report(_report);
            }

            // One with nobody to compare is done at once.
            while (region.IsFree && _next < _world.Regions && now >= _nextStart)
            {
                _nextStart = _options.IntervalNs == 0 ? long.MinValue : now + _options.IntervalNs;
                region.Begin(_next++);
                _report = region.IsDone ? region.Report(_report) : _report;
            }

            isBusy |= !region.IsFree;
        }

        if (!isBusy && _next >= _world.Regions)
        {
            End(_report);
        }
    }

    /// <summary>An operation has its place behind what is being compared.</summary>
    /// <param name="operation">It.</param>
    public void OnOperation(in WindowOperation operation)
    {
        foreach (ScrubRegion region in _report is null ? [] : _regions)
        {
            region.OnOperation(operation.OffsetBytes, operation.LengthBytes);
        }
    }

    /// <summary>A replica is gone.</summary>
    /// <param name="place">Its place.</param>
    public void OnLost(int place)
    {
        foreach (ScrubRegion region in _regions)
        {
            region.OnLost(place);
        }
    }

    /// <summary>Takes digests, if they are an answer to a question of its own.</summary>
    /// <param name="place">Whose.</param>
    /// <param name="digests">They.</param>
    /// <param name="payload">The bytes; given back here when taken.</param>
    public bool TryTake(int place, in Digests digests, in IoBuffer payload)
    {
        foreach (ScrubRegion region in _regions)
        {
            if (region.TryTake(place, digests, payload))
            {
                if (digests.PayloadBytes > 0)
                {
                    _world.Effects.ReleasePayload(payload);
                }

                return true;
            }
        }

        return false;
    }

    /// <summary>Takes blocks, if they are an answer to a question of its own.</summary>
    /// <param name="place">Whose.</param>
    /// <param name="chunk">They.</param>
    /// <param name="payload">The bytes; ours when taken.</param>
    public bool TryTake(int place, in CopyChunk chunk, in IoBuffer payload)
    {
        foreach (ScrubRegion region in _regions)
        {
            if (region.TryTake(place, chunk, payload))
            {
                return true;
            }
        }

        return false;
    }

    private void End(ScrubReport report)
    {
        _report = null;
        _regions = [];
        _world.Effects.ScrubEnded(report);
    }
}

/// <summary>What the regions of one scrub share.</summary>
/// <param name="epoch">The primary's.</param>
/// <param name="ids">Names questions.</param>
/// <param name="effects">Sends messages.</param>
internal sealed class ScrubWorld(Wire.Ids.Epoch epoch, RequestIds ids, IPrimaryEffects effects)
{
    public Wire.Ids.Epoch Epoch => epoch;

    public RequestIds Ids => ids;

    public IPrimaryEffects Effects => effects;

    public VolumeMachine Volume { get; set; } = null!;

    public Membership Membership { get; set; } = null!;

    public long Now { get; set; }

    public int Regions => MetadataState.RegionsOf(Membership.SizeBytes);
}
