using System.Runtime.CompilerServices;
using Ublk.Replication.Replica;
using Ublk.Replication.Store;
using Ublk.Tests.Simulation.Judge;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Tests.Simulation.Cluster;

/// <summary>
/// Watches what one replica does and says, from outside of it and for longer than its processes live: that
/// what it says is durable, that nothing changes below a promise or without an intent, that D and what leaves
/// M or I is on stable media (invariants S4, S5, S6 and the durable half of S7 of the replication design).
/// </summary>
/// <param name="world">The world.</param>
/// <param name="place">Which replica.</param>
internal sealed class ReplicaWatch(ClusterWorld world, int place)
{
    private const int SlowestPermille = 7;

    private readonly Dictionary<ulong, Writer> _promised = [];
    private readonly Dictionary<ulong, ulong> _durable = [];
    private readonly HashSet<ulong> _started = [];
    private readonly List<(ulong Epoch, Writer Writer, long Until)> _grants = [];
    private readonly Dictionary<ulong, long> _changing = [];
    private readonly long[] _pieces = new long[World.SimulatedLivePage.MaxRegions];
    private ReplicaMachine? _machine;
    private ulong _highestClaim;
    private long _changes;
    private long _changesAtSync;
    private long _synced;
    private ulong _appliedAtSync;
    private ulong _syncedApplied;
    private bool _hasSyncFailed;

    // As of before a record of the ring.
    private PromiseEntry _promise;
    private HistoryPoint _durablePoint;
    private ulong _epoch;
    private ulong _intents;
    private ulong _missing;

    /// <summary>Whether the start of an epoch ever was durable here.</summary>
    /// <param name="epoch">The epoch.</param>
    public bool HasStarted(ulong epoch) => _started.Contains(epoch);

    /// <summary>Whether everything up to a sequence of an epoch ever was durable here.</summary>
    public bool HasSynced(ulong epoch, ulong sequence) =>
        _durable.TryGetValue(epoch, out ulong durable) && durable >= sequence;

    /// <summary>A process has opened the replica; nothing of the one before is under way.</summary>
    /// <param name="machine">Its machine.</param>
    public void Opened(ReplicaMachine machine)
    {
        _machine = machine;
        _changing.Clear();
        _syncedApplied = 0;
        _synced = 0;
        _changes++;
        _hasSyncFailed = false;
        Expect(machine.State.Promise.Epoch >= _promise.Epoch, "a promise was lost", _promise);
        Remember();
    }

    /// <summary>The image is asked to change.</summary>
    public void Changes(ulong io, long offsetBytes, long lengthBytes)
    {
        MetadataState state = _machine!.State;
        int first = (int)(offsetBytes / StoreFormat.GrainBytes);
        int last = (int)((offsetBytes + lengthBytes - 1) / StoreFormat.GrainBytes);
        for (int grain = first; grain <= last; grain++)
        {
            Expect(
                state.Intents.Contains(grain) ||
                state.Missing.Contains(grain / StoreFormat.GrainsPerRegion),
                "a change is issued whose intent is not durable, grain", grain);
        }

        bool isCopy = ReplicaContext.KindOf(io) == ReplicaIo.Copy;
        ulong started = state.EpochStart.Epoch, promised = _machine.Promise.Epoch;
        // With checksums what was decided before a promise may reach the image behind it, and not the claim.
        bool isLate = _machine.HasChecksums && _highestClaim < promised && started < promised;
        Expect(isLate || (isCopy ? started < promised : started == promised),
            "something is applied below a promise, or before the epoch's start", (started, promised));
        bool isPiece = ReplicaContext.KindOf(io) == ReplicaIo.Piece;
        _changing[io] = isPiece ? offsetBytes / StoreFormat.RegionBytes : -1;
    }

    /// <summary>The image is asked to sync.</summary>
    public void Syncs()
    {
        _changesAtSync = _changes;
        _appliedAtSync = _machine!.Applied;
    }

    /// <summary>Something of the image has ended.</summary>
    public void Ended(ulong io, int result)
    {
        if (ReplicaContext.KindOf(io) is ReplicaIo.Sync or ReplicaIo.Start)
        {
            _hasSyncFailed |= result < 0;
            if (!_hasSyncFailed)
            {
                _synced = _changesAtSync;
                _syncedApplied = _appliedAtSync;
            }
        }
        else if (_changing.TryGetValue(io, out long region))
        {
            // A piece is written in parts, all of which have its name.
            _changes++;
            if (region >= 0)
            {
                _pieces[region] = _changes;
            }
            else
            {
                _ = _changing.Remove(io);
            }
        }
    }

