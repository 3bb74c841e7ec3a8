using Ublk.Uring.Native;
using Ublk.Wire.Ids;

namespace Ublk.Replication.Store;

/// <summary>A replica as it was found at its opening.</summary>
public sealed record OpenedReplica
{
    /// <summary>What was fixed at format.</summary>
    public required Superblock Superblock { get; init; }

    /// <summary>What is durable.</summary>
    public required MetadataState State { get; init; }

    /// <summary>Where the log goes on.</summary>
    public required LogPosition Position { get; init; }

    /// <summary>How the live page is to be taken.</summary>
    public required LivePageTrust Trust { get; init; }

    /// <summary>What the replica may claim: A where the live page holds, otherwise D.</summary>
    public required HistoryPoint Applied { get; init; }

    /// <summary>What was applied above it, ascending by sequence; empty unless the live page holds.</summary>
    public required IReadOnlyList<LiveOperation> OutOfOrder { get; init; }

    /// <summary>
    /// Memory was lost with intents pending: the condition Voided must be durable before anything is
    /// answered.
    /// </summary>
    public required bool MustBeVoided { get; init; }

    /// <summary>What should be known.</summary>
    public required IReadOnlyList<StoreFinding> Findings { get; init; }

    /// <summary>Where the records lie.</summary>
    public RingLayout Layout => new(Superblock.Identity.Incarnation, Superblock.RingRecords);
}

/// <summary>Opens replicas: reads, judges, refuses. Everything on the caller's thread.</summary>
public static class ReplicaStore
{
    /// <summary>Reads a replica that is to be used.</summary>
    /// <param name="image">
    /// Path of the image. The caller holds the exclusive locks of image and metadata file, so that nothing
    /// of a killed process is under way any more.
    /// </param>
    /// <param name="imageBytes">Size of the image now.</param>
    /// <param name="boot">Boot id and backing device of now.</param>
    /// <param name="expected">Who it must be, whatever its incarnation; null: anyone.</param>
    /// <exception cref="ReplicaStoreException">With what is wrong, where, and what mends it.</exception>
    public static OpenedReplica Load(
        string image, long imageBytes, BootEntry boot, ReplicaIdentity? expected)
    {
        using FileHandle file = StoreFiles.OpenMetadata(image, FileAccess.ReadWrite);

        // What is read must not be lost by a power cut after it was acted upon.
        int synced = file.Sync();
        if (synced < 0)
        {
            throw new ReplicaStoreException(ReplicaStoreError.Failed,
                $"cannot sync {ReplicaFormat.MetadataPath(image)}: {Errno.Describe(synced)}");
        }

        var findings = new List<StoreFinding>();
        Superblock superblock = StoreFiles.ReadSuperblock(image, file, findings);
        RefuseOther(image, superblock.Identity, expected);
        OpenedReplica opened = Read(image, file, superblock, boot, findings);
        RefuseShortImage(image, imageBytes, opened.State.SizeBytes);
        return opened;
    }

    /// <summary>
    /// Looks at a replica without changing it; also at one in use, whose last write may be torn.
    /// </summary>
    /// <param name="image">Path of the image.</param>
    /// <param name="boot">Boot id and backing device of now.</param>
    /// <exception cref="ReplicaStoreException">With what is wrong, where, and what mends it.</exception>
    public static OpenedReplica Inspect(string image, BootEntry boot)
    {
        using FileHandle file = StoreFiles.OpenMetadata(image, FileAccess.Read);
        var findings = new List<StoreFinding>();
        Superblock superblock = StoreFiles.ReadSuperblock(image, file, findings);
        OpenedReplica opened = Read(image, file, superblock, boot, findings);
        if (File.Exists(image) && Uring.BlockImage.IsRegularFile(image))
        {
            RefuseShortImage(image, new FileInfo(image).Length, opened.State.SizeBytes);
        }

        return opened;
    }

    /// <summary>What was fixed when a replica was formatted; null where that cannot be told.</summary>
    /// <param name="image">Path of the image.</param>
    public static Superblock? TryReadSuperblock(string image)
    {
        try
        {
            using FileHandle file = StoreFiles.OpenMetadata(image, FileAccess.Read);
            return StoreFiles.ReadSuperblock(image, file, []);
        }
        catch (ReplicaStoreException)
        {
            return null;
        }
    }

