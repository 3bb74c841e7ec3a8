using System.Diagnostics;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Blocks;

namespace Ublk.Frontend.Ublk;

/// <summary>
/// The tags of one queue: each is either with the driver (fetching) or with us (one request), and every
/// request is answered exactly once. No thread, clock or file of its own; used on the loop's thread only.
/// Payload blocks belong to a request's slot from rent to return, also after a request was given up while
/// the target still uses its memory.
/// </summary>
public sealed class UblkQueue : IUblkCommandSink, IBlockCompletion, IPayloadWaiter
{
    /// <summary>A place in the buffer table that never exists, so that registration falls back.</summary>
    private const ushort NoBufferIndex = ushort.MaxValue;

    /// <summary>A refused commit is sent once more: the request is still ours.</summary>
    private const int CommitAttempts = 2;

    /// <summary>Beyond this sector a start in bytes does not fit 63 bits.</summary>
    private const ulong MaxStartSector = long.MaxValue >> UblkAbi.SectorShift;

    private const int None = -1;

    private readonly UblkQueueOptions _options;
    private readonly IUblkQueueDriver _driver;
    private readonly IBlockTarget _target;
    private readonly PayloadPool _pool;
    private readonly BufferTable? _table;
    private readonly UblkCounters _counters;
    private readonly IUblkQueueOwner _owner;
    private readonly TimeProvider _time;
    private readonly Tag[] _tags;
    private readonly SlotTable<Request> _requests;
    private readonly Queue<int> _waiting;
    private readonly long _timeoutTicks;
    private int _givenUpCount;
    private bool _isInLine;

    /// <summary>Makes a queue; nothing happens before <see cref="Start"/>.</summary>
    /// <param name="options">How requests are served.</param>
    /// <param name="driver">The driver's side.</param>
    /// <param name="target">Where requests go.</param>
    /// <param name="pool">Memory for payload.</param>
    /// <param name="table">
    /// The loop's buffer table; null where registered pages are not wanted: then every request of a
    /// device with auto buffers falls back to copies.
    /// </param>
    /// <param name="counters">Counters.</param>
    /// <param name="owner">Hears of the end.</param>
    /// <param name="time">Clock of the request time limit.</param>
    public UblkQueue(
        UblkQueueOptions options, IUblkQueueDriver driver, IBlockTarget target, PayloadPool pool,
        BufferTable? table, UblkCounters counters, IUblkQueueOwner owner, TimeProvider time)
    {
        if (options.MaxTransferBytes > PayloadPool.MaxBlockBytes)
        {
            throw new ArgumentException("a transfer must fit a block of the pool", nameof(options));
        }

        _options = options;
        _driver = driver;
        _target = target;
        _pool = pool;
        _table = options.UsesAutoBuffers ? table : null;
        _counters = counters;
        _owner = owner;
        _time = time;
        _timeoutTicks = (long)(options.RequestTimeout.TotalSeconds * time.TimestampFrequency);
        _tags = new Tag[options.Depth];
        _waiting = new Queue<int>(options.Depth);

        // One slot per tag, and as many again for requests that were given up but are still with the
        // target.
        _requests = new SlotTable<Request>(2 * options.Depth, "requests of a queue");
        driver.Sink = this;
    }

    /// <summary>Requests in our hands.</summary>
    public int InFlightCount { get; private set; }

    /// <summary>Tags the driver has given back for good.</summary>
    public int EndedCount { get; private set; }

    /// <summary>Offers every tag to the driver.</summary>
    public void Start()
    {
        for (int tag = 0; tag < _tags.Length; tag++)
        {
            _tags[tag].BufferIndex = RentIndex();
            _tags[tag].State = TagState.Fetching;
            _tags[tag].Request = None;
            _driver.Fetch(tag, BufferWord(tag));
        }
    }

    /// <inheritdoc/>
    public void OnCommandCompleted(int tag, int result)
    {
        ref Tag entry = ref _tags[tag];
        if (entry.State != TagState.Fetching)
        {
            throw new UnreachableException($"tag {tag} completed in state {entry.State}");
        }

        switch (result)
        {
            case 0:
                entry.CommitAttempts = 0;
                entry.WasDelivered = true;
                Accept(tag);
                break;
            case -Errno.ENODEV:
                End(tag);
                break;
            default:
                Refused(tag, result);
                break;
        }
    }

