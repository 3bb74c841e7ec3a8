namespace Ublk.Replication.Store;

/// <summary>
/// Regions that are stale here, each with the older claim that still holds for it. Sparse: a chunk of 4096
/// regions takes 8 KiB once one of them is missing; claims are few and are kept once each. Counts runs
/// and chunks, so that the length of a checkpoint is known without looking.
/// </summary>
public sealed class MissingMap
{
    /// <summary>Regions of one chunk.</summary>
    public const int ChunkRegions = 4096;

    private readonly MissingClaims _claims = new();
    private ushort[]?[] _chunks;
    private ushort[] _chunkCounts;

    /// <summary>Makes an empty map.</summary>
    /// <param name="regions">Regions of the volume.</param>
    public MissingMap(int regions)
    {
        Regions = regions;
        int chunks = StoreFormat.Covering(regions, ChunkRegions);
        _chunks = new ushort[chunks][];
        _chunkCounts = new ushort[chunks];
    }

    /// <summary>Regions of the volume.</summary>
    public int Regions { get; private set; }

    /// <summary>Missing regions.</summary>
    public int Count { get; private set; }

    /// <summary>Runs of missing regions with one claim.</summary>
    public int Runs { get; private set; }

    /// <summary>Chunks of 4096 regions that hold any.</summary>
    public int UsedChunks { get; private set; }

    /// <summary>Different claims.</summary>
    public int ClaimCount => _claims.Count;

    /// <summary>Whether a region is missing.</summary>
    /// <param name="region">The region.</param>
    public bool Contains(int region) => IdOf(region) != 0;

    /// <summary>The older claim of a missing region; false when the region is not missing.</summary>
    /// <param name="region">The region.</param>
    /// <param name="claim">The claim.</param>
    public bool TryGetClaim(int region, out HistoryPoint claim)
    {
        int id = IdOf(region);
        claim = id != 0 ? _claims[id] : default;
        return id != 0;
    }

    /// <summary>The first missing region from one on; <see cref="Regions"/> when there is none.</summary>
    /// <param name="from">Where to begin.</param>
    public int NextMissing(int from)
    {
        while (from < Regions)
        {
            ushort[]? chunk = _chunks[from / ChunkRegions];
            int inChunk = from % ChunkRegions;
            if (chunk is not null && _chunkCounts[from / ChunkRegions] > 0)
            {
                int found = chunk.AsSpan(inChunk).IndexOfAnyExcept((ushort)0);
                if (found >= 0)
                {
                    return Math.Min(Regions, from + found);
                }
            }

            from += ChunkRegions - inChunk;
        }

        return Regions;
    }

    /// <summary>The first region from one on that is not missing with the same claim as that one.</summary>
    /// <param name="from">Where to begin.</param>
    public int EndOfRun(int from)
    {
        int id = IdOf(from), at = from + 1;
        while (at < Regions && IdOf(at) == id)
        {
            at++;
        }

        return at;
    }

    /// <summary>Makes regions missing; the claim of one that was missing already is replaced.</summary>
    /// <param name="first">First region.</param>
    /// <param name="count">Regions.</param>
    /// <param name="claim">What still holds for them.</param>
    /// <returns>False when there are too many different claims; then nothing changed.</returns>
    public bool TryAdd(int first, int count, HistoryPoint claim)
    {
        if (!_claims.TryIntern(claim, out int id))
        {
            return false;
        }

        for (int region = first; region < first + count; region++)
        {
            Store(region, id);
        }

        return true;
    }

    /// <summary>Regions are whole again.</summary>
    /// <param name="first">First region.</param>
    /// <param name="count">Regions.</param>
    public void Remove(int first, int count)
    {
        int end = first + count;
        for (int region = NextMissing(first); region < end; region = NextMissing(region + 1))
        {
            Store(region, 0);
        }
    }

    /// <summary>Makes room for a grown volume.</summary>
    /// <param name="regions">Regions, not fewer than before.</param>
    public void Grow(int regions)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(regions, Regions);
        int chunks = StoreFormat.Covering(regions, ChunkRegions);
        Array.Resize(ref _chunks, chunks);
        Array.Resize(ref _chunkCounts, chunks);
        Regions = regions;
    }

    private int IdOf(int region) =>
        _chunks[region / ChunkRegions] is { } chunk ? chunk[region % ChunkRegions] : 0;

    private void Store(int region, int id)
    {
        int before = IdOf(region);
        if (before == id)
        {
            return;
        }

        int chunk = region / ChunkRegions;
        int runsBefore = RunsFrom(region);
        (_chunks[chunk] ??= new ushort[ChunkRegions])[region % ChunkRegions] = (ushort)id;
        Runs += RunsFrom(region) - runsBefore;
        int change = (id != 0 ? 1 : 0) - (before != 0 ? 1 : 0);
        Count += change;
        UsedChunks -= _chunkCounts[chunk] > 0 ? 1 : 0;
        _chunkCounts[chunk] = (ushort)(_chunkCounts[chunk] + change);
        UsedChunks += _chunkCounts[chunk] > 0 ? 1 : 0;
        if (id != 0)
        {
            _claims.Use(id);
        }

        if (before != 0)
        {
            _claims.Release(before);
        }
    }

    // Whether runs begin at a region and at the next one: what a change of the region can alter.
    private int RunsFrom(int region)
    {
        int before = region > 0 ? IdOf(region - 1) : 0;
        int here = IdOf(region);
        int after = region + 1 < Regions ? IdOf(region + 1) : 0;
        return (here != 0 && here != before ? 1 : 0) + (after != 0 && after != here ? 1 : 0);
    }
}

/// <summary>
/// The different claims of missing regions, with the number of regions that have each; ids from 1.
/// </summary>
internal sealed class MissingClaims
{
    private HistoryPoint[] _claims = new HistoryPoint[4];
    private int[] _uses = new int[4];
    private int _latest;

    public int Count { get; private set; }

    public HistoryPoint this[int id] => _claims[id];

    /// <summary>The id of a claim; false when there are too many.</summary>
    public bool TryIntern(HistoryPoint claim, out int id)
    {
        id = _latest;
        if (id != 0 && _claims[id] == claim)
        {
            return true;
        }

        int free = 0;
        for (id = 1; id < _claims.Length; id++)
        {
            if (_uses[id] > 0 && _claims[id] == claim)
            {
                _latest = id;
                return true;
            }

            free = free == 0 && _uses[id] == 0 ? id : free;
        }

        if (free == 0)
        {
            if (_claims.Length > StoreFormat.MaxMissingClaims)
            {
                return false;
            }

            free = _claims.Length;
            Array.Resize(ref _claims, Math.Min(2 * free, StoreFormat.MaxMissingClaims + 1));
            Array.Resize(ref _uses, _claims.Length);
        }

        id = _latest = free;
        _claims[id] = claim;
        return true;
    }

    public void Use(int id) => Count += _uses[id]++ == 0 ? 1 : 0;

    public void Release(int id) => Count -= --_uses[id] == 0 ? 1 : 0;
}
