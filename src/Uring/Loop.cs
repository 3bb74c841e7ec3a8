using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using Ublk.Uring.Abi;
using Ublk.Uring.Native;

namespace Ublk.Uring;

/// <summary>Receives the completions of what it submitted, on the loop's thread.</summary>
public interface IRingCompletion
{
    /// <summary>One completion.</summary>
    /// <param name="token">As given at submission.</param>
    /// <param name="result">Result, negative errno on failure.</param>
    /// <param name="flags">With More set, further completions of the same operation follow.</param>
    void OnCompletion(ulong token, int result, CompletionFlags flags);
}

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

/// <summary>Names an operation in flight, for cancelling it. Zero is none.</summary>
/// <param name="Value">User data of the entry: slot in the lower half, generation in the upper.</param>
public readonly record struct OperationId(ulong Value);

/// <summary>
/// One ring with everything that lives on its thread: operations in flight, the buffer and file tables,
/// timers, and a mailbox through which other threads reach it. Created, used and disposed on one thread;
/// only <see cref="Post"/> may be called from others. <see cref="Drain"/> does one round of work without
/// waiting, so that tests can be the thread.
/// </summary>
public sealed class Loop : IDisposable
{
    /// <summary>Posts waiting in the mailbox; control traffic only, so a full one is a fault.</summary>
    public const int MailboxLimit = 4096;

    /// <summary>Completions handled between two enters, so that submissions are not held back.</summary>
    public const int DrainBudget = 256;

    private const uint SubmissionEntries = 512;
    private const int NoSlot = -1;

    private readonly Operation[] _operations;
    private readonly ConcurrentQueue<Action> _mailbox = new();
    private readonly FileHandle _wake;
    private readonly MemoryMapping _wakeBuffer;
    private readonly WakeReader _wakeReader;
    private readonly TimeProvider _time;
    private readonly PriorityQueue<(LoopTimer Timer, uint Version), long> _timers = new(64);
    private readonly int _threadId = Environment.CurrentManagedThreadId;
    private int _freeHead;
    private int _reserved;
    private int _wakeSent;
    private bool _isDisposed;

    /// <summary>Creates a loop on the calling thread, which becomes its owner.</summary>
    /// <param name="options">Limits.</param>
    /// <param name="time">Clock of the timers.</param>
    /// <exception cref="SystemCallException">No io_uring, or not allowed.</exception>
    public Loop(LoopOptions options, TimeProvider time)
    {
        Options = options;
        _time = time;
        Ring = Ring.Create(new RingOptions(SubmissionEntries, (uint)options.MaxOperations * 4));
        Buffers = new BufferTable(Ring, options.BufferTableSlots);
        Files = new FileTable(Ring, options.FileTableSlots);
        _operations = new Operation[options.MaxOperations];
        for (int i = 0; i < _operations.Length; i++)
        {
            _operations[i].Next = i + 1 < _operations.Length ? i + 1 : NoSlot;
        }

        _wake = new FileHandle(Libc.Result(Libc.EventFd(0, Libc.CloseOnExec)));
        _wakeBuffer = MemoryMapping.Allocate(Environment.SystemPageSize);
        _wakeReader = new WakeReader(this);
        Reserve(1);
        ArmWake();
    }

    /// <summary>The limits it was made with.</summary>
    public LoopOptions Options { get; }

    /// <summary>The ring.</summary>
    public Ring Ring { get; }

    /// <summary>The registered buffer table.</summary>
    public BufferTable Buffers { get; }

    /// <summary>The registered file table.</summary>
    public FileTable Files { get; }

    /// <summary>Operations in flight.</summary>
    public int InFlightCount { get; private set; }

    /// <summary>Ticks of the loop's clock now.</summary>
    public long Timestamp => _time.GetTimestamp();

    /// <summary>Sets aside places for operations; each user of the loop does so when it joins.</summary>
    /// <param name="operations">How many it may have in flight at once.</param>
    /// <exception cref="LoopFullException">When the loop has not as many left.</exception>
    public void Reserve(int operations)
    {
        if (_reserved + operations > _operations.Length)
        {
            throw new LoopFullException(
                $"loop {Options.Name} has room for {_operations.Length - _reserved} more operations, " +
                $"{operations} are needed; use a smaller queue depth or another loop");
        }

        _reserved += operations;
    }

