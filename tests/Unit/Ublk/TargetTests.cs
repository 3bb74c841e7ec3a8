using Ublk.Frontend.Targets;
using Ublk.Testing;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Blocks;
using Xunit;

namespace Ublk.Tests.Unit.Ublk;

/// <summary>The targets on a real ring, with a real file.</summary>
public sealed class TargetTests : IDisposable
{
    private const int Block = 4096;
    private const int MaxRequests = 8;

    private readonly string _path = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName());
    private readonly Loop _loop = new(
        new LoopOptions { MaxOperations = 64, BufferTableSlots = 8 }, TimeProvider.System);
    private readonly MemoryMapping _memory = MemoryMapping.Allocate(16 * Block);
    private readonly CompletionLog _log = new();

    public void Dispose()
    {
        _memory.Dispose();
        _loop.Dispose();
        File.Delete(_path);
    }

    [Theory]
    [InlineData(DirectMode.Auto)]
    [InlineData(DirectMode.Off)]
    public void AnImageDoesEveryOperation(DirectMode direct)
    {
        using ImageTarget target = OpenImage(direct);
        Fill(0, 7);
        Assert.Equal(BlockStatus.Ok, Run(target, BlockOperation.Write, 0, 2));
        Fill(0, 8);
        Assert.Equal(BlockStatus.Ok, Run(
            target, BlockOperation.Write, 2 * Block, 1, BlockRequestFlags.ForceUnitAccess));
        Fill(0, 0);
        Assert.Equal(BlockStatus.Ok, Run(target, BlockOperation.Read, Block, 2));
        Assert.Equal(7, _memory.Bytes[0]);
        Assert.Equal(8, _memory.Bytes[Block]);
        Assert.Equal(BlockStatus.Ok, Run(target, BlockOperation.Flush, 0, 0));
        if (target.Limits.DiscardGranularityBytes > 0)
        {
            Assert.Equal(BlockStatus.Ok, Run(target, BlockOperation.Discard, 0, 1));
            Assert.Equal(BlockStatus.Ok, Run(target, BlockOperation.WriteZeroes, Block, 1));
            Assert.Equal(BlockStatus.Ok, Run(target, BlockOperation.Read, 0, 3));
            Assert.Equal([0, 0, 8],
                [_memory.Bytes[0], _memory.Bytes[Block], _memory.Bytes[2 * Block]]);
        }

        BlockStatus kept = Run(
            target, BlockOperation.WriteZeroes, 2 * Block, 1, BlockRequestFlags.NoUnmap);
        Assert.True(kept is BlockStatus.Ok or BlockStatus.NotSupported);
    }

    // What the filesystem stores in part of a block is data; without holes everything is.
    [Fact]
    public void AnImageTellsItsHoles()
    {
        const int Length = 64 * Block;
        using (FileStream file = File.Create(_path))
        {
            file.SetLength(Length);
            file.Position = 16 * Block;
            file.Write(new byte[8 * Block]);
        }

        BlockImage image = BlockImage.Open(_path, readOnly: false, DirectMode.Auto);
        using ImageTarget target =
            ImageTarget.Create(image, ImageTarget.LimitsOf(image, Block, MaxRequests), _loop);
        Assert.Equal(new BlockExtent(16 * Block, IsHole: true), target.ExtentAt(0));
        Assert.Equal(new BlockExtent(8 * Block, IsHole: false), target.ExtentAt(16 * Block));
        Assert.Equal(new BlockExtent(7 * Block, IsHole: false), target.ExtentAt(17 * Block));
        Assert.Equal(new BlockExtent(40 * Block, IsHole: true), target.ExtentAt(24 * Block));
        Assert.Equal(new BlockExtent(Block, IsHole: true), target.ExtentAt(Length - Block));
    }

    [Fact]
    public void AnImageThatGrewIsSeenAfterARefresh()
    {
        using ImageTarget target = OpenImage(DirectMode.Auto);
        Assert.Equal(64 * Block, target.SizeBytes);
        BlockImage.Resize(_path, 128 * Block);

        Assert.Equal(64 * Block, target.SizeBytes);
        Assert.Equal(128 * Block, target.RefreshSize());
        Assert.Equal(BlockStatus.Ok, Run(target, BlockOperation.Read, 127 * Block, 1));
    }

    [Fact]
    public void AnImageThatShrankFailsWhatIsGone()
    {
        using ImageTarget target = OpenImage(DirectMode.Auto);
        BlockImage.Resize(_path, Block);

        Assert.Equal(BlockStatus.IoError, Run(target, BlockOperation.Read, 0, 2));
        Assert.Equal(BlockStatus.IoError, Run(target, BlockOperation.Read, 2 * Block, 1));
        Assert.Equal(BlockStatus.Ok, Run(target, BlockOperation.Read, 0, 1));
    }

    [Fact]
    public void AReadOnlyImageRefusesChanges()
    {
        using ImageTarget target = OpenImage(DirectMode.Auto, readOnly: true);
        Assert.Equal(BlockStatus.ReadOnly, Run(target, BlockOperation.Write, 0, 1));
        Assert.Equal(BlockStatus.ReadOnly, Run(target, BlockOperation.Discard, 0, 1));
        Assert.Equal(BlockStatus.ReadOnly, Run(target, BlockOperation.WriteZeroes, 0, 1));
        Assert.Equal(BlockStatus.Ok, Run(target, BlockOperation.Read, 0, 1));
        Assert.Equal(BlockStatus.Ok, Run(target, BlockOperation.Flush, 0, 0));
        Assert.False(target.Limits.HasVolatileCache);
    }

    [Fact]
    public void ImagesOfOddSizesAreRefused()
    {
        foreach (long size in new long[] { 0, 1000, 64 * Block + 512 })
        {
            WriteNew(size);
            using BlockImage image = BlockImage.Open(_path, readOnly: false, DirectMode.Off);
            BlockImageException wrong = Assert.Throws<BlockImageException>(
                () => ImageTarget.LimitsOf(image, 4096, MaxRequests));
            Assert.Equal(BlockImageError.WrongSize, wrong.Error);
        }
    }

    [Fact]
    public void AnImageTakesAllItsRequestsAtOnceAndGivesBackItsPlaces()
    {
        for (int round = 0; round < 3; round++)
        {
            using ImageTarget target = OpenImage(DirectMode.Auto);
            for (int i = 0; i < MaxRequests; i++)
            {
                Submit(target, BlockOperation.Read, i * Block, 1, (ulong)i, i);
            }

            Drain(MaxRequests);
            Assert.Equal(MaxRequests, _log.Ends.Select(static end => end.Token).Distinct().Count());
            _log.Ends.Clear();
        }

        _loop.Reserve(63);
    }

    [Fact]
    public void MemoryKeepsWhatIsWritten()
    {
        using var target = new MemoryTarget(16 * Block, MaxRequests);
        Fill(0, 9);
        Assert.Equal(BlockStatus.Ok, Run(target, BlockOperation.Write, Block, 1));
        Assert.Equal(BlockStatus.Ok, Run(target, BlockOperation.Flush, 0, 0));
        Fill(0, 0);
        Assert.Equal(BlockStatus.Ok, Run(target, BlockOperation.Read, 0, 2));
        Assert.Equal([0, 9], [_memory.Bytes[0], _memory.Bytes[Block]]);
        Assert.Equal(BlockStatus.Ok, Run(target, BlockOperation.Discard, Block, 1));
        Assert.Equal(BlockStatus.Ok, Run(target, BlockOperation.Read, Block, 1));
        Assert.Equal(0, _memory.Bytes[0]);
        Assert.Equal(16 * Block, target.RefreshSize());
    }

    [Fact]
    public void NullReadsZerosAndForgetsWrites()
    {
        using (var target = new NullTarget(_loop, 1 << 30, MaxRequests))
        {
            Fill(0, 9);
            Assert.Equal(BlockStatus.Ok, Run(target, BlockOperation.Write, 0, 1));
            Assert.Equal(BlockStatus.Ok, Run(target, BlockOperation.Read, 0, 2));
            Assert.True(_memory.Bytes[..(2 * Block)].IndexOfAnyExcept((byte)0) < 0);
            Assert.Equal(BlockStatus.Ok, Run(target, BlockOperation.Flush, 0, 0));
            Assert.Equal(BlockStatus.Ok, Run(target, BlockOperation.Discard, 0, 1));
        }

        _loop.Reserve(63);
    }

    [Fact]
    public void FaultsWorkOnARealLoop()
    {
        using var target = new FaultTarget(OpenImage(DirectMode.Auto), _loop);
        target.Add(new FaultRule
        {
            Action = FaultAction.Delay,
            Operation = BlockOperation.Write,
            Delay = TimeSpan.FromMilliseconds(1),
        });
        target.Add(new FaultRule
        {
            Action = FaultAction.FailAfter,
            Operation = BlockOperation.Flush,
            Status = BlockStatus.NoSpace,
        });
        Fill(0, 6);
        Assert.Equal(BlockStatus.Ok, Run(target, BlockOperation.Write, 0, 1));
        Assert.Equal(BlockStatus.NoSpace, Run(target, BlockOperation.Flush, 0, 0));
        target.Add(new FaultRule { Action = FaultAction.HoldRequest });
        Submit(target, BlockOperation.Read, 0, 1, 5, 1);
        Assert.Equal(1, target.HeldCount);
        Assert.Equal(1, target.Release());
        Drain(1);
        Assert.Equal(6, _memory.Bytes[Block]);
        Assert.Equal(3, target.FaultCount);
    }

    // Another file each time: a process that another test just forks holds the locks of the one before for a
    // moment, until it runs its program.
    private void WriteNew(long size)
    {
        File.Delete(_path);
        File.WriteAllBytes(_path, new byte[size]);
    }

    private ImageTarget OpenImage(DirectMode direct, bool readOnly = false)
    {
        WriteNew(64 * Block);
        BlockImage image = BlockImage.Open(_path, readOnly, direct);
        return ImageTarget.Create(image, ImageTarget.LimitsOf(image, 0, MaxRequests), _loop);
    }

    private void Fill(int block, byte value) => _memory.Bytes[(block * Block)..].Fill(value);

    private BlockStatus Run(IBlockTarget target, BlockOperation operation, long offset, int blocks,
        BlockRequestFlags flags = BlockRequestFlags.None)
    {
        _log.Ends.Clear();
        Submit(target, operation, offset, blocks, 1, 0, flags);
        Drain(1);
        return Assert.Single(_log.Ends).Status;
    }

    private void Submit(IBlockTarget target, BlockOperation operation, long offset, int blocks,
        ulong token, int place, BlockRequestFlags flags = BlockRequestFlags.None) => target.Submit(
            new BlockRequest(operation, flags, offset, blocks * Block,
                _memory.Slice(place * Block, blocks * Block), token), _log);

    private void Drain(int count)
    {
        while (_log.Ends.Count < count)
        {
            _loop.DrainOrWait(TimeSpan.FromSeconds(5));
        }
    }
}
