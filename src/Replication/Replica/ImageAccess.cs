using Ublk.Uring;

namespace Ublk.Replication.Replica;

/// <summary>
/// How the parts of a replica reach its image: straight, or with a checksum for every block. Each operation
/// ends once with <see cref="OnEnded"/>, never within the call that began it.
/// </summary>
internal abstract class ImageAccess
{
    /// <summary>Hears of every end: the operation as it was named; bytes, 0, or −errno.</summary>
    public required Action<ulong, int> OnEnded { get; init; }

    /// <summary>Whether reads are held against checksums.</summary>
    public abstract bool HasChecksums { get; }

    /// <summary>Writes.</summary>
    /// <param name="io">Names the operation.</param>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="bytes">The bytes, unchanged until the end.</param>
    public abstract void Write(ulong io, long offsetBytes, in IoBuffer bytes);

    /// <summary>Makes a range read as zeros.</summary>
    /// <param name="io">Names the operation.</param>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="lengthBytes">Length.</param>
    /// <param name="keepsSpace">Whether the range stays allocated.</param>
    public abstract void Zero(ulong io, long offsetBytes, long lengthBytes, bool keepsSpace);

    /// <summary>
    /// Reads. Ends with −EILSEQ where the bytes are not what was written; they are in the buffer all the
    /// same.
    /// </summary>
    /// <param name="io">Names the operation.</param>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="buffer">Where the bytes go, at most 1 MiB.</param>
    public abstract void Read(ulong io, long offsetBytes, in IoBuffer buffer);

    /// <summary>
    /// Of what a block should hold nothing but its checksum is left: it is unreadable until all of it is
    /// written (<see cref="LostBlock"/>).
    /// </summary>
    /// <param name="io">Names the operation.</param>
    /// <param name="offsetBytes">Start of the block.</param>
    /// <param name="checksum">What it should hold (<see cref="BlockChecksum"/>).</param>
    public abstract void Expect(ulong io, long offsetBytes, uint checksum);

    /// <summary>Brings every operation that has ended to stable media; one at a time.</summary>
    /// <param name="io">Names the operation.</param>
    public abstract void Sync(ulong io);

    /// <summary>
    /// Of a read that is just ending with −EILSEQ: whether a block is not what was written. Only from within
    /// <see cref="OnEnded"/>.
    /// </summary>
    /// <param name="offsetBytes">An offset in the block.</param>
    /// <param name="kept">The checksum of what was written.</param>
    public abstract bool IsBad(long offsetBytes, out uint kept);

    /// <summary>The surroundings have done what they were asked.</summary>
    /// <param name="io">As it was named to them.</param>
    /// <param name="result">Bytes, 0, or −errno.</param>
    public abstract void Complete(ulong io, int result);
}

/// <summary>An image without checksums: everything goes straight there.</summary>
/// <param name="effects">The surroundings.</param>
internal sealed class PlainAccess(IReplicaEffects effects) : ImageAccess
{
    public override bool HasChecksums => false;

    public override void Write(ulong io, long offsetBytes, in IoBuffer bytes) =>
        effects.WriteImage(io, offsetBytes, bytes);

    public override void Zero(ulong io, long offsetBytes, long lengthBytes, bool keepsSpace) =>
        effects.ZeroImage(io, offsetBytes, lengthBytes, keepsSpace);

    public override void Read(ulong io, long offsetBytes, in IoBuffer buffer) =>
        effects.ReadImage(io, offsetBytes, buffer);

    // Such a piece is refused before it comes here.
    public override void Expect(ulong io, long offsetBytes, uint checksum) =>
        throw new InvalidOperationException("an image without checksums is told one");

    public override void Sync(ulong io) => effects.SyncImage(io);

    public override bool IsBad(long offsetBytes, out uint kept)
    {
        kept = BlockChecksum.Unknown;
        return false;
    }

    public override void Complete(ulong io, int result) => OnEnded(io, result);
}