    /// <summary>
    /// What a replica may claim, and whether it lost its memory. After a process crash the live page is
    /// exact, where it speaks of the last history; a history that the ring has and the page not yet begins
    /// with its floor. After anything else the claim is D, and with intents pending operations that were
    /// acknowledged may be gone.
    /// </summary>
    /// <param name="state">The state of the ring.</param>
    /// <param name="trust">How the live page is to be taken.</param>
    /// <param name="live">What it says.</param>
    public static (LiveProgress Claim, bool MustBeVoided) ClaimOf(
        MetadataState state, LivePageTrust trust, LiveProgress live)
    {
        if (trust != LivePageTrust.Trusted)
        {
            bool isKept = Mistakes.Make(Mistake.AppliedClaimedAfterPowerLoss) &&
                live.Applied.Epoch == state.Durable.Epoch;
            bool isVoid = state.Intents.Count > 0 && !Mistakes.Make(Mistake.NotVoided);
            return (new LiveProgress(isKept ? live.Applied : state.Durable, []), isVoid);
        }

        if ((state.Condition & ReplicaCondition.Failed) != ReplicaCondition.Sound)
        {
            return (new LiveProgress(state.Durable, []), false);
        }

        bool isOfHistory = live.Applied.Epoch == state.History.Last.Epoch;
        return (isOfHistory ? live : new LiveProgress(state.AppliedFloor, []), false);
    }

    private static OpenedReplica Read(
        string image, FileHandle file, Superblock superblock, BootEntry boot, List<StoreFinding> findings)
    {
        using ReplicaLiveFile? live = ReplicaLiveFile.OpenExisting(image);
        Incarnation incarnation = superblock.Identity.Incarnation;
        int regions = MetadataState.RegionsOf(superblock.SizeBytes);
        LivePageTrust trust = live?.Page.TrustOf(incarnation, boot, regions) ?? LivePageTrust.Absent;
        ulong liveRecord = trust == LivePageTrust.Trusted ? live!.Page.LastRecord : 0;
        var layout = new RingLayout(incarnation, superblock.RingRecords);
        RecoveryResult recovery = MetadataRecovery.Run(
            new FileMetadataReader(file), layout, superblock.SizeBytes, liveRecord);
        if (recovery.State is not { } state)
        {
            throw StoreFiles.Failure(image, recovery);
        }

        // The volume may have grown since its format.
        trust = live?.Page.TrustOf(incarnation, boot, state.Versions.Regions) ?? LivePageTrust.Absent;
        LiveProgress progress = live?.Page.Progress() ?? new LiveProgress(default, []);
        (LiveProgress claim, bool mustBeVoided) = ClaimOf(state, trust, progress);
        findings.AddRange(recovery.Findings);
        if (superblock.Options.HasFlag(StoreOptions.Checksums))
        {
            ChecksumFile.Verify(image, incarnation, state.SizeBytes);
        }

        return new OpenedReplica
        {
            Superblock = superblock,
            State = state,
            Position = recovery.Position,
            Trust = trust,
            Applied = claim.Applied,
            OutOfOrder = claim.OutOfOrder,
            MustBeVoided = mustBeVoided,
            Findings = findings,
        };
    }

    private static void RefuseOther(string image, ReplicaIdentity found, ReplicaIdentity? expected)
    {
        if (expected is { } wanted && found != wanted with { Incarnation = found.Incarnation })
        {
            throw new ReplicaStoreException(ReplicaStoreError.WrongReplica,
                $"{ReplicaFormat.MetadataPath(image)} is replica {found.Replica} of volume " +
                $"{found.Volume} in cluster {found.Cluster}, not replica {wanted.Replica} of volume " +
                $"{wanted.Volume} in cluster {wanted.Cluster}; name the right image");
        }
    }

    private static void RefuseShortImage(string image, long imageBytes, long sizeBytes)
    {
        if (imageBytes < sizeBytes)
        {
            throw new ReplicaStoreException(ReplicaStoreError.WrongSize,
                $"{image} has {imageBytes} bytes, but the volume {sizeBytes}: it was cut; " +
                StoreFiles.Replace(image));
        }
    }
}
