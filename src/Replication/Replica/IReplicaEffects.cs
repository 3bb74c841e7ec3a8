using Ublk.Uring;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Replica;

/// <summary>
/// What one replica asks of its surroundings; carried out in the order it was asked, never answered from
/// within the call. The driver turns these into ring entries and messages, the simulator into events of its
/// world.
/// </summary>
public interface IReplicaEffects
{
    /// <summary>
    /// Write a record of the metadata file durably; ends with <see cref="ReplicaMachine.OnMetadataWritten"/>.
    /// One at a time.
    /// </summary>
    /// <param name="offsetBytes">Offset in the metadata file.</param>
    /// <param name="record">The bytes, unchanged until the end.</param>
    void WriteMetadata(long offsetBytes, in IoBuffer record);

    /// <summary>Write to the image; ends with <see cref="ReplicaMachine.OnImageEnded"/>.</summary>
    /// <param name="io">Names the operation.</param>
    /// <param name="offsetBytes">Offset.</param>
    /// <param name="bytes">The bytes, unchanged until the end.</param>
    void WriteImage(ulong io, long offsetBytes, in IoBuffer bytes);

    /// <summary>Make a range of the image read as zeros; ends like a write.</summary>
    /// <param name="io">Names the operation.</param>
    /// <param name="offsetBytes">Offset.</param>
    /// <param name="lengthBytes">Length.</param>
    /// <param name="keepsSpace">Whether the range stays allocated.</param>
    void ZeroImage(ulong io, long offsetBytes, long lengthBytes, bool keepsSpace);

    /// <summary>Read from the image; ends like a write, the result is the number of bytes.</summary>
    /// <param name="io">Names the operation.</param>
    /// <param name="offsetBytes">Offset.</param>
    /// <param name="buffer">Where the bytes go.</param>
    void ReadImage(ulong io, long offsetBytes, in IoBuffer buffer);

    /// <summary>
    /// Bring every write that has ended to stable media (fdatasync); ends like a write. One at a time.
    /// </summary>
    /// <param name="io">Names the operation.</param>
    void SyncImage(ulong io);

    /// <summary>Read a page of the file of checksums; ends like a read of the image.</summary>
    /// <param name="io">Names the operation.</param>
    /// <param name="page">The page, from 0: the checksums of 4 MiB of the volume.</param>
    /// <param name="buffer">Where its 4096 bytes go.</param>
    void ReadChecksums(ulong io, int page, in IoBuffer buffer);

    /// <summary>
    /// Write a page of the file of checksums; ends like a write. Checksums may change meanwhile: either is
    /// right.
    /// </summary>
    /// <param name="io">Names the operation.</param>
    /// <param name="page">The page.</param>
    /// <param name="buffer">Its 4096 bytes.</param>
    void WriteChecksums(ulong io, int page, in IoBuffer buffer);

    /// <summary>Bring the file of checksums to stable media (fdatasync); ends like a write.</summary>
    /// <param name="io">Names the operation.</param>
    void SyncChecksums(ulong io);

    /// <summary>A block is not what was written: its checksum does not match.</summary>
    /// <param name="offsetBytes">Start of the 4 KiB in the volume.</param>
    void FoundCorrupt(long offsetBytes);

    /// <summary>
    /// Extend the image, the file of checksums, and the live page, durably; ends with
    /// <see cref="ReplicaMachine.OnImageGrown"/>.
    /// </summary>
    /// <param name="io">Names the operation.</param>
    /// <param name="sizeBytes">New size of the volume.</param>
    void GrowImage(ulong io, long sizeBytes);

    /// <summary>Gives memory for an answer with payload; false when there is none now.</summary>
    /// <param name="lengthBytes">Length, up to <see cref="MessageLimits.MaxPayloadBytes"/>.</param>
    /// <param name="buffer">The memory.</param>
    bool TryRent(int lengthBytes, out IoBuffer buffer);

    /// <summary>Takes such memory back.</summary>
    /// <param name="buffer">The memory.</param>
    void Return(in IoBuffer buffer);

    /// <summary>The bytes that came with a message are no longer needed.</summary>
    /// <param name="payload">As they came.</param>
    void ReleasePayload(in IoBuffer payload);

    /// <summary>Send a message without payload.</summary>
    /// <param name="session">To whom; one that has ended, or none (−1), is ignored.</param>
    /// <param name="message">The message.</param>
    /// <typeparam name="T">Its type.</typeparam>
    void Send<T>(int session, in T message) where T : struct, IMessage<T>, allows ref struct;

    /// <summary>Send a message with payload.</summary>
    /// <param name="session">To whom; one that has ended, or none (−1), is ignored.</param>
    /// <param name="message">The message.</param>
    /// <param name="payload">Rented memory; returned by the driver when it was sent.</param>
    /// <typeparam name="T">Type of the message.</typeparam>
    void Send<T>(int session, in T message, in IoBuffer payload)
        where T : struct, IMessage<T>, allows ref struct;

    /// <summary>End a session; nothing of it may come afterwards.</summary>
    /// <param name="session">Which.</param>
    /// <param name="reason">Why.</param>
    /// <param name="text">For people.</param>
    void Close(int session, CloseReason reason, string text);
}
