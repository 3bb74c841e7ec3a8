using Ublk.Uring;

namespace Ublk.Replication.Store;

/// <summary>What became of a wish to append.</summary>
public enum AppendResult : byte
{
    /// <summary>Queued; its token completes once it is durable.</summary>
    Queued,
    /// <summary>
    /// No room now. While <see cref="MetadataLog.IsCheckpointing"/>, there will be after it; otherwise
    /// intents must be cleared, and for an entry that takes reserved room the ring is too small for the
    /// state: the replica cannot go on.
    /// </summary>
    NoRoom,
    /// <summary>A write of the ring failed; nothing will ever complete again.</summary>
    Failed,
}

/// <summary>What the log asks of its driver and tells its owner; called on the owner's thread.</summary>
public interface IMetadataLogEffects
{
    /// <summary>
    /// Write 4096 bytes of the metadata file durably (O_DSYNC), then call
    /// <see cref="MetadataLog.WriteCompleted"/>, not from within this call. One at a time.
    /// </summary>
    /// <param name="offsetBytes">Offset in the metadata file, a multiple of 4096.</param>
    /// <param name="record">The bytes; unchanged until completion.</param>
    void WriteDurably(long offsetBytes, in IoBuffer record);

    /// <summary>
    /// A record of the ring is durable; comes before the completions that follow from it, so that the
    /// live page can name the record first.
    /// </summary>
    /// <param name="number">Its number.</param>
    void RecordDurable(ulong number);

    /// <summary>Everything that was appended with a token is durable; in the order of appending.</summary>
    /// <param name="token">The token.</param>
    void Completed(ulong token);

    /// <summary>The metadata of this replica failed, for good; once.</summary>
    /// <param name="result">−errno of the write.</param>
    void MetadataFailed(int result);
}
