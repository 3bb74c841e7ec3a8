using Ublk.Replication.Store;
using Ublk.Uring.Native;

namespace Ublk.Tests.Simulation.World;

/// <summary>
/// Memory of the world, used by one history after the other: making it anew would cost more than many a
/// history. One for each thread that runs histories.
/// </summary>
internal sealed class WorldPools : IDisposable
{
    private const int MemoryBytes = 256 << 20;

    private readonly PagePool _pages = new();
    private readonly List<ImagePages> _images = [];
    private readonly List<MemoryMapping> _livePages = [];
    private int _imagesInUse;
    private readonly List<MemoryMapping> _records = [];
    private readonly List<MemoryMapping> _checksums = [];
    private int _livePagesInUse;
    private int _recordsInUse;
    private int _checksumsInUse;

    /// <summary>Memory for payload.</summary>
    public SimulatedMemory Memory { get; } = new(MemoryBytes);

    /// <summary>The time of the world.</summary>
    public SimulationClock Clock { get; } = new();

    /// <summary>Takes everything back: a new history begins.</summary>
    public void Reset()
    {
        for (int i = 0; i < _imagesInUse; i++)
        {
            _images[i].Reset(0);
        }

        _imagesInUse = 0;
        _livePagesInUse = 0;
        _recordsInUse = 0;
        _checksumsInUse = 0;
        Memory.Reset();
        Clock.Reset();
    }

    /// <summary>Content of a disk, all zeros.</summary>
    /// <param name="sizeBytes">Its size.</param>
    public ImagePages RentImage(long sizeBytes)
    {
        if (_imagesInUse == _images.Count)
        {
            _images.Add(new ImagePages(_pages));
        }

        ImagePages image = _images[_imagesInUse++];
        image.Grow(sizeBytes);
        return image;
    }

    /// <summary>Memory of a live page, all zeros.</summary>
    public MemoryMapping RentLivePage()
    {
        if (_livePagesInUse == _livePages.Count)
        {
            _livePages.Add(MemoryMapping.Allocate(LivePageLayout.BytesOf(SimulatedLivePage.MaxRegions)));
        }

        MemoryMapping mapping = _livePages[_livePagesInUse++];
        mapping.Bytes.Clear();
        return mapping;
    }

    /// <summary>Memory for pages of checksums and blocks next to them, with anything in it.</summary>
    public MemoryMapping RentChecksums()
    {
        const int MostBytes = 1 << 20;
        if (_checksumsInUse == _checksums.Count)
        {
            _checksums.Add(MemoryMapping.Allocate(MostBytes));
        }

        return _checksums[_checksumsInUse++];
    }

    /// <summary>Memory for one record of metadata, with anything in it.</summary>
    public MemoryMapping RentRecord()
    {
        if (_recordsInUse == _records.Count)
        {
            _records.Add(MemoryMapping.Allocate(MetadataRecord.Bytes));
        }

        return _records[_recordsInUse++];
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Memory.Dispose();
        _livePages.ForEach(page => page.Dispose());
        _records.ForEach(record => record.Dispose());
        _checksums.ForEach(pages => pages.Dispose());
    }
}
