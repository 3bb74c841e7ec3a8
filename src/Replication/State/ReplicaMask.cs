using System.Numerics;

namespace Ublk.Replication.State;

/// <summary>
/// A set of a volume's replicas, named by their place in the volume's list: bit i is replica i. Two sets of
/// at most seven meet in a joint configuration, so there are at most fourteen places.
/// </summary>
/// <param name="Bits">One bit for each.</param>
public readonly record struct ReplicaMask(uint Bits)
{
    /// <summary>Places there are: two sets during a change of membership.</summary>
    public const int Places = 2 * QuorumRule.MaxReplicas;

    /// <summary>How many.</summary>
    public int Count => BitOperations.PopCount(Bits);

    /// <summary>Nobody.</summary>
    public bool IsEmpty => Bits == 0;

    /// <summary>One replica.</summary>
    /// <param name="place">0 to 13.</param>
    public static ReplicaMask Of(int place) => new(1u << place);

    /// <summary>The first so many.</summary>
    /// <param name="count">0 to 14.</param>
    public static ReplicaMask First(int count) => new((1u << count) - 1);

    /// <summary>Whether a replica is in it.</summary>
    /// <param name="place">0 to 13.</param>
    public bool Has(int place) => (Bits >> place & 1) != 0;

    /// <summary>Whether all of another set are in it.</summary>
    /// <param name="other">The other set.</param>
    public bool HasAll(ReplicaMask other) => (other.Bits & ~Bits) == 0;

    /// <summary>With a replica.</summary>
    /// <param name="place">0 to 13.</param>
    public ReplicaMask With(int place) => new(Bits | 1u << place);

    /// <summary>Without a replica.</summary>
    /// <param name="place">0 to 13.</param>
    public ReplicaMask Without(int place) => new(Bits & ~(1u << place));

    /// <summary>With or without a replica.</summary>
    /// <param name="place">0 to 13.</param>
    /// <param name="isIn">Whether it is to be in it.</param>
    public ReplicaMask Set(int place, bool isIn) => isIn ? With(place) : Without(place);

    /// <summary>The lowest place in it that is neither in another set nor one place; −1 for none.</summary>
    /// <param name="others">Not these.</param>
    /// <param name="place">Nor this; −1 for no such.</param>
    public int FirstOutside(ReplicaMask others, int place)
    {
        uint bits = Bits & ~others.Bits & (place < 0 ? uint.MaxValue : ~(1u << place));
        return bits == 0 ? -1 : BitOperations.TrailingZeroCount(bits);
    }

    /// <summary>Goes through the places of the set, the lowest first.</summary>
    public Enumerator GetEnumerator() => new(Bits);

    /// <summary>Those that are not in another set.</summary>
    /// <param name="others">The other set.</param>
    public ReplicaMask Outside(ReplicaMask others) => new(Bits & ~others.Bits);

    /// <summary>Those in both.</summary>
    public static ReplicaMask operator &(ReplicaMask left, ReplicaMask right) => new(left.Bits & right.Bits);

    /// <summary>Those in either.</summary>
    public static ReplicaMask operator |(ReplicaMask left, ReplicaMask right) => new(left.Bits | right.Bits);

    /// <inheritdoc/>
    public override string ToString()
    {
        var places = new List<int>(Count);
        foreach (int place in this)
        {
            places.Add(place);
        }

        return $"{{{string.Join(", ", places)}}}";
    }

    /// <summary>Goes through a set once.</summary>
    /// <param name="bits">The set.</param>
    public struct Enumerator(uint bits)
    {
        private uint _left = bits;

        /// <summary>The place.</summary>
        public int Current { get; private set; }

        /// <summary>Goes to the next place.</summary>
        public bool MoveNext()
        {
            if (_left == 0)
            {
                return false;
            }

            Current = BitOperations.TrailingZeroCount(_left);
            _left &= _left - 1;
            return true;
        }
    }
}
