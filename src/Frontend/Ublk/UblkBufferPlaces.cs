using Ublk.Uring;

namespace Ublk.Frontend.Ublk;

/// <summary>
/// What a queue takes of the loop's buffer table: a place is named in a fetch or a commit, and the kernel
/// registers the pages of the tag's next request there. Used on the loop's thread.
/// </summary>
internal sealed class UblkBufferPlaces
{
    /// <summary>A place that never exists, so that registration falls back.</summary>
    public const ushort None = ushort.MaxValue;

    private readonly UblkQueueOptions _options;
    private readonly BufferTable? _table;
    private readonly UblkCounters _counters;
    private readonly List<ushort> _withheld;
    private bool _isClosed;

    /// <summary>Takes nothing yet.</summary>
    /// <param name="options">Whether the device has auto buffers, and whether requests fall back.</param>
    /// <param name="table">The loop's table; null where registered pages are not wanted.</param>
    /// <param name="counters">Counters.</param>
    public UblkBufferPlaces(UblkQueueOptions options, BufferTable? table, UblkCounters counters)
    {
        _options = options;
        _table = options.UsesAutoBuffers ? table : null;
        _counters = counters;
        _withheld = new List<ushort>(options.Depth);
    }

    /// <summary>Takes a place; none when there is no table or it is full.</summary>
    public ushort Rent() => _table is not null && _table.TryRent(out ushort place) ? place : None;

    /// <summary>Gives a place back.</summary>
    /// <param name="place">A place, or none.</param>
    public void Return(ushort place)
    {
        if (place != None)
        {
            _table!.Return(place);
        }
    }

    /// <summary>
    /// Keeps a place out of use until the device is closed, because the kernel never took the answer to
    /// the request whose pages it has there.
    /// </summary>
    /// <param name="place">A place, or none.</param>
    public void Withhold(ushort place)
    {
        if (place == None)
        {
            return;
        }

        _withheld.Add(place);
        _counters[UblkCounter.WithheldPlaces]++;
        if (_isClosed)
        {
            ReturnWithheld();
        }
    }

    /// <summary>The device is closed, and what the kernel had in withheld places has ended.</summary>
    public void Close()
    {
        _isClosed = true;
        ReturnWithheld();
    }

    /// <summary>The auto-buffer word of a command; 0 on a device without auto buffers.</summary>
    /// <param name="place">Place for the tag's next request.</param>
    public ulong Word(ushort place) => _options.UsesAutoBuffers
        ? place | (_options.FallsBack ? UblkAbi.AutoBufferFallback : 0)
        : 0;

    // The table may hold pages longer than the device was open, so each place is emptied first; one that
    // cannot be is never used again.
    private void ReturnWithheld()
    {
        foreach (ushort place in _withheld)
        {
            if (_table!.Clear(place) >= 0)
            {
                _table.Return(place);
                _counters[UblkCounter.WithheldPlaces]--;
            }
        }

        _withheld.Clear();
    }
}