    /// <inheritdoc/>
    public void OnBlockCompleted(ulong token, BlockStatus status)
    {
        if (!_requests.TryFind(token, out int slot))
        {
            throw new UnreachableException($"request {token:x} was completed twice");
        }

        ref Request request = ref _requests[slot];
        int tag = request.Tag;
        if (tag == None)
        {
            // Given up earlier; only the memory was still out.
            ReleaseGivenUp(slot);
            return;
        }

        if (status == BlockStatus.Ok && request.Operation == BlockOperation.Read && request.HasMemory)
        {
            int copied = _driver.CopyToRequest(tag, request.Memory.Span);
            status = copied == request.Memory.LengthBytes ? BlockStatus.Ok : BlockStatus.IoError;
        }

        BlockOperation operation = request.Operation;
        int length = request.LengthBytes;
        Release(slot);
        Answer(tag, operation, length, status);
    }

    /// <inheritdoc/>
    bool IPayloadWaiter.TryContinue()
    {
        while (_waiting.TryPeek(out int slot))
        {
            ref Request request = ref _requests[slot];
            if (request.Tag == None)
            {
                _waiting.Dequeue(); // Given up while it waited.
                ReleaseGivenUp(slot);
                continue;
            }

            if (!_pool.TryRent(request.LengthBytes, out IoBuffer memory))
            {
                return false;
            }

            _waiting.Dequeue();
            request.Memory = memory;
            request.HasMemory = true;
            SubmitWithMemory(slot);
        }

        _isInLine = false;
        return true;
    }

    /// <summary>Gives up requests whose time is over; called now and then by the owner.</summary>
    /// <returns>How many were given up.</returns>
    public int GiveUpOverdue()
    {
        if (_timeoutTicks == 0)
        {
            return 0;
        }

        int count = 0;
        long now = _time.GetTimestamp();
        for (int tag = 0; tag < _tags.Length; tag++)
        {
            int slot = _tags[tag].Request;
            // Without a spare slot the tag could not take its next request.
            if (slot == None || _requests[slot].Deadline > now || _givenUpCount == _tags.Length)
            {
                continue;
            }

            // The target may still use the request's place in the table, so it is not given to another
            // request before the target is done. The kernel empties it at the commit.
            ref Request request = ref _requests[slot];
            request.Tag = None;
            request.HeldIndex = _tags[tag].BufferIndex;
            _tags[tag].BufferIndex = NoBufferIndex;
            _counters[UblkCounter.Timeouts]++;
            _givenUpCount++;
            count++;
            Answer(tag, request.Operation, request.LengthBytes, BlockStatus.TimedOut);
        }

        if (count > 0 && _waiting.Count > 0)
        {
            _pool.LookAgain();
        }

        return count;
    }

    private void Accept(int tag)
    {
        UblkIoDescriptor descriptor = _driver.Descriptor(tag);
        ref Tag entry = ref _tags[tag];
        entry.State = TagState.Serving;
        InFlightCount++;
        _counters[UblkCounter.InFlight]++;

        if (!UblkRequestDecoder.TryDecode(descriptor, out BlockOperation operation, out var flags))
        {
            _counters[UblkCounter.Errors]++;
            Conclude(tag, BlockStatusMap.ToErrno(BlockStatus.NotSupported));
            return;
        }

        bool hasRange = operation != BlockOperation.Flush;
        long offset = hasRange ? (long)descriptor.StartSector << UblkAbi.SectorShift : 0;
        long length = hasRange ? (long)descriptor.SectorCount << UblkAbi.SectorShift : 0;
        bool isStartValid = !hasRange || descriptor.StartSector <= MaxStartSector;
        if (!isStartValid || (hasRange && !IsServable(operation, offset, length)))
        {
            Answer(tag, operation, 0, BlockStatus.IoError);
            return;
        }

        int slot = Take(tag, operation, flags, offset, length);
        if (operation is BlockOperation.Read or BlockOperation.Write)
        {
            RoutePayload(tag, slot, descriptor);
        }
        else
        {
            Submit(slot, default);
        }
    }

