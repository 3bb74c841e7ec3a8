using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Wire.Ids;

namespace Ublk.Replication.Runtime;

/// <summary>
/// The opened files of one replica that is to be used: image, metadata and checksums locked for this process
/// alone before anything was read, the live page mapped. Opening reads and syncs, so it is done away from the
/// loop. The live page lies in a directory of a memory filesystem, and what is next to the image only points
/// there: a page mapped from the replica's own disk would take the process along when the disk goes away,
/// because a store into it could no longer be made.
/// </summary>
public sealed class ReplicaFiles : IDisposable
{
    private readonly string _livePath;

    private ReplicaFiles(
        string path, BlockImage image, BlockImage metadata, BlockImage? checksums, ReplicaLiveFile live,
        string livePath, OpenedReplica opened, BootEntry boot)
    {
        Path = path;
        Image = image;
        Metadata = metadata;
        Checksums = checksums;
        Live = live;
        _livePath = livePath;
        Opened = opened;
        Boot = boot;
    }

    /// <summary>Path of the image.</summary>
    public string Path { get; }

    /// <summary>The image.</summary>
    public BlockImage Image { get; }

    /// <summary>What was found.</summary>
    public OpenedReplica Opened { get; }

    /// <summary>Boot id and backing device of now.</summary>
    public BootEntry Boot { get; }

    /// <summary>Whether the replica keeps checksums.</summary>
    public bool HasChecksums => Opened.Superblock.Options.HasFlag(StoreOptions.Checksums);

    /// <summary>Who it is.</summary>
    public ReplicaIdentity Identity => Opened.Superblock.Identity;

    internal BlockImage Metadata { get; }

    /// <summary>The checksums, through the page cache; null where the replica keeps none.</summary>
    internal BlockImage? Checksums { get; }

    internal ReplicaLiveFile Live { get; }

    /// <summary>Opens a replica; takes as long as its disk does.</summary>
    /// <param name="path">Path of the image.</param>
    /// <param name="direct">Whether to go past the page cache.</param>
    /// <param name="liveDirectory">Where live pages lie: a memory filesystem; made if need be.</param>
    /// <exception cref="ReplicaStoreException">With what is wrong, where, and what mends it.</exception>
    /// <exception cref="BlockImageException">One of the files cannot be used.</exception>
    /// <exception cref="IOException">There is no room for the live page.</exception>
    public static ReplicaFiles Open(string path, DirectMode direct, string liveDirectory)
    {
        string metadataPath = ReplicaFormat.MetadataPath(path);
        if (!File.Exists(metadataPath))
        {
            using (StoreFiles.OpenMetadata(path, FileAccess.Read))
            {
                // It tells what is missing.
            }
        }

        BlockImage image = BlockImage.Open(path, readOnly: false, direct);
        BlockImage? metadata = null, checksums = null;
        try
        {
            metadata = BlockImage.Open(metadataPath, readOnly: false, DirectMode.Auto);
            Superblock? superblock = ReplicaStore.TryReadSuperblock(path);
            image = superblock is null ? image : Fitting(image, superblock.LogicalBlockBytes, direct);
            checksums = superblock?.Options.HasFlag(StoreOptions.Checksums) == true
                ? OpenChecksums(path) : null;
            string livePath = superblock is null ? ""
                : PointToLive(path, superblock.Identity.Incarnation, liveDirectory);
            BootEntry boot = SystemBoot.Of(path);
            OpenedReplica opened = ReplicaStore.Load(path, image.SizeBytes, boot, expected: null);
            var live = ReplicaLiveFile.Open(path, opened.State.Versions.Regions);
            return new ReplicaFiles(path, image, metadata, checksums, live, livePath, opened, boot);
        }
        catch
        {
            checksums?.Dispose();
            metadata?.Dispose();
            image.Dispose();
            throw;
        }
    }

    /// <summary>
    /// The disk has failed: what the live page says is not to be trusted any more, since what was applied may
    /// have gone with the filesystem's own metadata.
    /// </summary>
    public void DistrustLive() => File.Delete(_livePath);

    /// <summary>Unmaps the live page; the other files are closed by who uses them.</summary>
    internal void CloseLive() => Live.Dispose();

    /// <summary>Closes all, for files that nobody uses.</summary>
    public void Dispose()
    {
        CloseLive();
        Checksums?.Dispose();
        Metadata.Dispose();
        Image.Dispose();
    }

    // What is wrong with one that is not there is told when the replica is read.
    private static BlockImage? OpenChecksums(string image)
    {
        string path = ChecksumFile.PathOf(image);
        return File.Exists(path) ? BlockImage.Open(path, readOnly: false, DirectMode.Off) : null;
    }

    // Where the image cannot do the volume's blocks past the page cache, it goes through it.
    private static BlockImage Fitting(BlockImage image, int blockBytes, DirectMode direct)
    {
        if (image.DirectAlignBytes <= blockBytes)
        {
            return image;
        }

        if (direct == DirectMode.On)
        {
            throw new BlockImageException(BlockImageError.NotDirect,
                $"{image.Path} can be written past the page cache only in blocks of " +
                $"{image.DirectAlignBytes} bytes, and the volume's have {blockBytes}; use --direct off");
        }

        string path = image.Path;
        image.Dispose();
        return BlockImage.Open(path, readOnly: false, DirectMode.Off);
    }

    private static string PointToLive(string image, Incarnation incarnation, string directory)
    {
        Directory.CreateDirectory(directory);
        string file = System.IO.Path.Combine(
            System.IO.Path.GetFullPath(directory), incarnation + StoreFormat.LiveEnding);
        string pointer = ReplicaFormat.LivePath(image);
        if (new FileInfo(pointer).LinkTarget != file)
        {
            File.Delete(pointer);
            File.CreateSymbolicLink(pointer, file);
        }

        // Empty, it is no live page yet; through the pointer it could not be made.
        using (new FileStream(file, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.ReadWrite))
        {
            return file;
        }
    }
}
