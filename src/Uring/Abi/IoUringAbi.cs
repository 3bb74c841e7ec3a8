using System.Runtime.InteropServices;

namespace Ublk.Uring.Abi;

/// <summary>Opcodes of submission entries (<c>enum io_uring_op</c>).</summary>
public enum RingOpcode : byte
{
    /// <summary>IORING_OP_NOP.</summary>
    Nop = 0,
    /// <summary>IORING_OP_FSYNC.</summary>
    Fsync = 3,
    /// <summary>IORING_OP_READ_FIXED.</summary>
    ReadFixed = 4,
    /// <summary>IORING_OP_WRITE_FIXED.</summary>
    WriteFixed = 5,
    /// <summary>IORING_OP_SENDMSG.</summary>
    SendMessage = 9,
    /// <summary>IORING_OP_TIMEOUT.</summary>
    Timeout = 11,
    /// <summary>IORING_OP_TIMEOUT_REMOVE.</summary>
    TimeoutRemove = 12,
    /// <summary>IORING_OP_ACCEPT.</summary>
    Accept = 13,
    /// <summary>IORING_OP_ASYNC_CANCEL.</summary>
    AsyncCancel = 14,
    /// <summary>IORING_OP_LINK_TIMEOUT.</summary>
    LinkTimeout = 15,
    /// <summary>IORING_OP_CONNECT.</summary>
    Connect = 16,
    /// <summary>IORING_OP_FALLOCATE.</summary>
    Fallocate = 17,
    /// <summary>IORING_OP_CLOSE.</summary>
    Close = 19,
    /// <summary>IORING_OP_READ.</summary>
    Read = 22,
    /// <summary>IORING_OP_WRITE.</summary>
    Write = 23,
    /// <summary>IORING_OP_SEND.</summary>
    Send = 26,
    /// <summary>IORING_OP_RECV.</summary>
    Receive = 27,
    /// <summary>IORING_OP_MSG_RING.</summary>
    MessageRing = 40,
    /// <summary>IORING_OP_URING_CMD.</summary>
    UringCommand = 46,
    /// <summary>IORING_OP_SEND_ZC.</summary>
    SendZeroCopy = 47,
}

/// <summary>Flags of one submission entry (<c>IOSQE_*</c>).</summary>
[Flags]
public enum EntryFlags : byte
{
    /// <summary>No flag.</summary>
    None = 0,
    /// <summary>IOSQE_FIXED_FILE: the descriptor is an index in the file table.</summary>
    FixedFile = 1 << 0,
    /// <summary>IOSQE_IO_DRAIN: start after everything before has completed.</summary>
    Drain = 1 << 1,
    /// <summary>IOSQE_IO_LINK: the next entry starts when this one succeeded.</summary>
    Link = 1 << 2,
    /// <summary>IOSQE_IO_HARDLINK: the next entry starts when this one ended.</summary>
    HardLink = 1 << 3,
    /// <summary>IOSQE_ASYNC: go to a worker at once.</summary>
    Async = 1 << 4,
    /// <summary>IOSQE_BUFFER_SELECT: take a provided buffer.</summary>
    BufferSelect = 1 << 5,
}

/// <summary>Flags of one completion (<c>IORING_CQE_F_*</c>).</summary>
[Flags]
public enum CompletionFlags : uint
{
    /// <summary>No flag.</summary>
    None = 0,
    /// <summary>A provided buffer was used; its id stands in the upper 16 bits.</summary>
    Buffer = 1 << 0,
    /// <summary>More completions of the same entry follow.</summary>
    More = 1 << 1,
    /// <summary>The socket held more data when the receive ended.</summary>
    SocketNonEmpty = 1 << 2,
    /// <summary>The notification of a zero-copy send.</summary>
    Notification = 1 << 3,
}

/// <summary>Ring set-up flags (<c>IORING_SETUP_*</c>).</summary>
[Flags]
public enum SetupFlags : uint
{
    /// <summary>No flag.</summary>
    None = 0,
    /// <summary>The completion queue's size is given.</summary>
    CqSize = 1 << 3,
    /// <summary>Sizes above the kernel's limit are cut, not refused.</summary>
    Clamp = 1 << 4,
    /// <summary>A failed entry does not end the batch (5.18).</summary>
    SubmitAll = 1 << 7,
    /// <summary>No interrupt for task work (5.19).</summary>
    CoopTaskRun = 1 << 8,
    /// <summary>128-byte submission entries (5.19).</summary>
    Sqe128 = 1 << 10,
    /// <summary>One thread submits (6.0).</summary>
    SingleIssuer = 1 << 12,
    /// <summary>Completions run only inside the owner's enter (6.1).</summary>
    DeferTaskRun = 1 << 13,
    /// <summary>No indirection array (6.6).</summary>
    NoSqArray = 1 << 16,
}

