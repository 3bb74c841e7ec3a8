using System.Runtime.CompilerServices;
using Ublk.Uring.Abi;
using Ublk.Uring.Native;

namespace Ublk.Uring;

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

    // User data of entries whose completion nobody waits for: no slot has the id 0.
    private const ulong NoOperation = 0;

    private readonly SlotTable<Operation> _operations;
    private readonly LoopMailbox _mailbox = new(MailboxLimit);
    private readonly TimerQueue _timers = new();
    private readonly MemoryMapping _wakeBuffer;
    private readonly WakeReader _wakeReader;
    private readonly TimeProvider _time;
    private readonly int _threadId = Environment.CurrentManagedThreadId;
    private int _reserved;
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
        _operations = new SlotTable<Operation>(
            options.MaxOperations, $"operations of loop {options.Name}");
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
    public int InFlightCount => _operations.RentedCount;

    /// <summary>Timers that will fire.</summary>
    internal int TimerCount => _timers.Count;

    /// <summary>Ticks of the loop's clock now.</summary>
    public long Timestamp => _time.GetTimestamp();

    /// <summary>The loop's clock now, in nanoseconds.</summary>
    public long NowNs => (long)((Int128)Timestamp * 1_000_000_000 / _time.TimestampFrequency);

    /// <summary>Sets aside places for operations; each user of the loop does so when it joins.</summary>
    /// <param name="operations">How many it may have in flight at once.</param>
    /// <exception cref="LoopFullException">When the loop has not as many left.</exception>
    public void Reserve(int operations)
    {
        if (_reserved + operations > _operations.Capacity)
        {
            throw new LoopFullException(
                $"loop {Options.Name} has room for {_operations.Capacity - _reserved} more operations, " +
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
    /// <exception cref="InvalidOperationException">More are in flight than the loop holds.</exception>
    public OperationId Submit(in SubmissionEntry entry, IRingCompletion handler, ulong token)
    {
        AssertOwner();
        ref Operation operation = ref _operations.Rent(out int slot);
        operation.Handler = handler;
        operation.Token = token;
        var id = new OperationId(_operations.IdOf(slot));
        SubmissionEntry copy = entry;
        copy.UserData = id.Value;
        Append(copy);
        return id;
    }

    /// <summary>Makes room for entries that must go to the kernel together (links).</summary>
    /// <param name="count">How many follow, at most the ring's entries.</param>
    public void EnsureRoom(int count)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)count, Ring.EntryCount, nameof(count));
        AssertOwner();
        if (Ring.FreeCount < (uint)count)
        {
            Enter(0, TimeSpan.Zero);
            ThrowIfStuck((uint)count);
        }
    }

    /// <summary>
    /// Asks the kernel to end an operation; its completion still comes, and tells the outcome. One that
    /// has ended already is left alone. Needs no reserved place.
    /// </summary>
    /// <param name="operation">The operation; none (zero) does nothing.</param>
    public void Cancel(OperationId operation)
    {
        AssertOwner();
        if (operation.Value != NoOperation)
        {
            SubmissionEntry entry = Entries.Cancel(operation.Value);
            entry.UserData = NoOperation;
            Append(entry);
        }
    }

    /// <summary>Starts or moves a timer.</summary>
    /// <param name="timer">The timer.</param>
    /// <param name="delay">Time from now.</param>
    public void Schedule(LoopTimer timer, TimeSpan delay)
    {
        AssertOwner();
        long now = Timestamp;
        double ticks = delay.TotalSeconds * _time.TimestampFrequency;
        _timers.Set(timer, ticks < long.MaxValue - now ? now + (long)ticks : long.MaxValue);
    }

    /// <summary>Runs an action on the loop's thread, soon. Callable from any thread.</summary>
    /// <param name="action">
    /// The action; it must not block. It is dropped when the loop ends before it was run.
    /// </param>
    /// <returns>False when the mailbox is full or the loop has ended.</returns>
    public bool Post(Action action) => _mailbox.TryAdd(action, abandon: null);

    /// <summary>
    /// Runs a function on the loop's thread and returns its result to the caller. Fails with
    /// <see cref="LoopFullException"/> when the mailbox is full, and with
    /// <see cref="ObjectDisposedException"/> when the loop ends first.
    /// </summary>
    /// <typeparam name="T">Result.</typeparam>
    /// <param name="function">The function; it must not block.</param>
    public Task<T> InvokeAsync<T>(Func<T> function)
    {
        var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        void Abandon() => done.TrySetException(new ObjectDisposedException($"loop {Options.Name}"));
        void Run()
        {
            try
            {
                done.SetResult(function());
            }
            catch (Exception exception)
            {
                done.SetException(exception);
            }
        }

        if (!_mailbox.TryAdd(Run, Abandon))
        {
            if (_mailbox.IsClosed)
            {
                Abandon();
            }
            else
            {
                done.SetException(new LoopFullException($"mailbox of loop {Options.Name} is full"));
            }
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
        AssertOwner();
        Enter(0, TimeSpan.Zero);
        return Dispatch(budget);
    }

    /// <summary>One round that waits for something to do.</summary>
    /// <param name="limit">Longest wait; null for ever (a post or a timer ends it).</param>
    public int DrainOrWait(TimeSpan? limit = null)
    {
        AssertOwner();
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
        _mailbox.Dispose();
        Ring.Dispose();
        _wakeBuffer.Dispose();
    }

    /// <summary>Whether the caller is the loop's thread.</summary>
    public bool IsOwner => Environment.CurrentManagedThreadId == _threadId;

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

        return handled + _mailbox.Run() + RunTimers();
    }

    private void Complete(in CompletionEntry completion)
    {
        if (completion.UserData == NoOperation)
        {
            return; // The outcome of a cancel shows in the operation that was to be cancelled.
        }

        if (!_operations.TryFind(completion.UserData, out int slot))
        {
            ThrowUnknown(completion);
        }

        ref Operation operation = ref _operations[slot];
        IRingCompletion handler = operation.Handler;
        ulong token = operation.Token;
        if ((completion.Flags & CompletionFlags.More) == CompletionFlags.None)
        {
            _operations.Return(slot);
        }

        handler.OnCompletion(token, completion.Result, completion.Flags);
    }

    // Timers that callbacks schedule wait for the next round, even those without delay.
    private int RunTimers()
    {
        if (_timers.Next is null)
        {
            return 0;
        }

        long now = Timestamp;
        ulong end = _timers.NextOrder;
        int count = 0;
        while (_timers.Next is { } timer && timer.Due <= now && timer.Order < end)
        {
            _timers.Remove(timer);
            timer.Callback();
            count++;
        }

        return count;
    }

    private static void ThrowUnknown(in CompletionEntry completion) =>
        throw new InvalidOperationException(
            $"completion of unknown operation {completion.UserData:x}");

    private TimeSpan? NextTimer()
    {
        if (_timers.Next is not { } timer)
        {
            return null;
        }

        long now = Timestamp;
        return timer.Due <= now ? TimeSpan.Zero : _time.GetElapsedTime(now, timer.Due);
    }

    private void Append(in SubmissionEntry entry)
    {
        if (!Ring.TryAppend(entry))
        {
            Enter(0, TimeSpan.Zero);
            ThrowIfStuck(1);
            _ = Ring.TryAppend(entry);
        }
    }

    private void ThrowIfStuck(uint needed)
    {
        if (Ring.FreeCount < needed)
        {
            throw new InvalidOperationException(
                $"the kernel leaves {Ring.PendingCount} entries of loop {Options.Name} untaken");
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
        Entries.Read(RingFile.Of(_mailbox.WakeFile), _wakeBuffer.Slice(0, sizeof(ulong)), 0), _wakeReader, 0);

    private struct Operation
    {
        public IRingCompletion Handler;
        public ulong Token;
    }

    private sealed class WakeReader(Loop loop) : IRingCompletion
    {
        public void OnCompletion(ulong token, int result, CompletionFlags flags) => loop.ArmWake();
    }
}
