using Ublk.Uring.Native;

namespace Ublk.Replication.Store;

/// <summary>Memory of a live page: it is changed by whole, aligned stores of 8 bytes only.</summary>
public interface ILiveMemory
{
    /// <summary>Length in bytes.</summary>
    long LengthBytes { get; }

    /// <summary>Reads 8 bytes.</summary>
    /// <param name="offsetBytes">Offset, a multiple of 8.</param>
    ulong Load(long offsetBytes);

    /// <summary>Stores 8 bytes at once; never before stores that were made earlier.</summary>
    /// <param name="offsetBytes">Offset, a multiple of 8.</param>
    /// <param name="value">The bytes, little endian.</param>
    void Store(long offsetBytes, ulong value);
}

/// <summary>
/// A live page in a file that is mapped shared: what was stored is in the page cache, so it outlives the
/// process, however that ends, and not the machine.
/// </summary>
/// <param name="mapping">The mapping; owned by who made it.</param>
public readonly struct MappedLiveMemory(MemoryMapping mapping) : ILiveMemory
{
    /// <inheritdoc/>
    public long LengthBytes => mapping.LengthBytes;

    /// <inheritdoc/>
    public ulong Load(long offsetBytes) => Volatile.Read(ref mapping.At<ulong>(offsetBytes));

    /// <inheritdoc/>
    public void Store(long offsetBytes, ulong value) =>
        Volatile.Write(ref mapping.At<ulong>(offsetBytes), value);
}
