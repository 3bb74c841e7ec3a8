using Ublk.Uring;
using Ublk.Wire.Blocks;

namespace Ublk.Frontend.Ublk;

/// <summary>A request from its delivery until target and client are done with it.</summary>
internal struct UblkRequest
{
    /// <summary>The tag it came with; <see cref="UblkRequestSlots.NoTag"/> after it was given up.</summary>
    public int Tag;

    public BlockOperation Operation;
    public BlockRequestFlags Flags;
    public long OffsetBytes;
    public long RangeBytes;

    /// <summary>When it is given up, in ticks of the queue's clock.</summary>
    public long Deadline;

    /// <summary>Whether it has a block of the payload pool, and which.</summary>
    public bool HasMemory;
    public IoBuffer Memory;

    /// <summary>The place that a target may still use although the request was given up.</summary>
    public ushort HeldPlace;

    /// <summary>The kernel keeps that place, whatever the target does.</summary>
    public bool IsPlaceWithheld;

    /// <summary>Length of a payload; discards may be longer than an int holds.</summary>
    public readonly int LengthBytes => (int)Math.Min(RangeBytes, int.MaxValue);

    /// <summary>Whether it moves bytes.</summary>
    public readonly bool HasPayload => Operation is BlockOperation.Read or BlockOperation.Write;

    /// <summary>Answered already, but still with the target.</summary>
    public readonly bool IsGivenUp => Tag == UblkRequestSlots.NoTag;
}

/// <summary>
/// The requests of one queue, in slots of their own: one that was given up keeps its payload block and
/// its place in the buffer table until the target is done with them, while its tag goes on. Both belong
/// to the slot, and are given back with it. Used on the loop's thread.
/// </summary>
internal sealed class UblkRequestSlots
{
    /// <summary>The tag of a request that was given up.</summary>
    public const int NoTag = -1;

    private readonly SlotTable<UblkRequest> _slots;
    private readonly UblkBufferPlaces _places;
    private readonly PayloadPool _pool;
    private readonly int _depth;
    private int _givenUpCount;

    /// <summary>Makes the slots.</summary>
    /// <param name="depth">Tags of the queue.</param>
    /// <param name="places">Where places go back to.</param>
    /// <param name="pool">Where payload blocks go back to.</param>
    public UblkRequestSlots(int depth, UblkBufferPlaces places, PayloadPool pool)
    {
        // One per tag, and as many again for requests that were given up but are still with the target.
        _slots = new SlotTable<UblkRequest>(2 * depth, "requests of a queue");
        _places = places;
        _pool = pool;
        _depth = depth;
    }

    /// <summary>Whether another may be given up: without a spare slot its tag could not go on.</summary>
    public bool CanGiveUp => _givenUpCount < _depth;

    /// <summary>A request.</summary>
    /// <param name="slot">Its slot.</param>
    public ref UblkRequest this[int slot] => ref _slots[slot];

    /// <summary>Takes a slot.</summary>
    /// <param name="slot">The slot, until <see cref="Release"/>.</param>
    public ref UblkRequest Rent(out int slot)
    {
        ref UblkRequest request = ref _slots.Rent(out slot);
        request.HeldPlace = UblkBufferPlaces.None;
        return ref request;
    }

    /// <summary>What the target calls a request.</summary>
    /// <param name="slot">Its slot.</param>
    public ulong TokenOf(int slot) => _slots.IdOf(slot);

    /// <summary>Finds a request by its token; false when it has ended.</summary>
    /// <param name="token">From <see cref="TokenOf"/>.</param>
    /// <param name="slot">Its slot.</param>
    public bool TryFind(ulong token, out int slot) => _slots.TryFind(token, out slot);

    /// <summary>Parts a request from its tag: from now on only the target has it.</summary>
    /// <param name="slot">Its slot.</param>
    /// <param name="place">
    /// Its place in the table, which no other request may have before the target is done.
    /// </param>
    public void GiveUp(int slot, ushort place)
    {
        ref UblkRequest request = ref _slots[slot];
        request.Tag = NoTag;
        request.HeldPlace = place;
        _givenUpCount++;
    }

    /// <summary>
    /// The kernel never took the answer to a request that was given up, so its place stays occupied when
    /// the target is done. Where the target was done already, between the answer and its refusal, the place
    /// has been given back: who gets it finds it occupied and falls back to a copy.
    /// </summary>
    /// <param name="token">The request.</param>
    public void WithholdPlace(ulong token)
    {
        if (_slots.TryFind(token, out int slot))
        {
            _slots[slot].IsPlaceWithheld = true;
        }
    }

    /// <summary>The target is done: gives back the slot and all that belongs to it.</summary>
    /// <param name="slot">The slot.</param>
    public void Release(int slot)
    {
        UblkRequest request = _slots[slot];
        _slots.Return(slot);
        _givenUpCount -= request.IsGivenUp ? 1 : 0;
        if (request.IsPlaceWithheld)
        {
            _places.Withhold(request.HeldPlace);
        }
        else
        {
            _places.Return(request.HeldPlace);
        }

        if (request.HasMemory)
        {
            _pool.Return(request.Memory); // Last: who waits for memory goes on inside.
        }
    }
}
