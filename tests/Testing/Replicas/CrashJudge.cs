using Ublk.Replication.Runtime;
using Ublk.Replication.Store;
using Ublk.Uring;

namespace Ublk.Testing.Replicas;

/// <summary>
/// Holds what is found after a crash against what the replica had said: nothing told is lost, nothing is
/// invented, every byte is that of an operation that may be there.
/// </summary>
public sealed class CrashJudge
{
    private const int SectorsPerRegion = StoreFormat.RegionBytes / SectorStamps.SectorBytes;

    private readonly CrashFacts _facts;
    private readonly OpenedReplica _found;
    private readonly HashSet<ulong> _outOfOrder = [];

    private CrashJudge(CrashFacts facts, OpenedReplica found)
    {
        _facts = facts;
        _found = found;
        foreach (LiveOperation operation in found.OutOfOrder)
        {
            _outOfOrder.Add(operation.Sequence);
        }
    }

    private MetadataState State => _found.State;

    // Only what is of the last history counts, as in the machine.
    private ulong Durable =>
        State.Durable.Epoch == State.History.Last.Epoch ? State.Durable.Sequence : 0;

    /// <summary>Opens a replica after a crash and judges it.</summary>
    /// <param name="image">Path of the image.</param>
    /// <param name="boot">Boot id and backing device of now.</param>
    /// <param name="facts">What the replica had said.</param>
    /// <param name="isMemoryKept">Whether the live page must be taken: only the process ended.</param>
    /// <returns>The replica as it was found.</returns>
    /// <exception cref="CrashException">Something is wrong.</exception>
    public static OpenedReplica Check(string image, BootEntry boot, CrashFacts facts, bool isMemoryKept)
    {
        OpenedReplica found;
        try
        {
            found = ReplicaStore.Load(image, new FileInfo(image).Length, boot, null);
        }
        catch (ReplicaStoreException refused)
        {
            throw new CrashException($"a crash has made the replica unusable: {refused.Message}");
        }

        var judge = new CrashJudge(facts, found);
        judge.CheckState();
        judge.CheckClaim(isMemoryKept);
        judge.CheckIntents();
        if (facts.IsBased)
        {
            judge.CheckImage(image);
        }

        if (found.Superblock.Options.HasFlag(StoreOptions.Checksums))
        {
            CheckChecksums(image, boot);
        }

        return found;
    }

    private static void Require(bool isSo, string otherwise)
    {
        if (!isSo)
        {
            throw new CrashException(otherwise);
        }
    }

    // What is no intent and not missing is what its checksum says.
    private static void CheckChecksums(string image, BootEntry boot)
    {
        ChecksumReport report = Scanned(image, boot);
        Require(report.Damaged == 0,
            $"blocks are not what their checksums say: {string.Join(", ", report.Ranges)}");
    }

    // A process that is just being forked holds the locks of this one for a moment.
    private static ChecksumReport Scanned(string image, BootEntry boot)
    {
        for (int attempts = 0; ; attempts++)
        {
            try
            {
                return ChecksumScan.Run(image, boot, (_, _) => { });
            }
            catch (BlockImageException held) when (held.Error == BlockImageError.Busy && attempts < 100)
            {
                Thread.Sleep(TimeSpan.FromMilliseconds(50));
            }
        }
    }

    private void CheckState()
    {
        ulong record = _found.Position.LastRecord;
        Require(record >= _facts.LastRecord,
            $"record {_facts.LastRecord} was durable, and {record} is the last that was found");
        if (_facts.DigestAfter(record) is { } digest)
        {
            Require(CrashFacts.DigestOf(State) == digest,
                $"the state after record {record} is another one than it was:\n{StateText.Of(State)}");
        }
        else
        {
            Require(record == _facts.HighestRecord + 1, $"record {record} was never written");
        }

        Require(State.Promise.Epoch >= _facts.Promised,
            $"epoch {_facts.Promised} was promised, and {State.Promise.Epoch} is known");
        Require(State.EpochStart.Epoch >= _facts.Started,
            $"epoch {_facts.Started} was started, and {State.EpochStart.Epoch} is known");
        Require(Durable >= _facts.Durable, $"D was {_facts.Durable}, and {Durable} is known");
        Require(State.LongestLeaseMs >= _facts.GrantedMs,
            $"{_facts.GrantedMs} ms were granted, and {State.LongestLeaseMs} are known");
        Require((State.Configuration?.Number ?? 0) >= _facts.Configuration &&
            State.SizeBytes >= _facts.SizeBytes, $"configuration {_facts.Configuration} was forgotten");
        foreach (int region in _facts.Copied)
        {
            Require(!State.Missing.Contains(region), $"region {region} was whole, and is missing");
        }
    }

