namespace Ublk.Frontend.Ublk;

/// <summary>How a device is made.</summary>
public sealed record UblkDeviceOptions
{
    /// <summary>Our mark in the device's server flags: "qubl" and version 1.</summary>
    public const ulong Mark = 0x6C627571_00000001;

    /// <summary>Number of the device; −1 lets the kernel choose.</summary>
    public int DeviceId { get; init; } = -1;

    /// <summary>Queues, all on the one loop; the kernel grants at most one per processor.</summary>
    public int QueueCount { get; init; } = 1;

    /// <summary>Requests per queue, 1 to 4096.</summary>
    public int QueueDepth { get; init; } = 128;

    /// <summary>Longest read or write in bytes: 4096 to 1 MiB, a multiple of the page.</summary>
    public int MaxTransferBytes { get; init; } = 1 << 20;

    /// <summary>Use registered request pages where the kernel has them (6.16).</summary>
    public bool UsesAutoBuffers { get; init; } = true;

    /// <summary>See <see cref="UblkQueueOptions.FallsBack"/>.</summary>
    public bool FallsBack { get; init; } = true;

    /// <summary>See <see cref="UblkQueueOptions.CopiesWrites"/>.</summary>
    public bool CopiesWrites { get; init; } = true;

    /// <summary>See <see cref="UblkQueueOptions.RequestTimeout"/>.</summary>
    public TimeSpan RequestTimeout { get; init; } = TimeSpan.Zero;

    /// <summary>How long a take-over waits for the old server's last traces to go.</summary>
    public TimeSpan RecoveryLimit { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// Requests the target must take at once: every tag, and as many again where requests can be given
    /// up while the target still has them.
    /// </summary>
    public int RequiredTargetRequests =>
        QueueCount * QueueDepth * (RequestTimeout > TimeSpan.Zero ? 2 : 1);

    /// <summary>Throws when a value is out of range.</summary>
    /// <exception cref="UblkException">With the value and its range.</exception>
    public void Validate()
    {
        Check(QueueCount is >= 1 and <= 64, $"{QueueCount} queues: 1 to 64 are possible");
        Check(QueueDepth is >= 1 and <= UblkAbi.MaxQueueDepth,
            $"queue depth {QueueDepth}: 1 to {UblkAbi.MaxQueueDepth} is possible");
        Check(MaxTransferBytes is >= 4096 and <= 1 << 20 && MaxTransferBytes % 4096 == 0,
            $"longest transfer {MaxTransferBytes}: 4096 to 1048576 bytes in whole pages");
        Check(DeviceId >= -1, $"device number {DeviceId}: 0 or higher");
    }

    private static void Check(bool isValid, string message)
    {
        if (!isValid)
        {
            throw new UblkException(UblkError.Failed, message);
        }
    }
}
