using Ublk.Uring;
using Ublk.Wire.Blocks;

namespace Ublk.Replication.State;

/// <summary>A mutating operation from its sequencing until every replica in the stream has it.</summary>
public struct WindowOperation
{
    /// <summary>Its place in the volume's history.</summary>
    public ulong Sequence;

    /// <summary>Write, discard or write-zeroes.</summary>
    public BlockOperation Operation;

    /// <summary>How.</summary>
    public BlockRequestFlags Flags;

    /// <summary>Start in bytes.</summary>
    public long OffsetBytes;

    /// <summary>Length in bytes.</summary>
    public long LengthBytes;

    /// <summary>CRC32C of the payload; 0 without.</summary>
    public uint Crc;

    /// <summary>The private copy of a write's bytes.</summary>
    public IoBuffer Payload;

    /// <summary>The host's request, until it is answered; then 0.</summary>
    public ulong Request;

    /// <summary>The first read that waits for the acknowledgement; 0 for none.</summary>
    public ulong FirstWaiter;

    /// <summary>Replicas that have applied it and count.</summary>
    public ReplicaMask AppliedBy;

    /// <summary>Replicas that have answered, also those whose copy of the range is stale.</summary>
    public ReplicaMask AnsweredBy;

    /// <summary>A write quorum has applied it: from now on every recovery finds it.</summary>
    public bool IsAcknowledged;

    /// <summary>Bytes it keeps of the window.</summary>
    public readonly int PayloadBytes => Operation == BlockOperation.Write ? (int)LengthBytes : 0;
}

/// <summary>
/// The operations of a volume that some replica of the stream may still need, in order of sequence. Bounded
/// in number and in bytes of payload; a place of its own for each sequence, so that finding one is a mask.
/// Used on one thread.
/// </summary>
public sealed class WriteWindow
{
    private readonly WindowOperation[] _operations;
    private readonly ulong _mask;

    /// <summary>Makes an empty window.</summary>
    /// <param name="firstSequence">Sequence of the first operation, above 0.</param>
    /// <param name="maxOperations">A power of two.</param>
    /// <param name="maxBytes">Most bytes of payload.</param>
    public WriteWindow(ulong firstSequence, int maxOperations, long maxBytes)
    {
        if (!System.Numerics.BitOperations.IsPow2(maxOperations))
        {
            throw new ArgumentException("not a power of two", nameof(maxOperations));
        }

        _operations = new WindowOperation[maxOperations];
        _mask = (ulong)maxOperations - 1;
        Base = Next = firstSequence;
        MaxBytes = maxBytes;
    }

    /// <summary>Lowest sequence kept; equal to <see cref="Next"/> when empty.</summary>
    public ulong Base { get; private set; }

    /// <summary>Sequence of the next operation.</summary>
    public ulong Next { get; private set; }

    /// <summary>Bytes of payload kept.</summary>
    public long Bytes { get; private set; }

    /// <summary>Most bytes of payload.</summary>
    public long MaxBytes { get; }

    /// <summary>Places.</summary>
    public int Capacity => _operations.Length;

    /// <summary>Operations kept.</summary>
    public int Count => (int)(Next - Base);

    /// <summary>The place of a sequence.</summary>
    /// <param name="sequence">One that is kept.</param>
    public int SlotOf(ulong sequence) => (int)(sequence & _mask);

    /// <summary>Whether a sequence is kept.</summary>
    /// <param name="sequence">Any.</param>
    public bool Has(ulong sequence) => sequence - Base < Next - Base;

    /// <summary>An operation.</summary>
    /// <param name="sequence">One that is kept.</param>
    public ref WindowOperation this[ulong sequence] => ref _operations[(int)(sequence & _mask)];

    /// <summary>The operation in a place.</summary>
    /// <param name="slot">From <see cref="SlotOf"/>.</param>
    public ref WindowOperation At(int slot) => ref _operations[slot];

    /// <summary>Whether another operation fits. One always fits an empty window.</summary>
    /// <param name="payloadBytes">Its bytes.</param>
    public bool HasRoom(int payloadBytes) =>
        Count < _operations.Length && (Bytes + payloadBytes <= MaxBytes || Bytes == 0);

    /// <summary>Gives the next sequence to an operation.</summary>
    /// <param name="operation">The operation; its sequence is set here.</param>
    /// <returns>It in its place.</returns>
    public ref WindowOperation Append(in WindowOperation operation)
    {
        if (!HasRoom(operation.PayloadBytes))
        {
            throw new InvalidOperationException("the write window is full");
        }

        ref WindowOperation place = ref _operations[(int)(Next & _mask)];
        place = operation;
        place.Sequence = Next++;
        Bytes += operation.PayloadBytes;
        return ref place;
    }

    /// <summary>Forgets the oldest operation.</summary>
    public void DropOldest()
    {
        if (Count == 0)
        {
            throw new InvalidOperationException("the write window is empty");
        }

        ref WindowOperation place = ref _operations[(int)(Base & _mask)];
        Bytes -= place.PayloadBytes;
        place = default;
        Base++;
    }
}
