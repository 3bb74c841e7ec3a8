using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ublk.Uring;
using Ublk.Uring.Native;

namespace Ublk.Tests.Simulation.World;

/// <summary>
/// Memory for payload, in blocks of 512 bytes to 1 MiB, out of one mapping that is used by one history after
/// the other. What is given back is spoilt, so that who still reads it is found out.
/// </summary>
internal sealed class SimulatedMemory : IDisposable
{
    private const int UnitShift = 9;
    private const int Orders = 12;
    private const byte Spoilt = 0xdb;
    private const sbyte NotRented = -1;

    private readonly MemoryMapping _mapping;
    private readonly Stack<int>[] _free = new Stack<int>[Orders];
    private readonly sbyte[] _orderAt;
    private int _untouched;

    /// <summary>Reserves memory; only what is used costs any.</summary>
    /// <param name="capacityBytes">Most that can be rented.</param>
    public SimulatedMemory(int capacityBytes)
    {
        _mapping = MemoryMapping.Allocate(capacityBytes);
        _orderAt = new sbyte[capacityBytes >> UnitShift];
        Array.Fill(_orderAt, NotRented);
        for (int order = 0; order < Orders; order++)
        {
            _free[order] = new Stack<int>();
        }
    }

    /// <summary>Blocks that are rented.</summary>
    public int RentedCount { get; private set; }

    /// <summary>Takes everything back: a new history begins.</summary>
    public void Reset()
    {
        Array.Fill(_orderAt, NotRented, 0, _untouched);
        _untouched = 0;
        RentedCount = 0;
        foreach (Stack<int> blocks in _free)
        {
            blocks.Clear();
        }
    }

    /// <summary>Gives memory; false when there is none.</summary>
    /// <param name="lengthBytes">0 to 1 MiB; 0 gives a buffer that needs not be returned.</param>
    /// <param name="buffer">The memory, with anything in it.</param>
    public bool TryRent(int lengthBytes, out IoBuffer buffer)
    {
        buffer = default;
        if (lengthBytes == 0)
        {
            return true;
        }

        int order = 0;
        while (lengthBytes > 1 << (UnitShift + order))
        {
            order++;
        }

        if (!_free[order].TryPop(out int unit))
        {
            if (_untouched + (1 << order) > _orderAt.Length)
            {
                return false;
            }

            unit = _untouched;
            _untouched += 1 << order;
        }

        RentedCount++;
        _orderAt[unit] = (sbyte)order;
        buffer = _mapping.Slice((long)unit << UnitShift, lengthBytes);
        return true;
    }

    /// <summary>Gives memory.</summary>
    /// <param name="lengthBytes">0 to 1 MiB.</param>
    public IoBuffer Rent(int lengthBytes) => TryRent(lengthBytes, out IoBuffer buffer)
        ? buffer
        : throw new InvalidOperationException("the world has no memory left; something keeps its buffers");

    /// <summary>Gives a copy.</summary>
    /// <param name="bytes">Up to 1 MiB.</param>
    public IoBuffer Copy(ReadOnlySpan<byte> bytes)
    {
        IoBuffer copy = Rent(bytes.Length);
        if (bytes.Length > 0)
        {
            bytes.CopyTo(copy.Span);
        }

        return copy;
    }

    /// <summary>Takes memory back.</summary>
    /// <param name="buffer">As it was given.</param>
    public void Return(in IoBuffer buffer)
    {
        if (buffer.LengthBytes == 0)
        {
            return;
        }

        long offset = Unsafe.ByteOffset(
            ref MemoryMarshal.GetReference(_mapping.Bytes), ref MemoryMarshal.GetReference(buffer.Span));
        int unit = (int)(offset >> UnitShift);
        if (offset < 0 || offset >= _mapping.LengthBytes || _orderAt[unit] == NotRented)
        {
            throw new InvalidOperationException("memory is returned that was not rented, or twice");
        }

        Spoil(buffer.Span);
        _free[_orderAt[unit]].Push(unit);
        _orderAt[unit] = NotRented;
        RentedCount--;
    }

    /// <inheritdoc/>
    public void Dispose() => _mapping.Dispose();

    // The ends are enough: whoever reads too late finds a block that nobody wrote.
    private static void Spoil(Span<byte> bytes)
    {
        const int Part = 64;
        bytes[..Math.Min(Part, bytes.Length)].Fill(Spoilt);
        bytes[Math.Max(0, bytes.Length - Part)..].Fill(Spoilt);
    }
}
