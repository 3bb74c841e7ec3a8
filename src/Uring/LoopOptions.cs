namespace Ublk.Uring;

/// <summary>Limits of a loop.</summary>
public sealed record LoopOptions
{
    /// <summary>Name for threads and messages.</summary>
    public string Name { get; init; } = "loop";

    /// <summary>
    /// Operations in flight at once, over all users of the loop; they reserve their share when they join
    /// and are refused when it is used up. The completion queue has four places for each.
    /// </summary>
    public int MaxOperations { get; init; } = 8192;

    /// <summary>Places in the registered buffer table, 0 to 16384.</summary>
    public int BufferTableSlots { get; init; } = 4096;

    /// <summary>Places in the registered file table.</summary>
    public int FileTableSlots { get; init; } = 64;

    /// <summary>Processor to stay on; null leaves it to the scheduler.</summary>
    public int? Processor { get; init; }
}

/// <summary>A loop has no room for another user, or its mailbox is full.</summary>
/// <param name="message">What is full, and what to do.</param>
public sealed class LoopFullException(string message) : InvalidOperationException(message);
