using Ublk.Frontend.Ublk;

namespace Ublk.Testing;

/// <summary>
/// A client's request to a fake block device: what was asked, the request's own pages, and, once
/// <see cref="IsDone"/>, the result. A read's pages are filled with a pattern first, so that bytes
/// nobody supplied show.
/// </summary>
public sealed class FakeBlockRequest
{
    /// <summary>Every byte of a read's pages before it is served.</summary>
    public const byte Stale = 0xA5;

    internal FakeBlockRequest(uint operationFlags, ulong startSector, uint sectorCount, byte[] data)
    {
        OperationFlags = operationFlags;
        StartSector = startSector;
        SectorCount = sectorCount;
        Data = data;
    }

    /// <summary>The request's pages: a write's payload, or what a read brought.</summary>
    public byte[] Data { get; }

    /// <summary>Whether the client has its answer.</summary>
    public bool IsDone { get; internal set; }

    /// <summary>0, or −errno.</summary>
    public int Result { get; internal set; }

    /// <summary>How often it was given to a server; more than once after a recovery.</summary>
    public int DeliveryCount { get; internal set; }

    /// <summary>Whether the last delivery had its pages registered.</summary>
    public bool WasRegistered { get; internal set; }

    /// <summary>Offset in bytes.</summary>
    public long OffsetBytes => (long)StartSector << UblkAbi.SectorShift;

    /// <summary>Length in bytes.</summary>
    public long LengthBytes => (long)SectorCount << UblkAbi.SectorShift;

    /// <summary>The operation.</summary>
    public byte Operation => (byte)OperationFlags;

    internal uint OperationFlags { get; }

    internal ulong StartSector { get; set; }

    internal uint SectorCount { get; set; }

    /// <summary>First byte of the pages that this part of the request covers.</summary>
    internal int DataOffset { get; set; }

    internal bool IsPayload => Operation is (byte)UblkOperation.Read or (byte)UblkOperation.Write;

    internal bool IsRead => Operation == (byte)UblkOperation.Read;

    /// <summary>Fixed operations that still use the pages; the client waits for them.</summary>
    internal int PinCount { get; set; }

    internal bool IsCommitted { get; set; }

    internal int CommittedResult { get; set; }

    internal FakeUblkDevice? Device { get; set; }

    internal Span<byte> Pages => Data.AsSpan(DataOffset, Math.Min(Data.Length - DataOffset,
        (int)Math.Min(LengthBytes, int.MaxValue)));

    internal void Reset()
    {
        IsDone = false;
        Result = 0;
        DeliveryCount = 0;
        IsCommitted = false;
        DataOffset = 0;
    }
}
