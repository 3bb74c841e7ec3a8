namespace Ublk.Uring;

/// <summary>
/// What one holder has of a pool's blocks, so that all of it can be given back when the holder is given up
/// in the middle of its work. Owned by the loop's thread; no allocation per block.
/// </summary>
/// <param name="pool">The pool; lives longer than the account.</param>
public sealed class PayloadAccount(PayloadPool pool)
{
    private readonly ushort[] _counts = new ushort[pool.PageCount];

    /// <summary>Blocks held; one that is held twice counts twice.</summary>
    public int Count { get; private set; }

    /// <summary>The holder has one more share of a block; who had it before has it no longer.</summary>
    /// <param name="buffer">The block, from its beginning.</param>
    public void Add(in IoBuffer buffer)
    {
        _counts[pool.RentedPageOf(buffer)]++;
        Count++;
    }

    /// <summary>The holder passes a share of a block on.</summary>
    /// <param name="buffer">The block, from its beginning.</param>
    /// <exception cref="InvalidOperationException">It is not held.</exception>
    public void Remove(in IoBuffer buffer)
    {
        int page = pool.RentedPageOf(buffer);
        if (_counts[page] == 0)
        {
            throw new InvalidOperationException("a payload block was passed on by who does not hold it");
        }

        _counts[page]--;
        Count--;
    }

    /// <summary>Gives everything back.</summary>
    public void ReturnAll()
    {
        for (int page = 0; page < _counts.Length && Count > 0; page++)
        {
            for (; _counts[page] > 0; _counts[page]--)
            {
                Count--;
                pool.ReturnPage(page);
            }
        }
    }
}
