namespace Ublk.Replication.Store;

/// <summary>
/// The epochs that a replica went through, each with its first sequence, in ascending order; the newest
/// <see cref="StoreFormat.MaxHistory"/> of them.
/// </summary>
public sealed class EpochHistory
{
    private HistoryPoint[] _points = new HistoryPoint[8];
    private int _count;

    /// <summary>The epochs, ascending; the sequence of each is its first one.</summary>
    public ReadOnlySpan<HistoryPoint> Points => _points.AsSpan(0, _count);

    /// <summary>The newest; all zero when there is none.</summary>
    public HistoryPoint Last => _count > 0 ? _points[_count - 1] : default;

    /// <summary>Adds an epoch, or sets the first sequence of one that is known.</summary>
    /// <param name="epoch">The epoch.</param>
    /// <param name="firstSequence">Its first sequence.</param>
    public void Set(ulong epoch, ulong firstSequence)
    {
        int at = IndexFrom(epoch);
        if (at < _count && _points[at].Epoch == epoch)
        {
            _points[at] = new HistoryPoint(epoch, firstSequence);
            return;
        }

        if (_count == StoreFormat.MaxHistory)
        {
            if (at == 0)
            {
                return; // Older than all that is kept.
            }

            _points.AsSpan(1, _count - 1).CopyTo(_points);
            _count--;
            at--;
        }

        if (_count == _points.Length)
        {
            Array.Resize(ref _points, 2 * _count);
        }

        _points.AsSpan(at, _count - at).CopyTo(_points.AsSpan(at + 1));
        _points[at] = new HistoryPoint(epoch, firstSequence);
        _count++;
    }

    /// <summary>
    /// Index of the first epoch that is not below a given one; the count when there is none.
    /// </summary>
    /// <param name="epoch">The epoch.</param>
    public int IndexFrom(ulong epoch)
    {
        int at = _count;
        while (at > 0 && _points[at - 1].Epoch >= epoch)
        {
            at--;
        }

        return at;
    }
}
