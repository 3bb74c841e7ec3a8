using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Messages;

namespace Ublk.Wire.Transport;

/// <summary>
/// A piece of a loop's memory for bytes on their way out, or in when provided buffers lack.
/// </summary>
/// <param name="buffer">Where it lies.</param>
/// <param name="memory">The same bytes.</param>
internal sealed class TransportBlock(IoBuffer buffer, Memory<byte> memory)
{
    public IoBuffer Buffer { get; } = buffer;

    public Memory<byte> Memory { get; } = memory;

    /// <summary>Bytes in use, from its beginning.</summary>
    public int UsedBytes { get; set; }

    /// <summary>Who uses it; without any it goes back to the pool.</summary>
    public int UserCount { get; set; }

    public int FreeBytes => Buffer.LengthBytes - UsedBytes;
}

/// <summary>
/// Blocks for the connections of one loop. Memory is mapped when it is first needed and kept. What one
/// connection may have is limited where it asks, so the pool is limited by the number of connections.
/// </summary>
internal sealed class BlockPool : IDisposable
{
    /// <summary>Size of a block: the longest message without payload is written into one.</summary>
    public const int BlockBytes = MessageLimits.MaxListMessageBytes;

    private const int BlocksPerMapping = 16;

    private readonly Stack<TransportBlock> _free = new();
    private readonly List<MemoryMapping> _mappings = [];

    /// <summary>Blocks given out.</summary>
    public int RentedCount { get; private set; }

    /// <summary>Takes a block, empty, with one user.</summary>
    public TransportBlock Rent()
    {
        if (!_free.TryPop(out TransportBlock? block))
        {
            Grow();
            block = _free.Pop();
        }

        block.UsedBytes = 0;
        block.UserCount = 1;
        RentedCount++;
        return block;
    }

    /// <summary>One user less. Answers whether it was the last.</summary>
    /// <param name="block">A block in use.</param>
    public bool Release(TransportBlock block)
    {
        if (--block.UserCount > 0)
        {
            return false;
        }

        if (block.UserCount < 0)
        {
            throw new InvalidOperationException("a block of the transport was released twice");
        }

        RentedCount--;
        _free.Push(block);
        return true;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (MemoryMapping mapping in _mappings)
        {
            mapping.Dispose();
        }
    }

    private void Grow()
    {
        MemoryMapping mapping = MemoryMapping.Allocate(BlocksPerMapping * BlockBytes);
        _mappings.Add(mapping);
        Memory<byte> memory = new MappedMemory(mapping).Memory;
        for (int i = 0; i < BlocksPerMapping; i++)
        {
            _free.Push(new TransportBlock(
                mapping.Slice(i * BlockBytes, BlockBytes), memory.Slice(i * BlockBytes, BlockBytes)));
        }
    }
}
