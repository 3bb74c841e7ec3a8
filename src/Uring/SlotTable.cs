using System.Runtime.CompilerServices;

namespace Ublk.Uring;

/// <summary>
/// A fixed number of slots for what is under way: given out and taken back without an allocation, the last
/// one returned first, so that it is still in the processor's cache. A slot is named by its index, or by
/// an id that is not given out again when the slot is, so that what comes late or twice is noticed.
/// Used on one thread.
/// </summary>
/// <typeparam name="T">What a slot holds; all zero when the slot is given out.</typeparam>
public sealed class SlotTable<T> where T : struct
{
    private const int None = -1;

    private readonly Entry[] _entries;
    private readonly string _content;
    private int _freeHead;

    /// <summary>Makes the slots.</summary>
    /// <param name="capacity">How many, 0 or more.</param>
    /// <param name="content">What they hold, in the plural; for messages.</param>
    public SlotTable(int capacity, string content)
    {
        _entries = new Entry[capacity];
        _content = content;
        for (int i = 0; i < capacity; i++)
        {
            _entries[i].Next = i + 1 < capacity ? i + 1 : None;
        }

        _freeHead = capacity > 0 ? 0 : None;
    }

    /// <summary>Slots in all.</summary>
    public int Capacity => _entries.Length;

    /// <summary>Slots given out.</summary>
    public int RentedCount { get; private set; }

    /// <summary>The content of a slot; only for who has rented it.</summary>
    /// <param name="index">The slot.</param>
    public ref T this[int index]
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => ref _entries[index].Value;
    }

    /// <summary>Whether a slot is given out; for who looks at all of them.</summary>
    /// <param name="index">The slot.</param>
    public bool IsRented(int index) => _entries[index].IsRented;

    /// <summary>Takes a slot.</summary>
    /// <param name="index">The slot, until <see cref="Return"/>.</param>
    /// <returns>Its content, all zero.</returns>
    /// <exception cref="InvalidOperationException">
    /// All are given out: more is under way than was agreed.
    /// </exception>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ref T Rent(out int index)
    {
        index = _freeHead;
        if (index == None)
        {
            ThrowFull();
        }

        ref Entry entry = ref _entries[index];
        _freeHead = entry.Next;
        entry.Generation++;
        RentedCount++;
        return ref entry.Value;
    }

    /// <summary>Gives a slot back and clears it.</summary>
    /// <param name="index">The slot.</param>
    /// <exception cref="InvalidOperationException">
    /// It was not given out: what it held has ended before.
    /// </exception>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Return(int index)
    {
        ref Entry entry = ref _entries[index];
        if (!entry.IsRented)
        {
            ThrowFree(index);
        }

        entry.Value = default;
        entry.Generation++;
        entry.Next = _freeHead;
        _freeHead = index;
        RentedCount--;
    }

    /// <summary>
    /// The id of a slot that is given out: the index in the lower half, the generation in the upper; never 0.
    /// </summary>
    /// <param name="index">The slot.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ulong IdOf(int index) => (ulong)_entries[index].Generation << 32 | (uint)index;

    /// <summary>Finds the slot of an id; false when it was returned, or never given out.</summary>
    /// <param name="id">From <see cref="IdOf"/>, or anything else.</param>
    /// <param name="index">The slot.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryFind(ulong id, out int index)
    {
        index = (int)(uint)id;
        Entry[] entries = _entries;
        return (uint)index < (uint)entries.Length && entries[index].IsRented &&
            entries[index].Generation == (uint)(id >> 32);
    }

    private void ThrowFull() => throw new InvalidOperationException(
        $"all {_entries.Length} slots for {_content} are in use; more were started than reserved");

    private void ThrowFree(int index) =>
        throw new InvalidOperationException($"slot {index} for {_content} was returned twice");

    private struct Entry
    {
        public T Value;
        public int Next;

        /// <summary>Counts both ways: odd while the slot is given out, and so never 0 then.</summary>
        public uint Generation;

        public readonly bool IsRented => (Generation & 1) != 0;
    }
}
