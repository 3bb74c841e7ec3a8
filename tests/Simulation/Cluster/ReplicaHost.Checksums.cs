using Ublk.Replication.Replica;
using Ublk.Replication.Store;
using Ublk.Tests.Simulation.Judge;
using Ublk.Uring;

namespace Ublk.Tests.Simulation.Cluster;

/// <content>The file of checksums, and what is known of a disk that changes by itself.</content>
internal sealed partial class ReplicaHost
{
    private const int Block = 4096;

    /// <summary>
    /// Whether what changes by itself in a range can be noticed: the bytes are on stable media, and their
    /// checksums known.
    /// </summary>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="lengthBytes">Length.</param>
    public bool MayRot(long offsetBytes, long lengthBytes)
    {
        for (long at = offsetBytes - offsetBytes % Block; at < offsetBytes + lengthBytes; at += Block)
        {
            uint kept = Machine?.Checksums?.Peek(at / Block) ?? KeptOnDisk(at);
            if (Machine is null || IsHot(at) || kept == BlockChecksum.Unknown)
            {
                return false;
            }
        }

        return true;
    }

    void IReplicaEffects.ReadChecksums(ulong io, int page, in IoBuffer buffer) =>
        Checksums!.Read(io, ChecksumFile.OffsetOf(page), buffer);

    void IReplicaEffects.WriteChecksums(ulong io, int page, in IoBuffer buffer) =>
        Checksums!.Write(io, ChecksumFile.OffsetOf(page), buffer);

    void IReplicaEffects.SyncChecksums(ulong io) => Checksums!.Sync(io);

    void IReplicaEffects.FoundCorrupt(long offsetBytes)
    {
        _world.Note($"replica {Place}: the block at {offsetBytes} is not what was written");
        bool isMissing = Machine!.State.Missing.Contains((int)(offsetBytes / StoreFormat.RegionBytes));
        bool mayBeAnything = isMissing || Machine.HasFailed;
        if (!Image.IsSuspect(offsetBytes) && !mayBeAnything && !_world.LostBlocks.Contains(offsetBytes))
        {
            throw new HistoryException(
                $"replica {Place} takes the block at {offsetBytes} for corrupt, which it is not");
        }
    }

    // Without a page of checksums nothing is known of what was written under it.
    private void DoubtAfter(ReplicaIo failed)
    {
        if (failed == ReplicaIo.ChecksumRead)
        {
            Image.Mend(IsHot);
        }
    }

    // What the last process found out by reading died with it.
    private bool IsUnknownOnDisk(long offsetBytes) =>
        Checksums is not null && KeptOnDisk(offsetBytes) == BlockChecksum.Unknown;

    private uint KeptOnDisk(long offsetBytes)
    {
        Span<byte> kept = stackalloc byte[sizeof(uint)];
        Checksums!.Peek(ChecksumFile.OffsetOf(0) + offsetBytes / Block * sizeof(uint), kept);
        return BitConverter.ToUInt32(kept);
    }

    // As of now, or as of when the process died.
    private bool IsHot(long offsetBytes)
    {
        MetadataState state = Machine?.State ?? _state;
        int region = (int)(offsetBytes / StoreFormat.RegionBytes);
        return region >= state.Missing.Regions || state.Missing.Contains(region) ||
            state.Intents.Contains((int)(offsetBytes / StoreFormat.GrainBytes));
    }
}
