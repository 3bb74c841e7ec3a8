using Ublk.Uring.Native;
using Ublk.Wire.Blocks;

namespace Ublk.Frontend.Ublk;

/// <summary>What a device counts; the order is the order in the counter page.</summary>
public enum UblkCounter
{
    /// <summary>Read requests ended.</summary>
    Reads,
    /// <summary>Bytes of successful reads.</summary>
    ReadBytes,
    /// <summary>Write requests ended.</summary>
    Writes,
    /// <summary>Bytes of successful writes.</summary>
    WriteBytes,
    /// <summary>Flush requests ended.</summary>
    Flushes,
    /// <summary>Discard requests ended.</summary>
    Discards,
    /// <summary>Write-zeroes requests ended.</summary>
    WriteZeroes,
    /// <summary>Reads that went straight into the request's registered pages.</summary>
    ReadsIntoRequest,
    /// <summary>Reads that went through our memory and were copied.</summary>
    ReadsThroughMemory,
    /// <summary>Writes from a private copy.</summary>
    WritesFromCopy,
    /// <summary>Writes straight from the request's registered pages.</summary>
    WritesFromRequest,
    /// <summary>Requests whose pages the kernel could not register (NEED_REG_BUF).</summary>
    RegistrationFallbacks,
    /// <summary>Requests that had to wait for payload memory.</summary>
    MemoryWaits,
    /// <summary>Requests answered with an error.</summary>
    Errors,
    /// <summary>Requests given up after their time limit.</summary>
    Timeouts,
    /// <summary>Requests now in our hands.</summary>
    InFlight,
    /// <summary>Commits the driver refused.</summary>
    RefusedCommits,
    /// <summary>
    /// Bytes the loop's thread has allocated on the managed heap since it started; as of the last answer
    /// when no request is in hand, otherwise at most <see cref="UblkCounters.AllocationInterval"/> answers
    /// old.
    /// </summary>
    LoopAllocatedBytes,
    /// <summary>
    /// Places of the buffer table now out of use until the device is closed: the driver refused the commit
    /// of the request that has its pages there, for good.
    /// </summary>
    WithheldPlaces,
}

/// <summary>
/// Counters of one device in a page of 64-bit numbers: one store per event on the loop's thread, readable
/// by any process at any time where the page is a file.
/// Layout: 8 bytes magic, then one number per <see cref="UblkCounter"/>.
/// </summary>
public sealed class UblkCounters : IDisposable
{
    /// <summary>Size of the page, and of the file.</summary>
    public const int PageBytes = 4096;

    /// <summary>First 8 bytes: "qublkcn" and layout version 1.</summary>
    public const long Magic = 0x016E636B6C627571;

    /// <summary>
    /// Answers between two looks at what the loop's thread has allocated: asking the runtime is a call that
    /// not every request has to pay for. Any allocation per request still shows, a little later.
    /// </summary>
    public const int AllocationInterval = 256;

    private readonly MemoryMapping _page;
    private int _sinceAllocationLook;

    /// <summary>Counters in memory of this process.</summary>
    public UblkCounters() : this(MemoryMapping.Allocate(PageBytes))
    {
    }

    private UblkCounters(MemoryMapping page)
    {
        _page = page;
        page.At<long>(0) = Magic;
    }

    /// <summary>One counter.</summary>
    /// <param name="counter">Which.</param>
    public ref long this[UblkCounter counter] =>
        ref _page.At<long>(sizeof(long) * (1 + (int)counter));

    /// <summary>Counters in a file, made or emptied first.</summary>
    /// <param name="path">The file; best on a memory filesystem.</param>
    public static UblkCounters Create(string path)
    {
        File.WriteAllBytes(path, new byte[PageBytes]);
        using FileHandle file = FileHandle.Open(path, FileAccess.ReadWrite);
        return new UblkCounters(MemoryMapping.Open(file, 0, PageBytes, writable: true));
    }

    /// <summary>Reads another process's counters; null when the file is none.</summary>
    /// <param name="path">The file.</param>
    public static long[]? Read(string path)
    {
        byte[] bytes;
        try
        {
            bytes = File.ReadAllBytes(path);
        }
        catch (IOException)
        {
            return null;
        }

        if (bytes.Length < PageBytes || BitConverter.ToInt64(bytes, 0) != Magic)
        {
            return null;
        }

        var values = new long[Enum.GetValues<UblkCounter>().Length];
        Buffer.BlockCopy(bytes, sizeof(long), values, 0, values.Length * sizeof(long));
        return values;
    }

    /// <summary>Counts a request that came into our hands. On the loop's thread.</summary>
    internal void CountArrival() => this[UblkCounter.InFlight]++;

    /// <summary>Counts a request that left our hands. On the loop's thread.</summary>
    internal void CountDeparture()
    {
        long left = --this[UblkCounter.InFlight];
        _sinceAllocationLook++;
        // The last one looks too: who reads the counters of a device at rest reads them as they are.
        if (left == 0 || _sinceAllocationLook >= AllocationInterval)
        {
            _sinceAllocationLook = 0;
            this[UblkCounter.LoopAllocatedBytes] = GC.GetAllocatedBytesForCurrentThread();
        }
    }

    /// <summary>Counts how a request ended. On the loop's thread.</summary>
    /// <param name="operation">What it was.</param>
    /// <param name="lengthBytes">Its payload.</param>
    /// <param name="status">How it ended.</param>
    internal void CountEnd(BlockOperation operation, int lengthBytes, BlockStatus status)
    {
        this[operation switch
        {
            BlockOperation.Read => UblkCounter.Reads,
            BlockOperation.Write => UblkCounter.Writes,
            BlockOperation.Flush => UblkCounter.Flushes,
            BlockOperation.Discard => UblkCounter.Discards,
            _ => UblkCounter.WriteZeroes,
        }]++;
        if (status != BlockStatus.Ok)
        {
            this[UblkCounter.Errors]++;
        }
        else if (operation == BlockOperation.Read)
        {
            this[UblkCounter.ReadBytes] += lengthBytes;
        }
        else if (operation == BlockOperation.Write)
        {
            this[UblkCounter.WriteBytes] += lengthBytes;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _page.Dispose();
}
