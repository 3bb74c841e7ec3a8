using Ublk.Replication.Primary;
using Ublk.Uring;
using Ublk.Wire.Blocks;

namespace Ublk.Replication.Runtime;

/// <summary>
/// A volume whose replicas all lie in this process, as a frontend sees it. Reads go straight from the image
/// of one replica into the request's buffer, also where that is registered only; while that replica lacks the
/// range, another one answers, through memory. With checksums every read goes through memory, because it is
/// looked at before it is shown. Writes come from blocks of the loop's payload pool and stay
/// there until every replica that follows has them. On the loop's thread, except where said.
/// </summary>
public sealed class ReplicatedTarget : IBlockTarget
{
    private readonly VolumeDriver _driver;
    private readonly Loop _loop;

    private ReplicatedTarget(VolumeDriver driver, Loop loop, BlockLimits limits, LocalVolumeFiles files)
    {
        _driver = driver;
        _loop = loop;
        Limits = limits;
        HasChecksums = files.HasChecksums;
    }

    /// <summary>
    /// Called when a replica has come to another stage; on the loop's thread, so it must not block.
    /// </summary>
    public Action? OnChanged
    {
        get => _driver.OnChanged;
        set => _driver.OnChanged = value;
    }

    /// <inheritdoc/>
    public BlockLimits Limits { get; }

    /// <summary>Size in bytes that counts, on any thread; grows when a larger one is in force.</summary>
    public long SizeBytes => _driver.SizeBytes;

    /// <summary>Whether replicas keep checksums, and what is read is held against them.</summary>
    public bool HasChecksums { get; }

    /// <summary>Ends when the volume is served; no request before.</summary>
    public Task Served => _driver.Served;

    /// <summary>How far the writer is.</summary>
    public PrimaryStage Stage => _driver.Stage;

    /// <summary>The epoch it writes in, or tries to.</summary>
    public ulong Epoch => _driver.Epoch.Value;

    /// <summary>Puts opened replicas on a loop, and begins to ask them for the volume.</summary>
    /// <param name="files">The replicas; owned from now on, also when this throws.</param>
    /// <param name="loop">The loop; the caller is its thread.</param>
    /// <param name="pool">Where the payload of writes lies: at least 8 MiB, and this volume's alone.</param>
    /// <exception cref="LoopFullException">The loop has no room.</exception>
    public static ReplicatedTarget Create(LocalVolumeFiles files, Loop loop, PayloadPool pool)
    {
        try
        {
            BlockLimits limits = LimitsOf(files);
            return new ReplicatedTarget(new VolumeDriver(files, loop, pool), loop, limits, files);
        }
        catch
        {
            files.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Submit(in BlockRequest request, IBlockCompletion completion) =>
        _driver.Submit(request, completion);

    /// <inheritdoc/>
    public long RefreshSize() => SizeBytes;

    /// <summary>How far each replica is.</summary>
    public IReadOnlyList<LocalReplicaStatus> Status() => _driver.Status();

    /// <summary>Writer and replicas in numbers, for who looks at a failure.</summary>
    public string Describe() => _driver.Describe();

    /// <summary>Takes a replica out of the volume: its files are closed, and stay so.</summary>
    /// <param name="place">Its place, from 0.</param>
    /// <returns>Ends when they are closed; that takes as long as its disk does.</returns>
    public Task CloseReplica(int place) => _driver.Close(place);

    /// <summary>A replica that was taken out, or is to be opened again later, is opened now.</summary>
    /// <param name="place">Its place, from 0.</param>
    public void ReopenReplica(int place) => _driver.Reopen(place);

    /// <summary>
    /// Compares all replicas that are in sync, while requests go on, and repairs what differs from what most
    /// of them have. Callable from any thread.
    /// </summary>
    /// <param name="options">How fast.</param>
    /// <param name="onDifference">Hears of each difference, on the loop's thread.</param>
    /// <exception cref="InvalidOperationException">One is under way, or the volume is not served.</exception>
    public async Task<ScrubReport> ScrubAsync(ScrubOptions options, Action<ScrubDifference> onDifference)
    {
        Task<ScrubReport> scrub = await _loop.InvokeAsync(
            () => _driver.Scrub(options, onDifference)).ConfigureAwait(false);
        return await scrub.ConfigureAwait(false);
    }

    /// <summary>
    /// Makes the volume larger, while requests go on. What is added reads as zeros. Callable from any thread.
    /// </summary>
    /// <param name="sizeBytes">New size; the size it has changes nothing.</param>
    /// <returns>Ends when that size is durable on a write quorum and on all replicas in the stream.</returns>
    /// <exception cref="VolumeGrowthException">It cannot be; nothing was changed.</exception>
    public async Task GrowAsync(long sizeBytes)
    {
        Task growth = await _loop.InvokeAsync(() => _driver.Grow(sizeBytes)).ConfigureAwait(false);
        await growth.ConfigureAwait(false);
    }

    /// <summary>
    /// Finishes what was asked for, brings it to stable media and closes all files. Callable from any thread.
    /// </summary>
    public async Task StopAsync()
    {
        Task stopped = await _loop.InvokeAsync(_driver.Stop).ConfigureAwait(false);
        await stopped.ConfigureAwait(false);
    }

    /// <summary>
    /// Begins an orderly stop, if none was asked for; it ends while the loop turns, <see cref="StopAsync"/>
    /// waits for that.
    /// </summary>
    public void Dispose() => _ = _driver.Stop();

    // What every replica that is open can do; one that comes later does the rest by writing zeros.
    private static BlockLimits LimitsOf(LocalVolumeFiles files)
    {
        const long MaxRangeBytes = 1L << 30;
        const int CheckedBytes = 4096;
        int block = files.Any.Opened.Superblock.LogicalBlockBytes;
        // Less than a block of checksums costs a read of the rest.
        int physical = files.HasChecksums ? Math.Max(block, CheckedBytes) : block, memoryAlign = 1;
        bool canPunch = true;
        foreach (ReplicaFiles? replica in files.Replicas)
        {
            if (replica is not null)
            {
                physical = Math.Max(physical, replica.Image.PhysicalBlockBytes);
                memoryAlign = Math.Max(memoryAlign, replica.Image.MemoryAlignBytes);
                canPunch &= replica.Image.CanPunchHole;
            }
        }

        return new BlockLimits
        {
            LogicalBlockBytes = block,
            PhysicalBlockBytes = physical,
            OptimalIoBytes = Math.Max(physical, 4096),
            MemoryAlignBytes = memoryAlign,
            MaxRequests = files.Options.MaxRequests,
            HasVolatileCache = true,
            CanForceUnitAccess = true,
            DiscardGranularityBytes = canPunch ? Math.Max(4096, block) : 0,
            MaxDiscardBytes = canPunch ? MaxRangeBytes : 0,
            MaxWriteZeroesBytes = MaxRangeBytes,
            ReadsIntoRegistered = !files.HasChecksums,
        };
    }
}
