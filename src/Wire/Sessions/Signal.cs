using System.Threading.Tasks.Sources;

namespace Ublk.Wire.Sessions;

/// <summary>
/// Wakes one loop that waits: at once, on the thread that says so. Said while nobody waits it is kept, once.
/// Used by one thread at a time; no allocation.
/// </summary>
public sealed class Signal : IValueTaskSource
{
    private ManualResetValueTaskSourceCore<bool> _source;
    private bool _isWaiting;
    private bool _isSet;

    /// <summary>Waits for it.</summary>
    public ValueTask WaitAsync()
    {
        if (_isSet)
        {
            _isSet = false;
            return default;
        }

        _source.Reset();
        _isWaiting = true;
        return new ValueTask(this, _source.Version);
    }

    /// <summary>Says it.</summary>
    public void Set()
    {
        if (_isWaiting)
        {
            _isWaiting = false;
            _source.SetResult(true);
        }
        else
        {
            _isSet = true;
        }
    }

    /// <summary>Forgets what was said while nobody waited.</summary>
    public void Clear() => _isSet = false;

    void IValueTaskSource.GetResult(short token) => _source.GetResult(token);

    ValueTaskSourceStatus IValueTaskSource.GetStatus(short token) => _source.GetStatus(token);

    void IValueTaskSource.OnCompleted(
        Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _source.OnCompleted(continuation, state, token, flags);
}
