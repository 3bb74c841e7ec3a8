using Ublk.Uring.Native;

namespace Ublk.Uring;

/// <summary>
/// The thread that turns a loop. It lives as long as the loop: a ublk tag belongs to the thread that
/// fetched it, and when that thread ends its devices hang until recovery. So an exception at the top is
/// reported to the owner of the process, who must end it: then recovery can take the devices over.
/// </summary>
public sealed class LoopThread : IDisposable
{
    private readonly Thread _thread;
    private readonly TaskCompletionSource<Loop> _started =
        new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _ended =
        new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Action<Exception> _onFault;
    private volatile bool _isStopping;

    private LoopThread(LoopOptions options, TimeProvider time, Action<Exception> onFault)
    {
        _onFault = onFault;
        _thread = new Thread(() => Run(options, time))
        {
            Name = options.Name,
            IsBackground = true,
        };
    }

    /// <summary>The loop; use it only through <see cref="Loop.Post"/> from other threads.</summary>
    public Loop Loop { get; private set; } = null!;

    /// <summary>Starts a thread and its loop.</summary>
    /// <param name="options">Limits; the processor to stay on.</param>
    /// <param name="time">Clock.</param>
    /// <param name="onFault">Told once, on the loop's thread, when the loop cannot go on.</param>
    /// <exception cref="SystemCallException">The loop could not be made.</exception>
    public static async Task<LoopThread> StartAsync(
        LoopOptions options, TimeProvider time, Action<Exception> onFault)
    {
        var thread = new LoopThread(options, time, onFault);
        thread._thread.Start();
        thread.Loop = await thread._started.Task.ConfigureAwait(false);
        return thread;
    }

    /// <summary>Ends the loop after its current round and waits for the thread.</summary>
    public async Task StopAsync()
    {
        _isStopping = true;
        _ = Loop.Post(static () => { });
        await _ended.Task.ConfigureAwait(false);
    }

    /// <summary>Asks the thread to end without waiting for it.</summary>
    public void Dispose()
    {
        _isStopping = true;
        _ = Loop?.Post(static () => { });
    }

    private void Run(LoopOptions options, TimeProvider time)
    {
        try
        {
            if (options.Processor is { } processor)
            {
                ProcessSetup.PinThread(processor);
            }

            using var loop = new Loop(options, time);
            _started.SetResult(loop);
            while (!_isStopping)
            {
                loop.DrainOrWait();
            }
        }
        catch (Exception exception)
        {
            if (!_started.TrySetException(exception))
            {
                _onFault(exception);
            }
        }
        finally
        {
            _ended.SetResult();
        }
    }
}
