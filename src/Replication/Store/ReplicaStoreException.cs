namespace Ublk.Replication.Store;

/// <summary>Why a replica cannot be formatted or used.</summary>
public enum ReplicaStoreError : byte
{
    /// <summary>Another failure; the message has the system's words.</summary>
    Failed,
    /// <summary>The image or its metadata file is not there.</summary>
    Missing,
    /// <summary>The metadata file is empty or was never completed.</summary>
    NotFormatted,
    /// <summary>There is a replica already; it is not overwritten.</summary>
    AlreadyFormatted,
    /// <summary>The file is something else than the metadata of a replica.</summary>
    NotOurs,
    /// <summary>It is another replica than was asked for.</summary>
    WrongReplica,
    /// <summary>A later version of the program wrote it.</summary>
    Newer,
    /// <summary>It is damaged: quarantine it.</summary>
    Damaged,
    /// <summary>Image and metadata do not fit each other, or a size that cannot be.</summary>
    WrongSize,
    /// <summary>The image has a content, and it was not said what to do with it.</summary>
    HasContent,
    /// <summary>Another process uses it.</summary>
    Busy,
    /// <summary>There is no space for it; nothing was changed.</summary>
    NoSpace,
}

/// <summary>A replica cannot be formatted or used; the message says what, where, and what mends it.</summary>
/// <param name="error">Kind.</param>
/// <param name="message">For people.</param>
/// <param name="offsetBytes">Offset in the metadata file; −1 where that makes no sense.</param>
public sealed class ReplicaStoreException(ReplicaStoreError error, string message, long offsetBytes = -1)
    : IOException(message)
{
    /// <summary>Kind.</summary>
    public ReplicaStoreError Error { get; } = error;

    /// <summary>Offset in the metadata file; −1 where that makes no sense.</summary>
    public long OffsetBytes { get; } = offsetBytes;
}
