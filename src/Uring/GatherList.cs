using Ublk.Uring.Abi;
using Ublk.Uring.Native;

namespace Ublk.Uring;

/// <summary>
/// The parts of one gathered send, as the kernel reads them: a <c>struct msghdr</c> and its <c>iovec</c>s in
/// memory that does not move. Used on one thread; not changed while a send of it is under way. It does not
/// own the bytes it names.
/// </summary>
public sealed class GatherList : IDisposable
{
    /// <summary>
    /// Parts of one send: enough for 32 messages with payload, and a few hundred bytes for the kernel to
    /// copy. What does not fit goes with the next send.
    /// </summary>
    public const int MaxParts = 64;

    private const int HeaderBytes = 64;
    private const int VectorBytes = 16;

    private readonly MemoryMapping _memory =
        MemoryMapping.Allocate(HeaderBytes + MaxParts * VectorBytes, populate: true);

    /// <summary>Parts so far.</summary>
    public int Count { get; private set; }

    /// <summary>Bytes of all parts.</summary>
    public long LengthBytes { get; private set; }

    /// <summary>Whether it takes no further part.</summary>
    public bool IsFull => Count == MaxParts;

    /// <summary>Forgets all parts.</summary>
    public void Clear()
    {
        Count = 0;
        LengthBytes = 0;
    }

    /// <summary>Adds a part behind the others.</summary>
    /// <param name="part">Memory of this process, 1 byte or more.</param>
    /// <exception cref="InvalidOperationException">The list is full.</exception>
    public void Add(in IoBuffer part)
    {
        if (!part.IsMemory)
        {
            throw new ArgumentException("not memory of this process", nameof(part));
        }

        if (IsFull)
        {
            throw new InvalidOperationException($"a gathered send has {MaxParts} parts at most");
        }

        ref IoVector vector = ref _memory.At<IoVector>(HeaderBytes + Count * VectorBytes);
        vector.Base = part.Address;
        vector.Length = (ulong)part.LengthBytes;
        Count++;
        LengthBytes += part.LengthBytes;
    }

    /// <inheritdoc/>
    public void Dispose() => _memory.Dispose();

    /// <summary>Completes the header and answers its address.</summary>
    internal unsafe ulong Seal()
    {
        ref MessageHeader header = ref _memory.At<MessageHeader>(0);
        header = default;
        header.Vectors = (ulong)(_memory.Pointer + HeaderBytes);
        header.VectorCount = (ulong)Count;
        return (ulong)_memory.Pointer;
    }
}
