using System.Buffers.Binary;
using Ublk.Wire;
using Ublk.Wire.Ids;

namespace Ublk.Replication.Store;

/// <summary>Who a replica is.</summary>
/// <param name="Cluster">The cluster.</param>
/// <param name="Volume">The volume.</param>
/// <param name="Replica">
/// The replica, 1 to 2^32 − 1; stays the same when its disk is replaced.
/// </param>
/// <param name="Incarnation">
/// New at every format, so that an empty or replaced disk can never pose as the old replica.
/// </param>
public readonly record struct ReplicaIdentity(
    ClusterId Cluster, VolumeId Volume, ReplicaId Replica, Incarnation Incarnation);

/// <summary>Choices made at format.</summary>
[Flags]
public enum StoreOptions : uint
{
    /// <summary>None.</summary>
    None = 0,
    /// <summary>A checksum is kept for every 4 KiB of the image.</summary>
    Checksums = 1,
}

/// <summary>
/// What was fixed when a replica was formatted: two equal copies, in the first and in the last 4096 bytes of
/// the metadata file, little endian. Never rewritten afterwards (growth is an entry in the ring), so a crash
/// cannot tear it.
/// <code>
/// offset size
///   0  8  magic "UBLKSUP1"
///   8  2  format version
///  10  2  copy: 0 at the beginning of the file, 1 at its end
///  12  4  CRC-32C of all 4096 bytes, this field counted as zero (in every version)
///  16  8  incompatible features: a bit that is not known here is refused
///  24  8  compatible features: a bit that is not known here is ignored
///  32 16  cluster          (ids of 16 bytes: most significant byte first)
///  48 16  volume
///  64  8  replica, 1 to 2^32 − 1
///  72  8  zero
///  80 16  incarnation
///  96  8  size of the volume at format, in bytes
/// 104  4  logical block in bytes
/// 108  4  grain in bytes (65536)
/// 112  4  region in bytes (1048576)
/// 116  4  record in bytes (4096)
/// 120  8  offset of the ring in bytes
/// 128  8  records of the ring
/// 136  8  offset of the vault in bytes
/// 144  4  slots of the vault
/// 148  4  options (1: checksums)
/// 152     zeros
/// </code>
/// </summary>
public sealed record Superblock
{
    /// <summary>Bytes of one copy.</summary>
    public const int Bytes = 4096;

    /// <summary>Copies.</summary>
    public const int Copies = 2;

    private const ulong Magic = 0x3150_5553_4B4C_4255; // "UBLKSUP1"
    private const int VersionAt = 8;
    private const int CopyAt = 10;
    private const int CrcAt = 12;
    private const int IncompatibleAt = 16;
    private const int CompatibleAt = 24;
    private const ulong ChecksumFeature = 1;
    private const int ClusterAt = 32;
    private const int VolumeAt = 48;
    private const int ReplicaAt = 64;
    private const int IncarnationAt = 80;
    private const int SizeAt = 96;
    private const int BlockAt = 104;
    private const int GrainAt = 108;
    private const int RegionAt = 112;
    private const int RecordAt = 116;
    private const int RingAt = 120;
    private const int RingRecordsAt = 128;
    private const int VaultAt = 136;
    private const int VaultSlotsAt = 144;
    private const int OptionsAt = 148;

    /// <summary>Who the replica is.</summary>
    public required ReplicaIdentity Identity { get; init; }

    /// <summary>Size of the volume at format, in bytes; a multiple of the logical block.</summary>
    public required long SizeBytes { get; init; }

    /// <summary>Logical block in bytes: 512 to 4096, a power of two.</summary>
    public required int LogicalBlockBytes { get; init; }

    /// <summary>Records of the metadata ring.</summary>
    public required int RingRecords { get; init; }

    /// <summary>Choices made at format.</summary>
    public StoreOptions Options { get; init; }

    /// <summary>
    /// Features without which the replica cannot be used. Bit 0: a checksum is kept for every block, so
    /// whoever writes the image without changing it spoils the replica. Follows from the options.
    /// </summary>
    public ulong IncompatibleFeatures => Options.HasFlag(StoreOptions.Checksums) ? ChecksumFeature : 0;

    /// <summary>Features that a program may pass over; none yet.</summary>
    public ulong CompatibleFeatures { get; init; }

