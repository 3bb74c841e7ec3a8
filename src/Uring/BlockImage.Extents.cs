using Ublk.Uring.Native;

namespace Ublk.Uring;

/// <content>What of an image is stored, as its filesystem tells.</content>
public sealed partial class BlockImage
{
    /// <summary>
    /// Looks for the next byte that is stored. Source: lseek(2), SEEK_DATA. A range that was allocated and
    /// never written counts as a hole, too: it reads as zeros. The position of the file, which it moves, is
    /// used by nobody.
    /// </summary>
    /// <param name="offsetBytes">Where to begin.</param>
    /// <param name="dataBytes">
    /// Offset of the first stored byte at or behind it; the size of the image where there is none.
    /// </param>
    /// <returns>False where the filesystem or device does not tell.</returns>
    public bool TryFindData(long offsetBytes, out long dataBytes)
    {
        dataBytes = Libc.Seek(File.Fd, offsetBytes, Libc.SeekData);
        if (dataBytes >= 0)
        {
            return true;
        }

        bool isAllHole = Libc.LastError == -Errno.ENXIO;
        dataBytes = SizeBytes;
        return isAllHole;
    }

    /// <summary>
    /// Looks for the next hole. Source: lseek(2), SEEK_HOLE; the end of a file counts as one.
    /// </summary>
    /// <param name="offsetBytes">Where to begin.</param>
    /// <param name="holeBytes">Offset of the first byte at or behind it that is not stored.</param>
    /// <returns>False where the filesystem or device does not tell.</returns>
    public bool TryFindHole(long offsetBytes, out long holeBytes)
    {
        holeBytes = Libc.Seek(File.Fd, offsetBytes, Libc.SeekHole);
        return holeBytes >= 0;
    }
}
