namespace Ublk.Replication.Runtime;

/// <summary>Hears of what becomes of one life of a replica; within the turn.</summary>
internal interface IReplicaHome
{
    /// <summary>A read of the host has ended.</summary>
    /// <param name="driver">Where.</param>
    /// <param name="read">The read.</param>
    /// <param name="result">Bytes, or −errno.</param>
    void OnHostReadEnded(ReplicaDriver driver, in ImageOperation read, int result);

    /// <summary>A block is not what was written there.</summary>
    /// <param name="offsetBytes">Start of the 4 KiB.</param>
    void OnCorrupt(long offsetBytes);

    /// <summary>A replica that was stopped has nothing with the kernel any more.</summary>
    /// <param name="driver">Which.</param>
    void OnReplicaQuiet(ReplicaDriver driver);
}
