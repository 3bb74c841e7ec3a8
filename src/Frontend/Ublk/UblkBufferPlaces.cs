using Ublk.Uring;

namespace Ublk.Frontend.Ublk;

/// <summary>
/// What a queue takes of the loop's buffer table: a place is named in a fetch or a commit, and the kernel
/// registers the pages of the tag's next request there. Used on the loop's thread.
/// </summary>
/// <param name="options">Whether the device has auto buffers, and whether requests fall back.</param>
/// <param name="table">The loop's table; null where registered pages are not wanted.</param>
internal sealed class UblkBufferPlaces(UblkQueueOptions options, BufferTable? table)
{
    /// <summary>A place that never exists, so that registration falls back.</summary>
    public const ushort None = ushort.MaxValue;

    private readonly BufferTable? _table = options.UsesAutoBuffers ? table : null;

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

    /// <summary>The auto-buffer word of a command; 0 on a device without auto buffers.</summary>
    /// <param name="place">Place for the tag's next request.</param>
    public ulong Word(ushort place) => options.UsesAutoBuffers
        ? place | (options.FallsBack ? UblkAbi.AutoBufferFallback : 0)
        : 0;
}