/// <summary>Flags of the enter call (<c>IORING_ENTER_*</c>).</summary>
[Flags]
internal enum EnterFlags : uint
{
    None = 0,
    GetEvents = 1 << 0,
    ExtArg = 1 << 3,
}

/// <summary>Opcodes of the register call (<c>IORING_REGISTER_*</c>).</summary>
internal enum RegisterOpcode : uint
{
    Probe = 8,
    Files2 = 13,
    FilesUpdate2 = 14,
    Buffers2 = 15,
    BuffersUpdate = 16,
    ProvidedBufferRing = 22,
    UnregisterProvidedBufferRing = 23,
}

/// <summary>One submission entry: <c>struct io_uring_sqe</c>, 64 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = SizeBytes)]
public struct SubmissionEntry
{
    /// <summary>Size of the structure in bytes.</summary>
    public const int SizeBytes = 64;

    /// <summary>What to do.</summary>
    [FieldOffset(0)] public RingOpcode Opcode;
    /// <summary>How to do it.</summary>
    [FieldOffset(1)] public EntryFlags Flags;
    /// <summary>Priority, or the send/receive/accept flags of newer opcodes.</summary>
    [FieldOffset(2)] public ushort IoPriority;
    /// <summary>Descriptor, or index in the file table with FixedFile.</summary>
    [FieldOffset(4)] internal int Fd;
    /// <summary>Byte offset in the file; second address of some opcodes.</summary>
    [FieldOffset(8)] public ulong Offset;
    /// <summary>Opcode of a driver command (<c>cmd_op</c>), shares the place of Offset.</summary>
    [FieldOffset(8)] public uint CommandOpcode;
    /// <summary>Address, or byte offset inside a registered buffer.</summary>
    [FieldOffset(16)] public ulong Address;
    /// <summary>Length in bytes, or a count.</summary>
    [FieldOffset(24)] public uint Length;
    /// <summary>Flags of the opcode (rw_flags, fsync_flags, msg_flags, ...).</summary>
    [FieldOffset(28)] public uint OperationFlags;
    /// <summary>Returned in the completion.</summary>
    [FieldOffset(32)] public ulong UserData;
    /// <summary>Index of the registered buffer, or group of provided buffers.</summary>
    [FieldOffset(40)] public ushort BufferIndex;
    /// <summary>Credentials to run under.</summary>
    [FieldOffset(42)] public ushort Personality;
    /// <summary>Target index in the file table.</summary>
    [FieldOffset(44)] public uint FileIndex;
    /// <summary>First 8 bytes of a driver command's own area (<c>cmd</c>).</summary>
    [FieldOffset(48)] public ulong Command0;
    /// <summary>Second 8 bytes of a driver command's own area.</summary>
    [FieldOffset(56)] public ulong Command1;
}

/// <summary>One completion: <c>struct io_uring_cqe</c>, 16 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = SizeBytes)]
public struct CompletionEntry
{
    /// <summary>Size of the structure in bytes.</summary>
    public const int SizeBytes = 16;

    /// <summary>From the submission entry.</summary>
    [FieldOffset(0)] public ulong UserData;
    /// <summary>Result, negative errno on failure.</summary>
    [FieldOffset(8)] public int Result;
    /// <summary>Flags.</summary>
    [FieldOffset(12)] public CompletionFlags Flags;
}

/// <summary><c>struct io_sqring_offsets</c>: where the submission ring's fields lie.</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
internal struct SqRingOffsets
{
    [FieldOffset(0)] public uint Head;
    [FieldOffset(4)] public uint Tail;
    [FieldOffset(8)] public uint RingMask;
    [FieldOffset(12)] public uint RingEntries;
    [FieldOffset(16)] public uint Flags;
    [FieldOffset(20)] public uint Dropped;
    [FieldOffset(24)] public uint Array;
    [FieldOffset(32)] public ulong UserAddress;
}

