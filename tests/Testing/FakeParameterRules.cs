using System.Numerics;
using Ublk.Frontend.Ublk;

namespace Ublk.Testing;

/// <summary>The checks of SET_PARAMS, as kernel 7.3 makes them.</summary>
public static class FakeParameterRules
{
    private const int PageBytes = 4096;
    private const int SectorBytes = 512;
    private const uint TypeDevt = 4;
    private const int LargestShift = 28;

    /// <summary>Whether the parameters are taken for a device of this transfer size.</summary>
    /// <param name="parameters">Parameters.</param>
    /// <param name="maxIoBufferBytes">Longest transfer of the device.</param>
    public static bool Accepts(in UblkParameters parameters, uint maxIoBufferBytes)
    {
        bool hasParts = (parameters.Types & UblkParameters.TypeBasic) != 0 &&
            (parameters.Types & TypeDevt) == 0 &&
            parameters.Length is > 0 and <= UblkParameters.SizeBytes;
        return hasParts && AcceptsBasic(parameters, maxIoBufferBytes) &&
            AcceptsDiscard(parameters) && AcceptsAlignment(parameters);
    }

    private static bool AcceptsBasic(in UblkParameters parameters, uint maxIoBufferBytes) =>
        parameters.LogicalBlockShift is >= 9 and <= 12 &&
        parameters.PhysicalBlockShift >= parameters.LogicalBlockShift &&
        parameters.PhysicalBlockShift <= LargestShift &&
        parameters.MinimalIoShift <= LargestShift &&
        parameters.OptimalIoShift <= LargestShift &&
        parameters.MaxSectors >= PageBytes / SectorBytes &&
        parameters.MaxSectors <= maxIoBufferBytes / SectorBytes;

    private static bool AcceptsDiscard(in UblkParameters parameters) =>
        (parameters.Types & UblkParameters.TypeDiscard) == 0 ||
        (parameters.DiscardGranularity != 0 &&
            (parameters.MaxDiscardSectors == 0 || parameters.MaxDiscardSegments == 1));

    private static bool AcceptsAlignment(in UblkParameters parameters) =>
        (parameters.Types & UblkParameters.TypeDmaAlign) == 0 ||
        (parameters.DmaAlignmentMask < PageBytes &&
            BitOperations.IsPow2(parameters.DmaAlignmentMask + 1));
}
