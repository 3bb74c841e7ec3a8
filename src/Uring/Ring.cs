using System.Diagnostics;
using System.Runtime.CompilerServices;
using Ublk.Uring.Abi;
using Ublk.Uring.Native;

namespace Ublk.Uring;

/// <summary>Sizes and shape of a ring.</summary>
/// <param name="Entries">Submission entries, a power of two up to 32768.</param>
/// <param name="CompletionEntries">
/// Completion entries; at least 4 per operation in flight so that the queue never overflows.
/// </param>
public readonly record struct RingOptions(uint Entries = 256, uint CompletionEntries = 4096)
{
    /// <summary>128-byte entries for control commands, usable from any thread that takes turns.</summary>
    public bool IsControl { get; init; }
}

/// <summary>
/// One io_uring: its three mappings, the submission and completion queues, and the register calls. A data
/// ring belongs to the thread that created it, from set-up to disposal; a control ring may be used by one
/// thread at a time. Source: <c>linux/io_uring.h</c>, kernel 5.11 and later.
/// </summary>
public sealed unsafe class Ring : IDisposable
{
    /// <summary>The largest registered buffer table the kernel takes (IORING_MAX_REG_BUFFERS).</summary>
    public const int BufferTableLimit = 16384;

    private const ulong SqeMapOffset = 0x10000000;
    private const uint SqFlagCqOverflow = 1 << 1;
    private const uint FeatureSingleMap = 1 << 0;
    private const uint FeatureExtArg = 1 << 8;

    // Best first. Each rung drops what an older kernel does not know.
    private static readonly SetupFlags[] s_ladder =
    [
        SetupFlags.SingleIssuer | SetupFlags.DeferTaskRun | SetupFlags.SubmitAll | SetupFlags.NoSqArray,
        SetupFlags.SingleIssuer | SetupFlags.DeferTaskRun | SetupFlags.SubmitAll,
        SetupFlags.CoopTaskRun | SetupFlags.SubmitAll,
        SetupFlags.None,
    ];

    private readonly FileHandle _file;
    private readonly MemoryMapping _rings;
    private readonly MemoryMapping _entries;
    private readonly uint* _sqHead;
    private readonly uint* _sqTail;
    private readonly uint* _sqFlags;
    private readonly uint _sqMask;
    private readonly uint* _cqHead;
    private readonly uint* _cqTail;
    private readonly uint _cqMask;
    private readonly CompletionEntry* _cqes;
    private readonly int _entryBytes;
    private uint _localTail;
    private uint _submittedTail;

    private Ring(FileHandle file, in RingParameters parameters)
    {
        _file = file;
        SetupFlags = parameters.Flags;
        _entryBytes = SetupFlags.HasFlag(SetupFlags.Sqe128) ? 128 : SubmissionEntry.SizeBytes;
        EntryCount = parameters.SqEntries;
        CompletionCount = parameters.CqEntries;
        long ringBytes = Math.Max(
            parameters.SqOffsets.Array + (long)EntryCount * sizeof(uint),
            parameters.CqOffsets.Cqes + (long)CompletionCount * CompletionEntry.SizeBytes);
        _rings = MemoryMapping.OpenRing(file.Fd, 0, ringBytes);
        _entries = MemoryMapping.OpenRing(
            file.Fd, (long)SqeMapOffset, (long)EntryCount * _entryBytes);

        _sqHead = At(parameters.SqOffsets.Head);
        _sqTail = At(parameters.SqOffsets.Tail);
        _sqFlags = At(parameters.SqOffsets.Flags);
        _sqMask = *At(parameters.SqOffsets.RingMask);
        _cqHead = At(parameters.CqOffsets.Head);
        _cqTail = At(parameters.CqOffsets.Tail);
        _cqMask = *At(parameters.CqOffsets.RingMask);
        Debug.Assert(parameters.CqOffsets.Cqes % CompletionEntry.SizeBytes == 0);
        _cqes = (CompletionEntry*)At(parameters.CqOffsets.Cqes);
        _localTail = _submittedTail = *_sqTail;
        if (!SetupFlags.HasFlag(SetupFlags.NoSqArray))
        {
            // Entries are always used in ring order, so the indirection is the identity.
            _ = At(parameters.SqOffsets.Array + (EntryCount - 1) * sizeof(uint));
            uint* array = At(parameters.SqOffsets.Array);
            for (uint i = 0; i < EntryCount; i++)
            {
                array[i] = i;
            }
        }
    }

    /// <summary>The flags the kernel granted.</summary>
    public SetupFlags SetupFlags { get; }

    /// <summary>Submission entries.</summary>
    public uint EntryCount { get; }

    /// <summary>Completion entries.</summary>
    public uint CompletionCount { get; }

    /// <summary>Calls of io_uring_enter so far.</summary>
    public long EnterCount { get; private set; }

    internal FileHandle File => _file;

    /// <summary>Whether it was disposed; its registrations went with it.</summary>
    internal bool IsClosed => _file.IsClosed;

