using Ublk.Uring;
using Ublk.Uring.Abi;
using Ublk.Uring.Native;
using Ublk.Wire.Blocks;

namespace Ublk.Frontend.Targets;

/// <summary>
/// A single raw image, unreplicated: byte x of the device is byte x of the image. Reads and writes go
/// past the page cache where the filesystem can, registered request pages included; discards punch holes.
/// It has a volatile cache as the disk below has one: a flush is an fdatasync, a FUA write is RWF_DSYNC.
/// </summary>
public sealed class ImageTarget : IBlockTarget, IRingCompletion
{
    /// <summary>
    /// Longest discard or write-zeroes in bytes. A filesystem does it in one transaction; longer ones
    /// would hold the transaction, and with it other writes, for too long.
    /// </summary>
    private const long MaxRangeBytes = 1L << 30;

    private const int None = -1;

    private readonly BlockFile _file;
    private readonly Slot[] _slots;
    private int _freeHead;

    private ImageTarget(BlockFile file, BlockLimits limits)
    {
        _file = file;
        Limits = limits;
        _slots = new Slot[limits.MaxRequests];
        for (int i = 0; i < _slots.Length; i++)
        {
            _slots[i].Next = i + 1 < _slots.Length ? i + 1 : None;
        }
    }

    /// <inheritdoc/>
    public BlockLimits Limits { get; }

    /// <inheritdoc/>
    public long SizeBytes => _file.Image.SizeBytes;

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
        new(new BlockFile(image, loop, limits.MaxRequests), limits);

    /// <inheritdoc/>
    public long RefreshSize()
    {
        try
        {
            return _file.Image.RefreshSize();
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

        ulong slot = Rent(request.Token, completion);
        switch (request.Operation)
        {
            case BlockOperation.Read:
                _file.Read(request.Buffer, request.OffsetBytes, this, slot);
                break;
            case BlockOperation.Write:
                bool isFua = request.Flags.HasFlag(BlockRequestFlags.ForceUnitAccess);
                _file.Write(request.Buffer, request.OffsetBytes, isFua, this, slot);
                break;
            case BlockOperation.Flush:
                _file.DataSync(this, slot);
                break;
            case BlockOperation.Discard:
                _file.PunchHole(request.OffsetBytes, request.LengthBytes, this, slot);
                break;
            case BlockOperation.WriteZeroes when KeepsSpace(request):
                _file.ZeroRange(request.OffsetBytes, request.LengthBytes, this, slot);
                break;
            case BlockOperation.WriteZeroes:
                _file.PunchHole(request.OffsetBytes, request.LengthBytes, this, slot);
                break;
            default:
                ((IRingCompletion)this).OnCompletion(slot, -Errno.EOPNOTSUPP, CompletionFlags.None);
                break;
        }
    }

    /// <inheritdoc/>
    void IRingCompletion.OnCompletion(ulong token, int result, CompletionFlags flags)
    {
        ref Slot slot = ref _slots[(int)token];
        IBlockCompletion completion = slot.Completion!;
        ulong callerToken = slot.Token;
        slot.Completion = null;
        slot.Next = _freeHead;
        _freeHead = (int)token;
        completion.OnBlockCompleted(callerToken, BlockStatusMap.FromResult(result));
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    private bool KeepsSpace(in BlockRequest request) =>
        request.Flags.HasFlag(BlockRequestFlags.NoUnmap) || !_file.Image.CanPunchHole;

    private ulong Rent(ulong token, IBlockCompletion completion)
    {
        int index = _freeHead;
        if (index == None)
        {
            throw new InvalidOperationException("more requests than the image target takes");
        }

        ref Slot slot = ref _slots[index];
        _freeHead = slot.Next;
        slot.Completion = completion;
        slot.Token = token;
        return (ulong)index;
    }

    private struct Slot
    {
        public IBlockCompletion? Completion;
        public ulong Token;
        public int Next;
    }
}
