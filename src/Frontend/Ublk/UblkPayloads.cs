using Ublk.Uring;
using Ublk.Wire.Blocks;

namespace Ublk.Frontend.Ublk;

/// <summary>Hears where the bytes of a request are.</summary>
internal interface IUblkPayloadOwner
{
    /// <summary>
    /// The request can go to the target; maybe told before <see cref="UblkPayloads.Route"/> returns.
    /// </summary>
    /// <param name="slot">The request.</param>
    /// <param name="buffer">Where its bytes are, or go.</param>
    void OnPayloadReady(int slot, in IoBuffer buffer);

    /// <summary>The bytes of a write could not be copied out of the request.</summary>
    /// <param name="slot">The request.</param>
    void OnPayloadFailed(int slot);
}

/// <summary>
/// The bytes of a queue's reads and writes: in the request's own pages when the kernel has registered them
/// and the target can use them, otherwise in a block of our memory, with a copy from or to the request.
/// Writes are copied unless told otherwise. Without memory a request waits in line; nobody overtakes.
/// Used on the loop's thread.
/// </summary>
internal sealed class UblkPayloads : IPayloadWaiter
{
    private readonly UblkQueueOptions _options;
    private readonly IUblkQueueDriver _driver;
    private readonly BlockLimits _limits;
    private readonly PayloadPool _pool;
    private readonly UblkRequestSlots _requests;
    private readonly UblkCounters _counters;
    private readonly IUblkPayloadOwner _owner;
    private readonly Queue<int> _waiting;
    private bool _isInLine;

    /// <summary>Makes the router of one queue.</summary>
    /// <param name="options">How requests are served.</param>
    /// <param name="driver">Copies from and to requests.</param>
    /// <param name="limits">What the target can do with registered pages.</param>
    /// <param name="pool">Our memory.</param>
    /// <param name="requests">The requests of the queue.</param>
    /// <param name="counters">Counters.</param>
    /// <param name="owner">Hears of requests that are ready.</param>
    public UblkPayloads(
        UblkQueueOptions options, IUblkQueueDriver driver, BlockLimits limits, PayloadPool pool,
        UblkRequestSlots requests, UblkCounters counters, IUblkPayloadOwner owner)
    {
        if (options.MaxTransferBytes > PayloadPool.MaxBlockBytes)
        {
            throw new ArgumentException("a transfer must fit a block of the pool", nameof(options));
        }

        _options = options;
        _driver = driver;
        _limits = limits;
        _pool = pool;
        _requests = requests;
        _counters = counters;
        _owner = owner;
        _waiting = new Queue<int>(options.Depth);
    }

    /// <summary>Decides where the bytes of a read or write go; the owner hears when they may.</summary>
    /// <param name="slot">The request.</param>
    /// <param name="descriptor">As the driver delivered it.</param>
    /// <param name="place">The place in the table that its tag had.</param>
    public void Route(int slot, in UblkIoDescriptor descriptor, ushort place)
    {
        ref UblkRequest request = ref _requests[slot];
        bool isRead = request.Operation == BlockOperation.Read;
        bool isRegistered = _options.UsesAutoBuffers &&
            (descriptor.OperationFlags & UblkAbi.DescriptorNeedRegistration) == 0;
        if (_options.UsesAutoBuffers && !isRegistered)
        {
            _counters[UblkCounter.RegistrationFallbacks]++;
        }

        bool isDirect = isRegistered && (isRead
            ? _limits.ReadsIntoRegistered
            : _limits.WritesFromRegistered && !_options.CopiesWrites);
        if (isDirect)
        {
            _counters[isRead ? UblkCounter.ReadsIntoRequest : UblkCounter.WritesFromRequest]++;
            _owner.OnPayloadReady(slot, IoBuffer.Registered(place, request.LengthBytes));
            return;
        }

        RouteThroughMemory(slot);
    }

    /// <summary>
    /// The target cannot reach the registered pages of a read: it is asked again, with memory.
    /// </summary>
    /// <param name="slot">The request; it has no memory yet.</param>
    public void RouteThroughMemory(int slot)
    {
        ref UblkRequest request = ref _requests[slot];
        bool isRead = request.Operation == BlockOperation.Read;
        _counters[isRead ? UblkCounter.ReadsThroughMemory : UblkCounter.WritesFromCopy]++;
        if (TryRentMemory(ref request))
        {
            StartInMemory(slot);
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

    /// <summary>
    /// The target is done with a read: brings its bytes into the request if they went into our memory.
    /// </summary>
    /// <param name="slot">The request.</param>
    /// <returns>False when they could not be copied as a whole.</returns>
    public bool TryDeliver(int slot)
    {
        ref UblkRequest request = ref _requests[slot];
        return request.Operation != BlockOperation.Read || !request.HasMemory ||
            _driver.CopyToRequest(request.Tag, request.Memory.Span) == request.Memory.LengthBytes;
    }

    /// <summary>Requests were given up; those behind them in the line may need less.</summary>
    public void LookAgain()
    {
        if (_waiting.Count > 0)
        {
            _pool.LookAgain();
        }
    }

    /// <inheritdoc/>
    bool IPayloadWaiter.TryContinue()
    {
        while (_waiting.TryPeek(out int slot))
        {
            ref UblkRequest request = ref _requests[slot];
            bool isGivenUp = request.IsGivenUp;
            if (!isGivenUp && !TryRentMemory(ref request))
            {
                return false;
            }

            _waiting.Dequeue();
            if (isGivenUp)
            {
                _requests.Release(slot);
            }
            else
            {
                StartInMemory(slot);
            }
        }

        _isInLine = false;
        return true;
    }

    private bool TryRentMemory(ref UblkRequest request) =>
        request.HasMemory = _pool.TryRent(request.LengthBytes, out request.Memory);

    private void StartInMemory(int slot)
    {
        ref UblkRequest request = ref _requests[slot];
        IoBuffer memory = request.Memory;
        bool isWhole = request.Operation != BlockOperation.Write ||
            _driver.CopyFromRequest(request.Tag, memory.Span) == request.LengthBytes;
        if (isWhole)
        {
            _owner.OnPayloadReady(slot, memory);
        }
        else
        {
            _owner.OnPayloadFailed(slot);
        }
    }
}
