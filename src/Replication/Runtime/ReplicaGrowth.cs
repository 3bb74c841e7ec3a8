using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Uring.Native;

namespace Ublk.Replication.Runtime;

/// <summary>Makes the files of a replica longer, for a volume that grows.</summary>
internal static class ReplicaGrowth
{
    /// <summary>Makes an image at least so long, on stable media. Blocks.</summary>
    /// <param name="image">The image; a block device is only looked at.</param>
    /// <param name="sizeBytes">Size of the volume then.</param>
    /// <returns>0, or −errno.</returns>
    public static int Extend(BlockImage image, long sizeBytes)
    {
        try
        {
            if (!image.IsBlockDevice && image.RefreshSize() < sizeBytes)
            {
                BlockImage.Resize(image.Path, sizeBytes);
            }

            using FileHandle file = FileHandle.Open(image.Path, FileAccess.ReadWrite);
            return image.RefreshSize() < sizeBytes ? -Errno.ENOSPC : file.Sync();
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
