using Ublk.Uring.Abi;
using Ublk.Uring.Native;

namespace Ublk.Uring;

/// <summary>
/// A file as entries name it: by descriptor, or by its place in the loop's file table. It owns nothing.
/// </summary>
public readonly struct RingFile
{
    private RingFile(int number, bool isFixed)
    {
        Number = number;
        IsFixed = isFixed;
    }

    internal int Number { get; }

    /// <summary>Whether the file is named by its place in the file table.</summary>
    public bool IsFixed { get; }

    /// <summary>Names an open file by its descriptor.</summary>
    /// <param name="file">The open file; its owner keeps it open while operations run.</param>
    public static RingFile Of(FileHandle file) => new(file.Fd, isFixed: false);

    /// <summary>Names a socket by its descriptor.</summary>
    /// <param name="socket">The open socket.</param>
    public static RingFile Of(System.Net.Sockets.SafeSocketHandle socket) =>
        new((int)socket.DangerousGetHandle(), isFixed: false);

    internal static RingFile Fixed(int index) => new(index, isFixed: true);
}

/// <summary>
/// Builders of submission entries: pure functions, one per operation. Buffers that are registered use the
/// fixed form by themselves.
/// </summary>
public static class Entries
{
    /// <summary>RWF_DSYNC: the data is on stable media before the write completes.</summary>
    public const uint WriteDataSync = 2;

    /// <summary>MSG_WAITALL: io_uring finishes a partial transfer by itself.</summary>
    public const uint MessageWaitAll = 0x100;

    /// <summary>MSG_NOSIGNAL.</summary>
    public const uint MessageNoSignal = 0x4000;

    private const uint FsyncDataSync = 1;
    private const ushort ReceiveMultishot = 2;
    private const ushort AcceptMultishot = 1;
    private const uint AsyncCancelAll = 1;

    /// <summary>Does nothing.</summary>
    public static SubmissionEntry Nop() => new() { Opcode = RingOpcode.Nop, Fd = -1 };

    /// <summary>Reads at an offset.</summary>
    /// <param name="file">File.</param>
    /// <param name="buffer">Where the bytes go.</param>
    /// <param name="offsetBytes">Offset in the file.</param>
    public static SubmissionEntry Read(RingFile file, in IoBuffer buffer, long offsetBytes) =>
        Transfer(RingOpcode.Read, RingOpcode.ReadFixed, file, buffer, offsetBytes);

    /// <summary>Writes at an offset.</summary>
    /// <param name="file">File.</param>
    /// <param name="buffer">The bytes.</param>
    /// <param name="offsetBytes">Offset in the file.</param>
    /// <param name="dataSync">Complete only when the bytes are on stable media (RWF_DSYNC).</param>
    public static SubmissionEntry Write(
        RingFile file, in IoBuffer buffer, long offsetBytes, bool dataSync = false)
    {
        SubmissionEntry entry = Transfer(
            RingOpcode.Write, RingOpcode.WriteFixed, file, buffer, offsetBytes);
        entry.OperationFlags = dataSync ? WriteDataSync : 0;
        return entry;
    }

    /// <summary>Brings a file's data to stable media (fdatasync).</summary>
    /// <param name="file">File.</param>
    public static SubmissionEntry DataSync(RingFile file)
    {
        SubmissionEntry entry = Bare(RingOpcode.Fsync, file);
        entry.OperationFlags = FsyncDataSync;
        return entry;
    }

    /// <summary>Allocates, punches or zeroes a range (fallocate).</summary>
    /// <param name="file">File.</param>
    /// <param name="mode">Mode bits of fallocate(2).</param>
    /// <param name="offsetBytes">Start of the range.</param>
    /// <param name="lengthBytes">Length of the range.</param>
    public static SubmissionEntry Allocate(
        RingFile file, FallocateModes mode, long offsetBytes, long lengthBytes)
    {
        SubmissionEntry entry = Bare(RingOpcode.Fallocate, file);
        entry.Offset = (ulong)offsetBytes;
        entry.Address = (ulong)lengthBytes;
        entry.Length = (uint)mode;
        return entry;
    }

