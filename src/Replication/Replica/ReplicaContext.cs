using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Wire;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Replica;

/// <summary>What the parts of a replica share.</summary>
internal sealed class ReplicaContext
{
    private const int KindShift = 56;

    public required ReplicaOptions Options { get; init; }

    public required Superblock Superblock { get; init; }

    public required MetadataLog Log { get; init; }

    public required IReplicaEffects Effects { get; init; }

    /// <summary>The image, with or without checksums.</summary>
    public ImageAccess Image { get; set; } = null!;

    /// <summary>Another one once the volume has grown.</summary>
    public required LivePage<MappedLiveMemory> Live { get; set; }

    /// <summary>The clock, in nanoseconds that also pass while the host sleeps.</summary>
    public long Now { get; set; }

    /// <summary>What is durable.</summary>
    public MetadataState State => Log.State;

    /// <summary>D, in the last history.</summary>
    public ulong Durable => State.Durable.Epoch == State.History.Last.Epoch ? State.Durable.Sequence : 0;

    /// <summary>The newest view of the last epoch that is durable here; 0 before the first.</summary>
    public ulong View => State.View.Epoch == State.History.Last.Epoch ? State.View.Number : 0;

    /// <summary>
    /// Bringing data to stable media failed since the image was opened: there will be no other D.
    /// </summary>
    public bool IsFailed { get; set; }

    public static ulong Name(ReplicaIo kind, ulong value = 0) => (ulong)kind << KindShift | value;

    public static ReplicaIo KindOf(ulong name) => (ReplicaIo)(name >> KindShift);

    public static ulong ValueOf(ulong name) => name & (1ul << KindShift) - 1;

    public static int RegionOf(long offsetBytes) => (int)(offsetBytes / StoreFormat.RegionBytes);

    /// <summary>Whether a range lies in the volume and on its blocks.</summary>
    public bool IsLegal(long offsetBytes, long lengthBytes) =>
        offsetBytes % Options.BlockBytes == 0 && lengthBytes % Options.BlockBytes == 0 &&
        offsetBytes + lengthBytes <= State.SizeBytes;

    /// <summary>Why an operation cannot be taken; null when it can.</summary>
    /// <param name="write">The operation.</param>
    /// <param name="payload">The bytes of a write.</param>
    /// <param name="next">The next sequence of the session.</param>
    /// <param name="highest">Highest that may be under way.</param>
    public string? RefusalOf(in Write write, in IoBuffer payload, ulong next, ulong highest)
    {
        if (write.Sequence.Value != next)
        {
            return $"operation {write.Sequence} came, and {next} was the next";
        }

        if (!IsLegal(write.OffsetBytes, write.LengthBytes))
        {
            return $"operation {write.Sequence} at {write.OffsetBytes}+{write.LengthBytes} is not one of " +
                $"a volume of {State.SizeBytes} bytes in blocks of {Options.BlockBytes}";
        }

        if (next > highest)
        {
            return $"operation {next} is further ahead than {highest}, the last that may be under way";
        }

        return write.Operation == Mutation.Write && Crc32C.Compute(payload.Span) != write.Crc32C
            ? $"the bytes of operation {next} do not match their checksum" : null;
    }

    /// <summary>Why a pushed piece cannot be taken; null when it can.</summary>
    /// <param name="chunk">The piece.</param>
    /// <param name="payload">Its bytes, if it has any.</param>
    public string? RefusalOf(in CopyChunk chunk, in IoBuffer payload) =>
        chunk.Status != AnswerStatus.Ok ? "a pushed piece that is none" :
        chunk.Flags == CopyFlags.ChecksumOnly && !Image.HasChecksums
            ? "a checksum alone, and there are none here" :
        !IsLegal(chunk.OffsetBytes, chunk.LengthBytes) ? "a pushed piece outside of the volume" :
        chunk.PayloadBytes > 0 && Crc32C.Compute(payload.Span) != chunk.Crc32C
            ? $"the bytes of the piece at {chunk.OffsetBytes} do not match their checksum" : null;

    /// <summary>Regions, first and last, that are about to become missing: nothing counts there.</summary>
    public List<(int First, int Last)> Breaking { get; } = [];

    /// <summary>Regions that are about to leave what is missing: the record is on its way.</summary>
    public List<int> Leaving { get; } = [];

    /// <summary>Whether a region is missing and no record on its way says otherwise.</summary>
    public bool StaysMissing(int region) => State.Missing.Contains(region) && !Leaving.Contains(region);

    /// <summary>Whether a range touches missing regions.</summary>
    public bool IsMissing(long offsetBytes, long lengthBytes)
    {
        int first = RegionOf(offsetBytes), last = RegionOf(offsetBytes + lengthBytes - 1);
        foreach ((int brokenFirst, int brokenLast) in Breaking)
        {
            if (brokenFirst <= last && first <= brokenLast)
            {
                return true;
            }
        }

        return State.Missing.Count > 0 && State.Missing.NextMissing(first) <= last;
    }

    /// <summary>Highest version of the regions of a range: nothing issued there is newer.</summary>
    public ulong HighestVersion(long offsetBytes, long lengthBytes)
    {
        ulong highest = 0;
        for (int region = RegionOf(offsetBytes); region <= RegionOf(offsetBytes + lengthBytes - 1); region++)
        {
            highest = Math.Max(highest, Live.Version(region));
        }

        return highest;
    }
}

/// <summary>What an image operation, or an append to the ring, is for.</summary>
internal enum ReplicaIo : byte
{
    None,
    /// <summary>An operation of the stream; its slot.</summary>
    Operation,
    /// <summary>A flush.</summary>
    Sync,
    /// <summary>A read for a peer; its slot.</summary>
    Read,
    /// <summary>A copied piece; its slot.</summary>
    Copy,
    /// <summary>A part of a piece that is laid underneath the stream; the piece.</summary>
    Piece,
    /// <summary>A region that is whole again; which.</summary>
    Whole,
    /// <summary>Nothing is missing any more, and so nothing is wrong; the last region.</summary>
    Healed,
    /// <summary>A view.</summary>
    View,
    /// <summary>The sync before an epoch's start, and its record.</summary>
    Start,
    /// <summary>A mark of intents; its ticket.</summary>
    Mark,
    /// <summary>A promise.</summary>
    Promise,
    /// <summary>A longer lease.</summary>
    Lease,
    /// <summary>The replica's condition.</summary>
    Condition,
    /// <summary>What a failed operation made missing; its slot.</summary>
    Broken,
    /// <summary>A configuration; the growth of the image before it.</summary>
    Configuration,
    /// <summary>What is recorded at the opening.</summary>
    Opening,
    /// <summary>A read of a block of which only a part is touched; which edge.</summary>
    Edge,
    /// <summary>A page of checksums is read; its place in memory.</summary>
    ChecksumRead,
    /// <summary>A page of checksums is written; its place in memory.</summary>
    ChecksumWrite,
    /// <summary>The file of checksums is synced.</summary>
    ChecksumSync,
}
