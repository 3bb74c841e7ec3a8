using System.Numerics;
using Ublk.Uring.Native;

namespace Ublk.Uring;

/// <summary>Waits for memory of a pool.</summary>
public interface IPayloadWaiter
{
    /// <summary>Memory came back. Answers whether the waiter has all it wanted.</summary>
    bool TryContinue();
}

/// <summary>
/// Memory for payload: one locked, registered arena, cut into blocks of 4 KiB to 1 MiB by the buddy
/// method, so that any mix of sizes is served from contiguous memory without an allocation. Who gets
/// none waits in line and is called in turn; nobody overtakes. A block may have several holders, each of
/// which returns it once. Owned by the loop's thread.
/// </summary>
public sealed class PayloadPool : IDisposable
{
    /// <summary>Smallest block: a page.</summary>
    public const int MinBlockBytes = 4096;

    /// <summary>Largest block, and the unit the arena is made of.</summary>
    public const int MaxBlockBytes = 1 << MaxOrder << 12;

    private const int MaxOrder = 8;
    private const int None = -1;

    private readonly MemoryMapping _arena;
    private readonly BufferTable? _table;
    private readonly bool _isRegistered;
    private readonly ushort _tableIndex;
    private readonly int[] _next;
    private readonly int[] _previous;
    private readonly sbyte[] _order;
    private readonly bool[] _isFree;
    private readonly ushort[] _shares;
    private readonly int[] _heads = new int[MaxOrder + 1];
    private readonly Queue<IPayloadWaiter> _waiters = new(64);
    private bool _isNotifying;

    /// <summary>Makes a pool and registers it in a loop's table.</summary>
    /// <param name="arenaBytes">Size, rounded up to whole largest blocks; at most 1 GiB.</param>
    /// <param name="table">The loop's table; null leaves the memory unregistered.</param>
    public PayloadPool(long arenaBytes, BufferTable? table)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(arenaBytes, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(arenaBytes, BufferTable.MaxRegisteredBytes);
        int units = (int)((arenaBytes + MaxBlockBytes - 1) / MaxBlockBytes);
        CapacityBytes = (long)units * MaxBlockBytes;
        _arena = MemoryMapping.Allocate(CapacityBytes, populate: true);
        LockResult = _arena.Lock();
        _table = table;
        _isRegistered = table is not null && table.TryRegister(_arena, out _tableIndex);
        int pages = (int)(CapacityBytes / MinBlockBytes);
        _next = new int[pages];
        _previous = new int[pages];
        _order = new sbyte[pages];
        _isFree = new bool[pages];
        _shares = new ushort[pages];
        Array.Fill(_order, (sbyte)None);
        Array.Fill(_heads, None);
        for (int unit = units - 1; unit >= 0; unit--)
        {
            Push(unit << MaxOrder, MaxOrder);
        }

        FreeBytes = CapacityBytes;
    }

    /// <summary>Size of the arena in bytes.</summary>
    public long CapacityBytes { get; }

    /// <summary>Bytes not given out.</summary>
    public long FreeBytes { get; private set; }

    /// <summary>0, or −errno when the arena could not be locked (it works, but may be paged out).</summary>
    public int LockResult { get; }

    /// <summary>Takes a block; false when there is none, or when others wait already.</summary>
    /// <param name="lengthBytes">1 to 1 MiB; the buffer has exactly this length.</param>
    /// <param name="buffer">The block, not cleared.</param>
    public bool TryRent(int lengthBytes, out IoBuffer buffer)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(lengthBytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(lengthBytes, MaxBlockBytes);
        int order = OrderOf(lengthBytes);
        int found = order;
        while (found <= MaxOrder && _heads[found] == None)
        {
            found++;
        }

        if (found > MaxOrder || (_waiters.Count > 0 && !_isNotifying))
        {
            buffer = default;
            return false;
        }

        int page = _heads[found];
        Unlink(page, found);
        while (found > order)
        {
            found--;
            Push(page + (1 << found), found);
        }

        _order[page] = (sbyte)order;
        FreeBytes -= (long)MinBlockBytes << order;
        buffer = _arena.Slice((long)page * MinBlockBytes, lengthBytes);
        buffer = _isRegistered ? buffer.WithTableIndex(_tableIndex) : buffer;
        return true;
    }

