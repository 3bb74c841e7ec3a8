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

    /// <summary>Nothing filed.</summary>
    /// <param name="slots">Slots, named 0 to this − 1.</param>
    public RangeOrder(int slots)
    {
        _ranges = new RangeIndex(slots);
        _firstWaiter = new int[slots];
        _nextWaiter = new int[slots];
        Array.Fill(_firstWaiter, None);
        Array.Fill(_nextWaiter, None);
    }

    /// <summary>How many are filed.</summary>
    public int Count => _ranges.Count;

    /// <summary>Files one.</summary>
    /// <param name="slot">Its slot.</param>
    /// <param name="sequence">Its place in time.</param>
    /// <param name="offsetBytes">Start of its range.</param>
    /// <param name="lengthBytes">Length.</param>
    public void Add(int slot, ulong sequence, long offsetBytes, long lengthBytes) =>
        _ranges.Add(slot, sequence, offsetBytes, lengthBytes);

    /// <summary>Puts one in line behind the latest earlier one on a range, if there is one.</summary>
    /// <param name="slot">Who would wait.</param>
    /// <param name="before">Only what has a lower place in time is waited for.</param>
    /// <param name="offsetBytes">Start of the range.</param>
    /// <param name="lengthBytes">Length.</param>
    /// <returns>Whether it has to wait; it then comes with the end of the one before.</returns>
    public bool TryWait(int slot, ulong before, long offsetBytes, long lengthBytes)
    {
        if (!_ranges.TryFindOverlap(offsetBytes, lengthBytes, before, out int earlier) ||
            Mistakes.Make(Mistake.RangesNotOrdered))
        {
            return false;
        }

        _nextWaiter[slot] = _firstWaiter[earlier];
        _firstWaiter[earlier] = slot;
        return true;
    }

    /// <summary>Takes one out.</summary>
    /// <param name="slot">Its slot.</param>
    /// <returns>The first who waited for it, −1 for none; the others with <see cref="TakeNext"/>.</returns>
    public int Remove(int slot)
    {
        _ranges.Remove(slot);
        int first = _firstWaiter[slot];
        _firstWaiter[slot] = None;
        return first;
    }

    /// <summary>Who waited for the same, after one; that one's link is gone then.</summary>
    /// <param name="slot">The one.</param>
    /// <returns>−1 for nobody.</returns>
    public int TakeNext(int slot)
    {
        int next = _nextWaiter[slot];
        _nextWaiter[slot] = None;
        return next;
    }
}
