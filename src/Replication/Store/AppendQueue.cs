namespace Ublk.Replication.Store;

/// <summary>
/// Entries that wait for a record, as bytes in the order of appending, and the tokens that complete with
/// them. Grows by doubling up to what was reserved in the ring; no allocation once it has grown.
/// </summary>
internal sealed class AppendQueue
{
    private byte[] _bytes = new byte[MetadataRecord.Bytes];
    private int _readAt;
    private int _writeAt;
    private Waiter[] _waiters = new Waiter[64];
    private int _waiterHead;
    private long _appended;

    /// <summary>Bytes that wait.</summary>
    public int Bytes => _writeAt - _readAt;

    /// <summary>Tokens that have not completed.</summary>
    public int WaiterCount { get; private set; }

    /// <summary>Room for an entry at the end of the queue.</summary>
    /// <param name="length">Its length.</param>
    public Span<byte> Add(int length)
    {
        if (length > _bytes.Length - _writeAt)
        {
            MakeRoom(length);
        }

        Span<byte> room = _bytes.AsSpan(_writeAt, length);
        _writeAt += length;
        _appended += length;
        return room;
    }

    /// <summary>Takes back what was added last, before anything else happened.</summary>
    /// <param name="length">Its length.</param>
    public void DropLast(int length)
    {
        _writeAt -= length;
        _appended -= length;
    }

    /// <summary>Adds a token that completes with all that was added so far.</summary>
    /// <param name="token">The token.</param>
    public void AddWaiter(ulong token)
    {
        if (WaiterCount == _waiters.Length)
        {
            var larger = new Waiter[2 * _waiters.Length];
            for (int i = 0; i < WaiterCount; i++)
            {
                larger[i] = _waiters[(_waiterHead + i) % _waiters.Length];
            }

            _waiters = larger;
            _waiterHead = 0;
        }

        _waiters[(_waiterHead + WaiterCount) % _waiters.Length] = new Waiter(token, _appended);
        WaiterCount++;
    }

    /// <summary>The bytes that wait.</summary>
    public ReadOnlySpan<byte> Waiting => _bytes.AsSpan(_readAt, Bytes);

    /// <summary>The first bytes went into a record.</summary>
    /// <param name="length">How many.</param>
    public void MoveOn(int length)
    {
        _readAt += length;
        Taken += length;
        if (_readAt == _writeAt)
        {
            _readAt = _writeAt = 0;
        }
    }

    /// <summary>Bytes that went into records so far.</summary>
    public long Taken { get; private set; }

    /// <summary>
    /// Takes the next token all of whose bytes lie before an end; false when there is none.
    /// </summary>
    /// <param name="end">The end: <see cref="Taken"/> of some moment.</param>
    /// <param name="token">The token.</param>
    public bool TryTakeWaiter(long end, out ulong token)
    {
        ref Waiter first = ref _waiters[_waiterHead];
        token = first.Token;
        if (WaiterCount == 0 || first.End > end)
        {
            return false;
        }

        _waiterHead = (_waiterHead + 1) % _waiters.Length;
        WaiterCount--;
        return true;
    }

    private void MakeRoom(int length)
    {
        int waiting = Bytes;
        byte[] target = _bytes;
        if (waiting + length > _bytes.Length / 2)
        {
            target = new byte[Math.Max(2 * _bytes.Length, 2 * (waiting + length))];
        }

        Waiting.CopyTo(target);
        _bytes = target;
        _readAt = 0;
        _writeAt = waiting;
    }

    private readonly record struct Waiter(ulong Token, long End);
}
