using System.Buffers.Binary;
using System.IO.Hashing;
using Ublk.Replication.Store;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Replica;

/// <summary>
/// What the replica says it holds: where it stands, and the lists of a claim (replication design, section 6
/// and rules 1, 5). Only told when nothing is under way.
/// </summary>
internal sealed class ReplicaClaims
{
    private readonly ReplicaContext _context;
    private readonly ReplicaProgress _progress;
    private int _part;

    /// <summary>Speaks for a replica.</summary>
    /// <param name="context">The replica.</param>
    /// <param name="progress">What is applied.</param>
    public ReplicaClaims(ReplicaContext context, ReplicaProgress progress)
    {
        _context = context;
        _progress = progress;
    }

    /// <summary>Whether A is exact: no memory was lost, or an epoch was started since.</summary>
    public bool IsMemoryIntact { get; set; }

    private MetadataState State => _context.State;

    private ReplicaFlags Flags
    {
        get
        {
            ReplicaFlags flags = IsMemoryIntact ? ReplicaFlags.MemoryIntact : ReplicaFlags.None;
            flags |= Has(ReplicaCondition.Voided) &&
                !(IsMemoryIntact && Mistakes.Make(Mistake.VoidForgotten))
                ? ReplicaFlags.Voided : ReplicaFlags.None;
            flags |= Has(ReplicaCondition.Failed) ? ReplicaFlags.Failed : ReplicaFlags.None;
            return flags;
        }
    }

    /// <summary>Answers the opening of a session.</summary>
    /// <param name="session">Which.</param>
    /// <param name="epoch">From the question.</param>
    /// <param name="promise">The promise.</param>
    public void SendState(int session, Epoch epoch, PromiseEntry promise)
    {
        bool isInStream = State.History.Last.Epoch == epoch.Value && State.EpochStart.Epoch == epoch.Value;
        _context.Effects.Send(session, new SessionState
        {
            Epoch = epoch,
            PromisedEpoch = new Epoch(promise.Epoch),
            PromisedWriter = promise.Writer,
            Configuration = new ConfigurationNumber(State.Configuration?.Number ?? 0),
            Applied = new Sequence(_progress.Applied),
            Durable = new Sequence(_context.Durable),
            Stage = !isInStream ? StreamStage.Behind
                : State.Missing.Count > 0 ? StreamStage.Resyncing : StreamStage.InStream,
            Flags = Flags,
            MissingRegions = State.Missing.Count,
            History = new MessageList<HistoryEntry>(History()),
        });
    }

    /// <summary>Tells the claim: its head, then its lists.</summary>
    /// <param name="session">To whom.</param>
    /// <param name="promise">The promise that was granted.</param>
    public void SendClaim(int session, PromiseEntry promise)
    {
        var epoch = new Epoch(promise.Epoch);
        _context.Effects.Send(session, new Claim
        {
            Epoch = epoch,
            Answer = ClaimAnswer.Granted,
            PromisedEpoch = epoch,
            PromisedWriter = promise.Writer,
            Configuration = new ConfigurationNumber(State.Configuration?.Number ?? 0),
            Applied = new Sequence(_progress.Applied),
            Durable = new Sequence(_context.Durable),
            Flags = Flags,
            View = new View(_context.View),
            VoidedIn = new Epoch((Flags & ReplicaFlags.Voided) == ReplicaFlags.None ? 0 : State.VoidedIn),
            History = new MessageList<HistoryEntry>(History()),
        });
        _part = 0;
        SendParts(session, epoch, ClaimList.Intents, Intents(), static (message, part) =>
            message with { Intents = new MessageList<IntentRun>(part) });
        SendParts(session, epoch, ClaimList.Missing, Missing(), static (message, part) =>
            message with { Missing = new MessageList<MissingRun>(part) });
        SendParts(session, epoch, ClaimList.OutOfOrder, OutOfOrder(), static (message, part) =>
            message with { OutOfOrder = new MessageList<OutOfOrderEntry>(part) });
        SendParts(session, epoch, ClaimList.VersionDigests, VersionDigests(), static (message, part) =>
            message with { VersionDigests = new MessageList<VersionDigest>(part) });
    }

    /// <summary>Tells the primary what is missing here, so that it brings it.</summary>
    /// <param name="session">To whom.</param>
    /// <param name="epoch">Its epoch.</param>
    public void SendMissing(int session, Epoch epoch)
    {
        _part = 0;
        SendParts(session, epoch, ClaimList.Missing, Missing(), static (message, part) =>
            message with { Missing = new MessageList<MissingRun>(part) }, ClaimList.Missing);
    }

