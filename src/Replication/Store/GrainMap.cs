using System.Numerics;

namespace Ublk.Replication.Store;

/// <summary>
/// A set of grains: one bit each, 2 MiB per TiB of volume. Counts its grains, its runs and how many lie in
/// each block of 4096 grains, so that the length of a checkpoint is known without looking.
/// </summary>
public sealed class GrainMap
{
    /// <summary>Grains that a block of the map holds: 64 words.</summary>
    public const int BlockGrains = 4096;

    private const int WordBits = 64;
    private const int BlockWords = BlockGrains / WordBits;

    private ulong[] _words;
    private ushort[] _blockCounts;

    /// <summary>Makes an empty set.</summary>
    /// <param name="grains">Grains of the volume.</param>
    public GrainMap(int grains)
    {
        Grains = grains;
        _words = new ulong[WordsOf(grains)];
        _blockCounts = new ushort[StoreFormat.Covering(grains, BlockGrains)];
    }

    /// <summary>Grains of the volume.</summary>
    public int Grains { get; private set; }

    /// <summary>Grains in the set.</summary>
    public int Count { get; private set; }

    /// <summary>Runs of grains that follow one another.</summary>
    public int Runs { get; private set; }

    /// <summary>Blocks of 4096 grains that hold any.</summary>
    public int UsedBlocks { get; private set; }

    /// <summary>Whether a grain is in the set.</summary>
    /// <param name="grain">The grain.</param>
    public bool Contains(int grain) => (_words[grain / WordBits] >> grain % WordBits & 1) != 0;

    /// <summary>Whether all grains of a range are in the set.</summary>
    /// <param name="first">First grain.</param>
    /// <param name="count">Grains.</param>
    public bool ContainsAll(int first, int count) =>
        Next(first, first + count, flip: ulong.MaxValue) >= first + count;

    /// <summary>Whether any grain of a range is in the set.</summary>
    /// <param name="first">First grain.</param>
    /// <param name="count">Grains.</param>
    public bool ContainsAny(int first, int count) =>
        Next(first, first + count, flip: 0) < first + count;

    /// <summary>Puts a range into the set.</summary>
    /// <param name="first">First grain.</param>
    /// <param name="count">Grains.</param>
    public void Add(int first, int count) => Change(first, count, isIn: true);

    /// <summary>Takes a range out of the set.</summary>
    /// <param name="first">First grain.</param>
    /// <param name="count">Grains.</param>
    public void Remove(int first, int count) => Change(first, count, isIn: false);

    /// <summary>The first grain of the set from one on; <see cref="Grains"/> when there is none.</summary>
    /// <param name="from">Where to begin.</param>
    public int NextIn(int from) => Next(from, Grains, flip: 0);

    /// <summary>
    /// The first grain not in the set from one on; <see cref="Grains"/> when there is none.
    /// </summary>
    /// <param name="from">Where to begin.</param>
    public int NextOut(int from) => Next(from, Grains, flip: ulong.MaxValue);

    /// <summary>The runs of the set in ascending order; the set does not change meanwhile.</summary>
    public IEnumerable<(int First, int Count)> EachRun()
    {
        for (int first = NextIn(0); first < Grains;)
        {
            int end = NextOut(first);
            yield return (first, end - first);
            first = NextIn(end);
        }
    }

    /// <summary>The grains of a region; the last one may have fewer.</summary>
    /// <param name="region">The region.</param>
    public (int First, int Count) OfRegion(int region)
    {
        int first = region * StoreFormat.GrainsPerRegion;
        return (first, Math.Min(StoreFormat.GrainsPerRegion, Grains - first));
    }

    /// <summary>Grains of the set in a block.</summary>
    /// <param name="block">The block.</param>
    public int CountInBlock(int block) => _blockCounts[block];

    /// <summary>The bits of a block: 64 words, fewer at the end.</summary>
    /// <param name="block">The block.</param>
    public ReadOnlySpan<ulong> WordsOfBlock(int block)
    {
        int first = block * BlockWords;
        return _words.AsSpan(first, Math.Min(BlockWords, _words.Length - first));
    }

    /// <summary>Makes room for a grown volume.</summary>
    /// <param name="grains">Grains, not fewer than before.</param>
    public void Grow(int grains)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(grains, Grains);
        Array.Resize(ref _words, WordsOf(grains));
        Array.Resize(ref _blockCounts, StoreFormat.Covering(grains, BlockGrains));
        Grains = grains;
    }

    private static int WordsOf(int grains) => StoreFormat.Covering(grains, WordBits);

    // Looks no further than it is asked to, and passes over blocks by their counts: what looks at every
    // region of a large volume would otherwise look at the whole map each time.
    private int Next(int from, int end, ulong flip)
    {
        end = Math.Min(end, Grains);
        if (from >= end)
        {
            return end;
        }

        int at = from / WordBits, last = (end - 1) / WordBits;
        int dull = flip == 0 ? 0 : BlockGrains;
        ulong word = (_words[at] ^ flip) & ulong.MaxValue << from % WordBits;
        while (word == 0)
        {
            at++;
            while (at <= last && at % BlockWords == 0 && _blockCounts[at / BlockWords] == dull)
            {
                at += BlockWords;
            }

            if (at > last)
            {
                return end;
            }

            word = _words[at] ^ flip;
        }

        return Math.Min(end, at * WordBits + BitOperations.TrailingZeroCount(word));
    }

    private void Change(int first, int count, bool isIn)
    {
        if (first < 0 || count <= 0 || first > Grains - count)
        {
            throw new ArgumentOutOfRangeException(nameof(first));
        }

        int last = first + count - 1;
        int lastWord = last / WordBits;
        for (int at = first / WordBits; at <= lastWord; at++)
        {
            ulong mask = ulong.MaxValue;
            mask &= at == first / WordBits ? ulong.MaxValue << first % WordBits : mask;
            mask &= at == lastWord ? ulong.MaxValue >> WordBits - 1 - last % WordBits : mask;
            ulong word = isIn ? _words[at] | mask : _words[at] & ~mask;
            if (word != _words[at])
            {
                Store(at, word);
            }
        }
    }

    private void Store(int at, ulong word)
    {
        int runsBefore = RunsFrom(at);
        int change = BitOperations.PopCount(word) - BitOperations.PopCount(_words[at]);
        _words[at] = word;
        Runs += RunsFrom(at) - runsBefore;
        Count += change;
        ref ushort inBlock = ref _blockCounts[at / BlockWords];
        UsedBlocks -= inBlock > 0 ? 1 : 0;
        inBlock = (ushort)(inBlock + change);
        UsedBlocks += inBlock > 0 ? 1 : 0;
    }

    // Runs that begin in a word and at the beginning of the next: what a change of the word can alter.
    private int RunsFrom(int at)
    {
        ulong before = at > 0 ? _words[at - 1] >> WordBits - 1 : 0;
        ulong word = _words[at];
        int runs = BitOperations.PopCount(word & ~(word << 1 | before));
        bool isBegunAfter = word >> WordBits - 1 == 0 &&
            at + 1 < _words.Length && (_words[at + 1] & 1) != 0;
        return runs + (isBegunAfter ? 1 : 0);
    }
}
