namespace Ublk.Testing;

/// <summary>
/// The part of a ring's buffer table that the kernel fills with request pages. Places are named by
/// index; one ring, one table, any number of devices.
/// </summary>
internal sealed class FakeBufferTable(int capacity)
{
    private readonly FakeBlockRequest?[] _slots = new FakeBlockRequest?[capacity];
    private readonly bool[] _blocked = new bool[capacity];

    /// <summary>Places that hold a request's pages.</summary>
    public int UsedCount { get; private set; }

    /// <summary>
    /// Puts a request's pages at a place; false when there is none or it is taken.
    /// </summary>
    public bool TryInstall(int index, FakeBlockRequest request)
    {
        if (index >= _slots.Length || _slots[index] is not null || _blocked[index])
        {
            return false;
        }

        _slots[index] = request;
        UsedCount++;
        return true;
    }

    /// <summary>Empties a place if it holds this request.</summary>
    public void Remove(int index, FakeBlockRequest request)
    {
        if (index < _slots.Length && ReferenceEquals(_slots[index], request))
        {
            _slots[index] = null;
            UsedCount--;
        }
    }

    /// <summary>What is at a place.</summary>
    public FakeBlockRequest? At(int index) => index < _slots.Length ? _slots[index] : null;

    /// <summary>Makes every place look occupied, or free again.</summary>
    public void Block(bool isBlocked) => Array.Fill(_blocked, isBlocked);

    /// <summary>The ring is gone.</summary>
    public void Clear()
    {
        Array.Clear(_slots);
        UsedCount = 0;
    }
}