    private void CheckClaim(bool isMemoryKept)
    {
        bool isTrusted = _found.Trust == LivePageTrust.Trusted;
        Require(isTrusted == isMemoryKept, $"the live page is {_found.Trust}");
        if (!isTrusted)
        {
            Require(_found.Applied == State.Durable && _found.OutOfOrder.Count == 0,
                $"{_found.Applied} is claimed without memory, and D is {State.Durable}");
            Require(_found.MustBeVoided == State.Intents.Count > 0,
                $"{State.Intents.Count} grains are intents, and voided: {_found.MustBeVoided}");
            return;
        }

        Require(!_found.MustBeVoided, "voided, although the memory is there");
        foreach (ulong sequence in _facts.Applied)
        {
            Require(IsClaimed(sequence), $"operation {sequence} was applied, and is not claimed");
        }

        foreach (IssuedChange change in _facts.Issued)
        {
            bool isThere = _facts.HasEnded(change.Sequence) || IsMissing(change);
            Require(change.Sequence == 0 || !IsClaimed(change.Sequence) || isThere,
                $"operation {change.Sequence} is claimed, and never ended");
        }
    }

    private void CheckIntents()
    {
        foreach (IssuedChange change in _facts.Issued)
        {
            if (change.Sequence <= Durable || !change.IsCertain)
            {
                continue;
            }

            long last = (change.OffsetBytes + change.LengthBytes - 1) / StoreFormat.GrainBytes;
            for (long grain = change.OffsetBytes / StoreFormat.GrainBytes; grain <= last; grain++)
            {
                Require(State.Intents.ContainsAny((int)grain, 1) ||
                    State.Missing.Contains((int)grain / StoreFormat.GrainsPerRegion),
                    $"operation {change.Sequence} is above D = {Durable}, and grain {grain} is no intent");
            }
        }
    }

    private void CheckImage(string image)
    {
        ulong[] stamps = SectorStamps.ReadAll(image, State.SizeBytes);
        ulong[] expected = Expected(stamps.Length);
        for (int sector = 0; sector < stamps.Length; sector++)
        {
            int region = sector / SectorsPerRegion;
            if (stamps[sector] != expected[sector] && !State.Missing.Contains(region) &&
                !MayHold(sector, stamps[sector], expected[sector]))
            {
                throw new CrashException($"sector {sector} (region {region}) holds {stamps[sector]} and " +
                    $"not {expected[sector]}; claimed is {_found.Applied}, D is {State.Durable}");
            }
        }
    }

    // What the claim says: the last claimed operation on each sector, on top of what was there, or of the
    // pieces of a region that was missing once.
    private ulong[] Expected(int sectors)
    {
        var expected = new ulong[sectors];
        _facts.Base.CopyTo(0, expected, 0, Math.Min(sectors, _facts.Base.Count));
        bool hasJoined = _facts.Joined.Epoch != 0 && State.EpochStart.Epoch >= _facts.Joined.Epoch;
        ulong position = hasJoined ? _facts.Joined.Position : ulong.MaxValue;
        Apply(expected, change => change.Sequence <= position);
        if (hasJoined)
        {
            foreach (IssuedChange piece in _facts.Issued.Where(change => change.Sequence == 0))
            {
                int region = (int)(piece.OffsetBytes / StoreFormat.RegionBytes);
                ulong stamp = CrashWorkload.StampOfPiece(_facts.Joined.Epoch, region);
                Fill(expected, piece, stamp);
            }

            Apply(expected, change => change.Sequence > position);
        }

        return expected;
    }

    private void Apply(ulong[] expected, Func<IssuedChange, bool> isChosen)
    {
        foreach (IssuedChange change in _facts.Issued
            .Where(change => change.Sequence != 0 && isChosen(change) && IsClaimed(change.Sequence))
            .OrderBy(change => change.Sequence))
        {
            Fill(expected, change, change.Stamp);
        }
    }

    private static void Fill(ulong[] sectors, IssuedChange change, ulong stamp)
    {
        int first = (int)(change.OffsetBytes / SectorStamps.SectorBytes);
        int count = (int)(change.LengthBytes / SectorStamps.SectorBytes);
        Array.Fill(sectors, stamp,
            Math.Min(first, sectors.Length), Math.Clamp(sectors.Length - first, 0, count));
    }

    // What is not claimed may have arrived all the same, if it came after what is.
    private bool MayHold(int sector, ulong stamp, ulong expected)
    {
        long offset = (long)sector * SectorStamps.SectorBytes;
        ulong newest = 0;
        foreach (IssuedChange change in _facts.Issued)
        {
            bool isThere = change.OffsetBytes <= offset && offset < change.OffsetBytes + change.LengthBytes;
            newest = isThere && change.Stamp == expected && IsClaimed(change.Sequence)
                ? Math.Max(newest, change.Sequence) : newest;
        }

        return _facts.Issued.Exists(change => change.Sequence > newest && change.Stamp == stamp &&
            !IsClaimed(change.Sequence) && change.OffsetBytes <= offset &&
            offset < change.OffsetBytes + change.LengthBytes);
    }

    // What the image could not take is claimed too, and all that it touched is missing.
    private bool IsMissing(IssuedChange change)
    {
        (int first, int last) = StoreFormat.RegionsOf(change.OffsetBytes, change.LengthBytes);
        return Enumerable.Range(first, last - first + 1).All(State.Missing.Contains);
    }

    private bool IsClaimed(ulong sequence) =>
        sequence <= _found.Applied.Sequence || _outOfOrder.Contains(sequence);
}
