using Ublk.Replication.Runtime;
using Ublk.Replication.Store;

namespace Ublk.Node.Cli;

/// <summary>A place in a volume's history as JSON.</summary>
/// <param name="Epoch">Epoch.</param>
/// <param name="Sequence">Sequence.</param>
internal sealed record HistoryReport(ulong Epoch, ulong Sequence);

/// <summary>What should be known of a replica.</summary>
/// <param name="Text">What.</param>
/// <param name="OffsetBytes">Where, in its metadata file.</param>
internal sealed record FindingReport(string Text, long OffsetBytes);

/// <summary>The verdict on a replica as JSON.</summary>
/// <param name="Image">Path of the image.</param>
/// <param name="Verdict">ok, or the kind of error.</param>
/// <param name="Message">What is wrong and what mends it; null when nothing is.</param>
/// <param name="OffsetBytes">Where, in the metadata file; null where that makes no sense.</param>
/// <param name="Findings">What should be known.</param>
/// <param name="Checksums">How the image compares with its checksums; null where that was not asked.</param>
internal sealed record ReplicaVerdict(
    string Image, string Verdict, string? Message, long? OffsetBytes, IReadOnlyList<FindingReport> Findings,
    ChecksumVerdict? Checksums = null);

/// <summary>How an image compares with its checksums, in blocks of 4 KiB.</summary>
/// <param name="Sound">Blocks that are what was written.</param>
/// <param name="Unknown">Blocks of which nothing is known yet.</param>
/// <param name="InDoubt">Blocks that were being written at the last end, or are missing.</param>
/// <param name="Damaged">Blocks that are not what was written, or cannot be read.</param>
/// <param name="Ranges">Where these are: the first 100 ranges.</param>
internal sealed record ChecksumVerdict(
    long Sound, long Unknown, long InDoubt, long Damaged, IReadOnlyList<RangeReport> Ranges)
{
    public static ChecksumVerdict Of(ChecksumReport report) => new(
        report.Sound, report.Unknown, report.InDoubt, report.Damaged,
        [.. report.Ranges.Select(range => new RangeReport(range.OffsetBytes, range.LengthBytes))]);
}

/// <summary>Bytes of a volume.</summary>
/// <param name="OffsetBytes">Start.</param>
/// <param name="LengthBytes">Length.</param>
internal sealed record RangeReport(long OffsetBytes, long LengthBytes);

/// <summary>A replica as JSON: what inspect answers.</summary>
internal sealed record ReplicaReport
{
    public required string Image { get; init; }
    public required string Cluster { get; init; }
    public required string Volume { get; init; }
    public required uint Replica { get; init; }
    public required string Incarnation { get; init; }
    public required long SizeBytes { get; init; }
    public required int BlockBytes { get; init; }
    public required bool HasChecksums { get; init; }
    public required string Condition { get; init; }
    /// <summary>Epoch of the history in which memory was lost; 0 unless voided.</summary>
    public required ulong VoidedIn { get; init; }
    /// <summary>Whether the live page counts, and why not.</summary>
    public required string LivePage { get; init; }
    /// <summary>Whether the next start makes the replica voided.</summary>
    public required bool WillBeVoided { get; init; }
    public required ulong PromisedEpoch { get; init; }
    public required uint PromisedNode { get; init; }
    public required ulong PromisedConfiguration { get; init; }
    public required ulong Configuration { get; init; }
    public required int Members { get; init; }
    public required int WriteQuorum { get; init; }
    public required HistoryReport EpochStart { get; init; }
    public required IReadOnlyList<HistoryReport> History { get; init; }
    public required HistoryReport Applied { get; init; }
    public required HistoryReport Durable { get; init; }
    public required int OutOfOrder { get; init; }
    public required long IntentBytes { get; init; }
    public required int MissingRegions { get; init; }
    public required uint ResyncPass { get; init; }
    public required uint LongestLeaseMs { get; init; }
    public required int RingRecords { get; init; }
    public required ulong LastRecord { get; init; }
    public required ulong CheckpointRecord { get; init; }
    public required IReadOnlyList<FindingReport> Findings { get; init; }

    public static ReplicaReport Of(string image, OpenedReplica replica)
    {
        MetadataState state = replica.State;
        ReplicaIdentity identity = replica.Superblock.Identity;
        return new ReplicaReport
        {
            Image = image,
            Cluster = identity.Cluster.ToString(),
            Volume = identity.Volume.ToString(),
            Replica = identity.Replica.Value,
            Incarnation = identity.Incarnation.ToString(),
            SizeBytes = state.SizeBytes,
            BlockBytes = replica.Superblock.LogicalBlockBytes,
            HasChecksums = replica.Superblock.Options.HasFlag(StoreOptions.Checksums),
            Condition = state.Condition.ToString(),
            VoidedIn = state.VoidedIn,
            LivePage = replica.Trust.ToString(),
            WillBeVoided = replica.MustBeVoided,
            PromisedEpoch = state.Promise.Epoch,
            PromisedNode = state.Promise.Writer.Node.Value,
            PromisedConfiguration = state.Promise.Configuration,
            Configuration = state.Configuration?.Number ?? 0,
            Members = state.Configuration?.Members.Length ?? 0,
            WriteQuorum = state.Configuration?.WriteQuorum ?? 0,
            EpochStart = new HistoryReport(state.EpochStart.Epoch, state.EpochStart.FirstSequence),
            History = [.. state.History.Points.ToArray().Select(Report)],
            Applied = Report(replica.Applied),
            Durable = Report(state.Durable),
            OutOfOrder = replica.OutOfOrder.Count,
            IntentBytes = (long)state.Intents.Count * StoreFormat.GrainBytes,
            MissingRegions = state.Missing.Count,
            ResyncPass = state.Cursor.Pass,
            LongestLeaseMs = state.LongestLeaseMs,
            RingRecords = replica.Superblock.RingRecords,
            LastRecord = replica.Position.LastRecord,
            CheckpointRecord = replica.Position.CheckpointBegin,
            Findings = FindingsOf(replica),
        };
    }

    public static IReadOnlyList<FindingReport> FindingsOf(OpenedReplica replica) =>
        [.. replica.Findings.Select(finding => new FindingReport(finding.Text, finding.OffsetBytes))];

    private static HistoryReport Report(HistoryPoint point) => new(point.Epoch, point.Sequence);
}
