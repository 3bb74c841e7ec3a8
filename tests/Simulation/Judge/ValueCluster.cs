namespace Ublk.Tests.Simulation.Judge;

/// <summary>
/// A value that a write put into a block, with all reads that showed it. They stand together in any order of
/// what happened, since nothing else can come between a write and a read of its value. One cluster must come
/// before another if something of it ended before something of the other began (Gibbons and Korach, Testing
/// Shared Memories, 1997: without two that must each come before the other there is an order of all).
/// </summary>
internal struct ValueCluster
{
    /// <summary>The operation that wrote it; −1 for what was there before.</summary>
    public int Operation;

    /// <summary>The value.</summary>
    public ulong Value;

    /// <summary>When the write began.</summary>
    public int WriteBegin;

    /// <summary>When the write ended.</summary>
    public int WriteEnd;

    /// <summary>The write was acknowledged.</summary>
    public bool IsAcknowledged;

    /// <summary>It was on stable media when it was acknowledged, or when a new writer found it.</summary>
    public bool IsDurable;

    /// <summary>A read has shown it.</summary>
    public bool IsShown;

    /// <summary>When the first of write and reads ended.</summary>
    public int FirstEnd;

    /// <summary>When the last of write and reads began.</summary>
    public int LastBegin;

    /// <summary>Since when it is owed; never, if it was neither acknowledged nor shown.</summary>
    public int OwedSince;

    /// <summary>Whether it is known that the write happened.</summary>
    public readonly bool Happened => IsAcknowledged || IsShown;

    /// <summary>Whether it must have come before another one.</summary>
    public readonly bool IsBefore(in ValueCluster other) => FirstEnd < other.LastBegin;

    /// <summary>Whether each of two must have come before the other.</summary>
    public readonly bool Contradicts(in ValueCluster other) => IsBefore(other) && other.IsBefore(this);

    /// <summary>A read has shown it.</summary>
    public void Show(int begin, int end)
    {
        IsShown = true;
        FirstEnd = Math.Min(FirstEnd, end);
        LastBegin = Math.Max(LastBegin, begin);
        OwedSince = Math.Min(OwedSince, end);
    }
}