    /// <summary>Answers a question for the versions of a page.</summary>
    /// <param name="session">Who asked.</param>
    /// <param name="request">The question.</param>
    public void SendVersions(int session, in VersionsRequest request)
    {
        var runs = new List<VersionRun>();
        int regions = State.Versions.Regions;
        long first = request.Page * MessageLimits.RegionsPerVersionPage;
        long end = Math.Min(regions, first + MessageLimits.RegionsPerVersionPage);
        for (long region = first; region < end;)
        {
            ulong version = VersionOf((int)region);
            long from = region;
            while (region < end && VersionOf((int)region) == version)
            {
                region++;
            }

            if (version != 0)
            {
                runs.Add(new VersionRun(from, region - from, new Sequence(version)));
            }
        }

        _context.Effects.Send(session, new Versions
        {
            Epoch = request.Epoch,
            Page = request.Page,
            Runs = new MessageList<VersionRun>(runs.ToArray()),
        });
    }

    private bool Has(ReplicaCondition condition) =>
        (State.Condition & condition) != ReplicaCondition.Sound;

    // What is not known is told as the newest possible that a message can say.
    private ulong VersionOf(int region) => Math.Min(_context.Live.Version(region), MessageLimits.MaxInteger);

    private HistoryEntry[] History()
    {
        ReadOnlySpan<HistoryPoint> points = State.History.Points;
        var history = new HistoryEntry[points.Length];
        for (int i = 0; i < points.Length; i++)
        {
            history[i] = new HistoryEntry(new Epoch(points[i].Epoch), new Sequence(points[i].Sequence));
        }

        return history;
    }

    private List<IntentRun> Intents()
    {
        var unsure = new GrainMap(State.Intents.Grains);
        for (int first = State.Intents.NextIn(0); first < State.Intents.Grains;)
        {
            int end = State.Intents.NextOut(first);
            unsure.Add(first, end - first);
            first = State.Intents.NextIn(end);
        }

        AddUnapplied(unsure);
        var runs = new List<IntentRun>();
        for (int first = unsure.NextIn(0); first < unsure.Grains;)
        {
            int end = unsure.NextOut(first);
            runs.Add(new IntentRun(first, end - first));
            first = unsure.NextIn(end);
        }

        return runs;
    }

    // An operation that was accepted, and dropped before the image had it, has left only its version behind.
    // It would pass for the content of those who have applied it.
    private void AddUnapplied(GrainMap unsure)
    {
        for (int region = 0; region < State.Versions.Regions; region++)
        {
            if (_context.Live.Version(region) > _progress.Applied)
            {
                int first = region * StoreFormat.GrainsPerRegion;
                unsure.Add(first, Math.Min(StoreFormat.GrainsPerRegion, unsure.Grains - first));
            }
        }
    }

    private List<MissingRun> Missing()
    {
        var runs = new List<MissingRun>();
        for (int first = State.Missing.NextMissing(0); first < State.Missing.Regions;)
        {
            int end = State.Missing.EndOfRun(first);
            _ = State.Missing.TryGetClaim(first, out HistoryPoint claim);
            runs.Add(new MissingRun(
                first, end - first, new Epoch(claim.Epoch), new Sequence(claim.Sequence)));
            first = State.Missing.NextMissing(end);
        }

        return runs;
    }

    private List<OutOfOrderEntry> OutOfOrder()
    {
        var entries = new List<OutOfOrderEntry>();
        foreach (LiveOperation operation in _context.Live.Progress().OutOfOrder)
        {
            if (operation.Sequence > _progress.Applied)
            {
                entries.Add(new OutOfOrderEntry(
                    new Sequence(operation.Sequence), (Mutation)operation.Operation,
                    operation.OffsetBytes, operation.LengthBytes));
            }
        }

        return entries;
    }

    private List<VersionDigest> VersionDigests()
    {
        const int Page = MessageLimits.RegionsPerVersionPage;
        var digests = new List<VersionDigest>();
        byte[] versions = new byte[8 * Page];
        int regions = State.Versions.Regions;
        for (int page = 0; page * Page < regions; page++)
        {
            bool isAny = false;
            for (int i = 0; i < Page; i++)
            {
                int region = page * Page + i;
                ulong version = region < regions ? VersionOf(region) : 0;
                isAny |= version != 0;
                BinaryPrimitives.WriteUInt64LittleEndian(versions.AsSpan(8 * i), version);
            }

            if (isAny)
            {
                digests.Add(new VersionDigest(page, new Digest(XxHash128.HashToUInt128(versions))));
            }
        }

        return digests;
    }

    private void SendParts<T>(
        int session, Epoch epoch, ClaimList list, List<T> entries, PartOf<T> withPart,
        ClaimList last = ClaimList.VersionDigests)
        where T : struct
    {
        ReadOnlySpan<T> left = System.Runtime.InteropServices.CollectionsMarshal.AsSpan(entries);
        bool isLast = list == last;
        do
        {
            ReadOnlySpan<T> part = left[..Math.Min(left.Length, MessageLimits.MaxClaimEntries)];
            left = left[part.Length..];
            if (part.IsEmpty && !isLast)
            {
                return;
            }

            var message = new ClaimEntries
            {
                Epoch = epoch, List = list, Part = _part++, HasMore = !isLast || !left.IsEmpty,
            };
            _context.Effects.Send(session, withPart(message, part));
        }
        while (!left.IsEmpty);
    }

    private delegate ClaimEntries PartOf<T>(ClaimEntries message, ReadOnlySpan<T> part) where T : struct;
}
