using System.Diagnostics;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Blocks;

namespace Ublk.Frontend.Ublk;

/// <summary>
/// The tags of one queue: each is either with the driver (fetching) or with us (one request), and every
/// request is answered exactly once. No thread, clock or file of its own; used on the loop's thread only.
/// What belongs to a request is in <see cref="UblkRequestSlots"/>, where its bytes go is decided by
/// <see cref="UblkPayloads"/>.
/// </summary>
public sealed class UblkQueue : IUblkCommandSink, IBlockCompletion, IUblkPayloadOwner
{
    /// <summary>A refused commit is sent once more: the request is still ours.</summary>
    private const int CommitAttempts = 2;

    /// <summary>Beyond this sector a start in bytes does not fit 63 bits.</summary>
    private const ulong MaxStartSector = long.MaxValue >> UblkAbi.SectorShift;

    /// <summary>The token of no request.</summary>
    private const ulong NoRequest = 0;

    private readonly UblkQueueOptions _options;
    private readonly IUblkQueueDriver _driver;
    private readonly IBlockTarget _target;
    private readonly UblkBufferPlaces _places;
    private readonly UblkRequestSlots _requests;
    private readonly UblkPayloads _payloads;
    private readonly UblkCounters _counters;
    private readonly IUblkQueueOwner _owner;
    private readonly TimeProvider _time;
    private readonly Tag[] _tags;
    private readonly long _timeoutTicks;

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
        _options = options;
        _driver = driver;
        _target = target;
        _counters = counters;
        _owner = owner;
        _time = time;
        _timeoutTicks = (long)(options.RequestTimeout.TotalSeconds * time.TimestampFrequency);
        _tags = new Tag[options.Depth];
        _places = new UblkBufferPlaces(options, table, counters);
        _requests = new UblkRequestSlots(options.Depth, _places, pool);
        _payloads =
            new UblkPayloads(options, driver, target.Limits, pool, _requests, counters, this);
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
            ref Tag entry = ref _tags[tag];
            entry.Place = _places.Rent();
            entry.State = TagState.Fetching;
            _driver.Fetch(tag, _places.Word(entry.Place));
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
                entry.GivenUp = NoRequest;
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

        ref UblkRequest request = ref _requests[slot];
        if (request.IsGivenUp)
        {
            _requests.Release(slot); // Answered earlier; only the memory was still out.
            return;
        }

        if (status == BlockStatus.NeedsMemory && !request.HasMemory)
        {
            _payloads.RouteThroughMemory(slot);
            return;
        }

        Finish(slot, status == BlockStatus.Ok && !_payloads.TryDeliver(slot)
            ? BlockStatus.IoError : status);
    }

    /// <inheritdoc/>
    void IUblkPayloadOwner.OnPayloadReady(int slot, in IoBuffer buffer) => Submit(slot, buffer);

    /// <inheritdoc/>
    void IUblkPayloadOwner.OnPayloadFailed(int slot) => Finish(slot, BlockStatus.IoError);

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
            ref Tag entry = ref _tags[tag];
            if (entry.State != TagState.Serving || !_requests.CanGiveUp)
            {
                continue;
            }

            ref UblkRequest request = ref _requests[entry.Request];
            if (request.Deadline > now)
            {
                continue;
            }

            // The target may still use the request's place in the table, so it is not given to another
            // request before the target is done. The kernel empties it at the commit.
            _requests.GiveUp(entry.Request, entry.Place);
            entry.GivenUp = _requests.TokenOf(entry.Request);
            entry.Place = UblkBufferPlaces.None;
            _counters[UblkCounter.Timeouts]++;
            count++;
            Answer(tag, request.Operation, request.LengthBytes, BlockStatus.TimedOut);
        }

        if (count > 0)
        {
            _payloads.LookAgain();
        }

        return count;
    }

    /// <summary>
    /// The device is closed, and nothing of its requests is left in the kernel: places that were kept back
    /// for that return to the loop's table.
    /// </summary>
    public void ReturnWithheldPlaces() => _places.Close();

    private void Accept(int tag)
    {
        UblkIoDescriptor descriptor = _driver.Descriptor(tag);
        ref Tag entry = ref _tags[tag];
        entry.State = TagState.Serving;
        InFlightCount++;
        _counters.CountArrival();

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

        ref UblkRequest request = ref _requests.Rent(out int slot);
        request.Tag = tag;
        request.Operation = operation;
        request.Flags = flags;
        request.OffsetBytes = offset;
        request.RangeBytes = length;
        request.Deadline = _timeoutTicks == 0 ? long.MaxValue : _time.GetTimestamp() + _timeoutTicks;
        entry.Request = slot;
        if (request.HasPayload)
        {
            _payloads.Route(slot, descriptor, entry.Place);
        }
        else
        {
            Submit(slot, default);
        }
    }

    private void Submit(int slot, in IoBuffer buffer)
    {
        ref UblkRequest request = ref _requests[slot];
        _target.Submit(
            new BlockRequest(request.Operation, request.Flags, request.OffsetBytes,
                request.RangeBytes, buffer, _requests.TokenOf(slot)),
            this);
    }

    private void Finish(int slot, BlockStatus status)
    {
        ref UblkRequest request = ref _requests[slot];
        int tag = request.Tag;
        BlockOperation operation = request.Operation;
        int length = request.LengthBytes;
        _requests.Release(slot);
        Answer(tag, operation, length, status);
    }

    // Full length or an error: a part would be taken for the whole by kernel 7.3, and be asked for again
    // by older ones.
    private void Answer(int tag, BlockOperation operation, int lengthBytes, BlockStatus status)
    {
        bool hasPayload = operation is BlockOperation.Read or BlockOperation.Write;
        int result = status != BlockStatus.Ok ? BlockStatusMap.ToErrno(status)
            : hasPayload ? lengthBytes : 0;
        _counters.CountEnd(operation, lengthBytes, status);
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

        entry.State = TagState.Fetching;
        entry.Result = result;
        InFlightCount--;
        SendCommit(tag);
        _counters.CountDeparture();
    }

    // The tag's place in the table is empty again when the kernel takes this commit, so the next request
    // may have it. Until then it stays the tag's: a commit that is refused leaves the old pages in it.
    private void SendCommit(int tag)
    {
        ref Tag entry = ref _tags[tag];
        if (entry.Place == UblkBufferPlaces.None)
        {
            entry.Place = _places.Rent();
        }

        entry.CommitAttempts++;
        _driver.Commit(tag, entry.Result, _places.Word(entry.Place));
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
        WithholdPlace(ref entry);
        End(tag);
    }

    // The request, and with it its pages, stays with the kernel. One that was given up has them at the
    // place it took along; the one its tag has now is empty.
    private void WithholdPlace(ref Tag entry)
    {
        if (entry.GivenUp != NoRequest)
        {
            _requests.WithholdPlace(entry.GivenUp);
            return;
        }

        _places.Withhold(entry.Place);
        entry.Place = UblkBufferPlaces.None;
    }

    private void End(int tag)
    {
        ref Tag entry = ref _tags[tag];
        entry.State = TagState.Ended;
        _places.Return(entry.Place);
        entry.Place = UblkBufferPlaces.None;
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
        public ushort Place;

        /// <summary>Slot of the request while it is served.</summary>
        public int Request;
        public int Result;
        public int CommitAttempts;

        /// <summary>Token of the request that the last commit answered because it was given up.</summary>
        public ulong GivenUp;
    }
}
