using Ublk.Replication.State;

namespace Ublk.Replication.Replica;

/// <summary>
/// Lets what touches the same bytes of the image happen one after the other, and everything else at once.
/// Who is filed has a slot and a place in time; later ones on its range wait for it. No allocation after
/// construction.
/// </summary>
internal sealed class RangeOrder
{
    private const int None = -1;

    private readonly RangeIndex _ranges;
    private readonly int[] _firstWaiter;
    private readonly int[] _nextWaiter;
    private readonly int[] _waitsFor;

    /// <summary>Nothing filed.</summary>
    /// <param name="slots">Slots, named 0 to this − 1.</param>
    public RangeOrder(int slots)
    {
        _ranges = new RangeIndex(slots);
        _firstWaiter = new int[slots];
        _nextWaiter = new int[slots];
        _waitsFor = new int[slots];
        Array.Fill(_firstWaiter, None);
        Array.Fill(_waitsFor, None);
    }

    /// <summary>How many are filed.</summary>
    public int Count => _ranges.Count;

    /// <summary>Called with whoever waited for one that is gone: it may try again.</summary>
    public required Action<int> OnTurn { get; init; }

    /// <summary>The place in time of an operation of the stream.</summary>
    /// <param name="sequence">The operation.</param>
    public static ulong PlaceOf(ulong sequence) => sequence << 1;

    /// <summary>The place in time of who sees an operation of the stream, and none behind it.</summary>
    /// <param name="sequence">The operation.</param>
    public static ulong PlaceBehind(ulong sequence) => PlaceOf(sequence) + 1;

    /// <summary>Files one.</summary>
    /// <param name="slot">Its slot.</param>
    /// <param name="place">Its place in time.</param>
    /// <param name="offsetBytes">Start of its range.</param>
    /// <param name="lengthBytes">Length.</param>
    public void Add(int slot, ulong place, long offsetBytes, long lengthBytes) =>
        _ranges.Add(slot, place, offsetBytes, lengthBytes);

    /// <summary>Puts one in line behind the latest earlier one on a range, if there is one.</summary>
    /// <param name="slot">Who would wait.</param>
    /// <param name="before">Only what has a lower place in time is waited for.</param>
    /// <param name="offsetBytes">Start of the range.</param>
    /// <param name="lengthBytes">Length.</param>
    /// <returns>Whether it has to wait; its turn comes with the end of the one before.</returns>
    public bool TryWait(int slot, ulong before, long offsetBytes, long lengthBytes)
    {
        if (!_ranges.TryFindOverlap(offsetBytes, lengthBytes, before, out int earlier) ||
            Mistakes.Make(Mistake.RangesNotOrdered))
        {
            return false;
        }

        _nextWaiter[slot] = _firstWaiter[earlier];
        _firstWaiter[earlier] = slot;
        _waitsFor[slot] = earlier;
        return true;
    }

    /// <summary>One is done, or dropped while it waits: whoever waited for it has its turn.</summary>
    /// <param name="slot">Its slot.</param>
    public void Remove(int slot)
    {
        _ranges.Remove(slot);
        LeaveLine(slot);
        while (_firstWaiter[slot] is var waiter && waiter != None)
        {
            LeaveLine(waiter);
            OnTurn(waiter);
        }
    }

    // The slot of one that is dropped is used again while those before it are still under way.
    private void LeaveLine(int slot)
    {
        int earlier = _waitsFor[slot];
        if (earlier == None)
        {
            return;
        }

        ref int link = ref _firstWaiter[earlier];
        while (link != slot)
        {
            link = ref _nextWaiter[link];
        }

        link = _nextWaiter[slot];
        _waitsFor[slot] = None;
    }
}