    /// <summary>Gives back what <see cref="Reserve"/> set aside.</summary>
    /// <param name="operations">How many.</param>
    public void Unreserve(int operations) => _reserved -= operations;

    /// <summary>
    /// Starts an operation: it goes to the kernel with the next enter, together with all others of this
    /// round. No allocation.
    /// </summary>
    /// <param name="entry">The entry; its user data is set here.</param>
    /// <param name="handler">Who hears of the completion.</param>
    /// <param name="token">Handed back with it.</param>
    public OperationId Submit(in SubmissionEntry entry, IRingCompletion handler, ulong token)
    {
        AssertOwner();
        int index = _freeHead;
        if (index == NoSlot)
        {
            throw new InvalidOperationException("more operations in flight than were reserved");
        }

        ref Operation operation = ref _operations[index];
        _freeHead = operation.Next;
        operation.Handler = handler;
        operation.Token = token;
        operation.Generation++;
        InFlightCount++;
        var id = new OperationId((ulong)operation.Generation << 32 | (uint)index);
        SubmissionEntry copy = entry;
        copy.UserData = id.Value;
        Append(copy);
        return id;
    }

    /// <summary>Makes room for entries that must go to the kernel together (links).</summary>
    /// <param name="count">How many follow.</param>
    public void EnsureRoom(int count)
    {
        if (Ring.FreeCount < (uint)count)
        {
            Enter(0, TimeSpan.Zero);
        }
    }

    /// <summary>Asks the kernel to end an operation; its completion still comes.</summary>
    /// <param name="operation">The operation.</param>
    public void Cancel(OperationId operation) =>
        Submit(Entries.Cancel(operation.Value), Ignored.Instance, 0);

    /// <summary>Starts or moves a timer.</summary>
    /// <param name="timer">The timer.</param>
    /// <param name="delay">Time from now.</param>
    public void Schedule(LoopTimer timer, TimeSpan delay)
    {
        AssertOwner();
        long due = Timestamp + (long)(delay.TotalSeconds * _time.TimestampFrequency);
        timer.Version++;
        timer.IsScheduled = true;
        _timers.Enqueue((timer, timer.Version), due);
    }

    /// <summary>Runs an action on the loop's thread, soon. Callable from any thread.</summary>
    /// <param name="action">The action; it must not block.</param>
    /// <returns>False when the mailbox is full.</returns>
    public bool Post(Action action)
    {
        if (_mailbox.Count >= MailboxLimit)
        {
            return false;
        }

        _mailbox.Enqueue(action);
        // One wake-up covers all posts until the loop looks again.
        if (Interlocked.Exchange(ref _wakeSent, 1) == 0)
        {
            Wake();
        }

        return true;
    }

    /// <summary>Runs a function on the loop's thread and returns its result to the caller.</summary>
    /// <typeparam name="T">Result.</typeparam>
    /// <param name="function">The function; it must not block.</param>
    public Task<T> InvokeAsync<T>(Func<T> function)
    {
        var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        bool posted = Post(() =>
        {
            try
            {
                done.SetResult(function());
            }
            catch (Exception exception)
            {
                done.SetException(exception);
            }
        });
        if (!posted)
        {
            done.SetException(new LoopFullException($"mailbox of loop {Options.Name} is full"));
        }

        return done.Task;
    }

    /// <summary>
    /// One round without waiting: submit, reap up to a budget, run posts and timers. Answers how many
    /// things were done; 0 means there was nothing.
    /// </summary>
    /// <param name="budget">Most completions to handle.</param>
    public int Drain(int budget = DrainBudget)
    {
        Enter(0, TimeSpan.Zero);
        return Dispatch(budget);
    }

    /// <summary>One round that waits for something to do.</summary>
    /// <param name="limit">Longest wait; null for ever (a post or a timer ends it).</param>
    public int DrainOrWait(TimeSpan? limit = null)
    {
        TimeSpan? wait = limit;
        if (NextTimer() is { } due && (wait is null || due < wait))
        {
            wait = due;
        }

        Enter(1, wait);
        return Dispatch(DrainBudget);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_isDisposed)
        {
            return;
        }

