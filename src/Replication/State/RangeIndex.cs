namespace Ublk.Replication.State;

/// <summary>
/// Which operations under way touch a range of the volume. An operation is named by a slot that its owner
/// gives; the index keeps its range and its place in time. Looking up costs a few steps however many are
/// under way, because each is filed under the 1 MiB regions it touches; the few that touch more than two
/// are kept in a list of their own. No allocation after construction.
/// </summary>
public sealed class RangeIndex
{
    private const int RegionShift = 20;
    private const int None = -1;

    // One node in the list of all, and one in each list of a region, or one in that of the long ones.
    private const int NodesPerSlot = 3;

    // Beyond so many regions walking all operations is cheaper than all their regions.
    private const long MaxRegionsWalked = 16;

    private readonly Entry[] _entries;
    private readonly Node[] _nodes;
    private readonly int[] _heads;
    private readonly int _bucketMask;
    private readonly int _longList;
    private readonly int _allList;

    /// <summary>Makes an index.</summary>
    /// <param name="slots">Slots, named 0 to this − 1.</param>
    public RangeIndex(int slots)
    {
        int buckets = (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)Math.Max(slots, 16));
        _bucketMask = buckets - 1;
        _longList = buckets;
        _allList = buckets + 1;
        _heads = new int[buckets + 2];
        Array.Fill(_heads, None);
        _entries = new Entry[slots];
        _nodes = new Node[slots * NodesPerSlot];
    }

    /// <summary>Operations filed.</summary>
    public int Count { get; private set; }

    /// <summary>Files an operation.</summary>
    /// <param name="slot">Its slot, free until now.</param>
    /// <param name="sequence">Its place in time.</param>
    /// <param name="offsetBytes">Start of its range.</param>
    /// <param name="lengthBytes">Length, above 0.</param>
    public void Add(int slot, ulong sequence, long offsetBytes, long lengthBytes)
    {
        ref Entry entry = ref _entries[slot];
        entry.Sequence = sequence;
        entry.Offset = offsetBytes;
        entry.End = offsetBytes + lengthBytes;
        long first = offsetBytes >> RegionShift;
        long last = (entry.End - 1) >> RegionShift;
        bool isLong = last - first > 1;
        int node = slot * NodesPerSlot;
        Link(node, _allList);
        Link(node + 1, isLong ? _longList : Bucket(first));
        entry.NodeCount = 2;
        if (!isLong && last != first)
        {
            Link(node + 2, Bucket(last));
            entry.NodeCount = 3;
        }

        Count++;
    }

    /// <summary>Takes an operation out.</summary>
    /// <param name="slot">Its slot.</param>
    public void Remove(int slot)
    {
        ref Entry entry = ref _entries[slot];
        if (entry.NodeCount == 0)
        {
            throw new InvalidOperationException($"slot {slot} is not filed");
        }

        for (int i = 0; i < entry.NodeCount; i++)
        {
            Unlink(slot * NodesPerSlot + i);
        }

        entry.NodeCount = 0;
        Count--;
    }

    /// <summary>
    /// The latest operation before a point in time that touches a range. Who waits for it, and then asks
    /// again, has waited for all.
    /// </summary>
    /// <param name="offsetBytes">Start of the range.</param>
    /// <param name="lengthBytes">Length, above 0.</param>
    /// <param name="before">Only operations with a lower sequence.</param>
    /// <param name="slot">The operation's slot.</param>
    /// <returns>False when none touches it.</returns>
    public bool TryFindOverlap(long offsetBytes, long lengthBytes, ulong before, out int slot)
    {
        var search = new Search(offsetBytes, offsetBytes + lengthBytes, before);
        long first = offsetBytes >> RegionShift;
        long last = (offsetBytes + lengthBytes - 1) >> RegionShift;
        if (last - first >= MaxRegionsWalked)
        {
            Walk(_allList, ref search);
        }
        else
        {
            for (long region = first; region <= last; region++)
            {
                Walk(Bucket(region), ref search);
            }

            Walk(_longList, ref search);
        }

        slot = search.Slot;
        return slot != None;
    }

    private void Walk(int list, ref Search search)
    {
        for (int node = _heads[list]; node != None; node = _nodes[node].Next)
        {
            int slot = node / NodesPerSlot;
            ref Entry entry = ref _entries[slot];
            bool isLater = search.Slot == None || entry.Sequence > search.Sequence;
            if (isLater && entry.Sequence < search.Before &&
                entry.Offset < search.End && entry.End > search.Offset)
            {
                search.Slot = slot;
                search.Sequence = entry.Sequence;
            }
        }
    }

    // Neighbouring regions go to neighbouring buckets: a stream spreads evenly.
    private int Bucket(long region) => (int)region & _bucketMask;

    private void Link(int node, int list)
    {
        int head = _heads[list];
        _nodes[node] = new Node { List = list, Next = head, Previous = None };
        if (head != None)
        {
            _nodes[head].Previous = node;
        }

        _heads[list] = node;
    }

    private void Unlink(int node)
    {
        Node gone = _nodes[node];
        if (gone.Previous == None)
        {
            _heads[gone.List] = gone.Next;
        }
        else
        {
            _nodes[gone.Previous].Next = gone.Next;
        }

        if (gone.Next != None)
        {
            _nodes[gone.Next].Previous = gone.Previous;
        }
    }

    private struct Entry
    {
        public ulong Sequence;
        public long Offset;
        public long End;
        public int NodeCount;
    }

    private struct Node
    {
        public int List;
        public int Next;
        public int Previous;
    }

    private ref struct Search(long offset, long end, ulong before)
    {
        public readonly long Offset = offset;
        public readonly long End = end;
        public readonly ulong Before = before;
        public int Slot = None;
        public ulong Sequence;
    }
}
