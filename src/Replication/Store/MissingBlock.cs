using System.Numerics;

namespace Ublk.Replication.Store;

/// <summary>
/// The missing regions of one block of 4096 on their way into a checkpoint: one claim at a time, as runs or
/// as a map, whichever is shorter. Remembers which regions were written, because claims may change in
/// between.
/// </summary>
internal sealed class MissingBlock(MissingMap missing)
{
    /// <summary>Bytes of an entry for one run.</summary>
    public const int RunBytes = 32;

    /// <summary>Bytes of the longest map.</summary>
    public const int MapBytes = MissingMapEntry.HeadBytes + MissingMap.ChunkRegions / 8;

    private const int WordBits = 64;

    private readonly ulong[] _words = new ulong[MissingMap.ChunkRegions / WordBits];
    private readonly ulong[] _written = new ulong[MissingMap.ChunkRegions / WordBits];
    private int _block = -1;
    private int _lowWord;
    private int _highWord;

    /// <summary>First region of what was found; of a map, a multiple of 64.</summary>
    public int First { get; private set; }

    /// <summary>Regions of the run.</summary>
    public int Count { get; private set; }

    /// <summary>Whether a map is shorter than the runs of this claim.</summary>
    public bool IsMap { get; private set; }

    /// <summary>The claim.</summary>
    public HistoryPoint Claim { get; private set; }

    /// <summary>The bits of the map.</summary>
    public ReadOnlySpan<ulong> Words => _words.AsSpan(_lowWord, _highWord - _lowWord + 1);

    /// <summary>Finds what is to be written next; false at the end of the volume.</summary>
    /// <param name="next">Where to look; moved to the block that something was found in.</param>
    public bool TryFind(ref int next)
    {
        for (int region = missing.NextMissing(next); region < missing.Regions;
            region = missing.NextMissing(region + 1))
        {
            int block = region / MissingMap.ChunkRegions;
            if (block != _block)
            {
                _block = block;
                Array.Clear(_written);
                next = block * MissingMap.ChunkRegions;
            }

            int inBlock = region % MissingMap.ChunkRegions;
            if ((_written[inBlock / WordBits] >> inBlock % WordBits & 1) == 0)
            {
                Gather(region);
                return true;
            }
        }

        _block = -1;
        return false;
    }

    /// <summary>What was found has been written.</summary>
    public void Written()
    {
        int start = _block * MissingMap.ChunkRegions;
        if (IsMap)
        {
            for (int i = 0; i < _words.Length; i++)
            {
                _written[i] |= _words[i];
            }

            return;
        }

        for (int at = First - start; at < First - start + Count; at++)
        {
            _written[at / WordBits] |= 1ul << at % WordBits;
        }
    }

    // All regions of the block with the claim of one, which is the first of them.
    private void Gather(int region)
    {
        int start = _block * MissingMap.ChunkRegions;
        int end = Math.Min(missing.Regions, start + MissingMap.ChunkRegions);
        _ = missing.TryGetClaim(region, out HistoryPoint claim);
        Array.Clear(_words);
        for (int at = missing.NextMissing(region); at < end; at = missing.NextMissing(at + 1))
        {
            _ = missing.TryGetClaim(at, out HistoryPoint other);
            int bit = at - start;
            if (other == claim && (_written[bit / WordBits] >> bit % WordBits & 1) == 0)
            {
                _words[bit / WordBits] |= 1ul << bit % WordBits;
            }
        }

        Claim = claim;
        _lowWord = (region - start) / WordBits;
        _highWord = _words.AsSpan().LastIndexOfAnyExcept(0ul);
        int runs = 0;
        ulong before = 0;
        foreach (ulong word in _words)
        {
            runs += BitOperations.PopCount(word & ~(word << 1 | before));
            before = word >> WordBits - 1;
        }

        IsMap = runs * RunBytes > MissingMapEntry.HeadBytes + 8 * (_highWord - _lowWord + 1);
        First = IsMap ? start + _lowWord * WordBits : region;
        Count = IsMap ? 0 : RunLength(region - start);
    }

    private int RunLength(int bit)
    {
        int at = bit;
        while (at < MissingMap.ChunkRegions && (_words[at / WordBits] >> at % WordBits & 1) != 0)
        {
            at++;
        }

        return at - bit;
    }
}
