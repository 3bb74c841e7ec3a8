namespace Ublk.Replication.State;

/// <summary>
/// Sets of blocks of a region, as a request for copies has them: block k is bit k mod 64 of word k / 64.
/// </summary>
internal static class BlockBits
{
    /// <summary>Whether a block is in a set.</summary>
    /// <param name="bits">The set.</param>
    /// <param name="block">Within the region.</param>
    public static bool Has(ulong[] bits, int block) => (bits[block / 64] >> block % 64 & 1) != 0;

    /// <summary>Puts a block into a set.</summary>
    /// <param name="bits">The set.</param>
    /// <param name="block">Within the region.</param>
    public static void Add(ulong[] bits, int block) => bits[block / 64] |= 1ul << block % 64;
}
