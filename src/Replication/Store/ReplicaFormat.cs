using Ublk.Uring;
using Ublk.Uring.Native;

namespace Ublk.Replication.Store;

/// <summary>What the bytes of an image are worth at format.</summary>
public enum ImageContent : byte
{
    /// <summary>
    /// A new volume: the image must not exist, and is made as a hole that reads as zeros.
    /// </summary>
    New,
    /// <summary>
    /// The image's bytes are the volume's: the replica claims all of them, and the others are made equal.
    /// </summary>
    Imported,
    /// <summary>
    /// Nothing: every region is missing and comes from the other replicas. For a replaced or damaged one.
    /// </summary>
    Replacement,
}

/// <summary>How a replica is formatted.</summary>
public sealed record ReplicaFormatOptions
{
    /// <summary>Who it is; the incarnation is new.</summary>
    public required ReplicaIdentity Identity { get; init; }

    /// <summary>What the image's bytes are worth.</summary>
    public required ImageContent Content { get; init; }

    /// <summary>
    /// Size of the volume in bytes; an existing image may be longer, not shorter.
    /// </summary>
    public required long SizeBytes { get; init; }

    /// <summary>
    /// Size that the volume may grow to; decides the length of the ring. 0: four times its size.
    /// </summary>
    public long MaxSizeBytes { get; init; }

    /// <summary>Logical block in bytes, 512 to 4096.</summary>
    public int LogicalBlockBytes { get; init; } = 512;

    /// <summary>Choices.</summary>
    public StoreOptions Options { get; init; }

    /// <summary>
    /// What an imported image is claimed as; its sequence becomes the version of all regions.
    /// </summary>
    public HistoryPoint ImportedAs { get; init; } = new(1, 1);

    /// <summary>Overwrite the metadata of a replica that is there.</summary>
    public bool Overwrite { get; init; }
}

/// <summary>
/// Makes a replica: the metadata file next to its image. The superblocks are written last, the first of them
/// at the very end, so a format that was cut short leaves none, or a replica that is complete.
/// </summary>
public static class ReplicaFormat
{
    private const int ZeroBytes = 1 << 20;
    private const int AutoGrowth = 4;

    /// <summary>Path of the metadata file of an image.</summary>
    /// <param name="image">Path of the image.</param>
    public static string MetadataPath(string image) => image + StoreFormat.MetadataEnding;

    /// <summary>Path of the live page of an image.</summary>
    /// <param name="image">Path of the image.</param>
    public static string LivePath(string image) => image + StoreFormat.LiveEnding;

    /// <summary>Formats a replica.</summary>
    /// <param name="image">Path of the image: a regular file or a block device.</param>
    /// <param name="options">How.</param>
    /// <returns>Its superblock.</returns>
    /// <exception cref="ReplicaStoreException">With what is wrong and what mends it.</exception>
    /// <exception cref="BlockImageException">The image cannot be used.</exception>
    public static Superblock Create(string image, ReplicaFormatOptions options)
    {
        Superblock superblock = Planned(options);
        string path = MetadataPath(image);
        RefuseExisting(path, options.Overwrite);
        bool isImageMade = PrepareImage(image, options);
        using FileStream file = Reserved(image, isImageMade, superblock, options);
        Erase(file, superblock);
        bool hasChecksums = options.Options.HasFlag(StoreOptions.Checksums);
        if (hasChecksums)
        {
            ChecksumFile.Install(image);
        }

        WriteLog(file, superblock, options);
        byte[] block = new byte[Superblock.Bytes];
        for (int copy = Superblock.Copies - 1; copy >= 0; copy--)
        {
            superblock.Encode(block, copy);
            Write(file, block, Superblock.OffsetOf(copy, superblock.FileBytes));
            file.Flush(flushToDisk: true);
        }

        // What an earlier replica of this image knew means nothing any more.
        File.Delete(LivePath(image));
        if (!hasChecksums)
        {
            ChecksumFile.Remove(image);
        }

        StoreFiles.SyncDirectoryOf(path);
        return superblock;
    }

