using Ublk.Uring;
using Ublk.Wire.Blocks;

namespace Ublk.Frontend.Targets;

/// <summary>
/// A single raw image, unreplicated: byte x of the device is byte x of the image. Reads and writes go
/// past the page cache where the filesystem can, registered request pages included; discards punch holes.
/// It has a volatile cache as the disk below has one: a flush is an fdatasync, a FUA write is RWF_DSYNC.
/// </summary>
public sealed class ImageTarget : IBlockTarget, IBlockExtents
{
    /// <summary>
    /// Longest discard or write-zeroes in bytes. A filesystem does it in one transaction; longer ones
    /// would hold the transaction, and with it other writes, for too long.
    /// </summary>
    private const long MaxRangeBytes = 1L << 30;

    private readonly BlockImage _image;
    private readonly BlockFile<TargetRequest> _file;

    private ImageTarget(BlockImage image, BlockFile<TargetRequest> file, BlockLimits limits)
    {
        _image = image;
        _file = file;
        Limits = limits;
    }

    /// <inheritdoc/>
    public BlockLimits Limits { get; }

    /// <inheritdoc/>
    public long SizeBytes => _image.SizeBytes;

    /// <summary>Transfers that the kernel did in part and that were carried on.</summary>
    public long ShortTransferCount => _file.ShortTransferCount;

    /// <summary>What a device over an image can do.</summary>
    /// <param name="image">The opened image.</param>
    /// <param name="logicalBlockBytes">Wanted block size; 0 takes the image's own.</param>
    /// <param name="maxRequests">Requests at once.</param>
    /// <exception cref="BlockImageException">The size does not fit the block size.</exception>
    public static BlockLimits LimitsOf(BlockImage image, int logicalBlockBytes, int maxRequests)
    {
        const int SectorBytes = 512;
        int smallest = Math.Max(SectorBytes, image.DirectAlignBytes);
        int block = logicalBlockBytes == 0 ? smallest : logicalBlockBytes;
        if (block < smallest)
        {
            throw new BlockImageException(BlockImageError.WrongSize,
                $"{image.Path} can only be read in blocks of {smallest} bytes, {block} were asked for; " +
                $"use --block-size {smallest} or --direct off");
        }

        if (image.SizeBytes == 0 || image.SizeBytes % block != 0)
        {
            long rounded = Math.Max(image.SizeBytes / block * block, 1L << 30);
            throw new BlockImageException(BlockImageError.WrongSize,
                $"{image.Path} has {image.SizeBytes} bytes, which is not a whole number of blocks of " +
                $"{block} bytes above 0; resize it, for example: truncate -s {rounded} {image.Path}");
        }

        bool canPunch = image.CanPunchHole;
        return new BlockLimits
        {
            LogicalBlockBytes = block,
            PhysicalBlockBytes = Math.Max(image.PhysicalBlockBytes, block),
            OptimalIoBytes = Math.Max(image.PhysicalBlockBytes, 4096),
            MemoryAlignBytes = image.MemoryAlignBytes,
            MaxRequests = maxRequests,
            HasVolatileCache = !image.IsReadOnly,
            CanForceUnitAccess = true,
            IsReadOnly = image.IsReadOnly,
            DiscardGranularityBytes = canPunch ? Math.Max(4096, block) : 0,
            MaxDiscardBytes = canPunch ? MaxRangeBytes : 0,
            MaxWriteZeroesBytes = image.IsReadOnly ? 0 : MaxRangeBytes,
            ReadsIntoRegistered = true,
            WritesFromRegistered = true,
        };
    }

    /// <summary>Puts an opened image on a loop.</summary>
    /// <param name="image">The image; owned from now on.</param>
    /// <param name="limits">From <see cref="LimitsOf"/>.</param>
    /// <param name="loop">The loop; the caller is its thread.</param>
    /// <exception cref="LoopFullException">The loop has no room.</exception>
    public static ImageTarget Create(BlockImage image, BlockLimits limits, Loop loop) =>
        new(image, new BlockFile<TargetRequest>(image, loop, limits.MaxRequests), limits);

    /// <inheritdoc/>
    public long RefreshSize()
    {
        try
        {
            return _image.RefreshSize();
        }
        catch (BlockImageException)
        {
            return SizeBytes; // An image whose size cannot be read has not grown.
        }
    }

    /// <inheritdoc/>
    public void Submit(in BlockRequest request, IBlockCompletion completion)
    {
        if (Limits.IsReadOnly && request.Operation is not (BlockOperation.Read or BlockOperation.Flush))
        {
            completion.OnBlockCompleted(request.Token, BlockStatus.ReadOnly);
            return;
        }

        var carried = new TargetRequest(completion, request.Token);
        switch (request.Operation)
        {
            case BlockOperation.Read:
                _file.Read(request.Buffer, request.OffsetBytes, carried);
                break;
            case BlockOperation.Write:
                bool isFua = request.Flags.HasFlag(BlockRequestFlags.ForceUnitAccess);
                _file.Write(request.Buffer, request.OffsetBytes, isFua, carried);
                break;
            case BlockOperation.Flush:
                _file.DataSync(carried);
                break;
            case BlockOperation.Discard:
                _file.PunchHole(request.OffsetBytes, request.LengthBytes, carried);
                break;
            case BlockOperation.WriteZeroes when KeepsSpace(request):
                _file.ZeroRange(request.OffsetBytes, request.LengthBytes, carried);
                break;
            case BlockOperation.WriteZeroes:
                _file.PunchHole(request.OffsetBytes, request.LengthBytes, carried);
                break;
            default:
                completion.OnBlockCompleted(request.Token, BlockStatus.NotSupported);
                break;
        }
    }

    /// <inheritdoc/>
    public BlockExtent ExtentAt(long offsetBytes)
    {
        long rest = SizeBytes - offsetBytes;
        if (!_image.TryFindData(offsetBytes, out long data))
        {
            return new BlockExtent(rest, IsHole: false);
        }

        // A block that is stored in part is data.
        long blockMask = Limits.LogicalBlockBytes - 1;
        long hole = Math.Min((data & ~blockMask) - offsetBytes, rest);
        if (hole > 0)
        {
            return new BlockExtent(hole, IsHole: true);
        }

        long end = _image.TryFindHole(data, out long next) ? (next + blockMask) & ~blockMask : SizeBytes;
        return new BlockExtent(Math.Clamp(end - offsetBytes, blockMask + 1, rest), IsHole: false);
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    private bool KeepsSpace(in BlockRequest request) =>
        request.Flags.HasFlag(BlockRequestFlags.NoUnmap) || !_image.CanPunchHole;
}
