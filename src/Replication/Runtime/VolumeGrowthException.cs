namespace Ublk.Replication.Runtime;

/// <summary>Why a volume does not grow.</summary>
public enum VolumeGrowthError : byte
{
    /// <summary>Smaller than it is, no whole number of blocks, or larger than any volume.</summary>
    WrongSize,
    /// <summary>It is growing already.</summary>
    Busy,
    /// <summary>It is not served, or not any more.</summary>
    NotServed,
    /// <summary>Fewer replicas than a write quorum are there, or one of them was never seen.</summary>
    TooFew,
    /// <summary>A replica has no room for so much.</summary>
    NoSpace,
}

/// <summary>
/// A volume does not grow; the message says why and what mends it. Nothing was changed, unless it was closed
/// in the middle of growing: then the next start knows whether it has grown.
/// </summary>
/// <param name="error">Kind.</param>
/// <param name="message">For people.</param>
public sealed class VolumeGrowthException(VolumeGrowthError error, string message) : IOException(message)
{
    /// <summary>Kind.</summary>
    public VolumeGrowthError Error { get; } = error;
}
