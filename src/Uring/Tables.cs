using Ublk.Uring.Native;

namespace Ublk.Uring;

/// <summary>
/// The loop's table of registered buffers: ublk requests and our own memory share it, so places are
/// given out here, not computed from tags. The kernel fills and empties the places of ublk requests by
/// itself. Owned by the loop's thread.
/// </summary>
public sealed class BufferTable
{
    /// <summary>Largest piece of own memory one place can name (kernel limit).</summary>
    public const long MaxRegisteredBytes = 1L << 30;

    private readonly Ring _ring;
    private readonly Stack<ushort> _free;
    private readonly bool[] _isRented;

    internal BufferTable(Ring ring, int slots)
    {
        _ring = ring;
        ArgumentOutOfRangeException.ThrowIfGreaterThan(slots, Ring.BufferTableLimit);
        RegisterResult = slots == 0 ? 0 : ring.RegisterSparseBuffers(slots);
        Capacity = RegisterResult < 0 ? 0 : slots;
        _free = new Stack<ushort>(Capacity);
        _isRented = new bool[Capacity];
        for (int i = Capacity - 1; i >= 0; i--)
        {
            _free.Push((ushort)i);
        }
    }

    /// <summary>Places in the table; 0 where the kernel refused one.</summary>
    public int Capacity { get; }

    /// <summary>0, or −errno of the registration.</summary>
    public int RegisterResult { get; }

    /// <summary>Places not given out.</summary>
    public int FreeCount => _free.Count;

    /// <summary>Takes a place; false when all are in use.</summary>
    /// <param name="index">The place.</param>
    public bool TryRent(out ushort index)
    {
        if (!_free.TryPop(out index))
        {
            return false;
        }

        _isRented[index] = true;
        return true;
    }

    /// <summary>Gives a place back; it must be empty, or be emptied with <see cref="Clear"/>.</summary>
    /// <param name="index">The place.</param>
    /// <exception cref="InvalidOperationException">
    /// It was not given out: a place with two owners would move one's bytes into the other's memory.
    /// </exception>
    public void Return(ushort index)
    {
        if (index >= Capacity || !_isRented[index])
        {
            throw new InvalidOperationException($"buffer place {index} is not given out");
        }

        _isRented[index] = false;
        _free.Push(index);
    }

    /// <summary>
    /// Registers own memory, so that fixed operations need not pin it each time. False when the table is
    /// full or the kernel refuses (locked-memory limit); the memory is then used unregistered.
    /// </summary>
    /// <param name="memory">The memory, kept alive by its owner until cleared.</param>
    /// <param name="index">Its place.</param>
    public unsafe bool TryRegister(MemoryMapping memory, out ushort index)
    {
        if (memory.LengthBytes > MaxRegisteredBytes || !TryRent(out index))
        {
            index = 0;
            return false;
        }

        if (_ring.UpdateBuffer(index, (ulong)memory.Pointer, memory.LengthBytes) == 0)
        {
            return true;
        }

        Return(index);
        return false;
    }

    /// <summary>Empties a place whatever is in it; operations under way keep what they use.</summary>
    /// <param name="index">The place.</param>
    /// <returns>0 or −errno.</returns>
    public int Clear(ushort index) => _ring.IsClosed ? 0 : _ring.UpdateBuffer(index, 0, 0);
}

/// <summary>The loop's table of registered files: saves a descriptor look-up per operation.</summary>
public sealed class FileTable
{
    private readonly Ring _ring;
    private readonly Stack<int> _free = new();
    private readonly bool[] _isRented;

    internal FileTable(Ring ring, int slots)
    {
        _ring = ring;
        _isRented = new bool[slots];
        if (slots > 0 && ring.RegisterSparseFiles(slots) == 0)
        {
            for (int i = slots - 1; i >= 0; i--)
            {
                _free.Push(i);
            }
        }
    }

    /// <summary>Registers a file; without room it is named by descriptor, which always works.</summary>
    /// <param name="file">The open file.</param>
    public RingFile Register(FileHandle file)
    {
        if (!_free.TryPop(out int index))
        {
            return RingFile.Of(file);
        }

        if (_ring.UpdateFile(index, file.Fd) == 0)
        {
            _isRented[index] = true;
            return RingFile.Fixed(index);
        }

        _free.Push(index);
        return RingFile.Of(file);
    }

    /// <summary>Removes a file: the table held it open, whatever became of its descriptor.</summary>
    /// <param name="file">As answered by <see cref="Register"/>.</param>
    /// <exception cref="InvalidOperationException">
    /// It was removed already: a place with two files would send one's blocks to the other.
    /// </exception>
    public void Unregister(RingFile file)
    {
        if (!file.IsFixed || _ring.IsClosed)
        {
            return;
        }

        if (!_isRented[file.Number])
        {
            throw new InvalidOperationException($"file place {file.Number} is not in use");
        }

        if (_ring.UpdateFile(file.Number, -1) == 0)
        {
            _isRented[file.Number] = false;
            _free.Push(file.Number);
        }
    }
}
