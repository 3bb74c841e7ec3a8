using System.Buffers;

namespace Ublk.Uring;

/// <summary>
/// A buffer as <see cref="Memory{T}"/>, for interfaces that want one; another buffer each time, with one
/// object and so without an allocation. It owns nothing: who lends a buffer keeps it alive, and lends the
/// next when nobody uses the memory of the last. One thread at a time.
/// </summary>
#pragma warning disable CA1001 // There is nothing to dispose of.
public sealed class LentMemory
#pragma warning restore CA1001
{
    private readonly Lent _lent = new();

    /// <summary>Lends a buffer.</summary>
    /// <param name="buffer">Memory of this process.</param>
    /// <returns>Its bytes, until the next call.</returns>
    /// <exception cref="InvalidOperationException">It is no memory of this process.</exception>
    public Memory<byte> Lend(in IoBuffer buffer)
    {
        _lent.Buffer = buffer;
        return _lent.Memory;
    }

    private sealed class Lent : MemoryManager<byte>
    {
        public IoBuffer Buffer { get; set; }

        public override Span<byte> GetSpan() => Buffer.Span;

        public override unsafe MemoryHandle Pin(int elementIndex = 0)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(elementIndex);
            ArgumentOutOfRangeException.ThrowIfGreaterThan(elementIndex, Buffer.LengthBytes);
            return new MemoryHandle((byte*)Buffer.Address + elementIndex); // It does not move.
        }

        public override void Unpin()
        {
        }

        protected override void Dispose(bool disposing)
        {
        }
    }
}
