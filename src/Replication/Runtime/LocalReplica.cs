using Ublk.Uring;
using Ublk.Wire.Ids;

namespace Ublk.Replication.Runtime;

/// <summary>How far a replica of a local volume is.</summary>
public enum LocalReplicaStage : byte
{
    /// <summary>Its files are not open: lost, held back, or about to be opened.</summary>
    Closed,
    /// <summary>Open, and not in the volume's stream of operations.</summary>
    Behind,
    /// <summary>In the stream, and being brought what it misses.</summary>
    Resyncing,
    /// <summary>Has everything that was acknowledged.</summary>
    InSync,
}

/// <summary>A replica of a local volume as others see it.</summary>
/// <param name="Image">Path of its image.</param>
/// <param name="Stage">How far it is.</param>
/// <param name="MissingRegions">Regions of 1 MiB that it misses; 0 while it is closed.</param>
/// <param name="Problem">Why it was closed or could not be opened; null when all is well.</param>
/// <param name="Damage">
/// What its disk did to its bytes, however far it is: until a scrub has found everything in order, or its
/// files are opened anew; null when nothing is known.
/// </param>
public sealed record LocalReplicaStatus(
    string Image, LocalReplicaStage Stage, int MissingRegions, string? Problem, string? Damage);

/// <summary>The place of one replica in a volume of this process, its files open or not.</summary>
/// <param name="image">Path of its image.</param>
/// <param name="link">The way between it and the writer.</param>
internal sealed class LocalReplica(string image, LocalLink link)
{
    private const long FirstPauseNs = 50_000_000;
    private const int MaxDoublings = 8; // 12.8 seconds.

    private TaskCompletionSource? _closed;

    /// <summary>Path of the image.</summary>
    public string Image => image;

    /// <summary>The way to it.</summary>
    public LocalLink Link => link;

    /// <summary>Its life now; null while its files are not open.</summary>
    public ReplicaDriver? Driver { get; set; }

    /// <summary>Why it was closed or could not be opened.</summary>
    public string? Problem { get; set; }

    /// <summary>What its disk did to its bytes; null when nothing is known.</summary>
    public string? Damage { get; set; }

    /// <summary>Whether it stays closed until somebody wants it open.</summary>
    public bool IsHeld { get; set; }

    /// <summary>Whether its files are being opened by another thread.</summary>
    public bool IsOpening { get; set; }

    /// <summary>
    /// Whether it could not do what it was asked: its files are closed and opened anew, because what the open
    /// ones answer may never be different.
    /// </summary>
    public bool MustReopen { get; set; }

    /// <summary>
    /// Whether it holds nothing while others do: it may come when the volume is served, and not before.
    /// </summary>
    public bool IsNewcomer { get; set; }

    /// <summary>Failures in a row; each doubles the pause before the next attempt.</summary>
    public int Failures { get; private set; }

    /// <summary>When the next attempt to open it, or a session to it, is due; by the loop's clock.</summary>
    public long NextAttemptAt { get; private set; }

    /// <summary>Whether messages can be given to it.</summary>
    public bool IsOpen => Driver is { IsStopped: false };

    /// <summary>Ends when its files are closed; at once where they are.</summary>
    public Task Closed => Driver is null ? Task.CompletedTask
        : (_closed ??= new(TaskCreationOptions.RunContinuationsAsynchronously)).Task;

    /// <summary>Its files are closed.</summary>
    public void HasClosed()
    {
        _closed?.TrySetResult();
        _closed = null;
    }

    /// <summary>Something failed: the next attempt waits.</summary>
    /// <param name="now">The loop's clock.</param>
    public void Pause(long now)
    {
        NextAttemptAt = now + (FirstPauseNs << Math.Min(Failures, MaxDoublings));
        Failures++;
    }

    /// <summary>All is well: the next failure is the first.</summary>
    public void Recovered()
    {
        Failures = 0;
        Problem = null;
    }

    /// <summary>Somebody wants it now.</summary>
    public void Hurry()
    {
        Failures = 0;
        NextAttemptAt = 0;
    }
}

/// <summary>Settings of a volume whose replicas all lie in this process.</summary>
public sealed record LocalVolumeOptions
{
    /// <summary>Paths of the images, one a replica: 1 to 7.</summary>
    public required IReadOnlyList<string> Images { get; init; }

    /// <summary>W, 1 to the number of images; 0 for a majority.</summary>
    public int WriteQuorum { get; init; }

    /// <summary>Whether images go past the page cache.</summary>
    public DirectMode Direct { get; init; }

    /// <summary>Where live pages lie: a directory of a memory filesystem.</summary>
    public required string LiveDirectory { get; init; }

    /// <summary>This life of this process.</summary>
    public required Writer Writer { get; init; }

    /// <summary>Requests of the host at once.</summary>
    public int MaxRequests { get; init; } = 256;

    /// <summary>Time between two looks at everything that waits for time to pass.</summary>
    public TimeSpan Tick { get; init; } = TimeSpan.FromMilliseconds(50);

    /// <summary>Longest time an orderly stop takes to finish what the host has asked for.</summary>
    public TimeSpan StopLimit { get; init; } = TimeSpan.FromSeconds(20);
}