    /// <summary>Where the vault begins in the metadata file.</summary>
    public long VaultOffsetBytes =>
        StoreFormat.RingOffsetBytes + (long)RingRecords * MetadataRecord.Bytes;

    /// <summary>Length of the metadata file.</summary>
    public long FileBytes => VaultOffsetBytes + StoreFormat.TrailerBytes;

    /// <summary>Where a copy lies in the metadata file.</summary>
    /// <param name="copy">0 or 1.</param>
    /// <param name="fileBytes">Length of the file.</param>
    public static long OffsetOf(int copy, long fileBytes) => copy == 0 ? 0 : fileBytes - Bytes;

    /// <summary>Writes a copy.</summary>
    /// <param name="block">Its 4096 bytes.</param>
    /// <param name="copy">0 or 1.</param>
    public void Encode(Span<byte> block, int copy)
    {
        block = block[..Bytes];
        block.Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(block, Magic);
        BinaryPrimitives.WriteUInt16LittleEndian(block[VersionAt..], StoreFormat.Version);
        BinaryPrimitives.WriteUInt16LittleEndian(block[CopyAt..], (ushort)copy);
        BinaryPrimitives.WriteUInt64LittleEndian(block[IncompatibleAt..], IncompatibleFeatures);
        BinaryPrimitives.WriteUInt64LittleEndian(block[CompatibleAt..], CompatibleFeatures);
        BinaryPrimitives.WriteUInt128BigEndian(block[ClusterAt..], Identity.Cluster.Value);
        BinaryPrimitives.WriteUInt128BigEndian(block[VolumeAt..], Identity.Volume.Value);
        BinaryPrimitives.WriteUInt64LittleEndian(block[ReplicaAt..], Identity.Replica.Value);
        BinaryPrimitives.WriteUInt128BigEndian(block[IncarnationAt..], Identity.Incarnation.Value);
        BinaryPrimitives.WriteInt64LittleEndian(block[SizeAt..], SizeBytes);
        BinaryPrimitives.WriteInt32LittleEndian(block[BlockAt..], LogicalBlockBytes);
        BinaryPrimitives.WriteInt32LittleEndian(block[GrainAt..], StoreFormat.GrainBytes);
        BinaryPrimitives.WriteInt32LittleEndian(block[RegionAt..], StoreFormat.RegionBytes);
        BinaryPrimitives.WriteInt32LittleEndian(block[RecordAt..], MetadataRecord.Bytes);
        BinaryPrimitives.WriteInt64LittleEndian(block[RingAt..], StoreFormat.RingOffsetBytes);
        BinaryPrimitives.WriteInt64LittleEndian(block[RingRecordsAt..], RingRecords);
        BinaryPrimitives.WriteInt64LittleEndian(block[VaultAt..], VaultOffsetBytes);
        BinaryPrimitives.WriteInt32LittleEndian(block[VaultSlotsAt..], StoreFormat.VaultSlots);
        BinaryPrimitives.WriteUInt32LittleEndian(block[OptionsAt..], (uint)Options);
        BinaryPrimitives.WriteUInt32LittleEndian(block[CrcAt..], Crc32C.Compute(block));
    }