    /// <summary>Sends from a buffer.</summary>
    /// <param name="socket">Connected socket.</param>
    /// <param name="buffer">Plain memory.</param>
    /// <param name="messageFlags">MSG_* flags.</param>
    public static SubmissionEntry Send(RingFile socket, in IoBuffer buffer, uint messageFlags) =>
        Message(RingOpcode.Send, socket, buffer, messageFlags);

    /// <summary>
    /// Sends without a copy; two completions, the second with
    /// <see cref="CompletionFlags.Notification"/> once the memory may be changed again.
    /// </summary>
    /// <param name="socket">Connected socket.</param>
    /// <param name="buffer">Plain memory.</param>
    /// <param name="messageFlags">MSG_* flags.</param>
    public static SubmissionEntry SendZeroCopy(
        RingFile socket, in IoBuffer buffer, uint messageFlags) =>
        Message(RingOpcode.SendZeroCopy, socket, buffer, messageFlags);

    /// <summary>
    /// Sends what a list gathers, in its order. The list is not changed before the completion; its bytes
    /// neither.
    /// </summary>
    /// <param name="socket">Connected socket.</param>
    /// <param name="list">What is sent, at least one part.</param>
    /// <param name="messageFlags">MSG_* flags.</param>
    public static SubmissionEntry SendMessage(RingFile socket, GatherList list, uint messageFlags)
    {
        SubmissionEntry entry = Bare(RingOpcode.SendMessage, socket);
        entry.Address = list.Seal();
        entry.Length = 1;
        entry.OperationFlags = messageFlags | MessageNoSignal;
        return entry;
    }

    /// <summary>Connects a socket.</summary>
    /// <param name="socket">Socket that is not connected.</param>
    /// <param name="address">
    /// The address as the kernel has it, unchanged until the completion.
    /// </param>
    public static SubmissionEntry Connect(RingFile socket, in IoBuffer address)
    {
        SubmissionEntry entry = Bare(RingOpcode.Connect, socket);
        entry.Address = address.Address;
        entry.Offset = (ulong)address.LengthBytes;
        return entry;
    }

    /// <summary>Receives into a buffer.</summary>
    /// <param name="socket">Connected socket.</param>
    /// <param name="buffer">Plain memory.</param>
    /// <param name="messageFlags">MSG_* flags.</param>
    public static SubmissionEntry Receive(RingFile socket, in IoBuffer buffer, uint messageFlags) =>
        Message(RingOpcode.Receive, socket, buffer, messageFlags);

    /// <summary>
    /// Receives again and again into provided buffers; ends when a completion lacks
    /// <see cref="CompletionFlags.More"/>.
    /// </summary>
    /// <param name="socket">Connected socket.</param>
    /// <param name="group">Group of provided buffers.</param>
    public static SubmissionEntry ReceiveMany(RingFile socket, ushort group)
    {
        SubmissionEntry entry = Bare(RingOpcode.Receive, socket);
        entry.Flags |= EntryFlags.BufferSelect;
        entry.IoPriority = ReceiveMultishot;
        entry.BufferIndex = group;
        return entry;
    }

    /// <summary>Accepts connections again and again; each completion is a new descriptor.</summary>
    /// <param name="listener">Listening socket.</param>
    public static SubmissionEntry AcceptMany(RingFile listener)
    {
        SubmissionEntry entry = Bare(RingOpcode.Accept, listener);
        entry.IoPriority = AcceptMultishot;
        entry.OperationFlags = Libc.CloseOnExec;
        return entry;
    }

    /// <summary>Posts a completion into another ring.</summary>
    /// <param name="target">The other ring.</param>
    /// <param name="result">Result of the posted completion.</param>
    /// <param name="userData">User data of the posted completion.</param>
    public static SubmissionEntry PostTo(Ring target, int result, ulong userData) => new()
    {
        Opcode = RingOpcode.MessageRing,
        Fd = target.File.Fd,
        Length = (uint)result,
        Offset = userData,
    };