/// <summary><c>struct io_cqring_offsets</c>: where the completion ring's fields lie.</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
internal struct CqRingOffsets
{
    [FieldOffset(0)] public uint Head;
    [FieldOffset(4)] public uint Tail;
    [FieldOffset(8)] public uint RingMask;
    [FieldOffset(12)] public uint RingEntries;
    [FieldOffset(16)] public uint Overflow;
    [FieldOffset(20)] public uint Cqes;
    [FieldOffset(24)] public uint Flags;
    [FieldOffset(32)] public ulong UserAddress;
}

/// <summary><c>struct io_uring_params</c>, 120 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 120)]
internal struct RingParameters
{
    [FieldOffset(0)] public uint SqEntries;
    [FieldOffset(4)] public uint CqEntries;
    [FieldOffset(8)] public SetupFlags Flags;
    [FieldOffset(12)] public uint SqThreadCpu;
    [FieldOffset(16)] public uint SqThreadIdle;
    [FieldOffset(20)] public uint Features;
    [FieldOffset(24)] public uint WqFd;
    [FieldOffset(40)] public SqRingOffsets SqOffsets;
    [FieldOffset(80)] public CqRingOffsets CqOffsets;
}

/// <summary><c>struct io_uring_getevents_arg</c>, 24 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
internal struct GetEventsArgument
{
    [FieldOffset(0)] public ulong SignalMask;
    [FieldOffset(8)] public uint SignalMaskSize;
    [FieldOffset(12)] public uint MinWaitMicroseconds;
    [FieldOffset(16)] public ulong Timespec;
}

/// <summary><c>struct __kernel_timespec</c>, 16 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct KernelTimespec
{
    [FieldOffset(0)] public long Seconds;
    [FieldOffset(8)] public long Nanoseconds;
}

/// <summary><c>struct io_uring_rsrc_register</c>, 32 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
internal struct ResourceRegister
{
    /// <summary>IORING_RSRC_REGISTER_SPARSE.</summary>
    public const uint Sparse = 1;

    [FieldOffset(0)] public uint Count;
    [FieldOffset(4)] public uint Flags;
    [FieldOffset(16)] public ulong Data;
    [FieldOffset(24)] public ulong Tags;
}

/// <summary><c>struct io_uring_rsrc_update2</c>, 32 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
internal struct ResourceUpdate
{
    [FieldOffset(0)] public uint Offset;
    [FieldOffset(8)] public ulong Data;
    [FieldOffset(16)] public ulong Tags;
    [FieldOffset(24)] public uint Count;
}

/// <summary><c>struct io_uring_buf_reg</c>, 40 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
internal struct ProvidedRingRegister
{
    [FieldOffset(0)] public ulong RingAddress;
    [FieldOffset(8)] public uint RingEntries;
    [FieldOffset(12)] public ushort GroupId;
    [FieldOffset(14)] public ushort Flags;
}

/// <summary><c>struct io_uring_buf</c>, 16 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct ProvidedBufferEntry
{
    [FieldOffset(0)] public ulong Address;
    [FieldOffset(8)] public uint Length;
    [FieldOffset(12)] public ushort Id;
    /// <summary>In entry 0 of the ring this place is the ring's tail.</summary>
    [FieldOffset(14)] public ushort Tail;
}

/// <summary><c>struct io_uring_probe</c> head, 16 bytes, followed by the operations.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct ProbeHead
{
    [FieldOffset(0)] public byte LastOpcode;
    [FieldOffset(1)] public byte OperationCount;
}

/// <summary><c>struct io_uring_probe_op</c>, 8 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
internal struct ProbeOperation
{
    /// <summary>IO_URING_OP_SUPPORTED.</summary>
    public const ushort Supported = 1;

    [FieldOffset(0)] public byte Opcode;
    [FieldOffset(2)] public ushort Flags;
}

/// <summary><c>struct iovec</c>, 16 bytes on 64-bit machines.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct IoVector
{
    [FieldOffset(0)] public ulong Base;
    [FieldOffset(8)] public ulong Length;
}

/// <summary><c>struct msghdr</c>, 56 bytes on 64-bit machines.</summary>
[StructLayout(LayoutKind.Explicit, Size = 56)]
internal struct MessageHeader
{
    [FieldOffset(0)] public ulong Name;
    [FieldOffset(8)] public uint NameLength;
    [FieldOffset(16)] public ulong Vectors;
    [FieldOffset(24)] public ulong VectorCount;
    [FieldOffset(32)] public ulong Control;
    [FieldOffset(40)] public ulong ControlLength;
    [FieldOffset(48)] public uint Flags;
}
