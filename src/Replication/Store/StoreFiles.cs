using Ublk.Uring.Native;

namespace Ublk.Replication.Store;

/// <summary>The files of one replica, read on the caller's thread.</summary>
internal static class StoreFiles
{
    /// <summary>Makes the names in a file's directory durable.</summary>
    public static void SyncDirectoryOf(string path)
    {
        string directory = Path.GetDirectoryName(Path.GetFullPath(path))!;
        using FileHandle handle = FileHandle.Open(directory, FileAccess.Read);
        int result = handle.Sync();
        if (result < 0)
        {
            throw new ReplicaStoreException(ReplicaStoreError.Failed,
                $"cannot sync {directory}: {Errno.Describe(result)}");
        }
    }

    /// <summary>Opens a metadata file; no lock, so that a replica in use can be looked at.</summary>
    public static FileHandle OpenMetadata(string image, FileAccess access)
    {
        string path = ReplicaFormat.MetadataPath(image);
        int result = FileHandle.TryOpen(path, access, OpenOptions.None, out FileHandle? file);
        if (file is not null)
        {
            return file;
        }

        throw result == -Errno.ENOENT
            ? new ReplicaStoreException(ReplicaStoreError.Missing,
                $"{path} is not there: {image} is no replica; make it one with qublk replica format")
            : new ReplicaStoreException(ReplicaStoreError.Failed,
                $"cannot open {path}: {Errno.Describe(result)}");
    }

    /// <summary>Reads both superblocks and answers the one that holds.</summary>
    /// <param name="image">Path of the image.</param>
    /// <param name="file">The metadata file.</param>
    /// <param name="findings">Gets what should be known.</param>
    /// <exception cref="ReplicaStoreException">There is none that can be used.</exception>
    public static Superblock ReadSuperblock(string image, FileHandle file, List<StoreFinding> findings)
    {
        string path = ReplicaFormat.MetadataPath(image);
        long length = new FileInfo(path).Length;
        var reader = new FileMetadataReader(file);
        byte[] block = new byte[Superblock.Bytes];
        var verdicts = new SuperblockVerdict[Superblock.Copies];
        var copies = new Superblock?[Superblock.Copies];
        for (int copy = 0; copy < Superblock.Copies; copy++)
        {
            long offset = Superblock.OffsetOf(copy, length);
            verdicts[copy] = offset < 0 ? SuperblockVerdict.NotOurs : SuperblockVerdict.Damaged;
            if (offset >= 0 && reader.TryRead(offset, block))
            {
                verdicts[copy] = Superblock.Decode(block, copy, out copies[copy]);
            }
        }

        Superblock found = copies[0] ?? copies[1] ?? throw NoSuperblock(path, length, verdicts);
        RefuseNewer(path, verdicts);
        if (copies[0] is { } first && copies[1] is { } second && first != second)
        {
            throw new ReplicaStoreException(ReplicaStoreError.Damaged,
                $"{path}: the two superblocks, at 0 and {length - Superblock.Bytes}, are of different " +
                $"replicas; {Replace(image)}", 0);
        }

        if (length != found.FileBytes)
        {
            throw new ReplicaStoreException(ReplicaStoreError.WrongSize,
                $"{path} has {length} bytes, and its superblock says {found.FileBytes}: it was cut or " +
                $"extended; {Replace(image)}", 0);
        }

        for (int copy = 0; copy < Superblock.Copies; copy++)
        {
            if (copies[copy] is null)
            {
                findings.Add(new StoreFinding(
                    $"superblock copy {copy} is damaged; the other one holds",
                    Superblock.OffsetOf(copy, length)));
            }
        }

        return found;
    }

    /// <summary>Refuses to go on where a file has not got its space.</summary>
    /// <param name="path">The file.</param>
    /// <param name="lengthBytes">Its length.</param>
    /// <param name="result">What the system said: 0 or −errno.</param>
    /// <exception cref="ReplicaStoreException">There is no space, or another failure.</exception>
    public static void ThrowIfNoSpace(string path, long lengthBytes, int result)
    {
        if (result < 0 && result != -Errno.EOPNOTSUPP)
        {
            bool isFull = result is -Errno.ENOSPC or -Errno.EDQUOT;
            throw new ReplicaStoreException(isFull ? ReplicaStoreError.NoSpace : ReplicaStoreError.Failed,
                $"{(isFull ? "no space for" : "cannot write")} {path} ({lengthBytes} bytes): " +
                $"{Errno.Describe(result)}; nothing was changed");
        }
    }

    /// <summary>What to do with a replica that cannot be mended.</summary>
    public static string Replace(string image) =>
        "it takes no part any more; make it a replacement, which is copied from the other replicas: " +
        $"qublk replica format --replacement --overwrite {image}";

    /// <summary>What a recovery found, as an exception.</summary>
    public static ReplicaStoreException Failure(string image, RecoveryResult recovery)
    {
        string path = ReplicaFormat.MetadataPath(image);
        return recovery.Damage == MetadataDamage.Newer
            ? new ReplicaStoreException(ReplicaStoreError.Newer,
                $"{path}, offset {recovery.OffsetBytes}: {recovery.Text}; use that version",
                recovery.OffsetBytes)
            : new ReplicaStoreException(ReplicaStoreError.Damaged,
                $"{path} is damaged ({recovery.Damage}) at offset {recovery.OffsetBytes}: " +
                $"{recovery.Text}; {Replace(image)}", recovery.OffsetBytes);
    }

    private static void RefuseNewer(string path, SuperblockVerdict[] verdicts)
    {
        int copy = Array.IndexOf(verdicts, SuperblockVerdict.Newer);
        if (copy >= 0)
        {
            throw new ReplicaStoreException(ReplicaStoreError.Newer,
                $"{path}: superblock copy {copy} is of a later version of this program, " +
                $"or has a feature that version {StoreFormat.Version} does not know; use that version", 0);
        }
    }

    private static ReplicaStoreException NoSuperblock(
        string path, long length, SuperblockVerdict[] verdicts)
    {
        RefuseNewer(path, verdicts);
        string where = $"{path} ({length} bytes)";
        if (length == 0 || Array.TrueForAll(verdicts, verdict => verdict == SuperblockVerdict.Blank))
        {
            return new ReplicaStoreException(ReplicaStoreError.NotFormatted,
                $"{where} has no superblock: its format was never completed; " +
                "format it again: qublk replica format --overwrite");
        }

        return verdicts[0] != SuperblockVerdict.NotOurs &&
            Array.IndexOf(verdicts, SuperblockVerdict.Damaged) >= 0 && length >= 2 * Superblock.Bytes
            ? new ReplicaStoreException(ReplicaStoreError.Damaged,
                $"{where}: both superblocks are damaged; format it as a replacement, which is copied " +
                "from the other replicas: qublk replica format --replacement --overwrite", 0)
            : new ReplicaStoreException(ReplicaStoreError.NotOurs,
                $"{where} is not the metadata of a replica; move it away, or name another image", 0);
    }
}
