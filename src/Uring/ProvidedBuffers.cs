using System.Numerics;
using Ublk.Uring.Abi;
using Ublk.Uring.Native;

namespace Ublk.Uring;

/// <summary>
/// A ring of equal buffers from which multishot receives take what they need (5.19). The kernel takes
/// them in order; who received one gives it back. Owned by the loop's thread.
/// Source: <c>struct io_uring_buf_ring</c>.
/// </summary>
public sealed class ProvidedBuffers : IDisposable
{
    private const int BufferIdShift = 16;
    private const int EntryBytes = 16;
    private const int TailOffset = 14;

    private readonly Ring _ring;
    private readonly MemoryMapping _entries;
    private readonly MemoryMapping _memory;
    private readonly MappedMemory _view;
    private readonly int _count;
    private ushort _tail;

    /// <summary>Registers the buffers.</summary>
    /// <param name="ring">The ring they belong to.</param>
    /// <param name="group">Group number, unique in the ring.</param>
    /// <param name="count">Number of buffers, a power of two up to 32768.</param>
    /// <param name="bufferBytes">Size of each.</param>
    /// <exception cref="SystemCallException">When the kernel refuses.</exception>
    public unsafe ProvidedBuffers(Ring ring, ushort group, int count, int bufferBytes)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, 32768);
        if (!BitOperations.IsPow2(count))
        {
            throw new ArgumentException("not a power of two", nameof(count));
        }

        _ring = ring;
        _count = count;
        Group = group;
        BufferBytes = bufferBytes;
        _entries = MemoryMapping.Allocate((long)count * EntryBytes, populate: true);
        _memory = MemoryMapping.Allocate((long)count * bufferBytes);
        _view = new MappedMemory(_memory);
        int result = ring.RegisterProvidedRing((ulong)_entries.Pointer, (uint)count, group);
        if (result < 0)
        {
            _entries.Dispose();
            _memory.Dispose();
            throw new SystemCallException("register provided buffers", result);
        }

        for (int id = 0; id < count; id++)
        {
            Put((ushort)id);
        }

        Publish();
    }

    /// <summary>Group number.</summary>
    public ushort Group { get; }

    /// <summary>Size of each buffer.</summary>
    public int BufferBytes { get; }

    /// <summary>Which buffer a completion used; it must carry the Buffer flag.</summary>
    /// <param name="flags">Flags of the completion.</param>
    public static ushort IdOf(CompletionFlags flags) => (ushort)((uint)flags >> BufferIdShift);

    /// <summary>The bytes of a buffer.</summary>
    /// <param name="id">Its number.</param>
    /// <param name="lengthBytes">Received length.</param>
    public Span<byte> Bytes(ushort id, int lengthBytes)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(lengthBytes, BufferBytes);
        return _memory.Slice((long)id * BufferBytes, lengthBytes).Span;
    }

    /// <summary>The bytes of a buffer, for a reader that keeps them until it gives the buffer back.</summary>
    /// <param name="id">Its number.</param>
    /// <param name="lengthBytes">Received length.</param>
    public ReadOnlyMemory<byte> Memory(ushort id, int lengthBytes)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(lengthBytes, BufferBytes);
        return _view.Memory.Slice(id * BufferBytes, lengthBytes);
    }

    /// <summary>Gives a buffer back to the kernel.</summary>
    /// <param name="id">Its number.</param>
    public void Return(ushort id)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(id, _count);
        Put(id);
        Publish();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!_ring.IsClosed && !_entries.IsClosed)
        {
            _ = _ring.UnregisterProvidedRing(Group);
        }

        _entries.Dispose();
        _memory.Dispose();
    }

    private unsafe void Put(ushort id)
    {
        ref ProvidedBufferEntry entry = ref _entries.At<ProvidedBufferEntry>(
            (long)(_tail & (_count - 1)) * EntryBytes);
        // Field by field: the last two bytes of entry 0 are the ring's tail.
        entry.Address = (ulong)(_memory.Pointer + (long)id * BufferBytes);
        entry.Length = (uint)BufferBytes;
        entry.Id = id;
        _tail++;
    }

    private void Publish() => Volatile.Write(ref _entries.At<ushort>(TailOffset), _tail);
}