    /// <summary>Creates a ring on the calling thread.</summary>
    /// <param name="options">Sizes.</param>
    /// <exception cref="SystemCallException">
    /// ENOSYS: no io_uring in this kernel; EPERM: switched off (kernel.io_uring_disabled) or filtered;
    /// ENOMEM: RLIMIT_MEMLOCK on old kernels.
    /// </exception>
    public static Ring Create(RingOptions options)
    {
        int result = -Errno.EINVAL;
        if (options.IsControl)
        {
            result = TryCreate(options, SetupFlags.Sqe128, out Ring? control);
            return control ?? throw new SystemCallException("io_uring_setup", result);
        }

        foreach (SetupFlags flags in s_ladder)
        {
            result = TryCreate(options, flags, out Ring? ring);
            if (ring is not null)
            {
                return ring;
            }

            if (result != -Errno.EINVAL)
            {
                break;
            }
        }

        throw new SystemCallException("io_uring_setup", result);
    }

    private static int TryCreate(RingOptions options, SetupFlags flags, out Ring? ring)
    {
        ring = null;
        RingParameters parameters = default;
        parameters.Flags = flags | SetupFlags.Clamp | SetupFlags.CqSize;
        parameters.CqEntries = Math.Max(options.CompletionEntries, 2 * options.Entries);
        int fd = Libc.RingSetup(options.Entries, &parameters);
        if (fd < 0)
        {
            return fd;
        }

        var file = new FileHandle(fd);
        uint needed = FeatureSingleMap | FeatureExtArg;
        if ((parameters.Features & needed) != needed)
        {
            file.Dispose();
            return -Errno.ENOSYS;
        }

        ring = new Ring(file, parameters);
        return 0;
    }

    /// <summary>Entries written but not yet given to the kernel.</summary>
    public uint PendingCount => _localTail - _submittedTail;

    /// <summary>Free places in the submission queue.</summary>
    public uint FreeCount => EntryCount - (_localTail - Volatile.Read(ref *_sqHead));

    /// <summary>Appends an entry; false when the queue is full (submit first).</summary>
    /// <param name="entry">The entry, copied.</param>
    public bool TryAppend(in SubmissionEntry entry)
    {
        if (FreeCount == 0)
        {
            return false;
        }

        byte* slot = _entries.Pointer + (_localTail & _sqMask) * (uint)_entryBytes;
        *(SubmissionEntry*)slot = entry;
        if (_entryBytes > SubmissionEntry.SizeBytes)
        {
            new Span<byte>(slot + SubmissionEntry.SizeBytes, SubmissionEntry.SizeBytes).Clear();
        }

        _localTail++;
        return true;
    }

    /// <summary>
    /// Appends a control command: the entry and the 16 bytes that follow it (the part of a 128-byte entry
    /// that ublk uses).
    /// </summary>
    internal bool TryAppendLong(in SubmissionEntry entry, ulong word0, ulong word1)
    {
        Debug.Assert(_entryBytes == 128);
        byte* slot = _entries.Pointer + (_localTail & _sqMask) * (uint)_entryBytes;
        if (!TryAppend(entry))
        {
            return false;
        }

        ((ulong*)slot)[8] = word0;
        ((ulong*)slot)[9] = word1;
        return true;
    }

    /// <summary>
    /// Gives pending entries to the kernel, runs completion work, and waits until a number of completions
    /// are there or the time is over. Answers 0, or −ETIME when the time ran out, or another −errno.
    /// A call that also gave entries answers 0 whether or not the time ran out, and so does one that a
    /// signal or a lack of kernel memory ended early: what counts is what can be reaped.
    /// </summary>
    /// <param name="waitCount">Completions to wait for; 0 returns at once.</param>
    /// <param name="timeout">Longest wait; null waits for ever.</param>
    public int Enter(uint waitCount, TimeSpan? timeout = null)
    {
        Volatile.Write(ref *_sqTail, _localTail);
        KernelTimespec timespec = default;
        GetEventsArgument argument = default;
        if (timeout is { } limit)
        {
            long ticks = Math.Max(limit.Ticks, 0);
            timespec.Seconds = ticks / TimeSpan.TicksPerSecond;
            timespec.Nanoseconds = ticks % TimeSpan.TicksPerSecond * 100;
            argument.Timespec = (ulong)&timespec;
        }

        while (true)
        {
            EnterCount++;
            int result = Libc.RingEnter(
                _file.Fd, PendingCount, waitCount, (uint)(EnterFlags.GetEvents | EnterFlags.ExtArg),
                &argument, (nuint)sizeof(GetEventsArgument));
            if (result >= 0)
            {
                _submittedTail += (uint)result;
                if (PendingCount == 0 || result == 0)
                {
                    return 0;
                }

                continue; // A part was taken; the rest goes with the next call.
            }

            // The kernel may have consumed entries before a wait was cut short.
            _submittedTail = Volatile.Read(ref *_sqHead);
            switch (-result)
            {
                case Errno.EINTR when timeout is null && waitCount > 0:
                    continue;
                case Errno.EINTR:
                case Errno.EAGAIN: // No memory for requests now: completions must be reaped first.
                case Errno.EBUSY: // The completion queue overflowed: likewise.
                    return 0;
                default:
                    return result;
            }
        }
    }