    // Where the bytes go: the request's own pages when the kernel has registered them and the target
    // can use them, otherwise a block of ours. Writes are copied unless told otherwise.
    private void RoutePayload(int tag, int slot, in UblkIoDescriptor descriptor)
    {
        ref Request request = ref _requests[slot];
        bool isRead = request.Operation == BlockOperation.Read;
        bool isRegistered = _options.UsesAutoBuffers &&
            (descriptor.OperationFlags & UblkAbi.DescriptorNeedRegistration) == 0;
        if (_options.UsesAutoBuffers && !isRegistered)
        {
            _counters[UblkCounter.RegistrationFallbacks]++;
        }

        bool isDirect = isRegistered && (isRead
            ? _target.Limits.ReadsIntoRegistered
            : _target.Limits.WritesFromRegistered && !_options.CopiesWrites);
        if (isDirect)
        {
            _counters[isRead ? UblkCounter.ReadsIntoRequest : UblkCounter.WritesFromRequest]++;
            Submit(slot, IoBuffer.Registered(_tags[tag].BufferIndex, request.LengthBytes));
            return;
        }

        _counters[isRead ? UblkCounter.ReadsThroughMemory : UblkCounter.WritesFromCopy]++;
        if (_pool.TryRent(request.LengthBytes, out IoBuffer memory))
        {
            request.Memory = memory;
            request.HasMemory = true;
            SubmitWithMemory(slot);
            return;
        }

        _counters[UblkCounter.MemoryWaits]++;
        _waiting.Enqueue(slot);
        if (!_isInLine)
        {
            _isInLine = true;
            _pool.Wait(this);
        }
    }

    private void SubmitWithMemory(int slot)
    {
        ref Request request = ref _requests[slot];
        if (request.Operation == BlockOperation.Write)
        {
            int copied = _driver.CopyFromRequest(request.Tag, request.Memory.Span);
            if (copied != request.LengthBytes)
            {
                int tag = request.Tag;
                Release(slot);
                Answer(tag, BlockOperation.Write, 0, BlockStatus.IoError);
                return;
            }
        }

        Submit(slot, request.Memory);
    }

    private void Submit(int slot, in IoBuffer buffer)
    {
        ref Request request = ref _requests[slot];
        _target.Submit(
            new BlockRequest(request.Operation, request.Flags, request.OffsetBytes,
                request.RangeBytes, buffer, _requests.IdOf(slot)),
            this);
    }

    // Full length or an error: a part would be taken for the whole by kernel 7.3, and be asked for again
    // by older ones.
    private void Answer(int tag, BlockOperation operation, int lengthBytes, BlockStatus status)
    {
        bool hasPayload = operation is BlockOperation.Read or BlockOperation.Write;
        int result = status != BlockStatus.Ok ? BlockStatusMap.ToErrno(status)
            : hasPayload ? lengthBytes : 0;
        Count(operation, lengthBytes, status);
        Conclude(tag, result);
    }

    // The only way a request leaves our hands.
    private void Conclude(int tag, int result)
    {
        ref Tag entry = ref _tags[tag];
        if (entry.State != TagState.Serving)
        {
            throw new UnreachableException($"tag {tag} answered in state {entry.State}");
        }

        entry.Request = None;
        entry.State = TagState.Fetching;
        entry.Result = result;
        InFlightCount--;
        _counters[UblkCounter.InFlight]--;
        SendCommit(tag);
    }

    // The old place in the table is free again when the kernel sees this commit, so the next request
    // may use it or any other.
    private void SendCommit(int tag)
    {
        ref Tag entry = ref _tags[tag];
        ReturnIndex(entry.BufferIndex);
        entry.BufferIndex = RentIndex();
        entry.CommitAttempts++;
        _driver.Commit(tag, entry.Result, BufferWord(tag));
    }

    private void Refused(int tag, int result)
    {
        ref Tag entry = ref _tags[tag];
        if (!entry.WasDelivered)
        {
            _owner.OnQueueFault($"fetch of tag {tag} was refused: {Errno.Describe(result)}");
            End(tag);
            return;
        }

        _counters[UblkCounter.RefusedCommits]++;
        if (entry.CommitAttempts < CommitAttempts)
        {
            SendCommit(tag);
            return;
        }

        // Told first: the end of the last tag must not look like a stop.
        _owner.OnQueueFault($"commit of tag {tag} was refused: {Errno.Describe(result)}");
        End(tag);
    }