    /// <summary>Cancels what was started under a user data value.</summary>
    /// <param name="userData">User data of the operation.</param>
    public static SubmissionEntry Cancel(ulong userData) => new()
    {
        Opcode = RingOpcode.AsyncCancel,
        Fd = -1,
        Address = userData,
        OperationFlags = AsyncCancelAll,
    };

    /// <summary>Completes with −ETIME after a time, or 0 after a number of completions.</summary>
    /// <param name="timespec">
    /// Two 64-bit numbers, seconds and nanoseconds, alive until the entry is submitted.
    /// </param>
    /// <param name="completionCount">Completions that end it early; 0 for none.</param>
    public static SubmissionEntry Timeout(in IoBuffer timespec, uint completionCount = 0) => new()
    {
        Opcode = RingOpcode.Timeout,
        Fd = -1,
        Address = timespec.Address,
        Length = 1,
        Offset = completionCount,
    };

    /// <summary>Limits the time of the entry before it, which must carry the Link flag.</summary>
    /// <param name="timespec">As for <see cref="Timeout"/>.</param>
    public static SubmissionEntry LinkTimeout(in IoBuffer timespec)
    {
        SubmissionEntry entry = Timeout(timespec);
        entry.Opcode = RingOpcode.LinkTimeout;
        return entry;
    }

    /// <summary>A command to the driver behind a file.</summary>
    /// <param name="file">Device file.</param>
    /// <param name="command">The driver's encoded opcode.</param>
    /// <param name="address">Value at offset 16, meaning given by the driver.</param>
    /// <param name="word0">First 8 bytes of the command area.</param>
    /// <param name="word1">Second 8 bytes of the command area.</param>
    public static SubmissionEntry Command(
        RingFile file, uint command, ulong address, ulong word0, ulong word1)
    {
        SubmissionEntry entry = Bare(RingOpcode.UringCommand, file);
        entry.CommandOpcode = command;
        entry.Address = address;
        entry.Command0 = word0;
        entry.Command1 = word1;
        return entry;
    }

    private static SubmissionEntry Transfer(
        RingOpcode plain, RingOpcode withTable, RingFile file, in IoBuffer buffer, long offsetBytes)
    {
        bool registered = buffer.TableIndex >= 0;
        SubmissionEntry entry = Bare(registered ? withTable : plain, file);
        entry.Offset = (ulong)offsetBytes;
        entry.Address = buffer.Address;
        entry.Length = (uint)buffer.LengthBytes;
        entry.BufferIndex = registered ? (ushort)buffer.TableIndex : (ushort)0;
        return entry;
    }

    private static SubmissionEntry Message(
        RingOpcode opcode, RingFile socket, in IoBuffer buffer, uint messageFlags)
    {
        if (!buffer.IsMemory)
        {
            throw new ArgumentException("not memory of this process", nameof(buffer));
        }

        SubmissionEntry entry = Bare(opcode, socket);
        entry.Address = buffer.Address;
        entry.Length = (uint)buffer.LengthBytes;
        entry.OperationFlags = messageFlags | MessageNoSignal;
        return entry;
    }

    private static SubmissionEntry Bare(RingOpcode opcode, RingFile file) => new()
    {
        Opcode = opcode,
        Fd = file.Number,
        Flags = file.IsFixed ? EntryFlags.FixedFile : EntryFlags.None,
    };
}

/// <summary>Mode bits of fallocate(2) (<c>linux/falloc.h</c>).</summary>
[Flags]
public enum FallocateModes : uint
{
    /// <summary>Allocate and grow.</summary>
    None = 0,
    /// <summary>FALLOC_FL_KEEP_SIZE.</summary>
    KeepSize = 1,
    /// <summary>FALLOC_FL_PUNCH_HOLE; needs KeepSize.</summary>
    PunchHole = 2,
    /// <summary>FALLOC_FL_ZERO_RANGE.</summary>
    ZeroRange = 0x10,
}
