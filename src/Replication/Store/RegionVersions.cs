namespace Ublk.Replication.Store;

/// <summary>
/// The version of every region: sequence of the last operation that touched it, 0 when none did. Dense, in
/// chunks of up to 4096 regions that are made when the first of them has a version; 8 MiB per TiB at most.
/// </summary>
public sealed class RegionVersions
{
    /// <summary>
    /// The version of a region that holds operations which nobody knows any more: newer than anything.
    /// </summary>
    public const ulong Unknown = ulong.MaxValue;

    private const int ChunkRegions = 4096;

    private ulong[]?[] _chunks;

    /// <summary>Makes versions of 0.</summary>
    /// <param name="regions">Regions of the volume.</param>
    public RegionVersions(int regions)
    {
        Regions = regions;
        _chunks = new ulong[StoreFormat.Covering(regions, ChunkRegions)][];
    }

    /// <summary>Regions of the volume.</summary>
    public int Regions { get; private set; }

    /// <summary>The version of a region.</summary>
    /// <param name="region">The region.</param>
    public ulong this[int region]
    {
        get => _chunks[region / ChunkRegions] is { } chunk ? chunk[region % ChunkRegions] : 0;
        set
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(region, Regions);
            ref ulong[]? chunk = ref _chunks[region / ChunkRegions];
            if (value != 0 || chunk is not null)
            {
                chunk ??= new ulong[Math.Min(ChunkRegions, Regions - region / ChunkRegions * ChunkRegions)];
                chunk[region % ChunkRegions] = value;
            }
        }
    }

    /// <summary>Sets the version of many regions.</summary>
    /// <param name="first">First region.</param>
    /// <param name="count">Regions.</param>
    /// <param name="version">Their version.</param>
    public void Fill(int first, int count, ulong version)
    {
        for (int region = first; region < first + count; region++)
        {
            this[region] = version;
        }
    }

    /// <summary>Makes room for a grown volume.</summary>
    /// <param name="regions">Regions, not fewer than before.</param>
    public void Grow(int regions)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(regions, Regions);
        int last = _chunks.Length - 1;
        if (last >= 0 && _chunks[last] is not null)
        {
            Array.Resize(ref _chunks[last], Math.Min(ChunkRegions, regions - last * ChunkRegions));
        }

        Array.Resize(ref _chunks, StoreFormat.Covering(regions, ChunkRegions));
        Regions = regions;
    }
}
