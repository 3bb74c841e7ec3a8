using Ublk.Uring;

namespace Ublk.Frontend.Ublk;

/// <summary>How a device's service ended.</summary>
public enum UblkEnd
{
    /// <summary>The block device is gone: stopped here or from outside.</summary>
    Stopped,
    /// <summary>The device waits for its next server.</summary>
    Quiesced,
    /// <summary>
    /// The driver refused a command for good; the process should end so that recovery works.
    /// </summary>
    Faulted,
}

/// <summary>
/// The queues of one device on their loop: joined, looked at now and then, drained and left. What is
/// asynchronous here goes through the loop's mailbox and may be called from any thread.
/// </summary>
internal sealed class UblkQueueSet : IUblkQueueOwner
{
    private readonly Loop _loop;
    private readonly List<UblkQueue> _queues = [];
    private readonly List<IUblkQueueDriver> _drivers = [];
    private readonly TaskCompletionSource<UblkEnd> _ended =
        new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _drained =
        new(TaskCreationOptions.RunContinuationsAsynchronously);
    private LoopTimer? _watchdog;
    private int _endedCount;
    private bool _hasFetched;
    private bool _hasReturned;
    private volatile bool _isQuiescing;

    /// <summary>A set without queues.</summary>
    /// <param name="loop">The loop that will own them.</param>
    public UblkQueueSet(Loop loop) => _loop = loop;

    /// <summary>Ends when the last tag came back, with how.</summary>
    public Task<UblkEnd> Ended => _ended.Task;

    /// <summary>Why the device faulted; null otherwise.</summary>
    public string? Fault { get; private set; }

    /// <summary>The end of all tags will mean that the device waits for its next server.</summary>
    public bool IsQuiescing
    {
        set => _isQuiescing = value;
    }

    /// <summary>Joins the queues to the loop and offers all their tags to the driver.</summary>
    /// <param name="charDevice">The open device.</param>
    /// <param name="count">How many queues.</param>
    /// <param name="options">How each serves its requests.</param>
    /// <param name="create">Makes a queue over its driver.</param>
    public Task FetchAsync(
        IUblkCharDevice charDevice, int count, UblkQueueOptions options,
        Func<IUblkQueueDriver, UblkQueue> create) => _loop.InvokeAsync(() =>
    {
        for (int i = 0; i < count; i++)
        {
            IUblkQueueDriver driver = charDevice.OpenQueue(_loop, i, options.Depth);
            _drivers.Add(driver);
            _queues.Add(create(driver));
        }

        _hasFetched = true;
        foreach (UblkQueue queue in _queues)
        {
            queue.Start();
        }

        StartWatchdog(options.RequestTimeout);
        return true;
    });

    /// <summary>Requests in our hands.</summary>
    public Task<int> InFlightAsync() => _loop.InvokeAsync(() =>
    {
        int count = 0;
        foreach (UblkQueue queue in _queues)
        {
            count += queue.InFlightCount;
        }

        return count;
    });

    /// <summary>Nothing is in our hands any more, although tags may still be with the driver.</summary>
    public void EndQuiesced() => _ended.TrySetResult(UblkEnd.Quiesced);

    /// <summary>Waits until the driver gave back every tag that was offered.</summary>
    /// <param name="limit">Longest wait.</param>
    /// <param name="time">Clock.</param>
    /// <returns>False when the time was over.</returns>
    public async Task<bool> DrainAsync(TimeSpan limit, TimeProvider time)
    {
        if (!_hasFetched)
        {
            return true;
        }

        try
        {
            await _drained.Task.WaitAsync(limit, time).ConfigureAwait(false);
            return true;
        }
        catch (TimeoutException)
        {
            return false;
        }
    }

    /// <summary>Parts the queues from the loop; their descriptors are unmapped then.</summary>
    public async Task LeaveAsync()
    {
        if (_drivers.Count == 0)
        {
            return;
        }

        _ = await _loop.InvokeAsync(() =>
        {
            _watchdog?.Cancel();
            foreach (IUblkQueueDriver driver in _drivers)
            {
                driver.Dispose();
            }

            _drivers.Clear();
            return true;
        }).ConfigureAwait(false);
    }

    /// <summary>Gives back what was kept until the device was closed, which it is now.</summary>
    public async Task ReturnWithheldPlacesAsync()
    {
        if (_queues.Count == 0 || _hasReturned)
        {
            return;
        }

        _hasReturned = await _loop.InvokeAsync(() =>
        {
            foreach (UblkQueue queue in _queues)
            {
                queue.ReturnWithheldPlaces();
            }

            return true;
        }).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    void IUblkQueueOwner.OnQueueEnded()
    {
        _endedCount++;
        if (_endedCount == _queues.Count)
        {
            _drained.TrySetResult();
            _ended.TrySetResult(_isQuiescing ? UblkEnd.Quiesced : UblkEnd.Stopped);
        }
    }

    /// <inheritdoc/>
    void IUblkQueueOwner.OnQueueFault(string message)
    {
        Fault ??= message;
        _ended.TrySetResult(UblkEnd.Faulted);
    }

    private void StartWatchdog(TimeSpan requestTimeout)
    {
        if (requestTimeout <= TimeSpan.Zero)
        {
            return;
        }

        TimeSpan interval = requestTimeout / 4;
        _watchdog = new LoopTimer(() =>
        {
            foreach (UblkQueue queue in _queues)
            {
                queue.GiveUpOverdue();
            }

            _loop.Schedule(_watchdog!, interval);
        });
        _loop.Schedule(_watchdog, interval);
    }
}
