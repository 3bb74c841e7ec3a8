using Ublk.Uring;
using Ublk.Wire.Blocks;

namespace Ublk.Replication.State;

/// <summary>A request of the host until it is answered.</summary>
internal struct HostRequest
{
    /// <summary>What was asked.</summary>
    public BlockRequest Request;

    /// <summary>CRC32C of a write's payload.</summary>
    public uint Crc;

    /// <summary>Who hears of the end.</summary>
    public IBlockCompletion Completion;

    /// <summary>When it fails, by the machine's clock.</summary>
    public long Deadline;

    /// <summary>The operation it became; 0 while it is held.</summary>
    public ulong Sequence;

    /// <summary>It is complete when everything through this is durable on a quorum.</summary>
    public ulong Through;

    /// <summary>The operation whose quorum a read waits for; 0 for none.</summary>
    public ulong WaitsFor;

    /// <summary>The next read that waits for the same operation; 0 for none.</summary>
    public ulong NextWaiter;

    /// <summary>Sources of a read, or of the piece of it that is next, that have failed.</summary>
    public ReplicaMask Tried;

    /// <summary>Bytes of a read that are there, and bytes that a source is asked for.</summary>
    public int ReadBytes, AskedBytes;

    /// <summary>No source could read all of it: each is asked for pieces.</summary>
    public bool IsInPieces;

    /// <summary>The payload is ours to give back: the operation was never sequenced.</summary>
    public bool OwnsPayload;

    /// <summary>A source is filling the buffer, so the request cannot be answered now.</summary>
    public bool IsReading;

    /// <summary>The buffer is filled; only the right to show it is waited for.</summary>
    public bool HasBytes;

    /// <summary>Its time was over while the buffer was being filled.</summary>
    public bool IsOverdue;
}

/// <summary>
/// The host's requests in hand: each is answered exactly once, here. Answers and payload given back are
/// delivered only when an event has been dealt with, because who hears of them may ask for more at once.
/// </summary>
internal sealed class HostRequests
{
    private readonly SlotTable<HostRequest> _slots;
    private readonly IVolumeEffects _effects;
    private readonly Queue<HostAnswer> _answers;
    private readonly Queue<IoBuffer> _payloads;
    private bool _isDelivering;

    /// <summary>None in hand.</summary>
    /// <param name="capacity">Most at once.</param>
    /// <param name="effects">Takes payload back.</param>
    public HostRequests(int capacity, IVolumeEffects effects)
    {
        _slots = new SlotTable<HostRequest>(capacity, "requests of the host");
        _effects = effects;
        _answers = new Queue<HostAnswer>(capacity);
        _payloads = new Queue<IoBuffer>(capacity);
    }

    /// <summary>Requests in hand.</summary>
    public int Count => _slots.RentedCount;

    /// <summary>Slots in all.</summary>
    public int Capacity => _slots.Capacity;

    /// <summary>A request.</summary>
    /// <param name="slot">Its slot.</param>
    public ref HostRequest this[int slot] => ref _slots[slot];

    /// <summary>Takes a request in hand.</summary>
    /// <param name="request">What is asked.</param>
    /// <param name="crc">CRC32C of a write's payload.</param>
    /// <param name="completion">Hears of the end.</param>
    /// <param name="deadline">When it fails.</param>
    /// <returns>Its id.</returns>
    public ulong Add(in BlockRequest request, uint crc, IBlockCompletion completion, long deadline)
    {
        ref HostRequest entry = ref _slots.Rent(out int slot);
        entry.Request = request;
        entry.Crc = crc;
        entry.Completion = completion;
        entry.Deadline = deadline;
        entry.OwnsPayload = request.Operation == BlockOperation.Write;
        return _slots.IdOf(slot);
    }

    /// <summary>Finds a request; false when it was answered.</summary>
    /// <param name="id">Its id; 0 is nobody's.</param>
    /// <param name="slot">Its slot.</param>
    public bool TryFind(ulong id, out int slot) => _slots.TryFind(id, out slot);

    /// <summary>The id of a slot; 0 when nobody has it.</summary>
    /// <param name="slot">The slot.</param>
    public ulong IdAt(int slot) => _slots.IsRented(slot) ? _slots.IdOf(slot) : 0;

    /// <summary>Answers a request.</summary>
    /// <param name="slot">Its slot.</param>
    /// <param name="status">How it ended.</param>
    public void Answer(int slot, BlockStatus status)
    {
        HostRequest request = _slots[slot];
        if (request.IsReading)
        {
            throw new InvalidOperationException("a read is answered while its buffer is being filled");
        }

        _slots.Return(slot);
        if (request.OwnsPayload)
        {
            ReleasePayload(request.Request.Buffer);
        }

        _answers.Enqueue(new HostAnswer(request.Completion, request.Request.Token, status));
    }

    /// <summary>Gives the bytes of a write back.</summary>
    /// <param name="payload">As they came.</param>
    public void ReleasePayload(in IoBuffer payload) => _payloads.Enqueue(payload);

    /// <summary>The event has been dealt with: tells everybody.</summary>
    public void Deliver()
    {
        if (_isDelivering)
        {
            return; // Who was told has asked for more; the loop below goes on.
        }

        _isDelivering = true;
        while (_answers.Count > 0 || _payloads.Count > 0)
        {
            if (_answers.TryDequeue(out HostAnswer answer))
            {
                answer.Completion.OnBlockCompleted(answer.Token, answer.Status);
            }
            else
            {
                _effects.ReleasePayload(_payloads.Dequeue());
            }
        }

        _isDelivering = false;
    }

    private readonly record struct HostAnswer(IBlockCompletion Completion, ulong Token, BlockStatus Status);
}
