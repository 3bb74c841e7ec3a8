namespace Ublk.Frontend.Ublk;

/// <summary>How a queue serves its requests.</summary>
public sealed record UblkQueueOptions
{
    /// <summary>Requests at once.</summary>
    public required int Depth { get; init; }

    /// <summary>Longest read or write in bytes; at most a block of the payload pool.</summary>
    public required int MaxTransferBytes { get; init; }

    /// <summary>The kernel registers request pages in the ring (AUTO_BUF_REG was granted).</summary>
    public required bool UsesAutoBuffers { get; init; }

    /// <summary>
    /// Requests whose pages cannot be registered are delivered all the same and copied. Only tests
    /// switch this off: the client gets EIO then.
    /// </summary>
    public bool FallsBack { get; init; } = true;

    /// <summary>
    /// Writes are copied once before they go to the target. Off, a target that can takes them from the
    /// request's own pages, which the client may still change: only for an unreplicated image.
    /// </summary>
    public bool CopiesWrites { get; init; } = true;

    /// <summary>After this time a request is answered with ETIMEDOUT; zero for never.</summary>
    public TimeSpan RequestTimeout { get; init; } = TimeSpan.Zero;
}

/// <summary>Hears of what happens to a queue as a whole, on the loop's thread.</summary>
public interface IUblkQueueOwner
{
    /// <summary>The driver gave back the last tag; nothing is in our hands.</summary>
    void OnQueueEnded();

    /// <summary>The driver refused a command for good; the tag is lost.</summary>
    /// <param name="message">What was refused and why.</param>
    void OnQueueFault(string message);
}