    /// <summary>A message is about to be sent.</summary>
    /// <param name="message">It.</param>
    /// <typeparam name="T">Type of the message.</typeparam>
    public void Sends<T>(in T message) where T : struct, allows ref struct
    {
        if (typeof(T) == typeof(Claim))
        {
            ref readonly Claim claim = ref Unsafe.As<T, Claim>(ref Unsafe.AsRef(in message));
            if (claim.Answer == ClaimAnswer.Granted)
            {
                Claims(claim.Epoch.Value, claim.PromisedWriter);
            }
        }
        else if (typeof(T) == typeof(EpochStarted))
        {
            ref readonly EpochStarted started = ref Unsafe.As<T, EpochStarted>(ref Unsafe.AsRef(in message));
            Expect(
                started.Status != AnswerStatus.Ok || HasStarted(started.Epoch.Value) ||
                _machine!.State.EpochStart.Epoch == started.Epoch.Value,
                "a start is answered that is not durable", started.Epoch);
        }
        else if (typeof(T) == typeof(Grant))
        {
            ref readonly Grant grant = ref Unsafe.As<T, Grant>(ref Unsafe.AsRef(in message));
            if (grant.GrantedMs > 0)
            {
                // A writer's clock may be slower than the world's by as much as a world allows.
                long lease = grant.GrantedMs * World.LatencyModel.Millisecond;
                long until = world.Clock.Now + lease + lease / 1000 * SlowestPermille;
                Writer writer = _machine!.Promise.Writer;
                ulong epoch = grant.Epoch.Value;
                _ = _grants.RemoveAll(one => one.Writer == writer);
                _grants.Add((epoch, writer, until));
            }
        }
    }

    /// <summary>The writer gives its time back.</summary>
    public void Released() => _grants.Clear();

    /// <summary>A record of the ring has become durable, and what follows from that was done.</summary>
    public void Recorded()
    {
        MetadataState state = _machine!.State;
        bool isStart = state.EpochStart.Epoch != _epoch;
        Expect(state.Promise.Epoch >= _promise.Epoch, "a promise is replaced by a lower one", state.Promise);
        Expect(state.Promise.Epoch != _promise.Epoch || state.Promise.Writer == _promise.Writer ||
            _promise.Epoch == 0, "an epoch is promised to two writers", state.Promise);
        if (isStart)
        {
            Expect(_synced == _changes, "an epoch starts on an image that is not synced", state.EpochStart);
        }
        else if (state.Durable != _durablePoint)
        {
            Expect(state.Durable.Sequence <= _syncedApplied && !_hasSyncFailed,
                "D is higher than what was synced", (state.Durable, _syncedApplied, _hasSyncFailed));
        }

        ulong intents = _intents, missing = _missing;
        Remember();
        for (int region = 0; region < state.Versions.Regions; region++)
        {
            ulong bit = 1ul << region;
            if ((intents & bit) != 0 && (_intents & bit) == 0)
            {
                LeavesIntents(region, state);
            }

            Expect(isStart || (missing & bit) == 0 || (_missing & bit) != 0 || _pieces[region] <= _synced,
                "a region is whole whose copy is not synced", region);
        }
    }

    private void LeavesIntents(int region, MetadataState state)
    {
        ulong epoch = state.History.Last.Epoch, version = state.Versions[region];
        if (version == 0)
        {
            return; // Marked ahead, and never touched.
        }

        Expect(HasSynced(epoch, version), "intents are cleared of what is not durable", (region, version));
        Expect(world.Watch.IsSynced(epoch, version),
            "intents are cleared of what is not durable on W", (region, version));
    }

    private void Claims(ulong epoch, Writer writer)
    {
        PromiseEntry durable = _machine!.State.Promise;
        Expect(durable.Epoch == epoch && durable.Writer == writer,
            "a promise is answered that is not durable", (epoch, durable));
        Expect(epoch >= _highestClaim, "a lower epoch is promised", (epoch, _highestClaim));
        Expect(!_promised.TryGetValue(epoch, out Writer other) || other == writer,
            "an epoch is promised to two writers", epoch);
        Expect(_changing.Values.All(region => region >= 0), "a claim is told while the image changes", epoch);
        foreach ((ulong granted, Writer holder, long until) in _grants)
        {
            Expect(holder == writer || world.Clock.Now >= until,
                "a claim is told while a grant of another epoch runs", (epoch, granted));
        }

        _ = _grants.RemoveAll(one => one.Writer != writer);
        _promised[epoch] = writer;
        _highestClaim = epoch;
    }

    private void Remember()
    {
        MetadataState state = _machine!.State;
        _promise = state.Promise;
        _durablePoint = state.Durable;
        _epoch = state.EpochStart.Epoch;
        _ = _started.Add(_epoch);
        _ = _durable.TryGetValue(_durablePoint.Epoch, out ulong known);
        _durable[_durablePoint.Epoch] = Math.Max(known, _durablePoint.Sequence);
        _intents = 0;
        _missing = 0;
        for (int region = 0; region < state.Versions.Regions; region++)
        {
            int first = region * StoreFormat.GrainsPerRegion;
            bool isHot = state.Intents.NextIn(first) < first + StoreFormat.GrainsPerRegion;
            _intents |= isHot ? 1ul << region : 0;
            _missing |= state.Missing.Contains(region) ? 1ul << region : 0;
        }
    }

    private void Expect<T>(bool isTrue, string what, T detail)
    {
        if (!isTrue)
        {
            throw new HistoryException($"replica {place}: {what} {detail}");
        }
    }
}
