using Ublk.Replication.State;
using Ublk.Replication.Store;
using Ublk.Tests.Simulation.Judge;
using Ublk.Tests.Simulation.World;
using Ublk.Wire.Ids;

namespace Ublk.Tests.Simulation.Cluster;

/// <summary>
/// Watches writers and replicas together: that no two may read at once (S7), that nobody serves an epoch that
/// too few have recorded, and that after every recovery replicas agree wherever they say that they do.
/// </summary>
/// <param name="world">The world.</param>
/// <param name="replicas">Its replicas, by place.</param>
/// <param name="records">What the metadata ever said.</param>
/// <param name="primaries">Its writers, and those that want to be.</param>
internal sealed class ClusterWatch(
    ClusterWorld world, List<ReplicaHost> replicas, List<VolumeRecord> records, List<PrimaryHost> primaries)
{
    private readonly Dictionary<ulong, Writer> _served = [];
    private ulong _highest;

    /// <summary>
    /// Whether everything up to a sequence of an epoch ever was durable on W, of whoever decided at any time.
    /// </summary>
    public bool IsSynced(ulong epoch, ulong sequence)
    {
        ReplicaMask synced = Who(replica => replica.Watch.HasSynced(epoch, sequence));
        return records.Exists(record => record.Configuration.HasWriteQuorum(synced));
    }

    /// <summary>A writer begins to serve.</summary>
    /// <param name="primary">It.</param>
    public void Serves(PrimaryHost primary)
    {
        ulong epoch = primary.Options.Epoch.Value;
        bool isFirst = _served.TryAdd(epoch, primary.Options.Writer);
        if (!isFirst && _served[epoch] != primary.Options.Writer)
        {
            throw new HistoryException($"two writers serve epoch {epoch}");
        }

        ReplicaMask started = Who(replica => replica.Watch.HasStarted(epoch));
        if (!primary.Machine.Configuration.HasWriteQuorum(started))
        {
            throw new HistoryException($"epoch {epoch} is served, but its start is not durable on W");
        }

        _highest = Math.Max(_highest, epoch);
        primaries.ForEach(Happens);
        Compare(epoch);
    }

    /// <summary>A write is answered, and nothing was lost since it began: W replicas hold it.</summary>
    /// <param name="primary">Who answers.</param>
    /// <param name="number">Its number.</param>
    /// <param name="block">First block.</param>
    /// <param name="count">Blocks.</param>
    public void Acknowledged(PrimaryHost primary, int number, int block, int count)
    {
        ReplicaMask holders = Who(replica => Holds(replica, number, block, count));
        if (!primary.Machine.Configuration.HasWriteQuorum(holders))
        {
            throw new HistoryException(
                $"only {holders} hold what is acknowledged: {world.Checker.Describe(number)}");
        }
    }

    private ReplicaMask Who(Predicate<ReplicaHost> isSuch)
    {
        ReplicaMask who = default;
        foreach (ReplicaHost replica in replicas)
        {
            who = who.Set(replica.Place, isSuch(replica));
        }

        return who;
    }

    // Of a block that no replica had right any more, what was written to a part is lost with the rest.
    private bool IsLostWithTheRest(long offset, long firstByte, long endByte)
    {
        const int Block = 4096;
        long start = offset - offset % Block;
        return world.LostBlocks.Contains(start) && (start < firstByte || start + Block > endByte);
    }

    // Where a write has failed meanwhile, what was applied before is missing too; that was answered in time.
    private bool Holds(ReplicaHost replica, int number, int first, int count)
    {
        int length = world.Options.BlockBytes;
        if (replica.Image.SizeBytes < (long)(first + count) * length)
        {
            return false;
        }

        byte[] bytes = new byte[length];
        for (int block = first; block < first + count; block++)
        {
            long offset = (long)block * length;
            replica.Image.Peek(offset, bytes);
            bool isMissing =
                replica.Machine?.State is { Condition: ReplicaCondition.Sound } state &&
                state.Missing.Contains((int)(offset / StoreFormat.RegionBytes));
            bool isThere = HistoryChecker.IsOf(number, block, bytes) ||
                replica.Image.IsDecayed(offset, length) ||
                IsLostWithTheRest(offset, (long)first * length, (long)(first + count) * length);
            if (isMissing || !isThere)
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Something has happened to a writer.</summary>
    /// <param name="primary">It.</param>
    public void Happens(PrimaryHost primary)
    {
        bool mayRead = primary.Options.Epoch.Value < _highest && primary.Node.IsRunning &&
            primary.Machine.Volume is { Stage: VolumeStage.Serving or VolumeStage.Releasing } volume &&
            primary.Node.Clock.Now < volume.Replicas.LeaseUntil;
        long longest = primary.LastHeartbeat + primary.Options.LeaseMs * World.LatencyModel.Millisecond;
        if (primary.Machine.Volume is { } served && served.Replicas.LeaseUntil > longest)
        {
            throw new HistoryException(
                $"the lease of the writer of {primary.Options.Epoch} is longer than it asked for");
        }

        if (mayRead)
        {
            throw new HistoryException(
                $"epoch {_highest} is served while the writer of {primary.Options.Epoch} has its lease");
        }
    }

    // Outside of I and M, those that the epoch has started on are the same.
    private void Compare(ulong epoch)
    {
        for (int one = 0; one < replicas.Count; one++)
        {
            for (int other = one + 1; other < replicas.Count && HasStarted(one, epoch); other++)
            {
                if (HasStarted(other, epoch))
                {
                    Compare(one, other, epoch);
                    break; // The next one is compared with that.
                }
            }
        }
    }

    private bool HasStarted(int place, ulong epoch) =>
        replicas[place].Machine is { HasFailed: false } machine &&
        machine.State.EpochStart.Epoch == epoch && machine.Promise.Epoch == epoch;

    // Whether blocks that have decayed, or were lost, are all that differs.
    private bool IsRot(int one, int other, long offset)
    {
        const int Block = 4096;
        for (long at = offset; at < offset + StoreFormat.GrainBytes; at += Block)
        {
            SimulatedImage left = replicas[one].Image, right = replicas[other].Image;
            bool isKnown = left.IsDecayed(at, Block) || right.IsDecayed(at, Block) ||
                world.LostBlocks.Contains(at);
            if (!isKnown && !left.IsSame(right, at, Block))
            {
                return false;
            }
        }

        return true;
    }

    private long FirstDifference(int one, int other, long offset)
    {
        byte[] left = new byte[StoreFormat.GrainBytes], right = new byte[StoreFormat.GrainBytes];
        replicas[one].Image.Peek(offset, left);
        replicas[other].Image.Peek(offset, right);
        return offset + left.AsSpan().CommonPrefixLength(right);
    }

    private void Compare(int one, int other, ulong epoch)
    {
        MetadataState left = replicas[one].Machine!.State, right = replicas[other].Machine!.State;
        int grains = Math.Min(left.Intents.Grains, right.Intents.Grains);
        for (int grain = 0; grain < grains; grain++)
        {
            int region = grain / StoreFormat.GrainsPerRegion;
            bool isOpen = left.Intents.Contains(grain) || right.Intents.Contains(grain) ||
                left.Missing.Contains(region) || right.Missing.Contains(region);
            long offset = (long)grain * StoreFormat.GrainBytes;
            if (!isOpen &&
                !replicas[one].Image.IsSame(replicas[other].Image, offset, StoreFormat.GrainBytes) &&
                !IsRot(one, other, offset))
            {
                throw new HistoryException(
                    $"epoch {epoch} is served, and {one} and {other} differ at " +
                    $"{FirstDifference(one, other, offset)} (grain {grain}), which neither says");
            }
        }
    }
}
