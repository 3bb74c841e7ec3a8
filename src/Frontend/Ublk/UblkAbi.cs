using System.Runtime.InteropServices;

namespace Ublk.Frontend.Ublk;

/// <summary>Driver features and device flags (<c>UBLK_F_*</c>).</summary>
[Flags]
public enum UblkFeatures : ulong
{
    /// <summary>None.</summary>
    None = 0,
    /// <summary>Buffers can be registered explicitly (6.15).</summary>
    SupportZeroCopy = 1UL << 0,
    /// <summary>Completions run in the task; always on.</summary>
    CompleteInTask = 1UL << 1,
    /// <summary>Two-step writes; unused here.</summary>
    NeedGetData = 1UL << 2,
    /// <summary>The device outlives its server (6.1).</summary>
    UserRecovery = 1UL << 3,
    /// <summary>Requests in a dead server's hands are given to the next one (6.1).</summary>
    UserRecoveryReissue = 1UL << 4,
    /// <summary>Devices of ordinary users (6.3).</summary>
    UnprivilegedDevice = 1UL << 5,
    /// <summary>Encoded opcodes (6.4).</summary>
    CommandIoctlEncode = 1UL << 6,
    /// <summary>Payload moves by pread and pwrite on the character device (6.5).</summary>
    UserCopy = 1UL << 7,
    /// <summary>Zoned devices (6.6).</summary>
    Zoned = 1UL << 8,
    /// <summary>I/O fails while the server is away (6.13).</summary>
    UserRecoveryFailIo = 1UL << 9,
    /// <summary>The size can change while the device runs (6.16).</summary>
    UpdateSize = 1UL << 10,
    /// <summary>Request pages are registered in the ring by the kernel (6.16).</summary>
    AutoBufferRegistration = 1UL << 11,
    /// <summary>The device can be held still for an upgrade of its server (6.16).</summary>
    Quiesce = 1UL << 12,
    /// <summary>Tags of one queue may belong to several threads (6.16).</summary>
    PerIoDaemon = 1UL << 13,
    /// <summary>Buffers can be registered off the owner's thread (6.17).</summary>
    BufferRegistrationOffDaemon = 1UL << 14,
    /// <summary>Batched commands (7.0).</summary>
    BatchIo = 1UL << 15,
    /// <summary>Integrity data (7.0).</summary>
    Integrity = 1UL << 16,
    /// <summary>Stop that refuses while the device is open (7.0).</summary>
    SafeStop = 1UL << 17,
    /// <summary>No partition scan at start (7.0).</summary>
    NoAutoPartitionScan = 1UL << 18,
    /// <summary>Shared-memory zero copy (7.1).</summary>
    SharedMemoryZeroCopy = 1UL << 19,
    /// <summary>Larger descriptors (7.3).</summary>
    IoDescriptorSize = 1UL << 20,
}

/// <summary>State of a device (<c>UBLK_S_DEV_*</c>).</summary>
public enum UblkDeviceState : ushort
{
    /// <summary>Added but not started, or stopped.</summary>
    Dead = 0,
    /// <summary>Serving.</summary>
    Live = 1,
    /// <summary>Its server is gone; requests wait for the next one.</summary>
    Quiesced = 2,
    /// <summary>Its server is gone; requests fail until the next one.</summary>
    FailIo = 3,
}

/// <summary>Numbers of the control and data commands (<c>linux/ublk_cmd.h</c>).</summary>
internal static class UblkAbi
{
    public const uint GetQueueAffinity = 0x80207501;
    public const uint GetDeviceInfo = 0x80207502;
    public const uint AddDevice = 0xC0207504;
    public const uint DeleteDevice = 0xC0207505;
    public const uint StartDevice = 0xC0207506;
    public const uint StopDevice = 0xC0207507;
    public const uint SetParameters = 0xC0207508;
    public const uint GetParameters = 0x80207509;
    public const uint StartUserRecovery = 0xC0207510;
    public const uint EndUserRecovery = 0xC0207511;
    public const uint GetFeatures = 0x80207513;
    public const uint DeleteDeviceAsync = 0x80207514;
    public const uint UpdateSize = 0xC0207515;
    public const uint QuiesceDevice = 0xC0207516;
    public const uint TryStopDevice = 0xC0207517;