    private static Superblock Planned(ReplicaFormatOptions options)
    {
        ArgumentOutOfRangeException.ThrowIfZero(options.Identity.Replica.Value, nameof(options));
        long grown = options.MaxSizeBytes != 0 ? options.MaxSizeBytes
            : Math.Min(AutoGrowth * options.SizeBytes, StoreFormat.MaxVolumeBytes);
        var superblock = new Superblock
        {
            Identity = options.Identity,
            SizeBytes = options.SizeBytes,
            LogicalBlockBytes = options.LogicalBlockBytes,
            RingRecords = RingSpace.RingRecordsFor(Math.Max(grown, options.SizeBytes)),
            Options = options.Options,
        };
        if (!superblock.IsPossible || !RingSpace.IsEnough(superblock.RingRecords, options.SizeBytes))
        {
            throw new ReplicaStoreException(ReplicaStoreError.WrongSize,
                $"a volume of {options.SizeBytes} bytes with blocks of {options.LogicalBlockBytes} cannot " +
                $"be: blocks are 512 to 4096 bytes, a power of two; the size is a multiple of them, " +
                $"at most {StoreFormat.MaxVolumeBytes} bytes");
        }

        return superblock;
    }

    private static void RefuseExisting(string path, bool mayOverwrite)
    {
        if (mayOverwrite || !File.Exists(path) || new FileInfo(path).Length == 0)
        {
            return;
        }

        throw new ReplicaStoreException(ReplicaStoreError.AlreadyFormatted,
            $"{path} is there already; see: qublk replica inspect, or overwrite it with " +
            "qublk replica format --overwrite");
    }

    // Answers whether it has made the image.
    private static bool PrepareImage(string image, ReplicaFormatOptions options)
    {
        if (options.Content == ImageContent.New || !File.Exists(image))
        {
            MakeImage(image, options);
            return true;
        }

        using BlockImage existing = BlockImage.Open(image, readOnly: true, DirectMode.Off);
        if (existing.SizeBytes < options.SizeBytes)
        {
            throw new ReplicaStoreException(ReplicaStoreError.WrongSize,
                $"{image} has {existing.SizeBytes} bytes, the volume {options.SizeBytes}; " +
                $"extend it: truncate -s {options.SizeBytes} {image}");
        }

        return false;
    }

    private static void MakeImage(string image, ReplicaFormatOptions options)
    {
        if (options.Content == ImageContent.Imported)
        {
            throw new ReplicaStoreException(ReplicaStoreError.Missing,
                $"{image} is not there, so nothing can be imported from it");
        }

        try
        {
            using FileStream made = new(image, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None);
            made.SetLength(options.SizeBytes);
            made.Flush(flushToDisk: true);
        }
        catch (IOException) when (File.Exists(image))
        {
            throw new ReplicaStoreException(ReplicaStoreError.HasContent,
                $"{image} is there already; say what its bytes are worth: qublk replica format --import " +
                "where they are the volume's, --replacement where they come from the other replicas");
        }

        StoreFiles.SyncDirectoryOf(image);
    }

    // All of the space is taken before anything is overwritten: a replica that is there survives a full disk.
    private static FileStream Reserved(
        string image, bool isImageMade, Superblock superblock, ReplicaFormatOptions options)
    {
        long lengthBytes = superblock.FileBytes;
        string path = MetadataPath(image);
        long before = File.Exists(path) ? new FileInfo(path).Length : 0;
        FileStream? file = null;
        try
        {
            file = Opened(path);
            Reserve(path, lengthBytes);
            if (options.Options.HasFlag(StoreOptions.Checksums))
            {
                ChecksumFile.Prepare(image, superblock, isKnown: options.Content == ImageContent.New);
            }

            file.SetLength(lengthBytes);
            return file;
        }
        catch (IOException)
        {
            file?.SetLength(before);
            file?.Dispose();
            if (file is not null && before == 0)
            {
                File.Delete(path);
            }

            if (isImageMade)
            {
                File.Delete(image);
            }

            throw;
        }
    }