    private void End(int tag)
    {
        ref Tag entry = ref _tags[tag];
        entry.State = TagState.Ended;
        ReturnIndex(entry.BufferIndex);
        entry.BufferIndex = NoBufferIndex;
        EndedCount++;
        if (EndedCount == _tags.Length)
        {
            _owner.OnQueueEnded();
        }
    }

    private bool IsServable(BlockOperation operation, long offset, long length)
    {
        bool hasPayload = operation is BlockOperation.Read or BlockOperation.Write;
        if (hasPayload && length > _options.MaxTransferBytes)
        {
            return false;
        }

        // Beyond the known end: the image may have been grown since.
        return _target.Limits.Contains(offset, length, _target.SizeBytes) ||
            _target.Limits.Contains(offset, length, _target.RefreshSize());
    }

    private int Take(
        int tag, BlockOperation operation, BlockRequestFlags flags, long offset, long length)
    {
        ref Request request = ref _requests.Rent(out int slot);
        request.HeldIndex = NoBufferIndex;
        request.Tag = tag;
        request.Operation = operation;
        request.Flags = flags;
        request.OffsetBytes = offset;
        request.RangeBytes = length;
        request.Deadline = _timeoutTicks == 0 ? long.MaxValue : _time.GetTimestamp() + _timeoutTicks;
        _tags[tag].Request = slot;
        return slot;
    }

    private void Release(int slot)
    {
        Request request = _requests[slot];
        _requests.Return(slot);
        ReturnIndex(request.HeldIndex);
        if (request.HasMemory)
        {
            _pool.Return(request.Memory); // Last: who waits for memory goes on inside.
        }
    }

    private void ReleaseGivenUp(int slot)
    {
        _givenUpCount--;
        Release(slot);
    }

    private void Count(BlockOperation operation, int lengthBytes, BlockStatus status)
    {
        _counters[UblkCounter.LoopAllocatedBytes] = GC.GetAllocatedBytesForCurrentThread();
        _counters[operation switch
        {
            BlockOperation.Read => UblkCounter.Reads,
            BlockOperation.Write => UblkCounter.Writes,
            BlockOperation.Flush => UblkCounter.Flushes,
            BlockOperation.Discard => UblkCounter.Discards,
            _ => UblkCounter.WriteZeroes,
        }]++;
        if (status != BlockStatus.Ok)
        {
            _counters[UblkCounter.Errors]++;
        }
        else if (operation == BlockOperation.Read)
        {
            _counters[UblkCounter.ReadBytes] += lengthBytes;
        }
        else if (operation == BlockOperation.Write)
        {
            _counters[UblkCounter.WriteBytes] += lengthBytes;
        }
    }

    private ulong BufferWord(int tag) => _options.UsesAutoBuffers
        ? _tags[tag].BufferIndex | (_options.FallsBack ? UblkAbi.AutoBufferFallback : 0)
        : 0;

    private ushort RentIndex() =>
        _table is not null && _table.TryRent(out ushort index) ? index : NoBufferIndex;

    private void ReturnIndex(ushort index)
    {
        if (index != NoBufferIndex)
        {
            _table!.Return(index);
        }
    }

    private enum TagState : byte
    {
        Idle,
        Fetching,
        Serving,
        Ended,
    }

    private struct Tag
    {
        public TagState State;
        public bool WasDelivered;
        public ushort BufferIndex;
        public int Request;
        public int Result;
        public int CommitAttempts;
    }

    private struct Request
    {
        public int Tag;
        public bool HasMemory;
        public ushort HeldIndex;
        public BlockOperation Operation;
        public BlockRequestFlags Flags;
        public long OffsetBytes;
        public long RangeBytes;
        public long Deadline;
        public IoBuffer Memory;

        /// <summary>Length of a payload; discards may be longer than an int holds.</summary>
        public readonly int LengthBytes => (int)Math.Min(RangeBytes, int.MaxValue);
    }
}
