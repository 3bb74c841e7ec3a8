namespace Ublk.Wire.Blocks;

/// <summary>A range of a target that is all data, or all hole.</summary>
/// <param name="LengthBytes">Length, a multiple of the logical block size above 0.</param>
/// <param name="IsHole">Nothing is stored there, and it reads as zeros.</param>
public readonly record struct BlockExtent(long LengthBytes, bool IsHole);

/// <summary>A target that knows which of its ranges hold nothing. Used on its loop.</summary>
public interface IBlockExtents
{
    /// <summary>
    /// What is at an offset, as of this moment: a write under way may change it. Answers from what the
    /// filesystem has in memory, mostly; it may have to read a block of its own.
    /// </summary>
    /// <param name="offsetBytes">Below the size, a multiple of the logical block size.</param>
    /// <returns>
    /// The extent from there on, not necessarily as long as it is. What is not known counts as data.
    /// </returns>
    BlockExtent ExtentAt(long offsetBytes);
}
