using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Uring.Native;

namespace Ublk.Replication.Runtime;

/// <summary>Makes the files of a replica longer, for a volume that grows.</summary>
internal static class ReplicaGrowth
{
    /// <summary>
    /// Makes image and checksums long enough, on stable media. Blocks. What the image had behind the volume's
    /// end is not known to be zeros.
    /// </summary>
    /// <param name="files">The replica.</param>
    /// <param name="beforeBytes">Size of the volume.</param>
    /// <param name="sizeBytes">Size of the volume then.</param>
    /// <returns>0, or −errno.</returns>
    public static int Extend(ReplicaFiles files, long beforeBytes, long sizeBytes)
    {
        try
        {
            BlockImage image = files.Image;
            bool isHole = !image.IsBlockDevice && image.RefreshSize() <= beforeBytes;
            if (!image.IsBlockDevice && image.SizeBytes < sizeBytes)
            {
                BlockImage.Resize(image.Path, sizeBytes);
            }

            using FileHandle file = FileHandle.Open(image.Path, FileAccess.ReadWrite);
            int result = image.RefreshSize() < sizeBytes ? -Errno.ENOSPC : file.Sync();
            return result < 0 || !files.HasChecksums ? result
                : ChecksumFile.Extend(files.Path, beforeBytes, sizeBytes, isKnown: isHole);
        }
        catch (BlockImageException failure)
        {
            return failure.Error == BlockImageError.NoSpace ? -Errno.ENOSPC : -Errno.EIO;
        }
        catch (SystemCallException failure)
        {
            return -failure.Number;
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
}
