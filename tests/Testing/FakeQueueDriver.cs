using Ublk.Frontend.Ublk;
using Ublk.Uring;

namespace Ublk.Testing;

/// <summary>The one open handle of a fake character device.</summary>
internal sealed class FakeCharDevice(FakeUblkDriver driver, FakeUblkDevice device) : IUblkCharDevice
{
    public bool IsClosed { get; private set; }

    /// <summary>The process that opened it was killed: nothing it does counts any more.</summary>
    public bool IsKilled { get; set; }

    public List<FakeQueueDriver> Queues { get; } = [];

    public IUblkQueueDriver OpenQueue(Loop loop, int queueId, int depth)
    {
        lock (driver.Gate)
        {
            driver.ThrowIfInjected(FakeCommand.OpenQueue);
            if (depth != device.Info.QueueDepth || queueId >= device.Info.QueueCount)
            {
                throw new ArgumentException("no such queue", nameof(queueId));
            }

            loop.AssertOwner();
            loop.Reserve(depth);
            var queue = new FakeQueueDriver(driver, device, this, loop, queueId, depth);
            Queues.Add(queue);
            device.MappedCount++;
            return queue;
        }
    }

    public void Dispose()
    {
        lock (driver.Gate)
        {
            if (IsClosed)
            {
                return;
            }

            IsClosed = true;
            if (!IsKilled)
            {
                device.ReleaseIfUnreferenced();
                driver.Changed();
            }
        }
    }
}

/// <summary>
/// A mapped queue of the fake. Completions wait in a line until somebody pumps; the sink is never
/// called from inside a command. Commands and completions allocate nothing once the line has its
/// length.
/// </summary>
internal sealed class FakeQueueDriver : IUblkQueueDriver
{
    private readonly FakeUblkDriver _driver;
    private readonly FakeUblkDevice _device;
    private readonly FakeCharDevice _opener;
    private readonly UblkIoDescriptor[] _descriptors;
    private readonly Queue<(int Tag, int Result, UblkIoDescriptor Descriptor)> _line;
    private readonly FakeTag[] _tags;
    private readonly Action _pump;
    private readonly int _depth;
    private bool _isPosted;
    private bool _isDisposed;

    public FakeQueueDriver(FakeUblkDriver driver, FakeUblkDevice device, FakeCharDevice opener,
        Loop loop, int queueId, int depth)
    {
        _driver = driver;
        _device = device;
        _opener = opener;
        _depth = depth;
        Loop = loop;
        Table = driver.TableOf(loop);
        _tags = device.Queues[queueId];
        _descriptors = new UblkIoDescriptor[depth];
        _line = new Queue<(int, int, UblkIoDescriptor)>(2 * depth);
        _pump = () => Pump(int.MaxValue);
    }

    public Loop Loop { get; }

    public FakeBufferTable Table { get; }

    public IUblkCommandSink? Sink { get; set; }

    /// <summary>Completions nobody has taken, one being handled included.</summary>
    public int UndeliveredCount => _line.Count + (IsPumping ? 1 : 0);

    public bool IsPumping { get; private set; }

    public UblkIoDescriptor Descriptor(int tag)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        return _descriptors[tag];
    }

    public void Fetch(int tag, ulong bufferWord)
    {
        lock (_driver.Gate)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            if (_opener.IsKilled)
            {
                return;
            }

            _device.CommandCount++;
            int result = _driver.TakeInjected(FakeCommand.Fetch) is { } fault ? fault
                : _device.Fetch(_tags[tag], this, bufferWord);
            Refuse(tag, result);
        }
    }

    public void Commit(int tag, int result, ulong bufferWord)
    {
        lock (_driver.Gate)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            if (_opener.IsKilled)
            {
                return;
            }

            _device.CommandCount++;
            int outcome = _driver.TakeInjected(FakeCommand.Commit) is { } fault ? fault
                : _device.Commit(_tags[tag], result, bufferWord);
            Refuse(tag, outcome);
        }
    }

    public int CopyFromRequest(int tag, Span<byte> destination)
    {
        lock (_driver.Gate)
        {
            int allowed = AllowedCopy(tag, destination.Length, isFromRequest: true, out int moved);
            if (allowed > 0)
            {
                _tags[tag].Request!.Pages[..moved].CopyTo(destination);
            }

            return allowed;
        }
    }

    public int CopyToRequest(int tag, ReadOnlySpan<byte> source)
    {
        lock (_driver.Gate)
        {
            int allowed = AllowedCopy(tag, source.Length, isFromRequest: false, out int moved);
            if (allowed > 0)
            {
                source[..moved].CopyTo(_tags[tag].Request!.Pages);
            }

            return allowed;
        }
    }

    public void Dispose()
    {
        lock (_driver.Gate)
        {
            if (_isDisposed)
            {
                return;
            }

            _isDisposed = true;
            Loop.Unreserve(_depth);
            _opener.Queues.Remove(this);
            if (!_opener.IsKilled)
            {
                _device.MappedCount--;
                _device.ReleaseIfUnreferenced();
                _driver.Changed();
            }
        }
    }

    /// <summary>A completion for the server; the gate is held.</summary>
    public void Deliver(int tag, int result, in UblkIoDescriptor descriptor)
    {
        _line.Enqueue((tag, result, descriptor));
        if (_driver.PostsToLoops && !_isPosted)
        {
            _isPosted = true;
            _ = Loop.Post(_pump);
        }
    }

    /// <summary>Hands waiting completions to the sink; called on the queue's thread.</summary>
    public int Pump(int budget)
    {
        lock (_driver.Gate)
        {
            _isPosted = false;
            if (IsPumping || _opener.IsKilled)
            {
                return 0;
            }

            IsPumping = true;
        }

        int count = 0;
        try
        {
            while (count < budget && TryTake(out int tag, out int result))
            {
                Sink!.OnCommandCompleted(tag, result);
                count++;
            }
        }
        finally
        {
            lock (_driver.Gate)
            {
                IsPumping = false;
                _driver.Changed();
            }
        }

        return count;
    }

    private bool TryTake(out int tag, out int result)
    {
        lock (_driver.Gate)
        {
            if (!_line.TryDequeue(out (int Tag, int Result, UblkIoDescriptor Descriptor) next))
            {
                tag = result = 0;
                return false;
            }

            (tag, result) = (next.Tag, next.Result);
            if (result == 0)
            {
                _descriptors[tag] = next.Descriptor;
            }

            if (!_opener.IsKilled)
            {
                _device.CommandCount--;
                _device.ReleaseIfUnreferenced();
            }

            return true;
        }
    }

    private void Refuse(int tag, int result)
    {
        if (result < 0)
        {
            Deliver(tag, result, default);
        }
    }

    private int AllowedCopy(int tag, int length, bool isFromRequest, out int moved)
    {
        moved = 0;
        if (_driver.TakeInjected(
            isFromRequest ? FakeCommand.CopyFrom : FakeCommand.CopyTo) is { } injected)
        {
            moved = Math.Max(injected, 0);
            return injected;
        }

        FakeTag entry = _tags[tag];
        if (!_device.Has(UblkFeatures.UserCopy) || entry.State != FakeTagState.Busy ||
            _opener.IsKilled)
        {
            return FakeErrno.Invalid;
        }

        FakeBlockRequest request = entry.Request!;
        if (!request.IsPayload || request.IsRead == isFromRequest)
        {
            return FakeErrno.Access;
        }

        moved = Math.Min(length, request.Pages.Length);
        return _driver.Profile.OverReportsCopies ? length : moved;
    }
}
