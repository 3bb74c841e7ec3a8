using System.Buffers;
using Ublk.Uring.Native;

namespace Ublk.Uring;

/// <summary>
/// A mapping as <see cref="Memory{T}"/>, for interfaces that want one. It owns nothing; what was handed out
/// fails once the mapping is closed, instead of reading what lies there then.
/// </summary>
/// <param name="mapping">The mapping, below 2 GiB; its owner keeps it open.</param>
public sealed class MappedMemory(MemoryMapping mapping) : MemoryManager<byte>
{
    /// <inheritdoc/>
    public override Span<byte> GetSpan() => mapping.Bytes;

    /// <inheritdoc/>
    public override unsafe MemoryHandle Pin(int elementIndex = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(elementIndex);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(elementIndex, mapping.LengthBytes);
        return new MemoryHandle(mapping.Pointer + elementIndex); // It does not move.
    }

    /// <inheritdoc/>
    public override void Unpin()
    {
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
    }
}
