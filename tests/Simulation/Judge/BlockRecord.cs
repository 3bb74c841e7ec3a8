namespace Ublk.Tests.Simulation.Judge;

/// <summary>What one operation of the host did to one block: a write with its value, or a read.</summary>
internal struct BlockRecord
{
    /// <summary>The time of an operation that never ended.</summary>
    public const int Never = int.MaxValue;

    /// <summary>The operation.</summary>
    public int Operation;

    /// <summary>The record before it of the same block; −1 for none.</summary>
    public int Previous;

    /// <summary>When it was asked for.</summary>
    public int Begin;

    /// <summary>When it was answered, or given up.</summary>
    public int End;

    /// <summary>What was written or read; 0 for zeros.</summary>
    public ulong Value;

    /// <summary>It is a read.</summary>
    public bool IsRead;

    /// <summary>It was answered with success.</summary>
    public bool IsOk;

    /// <summary>It was to be on stable media when it was answered.</summary>
    public bool IsDurable;
}

/// <summary>A recovery after which not everything that was acknowledged is owed.</summary>
/// <param name="At">When the new writer began to serve.</param>
/// <param name="ForgivenThrough">
/// What was asked for by then may be lost: enough nodes lost power afterwards. An acknowledgement may still
/// be on its way when its sender loses power, so it is the beginning of a write that counts.
/// </param>
/// <param name="FlushedThrough">
/// What was owed before this was flushed, and must be there all the same.
/// </param>
internal readonly record struct Outage(int At, int ForgivenThrough, int FlushedThrough);
