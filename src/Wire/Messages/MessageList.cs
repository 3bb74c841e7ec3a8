namespace Ublk.Wire.Messages;

/// <summary>An entry of a list: an array of its own within the message.</summary>
/// <typeparam name="T">The entry.</typeparam>
public interface IListEntry<T>
    where T : struct, IListEntry<T>
{
    /// <summary>Fields of an entry.</summary>
    static abstract int FieldCount { get; }

    /// <summary>Reads the fields.</summary>
    /// <param name="fields">Where they come from.</param>
    static abstract T Decode(scoped ref FieldReader fields);

    /// <summary>Writes the fields.</summary>
    /// <param name="entry">The entry.</param>
    /// <param name="fields">Where they go.</param>
    static abstract void Encode<TSink>(in T entry, ref TSink fields)
        where TSink : struct, IFieldSink, allows ref struct;

    /// <summary>Whether an entry may follow another.</summary>
    /// <param name="entry">The later one.</param>
    /// <param name="previous">The one before.</param>
    static abstract bool IsAfter(in T entry, in T previous);
}

/// <summary>
/// A list in a message: to send, made from entries; received, the checked bytes themselves, valid as long
/// as these are. Entries are read while they are enumerated, and nothing is allocated.
/// </summary>
/// <typeparam name="T">The entry.</typeparam>
public readonly ref struct MessageList<T>
    where T : struct, IListEntry<T>
{
    private readonly ReadOnlySpan<T> _entries;
    private readonly ReadOnlySpan<byte> _bytes;

    /// <summary>A list to send.</summary>
    /// <param name="entries">In ascending order; stay as they are until the message is written.</param>
    public MessageList(ReadOnlySpan<T> entries)
    {
        _entries = entries;
        Count = entries.Length;
    }

    /// <summary>A list received.</summary>
    internal MessageList(ReadOnlySpan<byte> bytes, int count)
    {
        _bytes = bytes;
        Count = count;
    }

    /// <summary>Entries.</summary>
    public int Count { get; }

    /// <summary>Begins before the first entry.</summary>
    public Enumerator GetEnumerator() => new(this);

    /// <summary>Copies the entries out of the message.</summary>
    /// <param name="destination">At least <see cref="Count"/> entries long.</param>
    public void CopyTo(Span<T> destination)
    {
        int i = 0;
        foreach (T entry in this)
        {
            destination[i++] = entry;
        }
    }

    /// <summary>Goes through a list once.</summary>
    public ref struct Enumerator
    {
        private readonly ReadOnlySpan<T> _entries;
        private readonly int _count;
        private FieldReader _fields;
        private int _next;

        internal Enumerator(MessageList<T> list)
        {
            _entries = list._entries;
            _count = list.Count;
            _fields = new FieldReader(list._bytes);
        }

        /// <summary>The entry.</summary>
        public T Current { get; private set; }

        /// <summary>Goes to the next entry.</summary>
        public bool MoveNext()
        {
            if (_next == _count)
            {
                return false;
            }

            Current = _entries.IsEmpty ? _fields.Entry<T>() : _entries[_next];
            _next++;
            return true;
        }
    }
}