    public const uint FetchRequest = 0xC0107520;
    public const uint CommitAndFetchRequest = 0xC0107521;

    /// <summary>A queue number that means none (control commands).</summary>
    public const ushort NoQueue = 0xFFFF;

    public const int SectorBytes = 512;
    public const int SectorShift = 9;

    /// <summary>UBLK_MAX_QUEUE_DEPTH.</summary>
    public const int MaxQueueDepth = 4096;

    /// <summary>UBLKSRV_IO_BUF_OFFSET: where the user-copy window begins.</summary>
    public const long UserCopyOffset = 0x80000000;

    /// <summary>UBLK_TAG_OFF: bits of the offset within a request.</summary>
    public const int TagShift = 25;

    /// <summary>UBLK_QID_OFF: first bit of the queue number.</summary>
    public const int QueueShift = 41;

    /// <summary>UBLK_AUTO_BUF_REG_FALLBACK, in the flag byte of the auto-buffer word.</summary>
    public const ulong AutoBufferFallback = 1UL << 16;

    /// <summary>UBLK_IO_F_FUA in a descriptor's operation word.</summary>
    public const uint DescriptorFua = 1u << 13;

    /// <summary>UBLK_IO_F_NOUNMAP.</summary>
    public const uint DescriptorNoUnmap = 1u << 15;

    /// <summary>UBLK_IO_F_NEED_REG_BUF: the kernel could not register the request's pages.</summary>
    public const uint DescriptorNeedRegistration = 1u << 17;

    /// <summary>
    /// Place of a queue's descriptors in the character device: room for the deepest queue, in pages.
    /// </summary>
    public static long DescriptorOffset(int queue) =>
        queue * RoundUp((long)MaxQueueDepth * UblkIoDescriptor.SizeBytes, Environment.SystemPageSize);

    public static long DescriptorLength(int depth) =>
        RoundUp((long)depth * UblkIoDescriptor.SizeBytes, Environment.SystemPageSize);

    public static long RoundUp(long value, long unit) => (value + unit - 1) / unit * unit;
}

/// <summary>
/// <c>struct ublksrv_ctrl_dev_info</c>, 64 bytes. Wanted flags go in, granted flags come out; what the
/// kernel does not know is cleared without an error.
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = 64)]
public struct UblkDeviceInfo
{
    /// <summary>Number of queues, at most one per processor.</summary>
    [FieldOffset(0)] public ushort QueueCount;
    /// <summary>Requests per queue, 1 to 4096.</summary>
    [FieldOffset(2)] public ushort QueueDepth;
    /// <summary>State, from the driver.</summary>
    [FieldOffset(4)] public UblkDeviceState State;
    /// <summary>Size of a descriptor, only with <see cref="UblkFeatures.IoDescriptorSize"/>.</summary>
    [FieldOffset(6)] public ushort IoDescriptorSize;
    /// <summary>Longest request in bytes.</summary>
    [FieldOffset(8)] public uint MaxIoBufferBytes;
    /// <summary>Number of the device; all ones lets the driver choose.</summary>
    [FieldOffset(12)] public uint DeviceId;
    /// <summary>Process of the server, −1 if gone; from the driver.</summary>
    [FieldOffset(16)] public int ServerPid;
    /// <summary>Flags.</summary>
    [FieldOffset(24)] public UblkFeatures Flags;
    /// <summary>Kept by the driver for us: our mark.</summary>
    [FieldOffset(32)] public ulong ServerFlags;
    /// <summary>Owner, from the driver.</summary>
    [FieldOffset(40)] public uint OwnerUid;
    /// <summary>Owning group, from the driver.</summary>
    [FieldOffset(44)] public uint OwnerGid;
}

/// <summary><c>struct ublksrv_io_desc</c>, 24 bytes: one request, by tag.</summary>
[StructLayout(LayoutKind.Explicit, Size = SizeBytes)]
public struct UblkIoDescriptor
{
    /// <summary>Size in bytes.</summary>
    public const int SizeBytes = 24;