    /// <summary>Judges a copy and reads a valid one.</summary>
    /// <param name="block">Its 4096 bytes.</param>
    /// <param name="copy">Which copy is expected there.</param>
    /// <param name="superblock">What it says; null unless valid.</param>
    public static SuperblockVerdict Decode(
        ReadOnlySpan<byte> block, int copy, out Superblock? superblock)
    {
        superblock = null;
        block = block[..Bytes];
        if (BinaryPrimitives.ReadUInt64LittleEndian(block) != Magic)
        {
            return block.ContainsAnyExcept((byte)0)
                ? SuperblockVerdict.NotOurs : SuperblockVerdict.Blank;
        }

        // Place and kind of the checksum stay the same in every version.
        ReadOnlySpan<byte> zero = [0, 0, 0, 0];
        uint crc = Crc32C.Append(Crc32C.Compute(block[..CrcAt]), zero);
        crc = Crc32C.Append(crc, block[IncompatibleAt..]);
        if (crc != BinaryPrimitives.ReadUInt32LittleEndian(block[CrcAt..]) ||
            copy != BinaryPrimitives.ReadUInt16LittleEndian(block[CopyAt..]))
        {
            return SuperblockVerdict.Damaged;
        }

        if (BinaryPrimitives.ReadUInt16LittleEndian(block[VersionAt..]) > StoreFormat.Version)
        {
            return SuperblockVerdict.Newer;
        }

        var found = new Superblock
        {
            CompatibleFeatures = BinaryPrimitives.ReadUInt64LittleEndian(block[CompatibleAt..]),
            Identity = IdentityOf(block),
            SizeBytes = BinaryPrimitives.ReadInt64LittleEndian(block[SizeAt..]),
            LogicalBlockBytes = BinaryPrimitives.ReadInt32LittleEndian(block[BlockAt..]),
            RingRecords = (int)Math.Clamp(
                BinaryPrimitives.ReadInt64LittleEndian(block[RingRecordsAt..]), 0, int.MaxValue),
            Options = (StoreOptions)BinaryPrimitives.ReadUInt32LittleEndian(block[OptionsAt..]),
        };
        ulong features = BinaryPrimitives.ReadUInt64LittleEndian(block[IncompatibleAt..]);
        StoreOptions unknown = found.Options & ~StoreOptions.Checksums;
        if ((features & ~ChecksumFeature) != 0 || unknown != StoreOptions.None ||
            !HasThisFormatsUnits(block))
        {
            return SuperblockVerdict.Newer;
        }

        bool isPossible = found.IsPossible && features == found.IncompatibleFeatures &&
            BinaryPrimitives.ReadUInt64LittleEndian(block[ReplicaAt..]) <= uint.MaxValue &&
            BinaryPrimitives.ReadInt64LittleEndian(block[VaultAt..]) == found.VaultOffsetBytes;
        if (!isPossible)
        {
            return SuperblockVerdict.Damaged;
        }

        superblock = found;
        return SuperblockVerdict.Valid;
    }

    /// <summary>Whether replica, size, block and ring are such as this version makes.</summary>
    public bool IsPossible =>
        Identity.Replica.Value > 0 &&
        LogicalBlockBytes is >= 512 and <= 4096 && int.IsPow2(LogicalBlockBytes) &&
        SizeBytes > 0 && SizeBytes <= StoreFormat.MaxVolumeBytes &&
        SizeBytes % LogicalBlockBytes == 0 &&
        RingRecords is >= StoreFormat.MinRingRecords and <= StoreFormat.MaxRingRecords;

    private static ReplicaIdentity IdentityOf(ReadOnlySpan<byte> block) => new(
        new ClusterId(BinaryPrimitives.ReadUInt128BigEndian(block[ClusterAt..])),
        new VolumeId(BinaryPrimitives.ReadUInt128BigEndian(block[VolumeAt..])),
        new ReplicaId(BinaryPrimitives.ReadUInt32LittleEndian(block[ReplicaAt..])),
        new Incarnation(BinaryPrimitives.ReadUInt128BigEndian(block[IncarnationAt..])));

    private static bool HasThisFormatsUnits(ReadOnlySpan<byte> block) =>
        BinaryPrimitives.ReadInt32LittleEndian(block[GrainAt..]) == StoreFormat.GrainBytes &&
        BinaryPrimitives.ReadInt32LittleEndian(block[RegionAt..]) == StoreFormat.RegionBytes &&
        BinaryPrimitives.ReadInt32LittleEndian(block[RecordAt..]) == MetadataRecord.Bytes &&
        BinaryPrimitives.ReadInt64LittleEndian(block[RingAt..]) == StoreFormat.RingOffsetBytes &&
        BinaryPrimitives.ReadInt32LittleEndian(block[VaultSlotsAt..]) == StoreFormat.VaultSlots;
}

/// <summary>What a copy of the superblock turns out to be.</summary>
public enum SuperblockVerdict : byte
{
    /// <summary>Whole, and of this version.</summary>
    Valid,
    /// <summary>Only zeros: not formatted.</summary>
    Blank,
    /// <summary>Something else than a superblock.</summary>
    NotOurs,
    /// <summary>Of a later version, or with a feature that is not known here.</summary>
    Newer,
    /// <summary>A superblock with a wrong checksum, or impossible contents.</summary>
    Damaged,
}