    private static FileStream Opened(string path)
    {
        try
        {
            // Locks the file against every other user, the daemon among them.
            return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None,
                bufferSize: 0);
        }
        catch (IOException failure)
        {
            throw new ReplicaStoreException(ReplicaStoreError.Busy,
                $"cannot open {path} for itself: {failure.Message}");
        }
    }

    private static void Reserve(string path, long lengthBytes)
    {
        using FileHandle file = FileHandle.Open(path, FileAccess.ReadWrite);
        StoreFiles.ThrowIfNoSpace(path, lengthBytes, file.Reserve(0, lengthBytes));
    }

    // From here on until the end there is no replica. Written out, so that later writes find their space.
    private static void Erase(FileStream file, Superblock superblock)
    {
        byte[] zeros = new byte[ZeroBytes];
        for (long at = 0; at < superblock.FileBytes; at += ZeroBytes)
        {
            Write(file, zeros.AsSpan(0, (int)Math.Min(ZeroBytes, superblock.FileBytes - at)), at);
            if (at == 0)
            {
                file.Flush(flushToDisk: true);
            }
        }

        file.Flush(flushToDisk: true);
    }

    private static void WriteLog(FileStream file, Superblock superblock, ReplicaFormatOptions options)
    {
        var state = new MetadataState(options.SizeBytes);
        uint regions = (uint)state.Versions.Regions;
        if (options.Content == ImageContent.Imported)
        {
            HistoryPoint claim = options.ImportedAs;
            Fold(state, new EpochEntry(claim.Epoch, claim.Sequence));
            Fold(state, new DurableEntry(claim));
            Fold(state, new AppliedFloorEntry(claim));
            Fold(state, new RegionVersionRunEntry(0, regions, claim.Sequence));
        }
        else if (options.Content == ImageContent.Replacement)
        {
            Fold(state, new MissingAddEntry(0, regions, default));
        }

        using MemoryMapping memory = MemoryMapping.Allocate(MetadataRecord.Bytes);
        var layout = new RingLayout(superblock.Identity.Incarnation, superblock.RingRecords);
        var effects = new DirectEffects(file);
        var log = new MetadataLog(
            state, layout, LogPosition.Empty, memory.Slice(0, MetadataRecord.Bytes), effects);
        log.Issue();
        while (effects.TryFinish())
        {
            log.WriteCompleted(0);
        }

        file.Flush(flushToDisk: true);
    }

    private static void Fold<T>(MetadataState state, in T entry) where T : IMetadataEntry
    {
        byte[] bytes = new byte[entry.EncodedBytes];
        entry.Encode(bytes);
        ReadOnlySpan<byte> left = bytes;
        _ = MetadataEntry.TryTake(ref left, out MetadataEntryType type, out ReadOnlySpan<byte> whole);
        _ = state.Fold(type, whole);
    }

    private static void Write(FileStream file, ReadOnlySpan<byte> bytes, long offset) =>
        RandomAccess.Write(file.SafeFileHandle, bytes, offset);

    /// <summary>
    /// Writes at once; the order is made by the flush at the end, before any superblock.
    /// </summary>
    private sealed class DirectEffects(FileStream file) : IMetadataLogEffects
    {
        private bool _isWritten;

        public void WriteDurably(long offsetBytes, in IoBuffer record)
        {
            Write(file, record.Span, offsetBytes);
            _isWritten = true;
        }

        public void RecordDurable(ulong number)
        {
        }

        public void Completed(ulong token)
        {
        }

        public void MetadataFailed(int result)
        {
        }

        public bool TryFinish()
        {
            bool wasWritten = _isWritten;
            _isWritten = false;
            return wasWritten;
        }
    }
}