    /// <summary>Operation in the low byte, flags above.</summary>
    [FieldOffset(0)] public uint OperationFlags;
    /// <summary>Length in 512-byte sectors.</summary>
    [FieldOffset(4)] public uint SectorCount;
    /// <summary>Start in 512-byte sectors.</summary>
    [FieldOffset(8)] public ulong StartSector;
    /// <summary>Buffer address; echoes the auto-buffer word in our mode.</summary>
    [FieldOffset(16)] public ulong Address;
}

/// <summary>Operations of a descriptor (<c>UBLK_IO_OP_*</c>).</summary>
internal enum UblkOperation : byte
{
    Read = 0,
    Write = 1,
    Flush = 2,
    Discard = 3,
    WriteZeroes = 5,
}

/// <summary>
/// <c>struct ublk_params</c>, 152 bytes on 7.3; older kernels take the prefix they know. The zoned,
/// segment and integrity parts are unused and zero.
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = SizeBytes)]
public struct UblkParameters
{
    /// <summary>Size in bytes.</summary>
    public const int SizeBytes = 152;

    /// <summary>UBLK_PARAM_TYPE_BASIC.</summary>
    public const uint TypeBasic = 1;
    /// <summary>UBLK_PARAM_TYPE_DISCARD.</summary>
    public const uint TypeDiscard = 2;
    /// <summary>UBLK_PARAM_TYPE_DMA_ALIGN.</summary>
    public const uint TypeDmaAlign = 16;

    /// <summary>UBLK_ATTR_READ_ONLY.</summary>
    public const uint AttributeReadOnly = 1;
    /// <summary>UBLK_ATTR_VOLATILE_CACHE.</summary>
    public const uint AttributeVolatileCache = 4;
    /// <summary>UBLK_ATTR_FUA.</summary>
    public const uint AttributeFua = 8;

    /// <summary>Bytes filled.</summary>
    [FieldOffset(0)] public uint Length;
    /// <summary>Parts that count, TypeBasic and so on.</summary>
    [FieldOffset(4)] public uint Types;
    /// <summary>Attribute bits.</summary>
    [FieldOffset(8)] public uint Attributes;
    /// <summary>Logical block, as a power of two.</summary>
    [FieldOffset(12)] public byte LogicalBlockShift;
    /// <summary>Physical block, as a power of two.</summary>
    [FieldOffset(13)] public byte PhysicalBlockShift;
    /// <summary>Optimal transfer, as a power of two.</summary>
    [FieldOffset(14)] public byte OptimalIoShift;
    /// <summary>Minimal transfer, as a power of two.</summary>
    [FieldOffset(15)] public byte MinimalIoShift;
    /// <summary>Longest request in sectors.</summary>
    [FieldOffset(16)] public uint MaxSectors;
    /// <summary>Requests do not cross multiples of this many sectors; 0 for none.</summary>
    [FieldOffset(20)] public uint ChunkSectors;
    /// <summary>Size in sectors.</summary>
    [FieldOffset(24)] public ulong DeviceSectors;
    /// <summary>Boundary mask of segments; 0 for none.</summary>
    [FieldOffset(32)] public ulong VirtualBoundaryMask;
    /// <summary>Alignment of discards in bytes.</summary>
    [FieldOffset(40)] public uint DiscardAlignment;
    /// <summary>Unit of discards in bytes.</summary>
    [FieldOffset(44)] public uint DiscardGranularity;
    /// <summary>Longest discard in sectors.</summary>
    [FieldOffset(48)] public uint MaxDiscardSectors;
    /// <summary>Longest write-zeroes in sectors.</summary>
    [FieldOffset(52)] public uint MaxWriteZeroesSectors;
    /// <summary>Segments per discard; 1.</summary>
    [FieldOffset(56)] public ushort MaxDiscardSegments;
    /// <summary>Mask of memory alignment, for example 511.</summary>
    [FieldOffset(108)] public uint DmaAlignmentMask;
}
