using System.Threading.Tasks.Sources;
using Ublk.Uring;

namespace Ublk.Wire.Transport;

/// <summary>
/// What one caller at a time waits for on a loop: its continuation runs inline, on the loop's thread, also
/// when a token ends the wait, which may be cancelled on any. No allocation without such a token.
/// </summary>
/// <typeparam name="T">What it is told.</typeparam>
internal sealed class LoopWait<T> : IValueTaskSource<T>
{
    private readonly Loop _loop;
    private readonly Action _cancel;
    private ManualResetValueTaskSourceCore<T> _source;
    private CancellationToken _token;
    private CancellationTokenRegistration _registration;

    public LoopWait(Loop loop)
    {
        _loop = loop;
        _cancel = Cancel;
    }

    /// <summary>Whether somebody waits.</summary>
    public bool IsWaiting { get; private set; }

    /// <summary>Begins to wait.</summary>
    /// <param name="token">Ends the wait.</param>
    public ValueTask<T> Begin(CancellationToken token = default)
    {
        _source.Reset();
        IsWaiting = true;
        if (token.CanBeCanceled)
        {
            _token = token;
            _registration = token.UnsafeRegister(static wait => ((LoopWait<T>)wait!).PostCancel(), this);
        }

        return new ValueTask<T>(this, _source.Version);
    }

    /// <summary>It has come.</summary>
    public void End(T result)
    {
        Forget();
        _source.SetResult(result);
    }

    /// <summary>It will not come.</summary>
    public void Fail(Exception reason)
    {
        Forget();
        _source.SetException(reason);
    }

    T IValueTaskSource<T>.GetResult(short token) => _source.GetResult(token);

    ValueTaskSourceStatus IValueTaskSource<T>.GetStatus(short token) => _source.GetStatus(token);

    void IValueTaskSource<T>.OnCompleted(
        Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _source.OnCompleted(continuation, state, token, flags);

    private void Forget()
    {
        IsWaiting = false;
        _registration.Unregister();
        _registration = default;
        _token = default;
    }

    // On the thread of who cancels. A mailbox that is full loses it; the wait goes on.
    private void PostCancel() => _ = _loop.Post(_cancel);

    private void Cancel()
    {
        if (IsWaiting && _token.IsCancellationRequested)
        {
            Fail(new OperationCanceledException(_token));
        }
    }
}
