namespace Ublk.Tests.Simulation.World;

/// <content>
/// A disk that changes content by itself, drops a write, or writes it elsewhere. What should be there is kept
/// for who watches.
/// </content>
internal sealed partial class SimulatedImage
{
    private readonly SortedDictionary<long, byte[]> _decayed = [];
    private readonly HashSet<long> _suspect = [];

    /// <summary>Whether a write that goes astray may land at a place; null: everywhere.</summary>
    public Func<long, long, bool>? MayLand { get; set; }

    /// <summary>Whether something is not what was written, or is about to be.</summary>
    public bool HasDecayed => _decayed.Count > 0 || _suspect.Count > 0 || Faults.StrayWrite > _writeCount;

    /// <summary>One of the next writes, once, is dropped or goes elsewhere.</summary>
    /// <param name="after">Which: 1 for the next one.</param>
    public void Stray(int after) => Faults = Faults with { StrayWrite = _writeCount + after };

    /// <summary>The disk changes content by itself, or is given back what it should have.</summary>
    /// <param name="offsetBytes">Where, in whole sectors.</param>
    /// <param name="bytes">What is there from now on; of one page where it is decay.</param>
    /// <param name="isDecay">Whether what was there is what should be.</param>
    public void Overwrite(long offsetBytes, ReadOnlySpan<byte> bytes, bool isDecay)
    {
        if (isDecay)
        {
            NoteDecay(offsetBytes, bytes.Length);
            _pages.Patch(offsetBytes, bytes);
        }
        else
        {
            Put(offsetBytes, bytes.Length, bytes);
        }
    }

    /// <summary>
    /// Whether a block of 4 KiB may be taken for corrupt: also where just the part of it that had decayed was
    /// written since.
    /// </summary>
    /// <param name="offsetBytes">Its start.</param>
    public bool IsSuspect(long offsetBytes) =>
        _suspect.Contains(offsetBytes) || IsDecayed(offsetBytes, PagePool.PageBytes);

    /// <summary>Blocks of 4 KiB just the decayed part of which was written since.</summary>
    public IEnumerable<long> Suspect => _suspect;

    /// <summary>Whether anything in a range is not what was written.</summary>
    public bool IsDecayed(long offsetBytes, long lengthBytes)
    {
        foreach (long sector in _decayed.Keys)
        {
            if (sector >= offsetBytes && sector < offsetBytes + lengthBytes)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>
    /// Where something is not what was written, in sectors; a loss of power may have brought it back.
    /// </summary>
    public IEnumerable<long> Decayed =>
        _decayed.Where(one => IsOther(one.Key, one.Value)).Select(one => one.Key);

    /// <summary>What has decayed in some places is as it was written again.</summary>
    /// <param name="isThere">Which places.</param>
    public void Mend(Predicate<long> isThere)
    {
        foreach ((long sector, byte[] right) in _decayed.Where(one => isThere(one.Key)).ToArray())
        {
            _pages.Patch(sector, right);
            _ = _decayed.Remove(sector);
        }
    }

    private bool IsOther(long offsetBytes, byte[] bytes)
    {
        Span<byte> sector = stackalloc byte[SectorBytes];
        _pages.Read(offsetBytes, sector);
        return !sector.SequenceEqual(bytes);
    }

    // Dropped, or written elsewhere, and nobody hears of it.
    private void GoAstray(ImageOperation operation)
    {
        for (long at = 0; at < operation.LengthBytes; at += SectorBytes)
        {
            _decayed[operation.OffsetBytes + at] = operation.Bytes.IsEmpty
                ? new byte[SectorBytes] : operation.Bytes.Slice((int)at, SectorBytes).ToArray();
        }

        if (_random.Chance(500))
        {
            return;
        }

        long sectors = (SizeBytes - operation.LengthBytes) / SectorBytes + 1;
        long elsewhere = _random.Below(sectors) * SectorBytes;
        if (MayLand is null || MayLand(elsewhere, operation.LengthBytes))
        {
            NoteDecay(elsewhere, operation.LengthBytes);
            _pages.Write(elsewhere, operation.LengthBytes, operation.Bytes);
        }
    }

    // What is there now should be there, unless it has decayed before.
    private void NoteDecay(long offsetBytes, long lengthBytes)
    {
        for (long at = 0; at < lengthBytes; at += SectorBytes)
        {
            byte[] sector = new byte[SectorBytes];
            _pages.Read(offsetBytes + at, sector);
            _ = _decayed.TryAdd(offsetBytes + at, sector);
        }
    }

    private void Put(long offsetBytes, long lengthBytes, ReadOnlySpan<byte> bytes)
    {
        // What is on stable media is mended too: a loss of power would bring it back, unnoticed by anybody.
        foreach (long sector in _decayed.Count > 0 ? _decayed.Keys.ToArray() : [])
        {
            if (sector >= offsetBytes && sector < offsetBytes + lengthBytes)
            {
                _ = _decayed.Remove(sector, out byte[]? right);
                _pages.Patch(sector, right);
                _ = _suspect.Add(sector - sector % PagePool.PageBytes);
            }
        }

        if (_suspect.Count > 0)
        {
            _ = _suspect.RemoveWhere(block =>
                block >= offsetBytes && block + PagePool.PageBytes <= offsetBytes + lengthBytes);
        }

        _pages.Write(offsetBytes, lengthBytes, bytes);
    }
}
