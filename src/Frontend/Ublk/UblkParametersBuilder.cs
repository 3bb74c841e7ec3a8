using System.Numerics;
using Ublk.Wire.Blocks;

namespace Ublk.Frontend.Ublk;

/// <summary>From a target's limits to the block layer's parameters; a pure function.</summary>
public static class UblkParametersBuilder
{
    private const int PageShift = 12;

    /// <summary>Builds the parameters.</summary>
    /// <param name="limits">What the target can do.</param>
    /// <param name="sizeBytes">Size of the device, a multiple of the logical block.</param>
    /// <param name="maxTransferBytes">Longest read or write.</param>
    /// <param name="usesAutoBuffers">Request pages reach the target as they are.</param>
    public static UblkParameters Build(
        BlockLimits limits, long sizeBytes, int maxTransferBytes, bool usesAutoBuffers)
    {
        var parameters = new UblkParameters
        {
            Length = UblkParameters.SizeBytes,
            Types = UblkParameters.TypeBasic,
            Attributes = Attributes(limits),
            LogicalBlockShift = Shift(limits.LogicalBlockBytes),
            PhysicalBlockShift = Shift(Math.Max(limits.PhysicalBlockBytes, limits.LogicalBlockBytes)),
            OptimalIoShift = Shift(Math.Max(limits.OptimalIoBytes, 1 << PageShift)),
            MinimalIoShift = Shift(Math.Max(limits.PhysicalBlockBytes, limits.LogicalBlockBytes)),
            MaxSectors = (uint)(maxTransferBytes / UblkAbi.SectorBytes),
            DeviceSectors = (ulong)(sizeBytes / UblkAbi.SectorBytes),
        };

        if (limits.DiscardGranularityBytes > 0 || limits.MaxWriteZeroesBytes > 0)
        {
            parameters.Types |= UblkParameters.TypeDiscard;
            parameters.DiscardGranularity =
                (uint)Math.Max(limits.DiscardGranularityBytes, limits.LogicalBlockBytes);
            parameters.MaxDiscardSectors =
                limits.DiscardGranularityBytes > 0 ? Sectors(limits.MaxDiscardBytes) : 0;
            parameters.MaxWriteZeroesSectors = Sectors(limits.MaxWriteZeroesBytes);
            parameters.MaxDiscardSegments = 1;
        }

        // Without this, clients may use memory aligned to 4 bytes, which storage refuses.
        if (usesAutoBuffers && limits.ReadsIntoRegistered && limits.MemoryAlignBytes > 4)
        {
            parameters.Types |= UblkParameters.TypeDmaAlign;
            parameters.DmaAlignmentMask = (uint)limits.MemoryAlignBytes - 1;
        }

        return parameters;
    }

    private static uint Attributes(BlockLimits limits)
    {
        uint attributes = limits.IsReadOnly ? UblkParameters.AttributeReadOnly : 0;
        if (limits.HasVolatileCache)
        {
            attributes |= UblkParameters.AttributeVolatileCache;
            // Without a cache the kernel ignores FUA: every write is durable already.
            attributes |= limits.CanForceUnitAccess ? UblkParameters.AttributeFua : 0;
        }

        return attributes;
    }

    private static uint Sectors(long bytes) =>
        (uint)Math.Min(bytes / UblkAbi.SectorBytes, uint.MaxValue >> UblkAbi.SectorShift);

    private static byte Shift(int bytes) => (byte)BitOperations.Log2((uint)bytes);
}