    /// <summary>
    /// One more holder of a block: it is free again when every holder has returned it. Meanwhile nobody
    /// changes its bytes.
    /// </summary>
    /// <param name="buffer">A rented block, from its beginning.</param>
    public void Share(in IoBuffer buffer) => _shares[RentedPageOf(buffer)]++;

    /// <summary>Whether a buffer lies in this pool.</summary>
    /// <param name="buffer">Any buffer.</param>
    public unsafe bool Owns(in IoBuffer buffer) =>
        buffer.IsMemory && buffer.Address - (ulong)_arena.Pointer < (ulong)CapacityBytes;

    /// <summary>
    /// Gives a block back; when no other holder is left, those who wait may have it.
    /// </summary>
    /// <param name="buffer">As rented; giving it back once more than it has holders is an error.</param>
    public void Return(in IoBuffer buffer) => ReturnPage(RentedPageOf(buffer));

    /// <summary>Blocks of the smallest size in the arena.</summary>
    internal int PageCount => _order.Length;

    /// <summary>First page of a rented block.</summary>
    internal int RentedPageOf(in IoBuffer buffer)
    {
        int page = PageOf(buffer);
        return _order[page] != None && !_isFree[page]
            ? page : throw new InvalidOperationException("payload block returned twice");
    }

    /// <summary>Gives a block back, by its first page.</summary>
    internal void ReturnPage(int page)
    {
        if (_shares[page] > 0)
        {
            _shares[page]--;
            return;
        }

        int order = _order[page];
        FreeBytes += (long)MinBlockBytes << order;
        _order[page] = None;
        while (order < MaxOrder)
        {
            int buddy = page ^ (1 << order);
            if (!_isFree[buddy] || _order[buddy] != order)
            {
                break;
            }

            Unlink(buddy, order);
            page = Math.Min(page, buddy);
            order++;
        }

        Push(page, order);
        NotifyWaiters();
    }

    /// <summary>Stands in line for memory.</summary>
    /// <param name="waiter">Called when memory comes back, until it has enough.</param>
    public void Wait(IPayloadWaiter waiter) => _waiters.Enqueue(waiter);

    /// <summary>
    /// Calls those who stand in line although no memory came back: one of them gave up, and who is behind
    /// may need less.
    /// </summary>
    public void LookAgain() => NotifyWaiters();

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_isRegistered && !_arena.IsClosed)
        {
            _ = _table!.Clear(_tableIndex);
            _table.Return(_tableIndex);
        }

        _arena.Dispose();
    }

    private static int OrderOf(int lengthBytes)
    {
        uint pages = ((uint)lengthBytes + MinBlockBytes - 1) / MinBlockBytes;
        return BitOperations.Log2(BitOperations.RoundUpToPowerOf2(pages));
    }

    // A waiter that is served at once may return its block inside the call: the loop, not recursion,
    // carries on from there.
    private void NotifyWaiters()
    {
        if (_isNotifying)
        {
            return;
        }

        _isNotifying = true;
        try
        {
            while (_waiters.Count > 0 && _waiters.Peek().TryContinue())
            {
                _waiters.Dequeue();
            }
        }
        finally
        {
            _isNotifying = false;
        }
    }

    private unsafe int PageOf(in IoBuffer buffer)
    {
        long offset = (long)(buffer.Address - (ulong)_arena.Pointer);
        return !buffer.IsMemory || offset < 0 || offset >= CapacityBytes || offset % MinBlockBytes != 0
            ? throw new ArgumentException("not a block of this pool", nameof(buffer))
            : (int)(offset / MinBlockBytes);
    }

    private void Push(int page, int order)
    {
        int head = _heads[order];
        _next[page] = head;
        _previous[page] = None;
        if (head != None)
        {
            _previous[head] = page;
        }

        _heads[order] = page;
        _order[page] = (sbyte)order;
        _isFree[page] = true;
    }

    private void Unlink(int page, int order)
    {
        int next = _next[page];
        int previous = _previous[page];
        if (previous == None)
        {
            _heads[order] = next;
        }
        else
        {
            _next[previous] = next;
        }

        if (next != None)
        {
            _previous[next] = previous;
        }

        _isFree[page] = false;
        _order[page] = None;
    }
}
