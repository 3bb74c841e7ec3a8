using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Uring.Native;

namespace Ublk.Replication.Runtime;

/// <summary>A replica whose files were made ready for a volume that may grow, or could not be.</summary>
/// <param name="FormerBytes">Length of the image before, where it was made longer; else 0.</param>
/// <param name="FormerChecksumBytes">Length of its checksums before, likewise.</param>
/// <param name="Problem">Why it could not be; null when it was.</param>
internal readonly record struct ReplicaRoom(long FormerBytes, long FormerChecksumBytes, string? Problem)
{
    /// <summary>Whether a file was made longer.</summary>
    public bool IsMade => FormerBytes > 0 || FormerChecksumBytes > 0;
}

/// <summary>Makes the files of a replica longer, for a volume that grows.</summary>
internal static class ReplicaGrowth
{
    /// <summary>
    /// Looks whether a replica can grow, by making the room: nothing that counts is changed, and
    /// <see cref="GiveBack"/> undoes it. Blocks.
    /// </summary>
    /// <param name="files">The replica.</param>
    /// <param name="sizeBytes">Size of the volume then.</param>
    public static ReplicaRoom MakeRoom(ReplicaFiles files, long sizeBytes)
    {
        BlockImage image = files.Image;
        long former = 0, formerChecksums = 0;
        try
        {
            long length = image.RefreshSize();
            if (length < sizeBytes && image.IsBlockDevice)
            {
                return new ReplicaRoom(
                    0, 0, $"{image.Path} has {length} bytes only; make the device longer first");
            }

            if (length < sizeBytes)
            {
                former = length;
                BlockImage.Resize(image.Path, sizeBytes);
                _ = image.RefreshSize();
            }

            int result = files.HasChecksums
                ? ChecksumFile.MakeRoom(files.Path, sizeBytes, out formerChecksums) : 0;
            if (result < 0)
            {
                return new ReplicaRoom(former, formerChecksums,
                    $"no space for {ChecksumFile.PathOf(files.Path)}: {Errno.Describe(result)}");
            }

            // The page is mapped anew when the replica grows; its space is there from now on.
            string page = ReplicaFormat.LivePath(image.Path);
            using FileHandle live = FileHandle.Open(page, FileAccess.ReadWrite);
            result = live.Reserve(0, LivePageLayout.BytesOf(MetadataState.RegionsOf(sizeBytes)));
            return new ReplicaRoom(former, formerChecksums,
                result < 0 ? $"no space for {page}: {Errno.Describe(result)}" : null);
        }
        catch (Exception failure) when (failure is BlockImageException or SystemCallException)
        {
            return new ReplicaRoom(former, formerChecksums, failure.Message);
        }
    }

    /// <summary>The volume does not grow after all. Blocks.</summary>
    /// <param name="files">The replica.</param>
    /// <param name="room">What was made.</param>
    /// <returns>0, or −errno: then files stay longer than the volume, which harms nothing.</returns>
    public static int GiveBack(ReplicaFiles files, ReplicaRoom room)
    {
        try
        {
            if (room.FormerBytes > 0)
            {
                BlockImage.Resize(files.Image.Path, room.FormerBytes);
                _ = files.Image.RefreshSize();
            }

            return room.FormerChecksumBytes > 0
                ? ChecksumFile.GiveBack(files.Path, room.FormerChecksumBytes) : 0;
        }
        catch (Exception failure) when (failure is BlockImageException or SystemCallException)
        {
            return ResultOf(failure);
        }
    }

    /// <summary>
    /// Makes an image at least so long, on stable media, and then its checksums. What is added reads as
    /// zeros, also where the image was longer than the volume: all replicas must have the same bytes. Blocks.
    /// </summary>
    /// <param name="files">The replica; a block device must be long enough.</param>
    /// <param name="formerBytes">Size of the volume before.</param>
    /// <param name="sizeBytes">Size of the volume then.</param>
    /// <returns>0, or −errno.</returns>
    public static int Extend(ReplicaFiles files, long formerBytes, long sizeBytes)
    {
        BlockImage image = files.Image;
        try
        {
            long length = image.RefreshSize();
            using FileHandle file = FileHandle.Open(image.Path, FileAccess.ReadWrite);
            int result = 0;
            if (image.IsBlockDevice)
            {
                result = length < sizeBytes ? -Errno.ENOSPC
                    : file.Zero(formerBytes, sizeBytes - formerBytes);
            }
            else
            {
                BlockImage.Resize(image.Path, formerBytes);
                BlockImage.Resize(image.Path, Math.Max(length, sizeBytes));
                _ = image.RefreshSize();
            }

            result = result < 0 ? result : file.Sync();
            return result < 0 || !files.HasChecksums ? result
                : ChecksumFile.Extend(files.Path, formerBytes, sizeBytes);
        }
        catch (Exception failure) when (failure is BlockImageException or SystemCallException)
        {
            return ResultOf(failure);
        }
    }

    /// <summary>Makes a live page long enough; it is in memory.</summary>
    /// <param name="live">The page.</param>
    /// <param name="sizeBytes">Size of the volume then.</param>
    /// <returns>0, or −errno.</returns>
    public static int ExtendLive(ReplicaLiveFile live, long sizeBytes)
    {
        try
        {
            live.Grow(MetadataState.RegionsOf(sizeBytes));
            return 0;
        }
        catch (IOException)
        {
            return -Errno.ENOSPC;
        }
    }

    private static int ResultOf(Exception failure) => failure switch
    {
        SystemCallException call => -call.Number,
        BlockImageException { Error: BlockImageError.NoSpace } => -Errno.ENOSPC,
        _ => -Errno.EIO,
    };
}
