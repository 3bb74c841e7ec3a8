namespace Ublk.Replication.Store;

/// <summary>The file of a replica's checksums, next to its image: a header, then pages.</summary>
public static class ChecksumFile
{
    /// <summary>Bytes of the header, and of a page.</summary>
    public const int PageBytes = 4096;

    /// <summary>Where a page lies.</summary>
    /// <param name="page">The page, from 0.</param>
    public static long OffsetOf(int page) => (1L + page) * PageBytes;
}
