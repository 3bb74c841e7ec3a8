using Ublk.Tests.Simulation.World;
using Ublk.Wire.Blocks;

namespace Ublk.Tests.Simulation;

/// <summary>Something the host wants.</summary>
/// <param name="Operation">What.</param>
/// <param name="IsDurable">A change that is to be on stable media when it is answered (FUA).</param>
/// <param name="Block">First block; 0 for flush.</param>
/// <param name="Count">Blocks; 0 for flush.</param>
/// <param name="PauseNs">The host thinks for so long before it asks.</param>
internal readonly record struct HostWish(
    BlockOperation Operation, bool IsDurable, int Block, int Count, long PauseNs);

/// <summary>
/// What the host asks for, one after the other. Ranges overlap, lie side by side and come back to a hot
/// spot, because that is where an order of operations can be wrong.
/// </summary>
/// <param name="options">What kind of host it is.</param>
/// <param name="blockBytes">Bytes of a logical block.</param>
/// <param name="random">Where chance comes from.</param>
internal sealed class WorkloadGenerator(WorkloadOptions options, int blockBytes, SimulationRandom random)
{
    private int _hotSpot = -1;
    private int _lastBlock;
    private int _lastCount = 1;

    /// <summary>Wishes so far.</summary>
    public int Count { get; private set; }

    /// <summary>Whether the host wants no more.</summary>
    public bool IsDone => Count >= options.Operations;

    /// <summary>The next wish.</summary>
    /// <param name="blocks">Blocks of the volume now.</param>
    public HostWish Next(int blocks)
    {
        Count++;
        long pause = random.Below(options.MaxPauseNs);
        BlockOperation operation = Operation();
        if (operation == BlockOperation.Flush)
        {
            return new HostWish(operation, false, 0, 0, pause);
        }

        int count = Math.Min(Length(), blocks);
        int block = Math.Min(Place(blocks), blocks - count);
        _lastBlock = block;
        _lastCount = count;
        bool isDurable = operation != BlockOperation.Read && random.Chance(options.DurablePermille);
        return new HostWish(operation, isDurable, block, count, pause);
    }

    private BlockOperation Operation()
    {
        int choice = random.Below(1000);
        if ((choice -= options.ReadPermille) < 0)
        {
            return BlockOperation.Read;
        }

        if ((choice -= options.FlushPermille) < 0)
        {
            return BlockOperation.Flush;
        }

        if ((choice -= options.ZeroPermille) < 0)
        {
            return BlockOperation.WriteZeroes;
        }

        return choice < options.DiscardPermille ? BlockOperation.Discard : BlockOperation.Write;
    }

    private int Length()
    {
        int longest = Math.Max(1, options.MaxBytes / blockBytes);
        if (random.Chance(options.SinglePermille))
        {
            return 1;
        }

        // Evenly over the orders of magnitude: long ones cost much and find little.
        while (longest > 2 && random.Chance(600))
        {
            longest /= 2;
        }

        return random.Between(1, longest);
    }

    private int Place(int blocks)
    {
        if (_hotSpot < 0 || random.Chance(5))
        {
            _hotSpot = random.Below(blocks);
        }

        if (random.Chance(options.AdjacentPermille))
        {
            return (_lastBlock + _lastCount) % blocks;
        }

        if (random.Chance(options.OverlappingPermille))
        {
            return _lastBlock + random.Below(_lastCount);
        }

        return random.Chance(options.HotPermille)
            ? Math.Min(blocks - 1, _hotSpot + random.Below(options.HotBlocks))
            : random.Below(blocks);
    }
}