        AssertOwner();
        _isDisposed = true;
        Ring.Dispose();
        _wake.Dispose();
        _wakeBuffer.Dispose();
    }

    /// <summary>Throws unless the caller is the loop's thread: ublk tags belong to it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void AssertOwner()
    {
        if (Environment.CurrentManagedThreadId != _threadId)
        {
            ThrowForeignThread();
        }
    }

    private void ThrowForeignThread() => throw new InvalidOperationException(
        $"loop {Options.Name} was used from another thread than its own");

    private int Dispatch(int budget)
    {
        int handled = 0;
        while (handled < budget && Ring.TryReap(out CompletionEntry completion))
        {
            Complete(completion);
            handled++;
        }

        return handled + RunPosts() + RunTimers();
    }

    private void Complete(in CompletionEntry completion)
    {
        int index = (int)(uint)completion.UserData;
        ref Operation operation = ref _operations[index];
        if (operation.Handler is null || operation.Generation != (uint)(completion.UserData >> 32))
        {
            throw new InvalidOperationException(
                $"completion of unknown operation {completion.UserData:x}");
        }

        IRingCompletion handler = operation.Handler;
        ulong token = operation.Token;
        if (!completion.Flags.HasFlag(CompletionFlags.More))
        {
            operation.Handler = null;
            operation.Next = _freeHead;
            _freeHead = index;
            InFlightCount--;
        }

        handler.OnCompletion(token, completion.Result, completion.Flags);
    }

    private int RunPosts()
    {
        if (Volatile.Read(ref _wakeSent) == 0)
        {
            return 0;
        }

        // Cleared before looking: a post that comes now sends a wake-up of its own.
        Volatile.Write(ref _wakeSent, 0);
        Interlocked.MemoryBarrier();
        int count = 0;
        while (_mailbox.TryDequeue(out Action? action))
        {
            count++;
            action();
        }

        return count;
    }

    private int RunTimers()
    {
        int count = 0;
        while (_timers.TryPeek(out (LoopTimer Timer, uint Version) next, out long due))
        {
            bool isCurrent = next.Timer.IsScheduled && next.Timer.Version == next.Version;
            if (isCurrent && due > Timestamp)
            {
                break;
            }

            _timers.Dequeue();
            if (isCurrent)
            {
                next.Timer.IsScheduled = false;
                next.Timer.Callback();
                count++;
            }
        }

        return count;
    }

    private TimeSpan? NextTimer()
    {
        if (!_timers.TryPeek(out _, out long due))
        {
            return null;
        }

        long now = Timestamp;
        return due <= now ? TimeSpan.Zero : _time.GetElapsedTime(now, due);
    }

    private void Append(in SubmissionEntry entry)
    {
        if (!Ring.TryAppend(entry))
        {
            Enter(0, TimeSpan.Zero);
            if (!Ring.TryAppend(entry))
            {
                throw new InvalidOperationException("the kernel takes no entries");
            }
        }
    }

    private void Enter(uint wait, TimeSpan? limit)
    {
        int result = Ring.Enter(wait, limit);
        if (result < 0 && result != -Errno.ETIME)
        {
            throw new SystemCallException("io_uring_enter", result);
        }
    }

    private void ArmWake() => Submit(
        Entries.Read(RingFile.Of(_wake), _wakeBuffer.Slice(0, sizeof(ulong)), 0), _wakeReader, 0);

    private unsafe void Wake()
    {
        ulong one = 1;
        _ = Libc.Write(_wake.Fd, &one, sizeof(ulong));
    }

    private struct Operation
    {
        public IRingCompletion? Handler;
        public ulong Token;
        public uint Generation;
        public int Next;
    }

    private sealed class WakeReader(Loop loop) : IRingCompletion
    {
        public void OnCompletion(ulong token, int result, CompletionFlags flags) => loop.ArmWake();
    }

    private sealed class Ignored : IRingCompletion
    {
        public static readonly Ignored Instance = new();

        public void OnCompletion(ulong token, int result, CompletionFlags flags)
        {
            // The outcome shows in the completion of the operation that was to be cancelled.
        }
    }
}

/// <summary>A callback at a time on a loop; one object may be scheduled again and again.</summary>
/// <param name="callback">Runs on the loop's thread.</param>
public sealed class LoopTimer(Action callback)
{
    /// <summary>Whether it will fire.</summary>
    public bool IsScheduled { get; internal set; }

    internal Action Callback { get; } = callback;

    internal uint Version { get; set; }

    /// <summary>Makes it not fire.</summary>
    public void Cancel() => IsScheduled = false;
}

/// <summary>A loop has no room for another user, or its mailbox is full.</summary>
/// <param name="message">What is full, and what to do.</param>
public sealed class LoopFullException(string message) : InvalidOperationException(message);
