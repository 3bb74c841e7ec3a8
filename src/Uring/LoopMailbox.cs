using System.Collections.Concurrent;
using Ublk.Uring.Native;

namespace Ublk.Uring;

/// <summary>
/// What other threads want done on a loop's thread, with the counter that wakes it. One wake-up covers
/// all posts until the loop looks again: a post is queued first and then asks whether a wake-up is under
/// way; the loop first forgets the wake-up and then looks, so a post is seen or sends a wake-up of its own.
/// </summary>
internal sealed class LoopMailbox : IDisposable
{
    private readonly ConcurrentQueue<Letter> _letters = new();
    private readonly FileHandle _wake = new(Libc.Check("eventfd", Libc.EventFd(0, Libc.CloseOnExec)));
    private readonly int _limit;
    private int _wakeSent;
    private volatile bool _isClosed;

    /// <summary>Makes an empty mailbox.</summary>
    /// <param name="limit">Letters that may wait.</param>
    public LoopMailbox(int limit) => _limit = limit;

    /// <summary>Readable when there is a letter.</summary>
    public FileHandle WakeFile => _wake;

    /// <summary>Whether it takes no more.</summary>
    public bool IsClosed => _isClosed;

    /// <summary>Queues an action; false when the mailbox is full or closed.</summary>
    /// <param name="action">Runs on the loop's thread.</param>
    /// <param name="abandon">Runs instead, on any thread, when the loop ends before; may be null.</param>
    public bool TryAdd(Action action, Action? abandon)
    {
        if (_isClosed || _letters.Count >= _limit)
        {
            return false;
        }

        _letters.Enqueue(new Letter(action, abandon));
        if (Interlocked.Exchange(ref _wakeSent, 1) == 0)
        {
            Wake();
        }

        if (_isClosed)
        {
            Abandon(); // The loop ended meanwhile and may have looked too early.
        }

        return true;
    }

    /// <summary>
    /// Runs what is there now; what these actions post themselves waits for the next round, after the
    /// completions and timers. Answers how many ran.
    /// </summary>
    public int Run()
    {
        if (Volatile.Read(ref _wakeSent) == 0)
        {
            return 0;
        }

        Volatile.Write(ref _wakeSent, 0);
        Interlocked.MemoryBarrier();
        int waiting = _letters.Count;
        int count = 0;
        while (count < waiting && _letters.TryDequeue(out Letter letter))
        {
            count++;
            letter.Action();
        }

        return count;
    }

    /// <summary>Takes no more letters and abandons those that wait.</summary>
    public void Dispose()
    {
        _isClosed = true;
        Interlocked.MemoryBarrier();
        Abandon();
        _wake.Dispose();
    }

    private void Abandon()
    {
        while (_letters.TryDequeue(out Letter letter))
        {
            letter.Abandon?.Invoke();
        }
    }

    // The reference keeps the descriptor's number from being given to another file, whose bytes would be
    // overwritten, while the loop is closed on its own thread.
    private unsafe void Wake()
    {
        bool isHeld = false;
        try
        {
            _wake.DangerousAddRef(ref isHeld);
            ulong one = 1;
            _ = Libc.Write(_wake.Fd, &one, sizeof(ulong));
        }
        catch (ObjectDisposedException)
        {
            // Nobody is left to be woken; the caller sees that the mailbox is closed.
        }
        finally
        {
            if (isHeld)
            {
                _wake.DangerousRelease();
            }
        }
    }

    private readonly record struct Letter(Action Action, Action? Abandon);
}
