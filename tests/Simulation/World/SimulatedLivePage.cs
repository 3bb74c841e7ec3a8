using Ublk.Replication.Store;
using Ublk.Uring.Native;

namespace Ublk.Tests.Simulation.World;

/// <summary>
/// The memory of a replica's live page: as it was after a process was killed; after a loss of power empty,
/// or some older page, which is of another boot then.
/// </summary>
internal sealed class SimulatedLivePage : INodeWatcher
{
    /// <summary>Regions that any page of the world has room for.</summary>
    public const int MaxRegions = 512;

    private readonly MemoryMapping _mapping;
    private readonly SimulationRandom _random;

    /// <summary>Makes an empty page.</summary>
    /// <param name="node">The host.</param>
    /// <param name="pools">Where memory comes from.</param>
    /// <param name="random">Where chance comes from.</param>
    public SimulatedLivePage(SimulatedNode node, WorldPools pools, SimulationRandom random)
    {
        _mapping = pools.RentLivePage();
        _random = random;
        node.Watch(this);
    }

    /// <summary>The page as a new process sees it.</summary>
    public LivePage<MappedLiveMemory> Open() => new(new MappedLiveMemory(_mapping));

    /// <summary>The page is lost, with the disk.</summary>
    public void Replace()
    {
        Clear(0);
        Clear(LivePageLayout.FirstAreaAt);
        Clear(LivePageLayout.SecondAreaAt);
        Clear(LivePageLayout.VersionsAt);
    }

    /// <inheritdoc/>
    public void OnProcessKilled()
    {
    }

    /// <inheritdoc/>
    public void OnPowerLost()
    {
        if (_random.Chance(500))
        {
            Replace();
        }
    }

    // Each part is filled from its beginning: behind 4 KiB of zeros there is nothing else.
    private void Clear(long partBytes)
    {
        const int Block = 4096;
        for (Span<byte> left = _mapping.Bytes[(int)partBytes..];
            left.Length >= Block && left[..Block].ContainsAnyExcept((byte)0); left = left[Block..])
        {
            left[..Block].Clear();
        }
    }
}