    /// <summary>Takes one completion; false when there is none.</summary>
    /// <param name="entry">The completion.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryReap(out CompletionEntry entry)
    {
        uint head = *_cqHead;
        if (head == Volatile.Read(ref *_cqTail))
        {
            entry = default;
            return false;
        }

        entry = _cqes[head & _cqMask];
        Volatile.Write(ref *_cqHead, head + 1);
        return true;
    }

    /// <summary>Whether completions wait in the kernel because the queue overflowed.</summary>
    public bool HasOverflow => (Volatile.Read(ref *_sqFlags) & SqFlagCqOverflow) != 0;

    /// <summary>Registers an empty buffer table; answers 0 or −errno.</summary>
    /// <param name="slots">Number of places, at most <see cref="BufferTableLimit"/>.</param>
    internal int RegisterSparseBuffers(int slots)
    {
        var argument = new ResourceRegister
        {
            Count = (uint)slots,
            Flags = ResourceRegister.Sparse,
        };
        return Libc.RingRegister(
            _file.Fd, (uint)RegisterOpcode.Buffers2, &argument, (uint)sizeof(ResourceRegister));
    }

    /// <summary>Fills or (length 0) empties one place of the buffer table; 0 or −errno.</summary>
    internal int UpdateBuffer(int index, ulong address, long lengthBytes)
    {
        var vector = new IoVector { Base = address, Length = (ulong)lengthBytes };
        return Update(RegisterOpcode.BuffersUpdate, index, &vector);
    }

    /// <summary>Registers an empty file table; answers 0 or −errno.</summary>
    /// <param name="slots">Number of places.</param>
    internal int RegisterSparseFiles(int slots)
    {
        var argument = new ResourceRegister
        {
            Count = (uint)slots,
            Flags = ResourceRegister.Sparse,
        };
        return Libc.RingRegister(
            _file.Fd, (uint)RegisterOpcode.Files2, &argument, (uint)sizeof(ResourceRegister));
    }

    /// <summary>Puts a descriptor (or −1 to clear) into the file table; 0 or −errno.</summary>
    internal int UpdateFile(int index, int fd) => Update(RegisterOpcode.FilesUpdate2, index, &fd);

    /// <summary>Registers a ring of provided buffers; 0 or −errno.</summary>
    internal int RegisterProvidedRing(ulong address, uint entries, ushort group)
    {
        var argument = new ProvidedRingRegister
        {
            RingAddress = address,
            RingEntries = entries,
            GroupId = group,
        };
        return Libc.RingRegister(
            _file.Fd, (uint)RegisterOpcode.ProvidedBufferRing, &argument, 1);
    }

    /// <summary>Removes a ring of provided buffers; 0 or −errno.</summary>
    internal int UnregisterProvidedRing(ushort group)
    {
        var argument = new ProvidedRingRegister { GroupId = group };
        return Libc.RingRegister(
            _file.Fd, (uint)RegisterOpcode.UnregisterProvidedBufferRing, &argument, 1);
    }

    /// <summary>Which opcodes this kernel knows, by number.</summary>
    public bool[] ProbeOpcodes()
    {
        const int Count = 256;
        byte* area = stackalloc byte[sizeof(ProbeHead) + Count * sizeof(ProbeOperation)];
        new Span<byte>(area, sizeof(ProbeHead) + Count * sizeof(ProbeOperation)).Clear();
        var supported = new bool[Count];
        if (Libc.RingRegister(_file.Fd, (uint)RegisterOpcode.Probe, area, Count) < 0)
        {
            return supported;
        }

        var operations = (ProbeOperation*)(area + sizeof(ProbeHead));
        for (int i = 0; i < ((ProbeHead*)area)->OperationCount; i++)
        {
            supported[operations[i].Opcode] =
                (operations[i].Flags & ProbeOperation.Supported) != 0;
        }

        return supported;
    }

    /// <summary>
    /// Closes the ring. Unmap first: a mapping keeps the ring, and with it every descriptor that its
    /// pending commands hold.
    /// </summary>
    public void Dispose()
    {
        _entries.Dispose();
        _rings.Dispose();
        _file.Dispose();
    }

    private int Update(RegisterOpcode opcode, int index, void* data)
    {
        var argument = new ResourceUpdate
        {
            Offset = (uint)index,
            Data = (ulong)data,
            Count = 1,
        };
        int result = Libc.RingRegister(
            _file.Fd, (uint)opcode, &argument, (uint)sizeof(ResourceUpdate));
        return Math.Min(result, 0);
    }

    // Offsets come from the kernel; they are checked before they become pointers.
    private uint* At(uint offsetBytes) =>
        (uint*)Unsafe.AsPointer(ref _rings.At<uint>(offsetBytes));
}
