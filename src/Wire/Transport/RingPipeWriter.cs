using System.IO.Pipelines;
using Microsoft.AspNetCore.Connections;
using Ublk.Uring;
using Ublk.Uring.Abi;
using Ublk.Uring.Native;

namespace Ublk.Wire.Transport;

/// <summary>
/// The sending side of a connection. What is flushed in one round of the loop goes out together at its end,
/// as one gathered send; one is under way at a time, and what comes meanwhile goes with the next. On the
/// loop's thread; continuations run inline.
/// </summary>
internal sealed class RingPipeWriter : PipeWriter, IPayloadOutput, IRingCompletion
{
    private readonly RingConnection _connection;
    private readonly RingTransport _transport;
    private readonly Loop _loop;
    private readonly OutputQueue _queue;
    private readonly LoopTimer _endOfRound;
    private readonly LoopWait<FlushResult> _wait;

    private Exception? _error;
    private bool _isCanceled;
    private bool _isCompleted;
    private bool _isShutDown;
    private bool _isClosed;

    private OperationId _send;
    private GatherList? _list;

    public RingPipeWriter(RingConnection connection, RingTransport transport)
    {
        _connection = connection;
        _transport = transport;
        _loop = transport.Loop;
        _queue = new OutputQueue(transport);
        _endOfRound = new LoopTimer(Send);
        _wait = new LoopWait<FlushResult>(_loop);
    }

    /// <summary>Whether nothing is sent any more and the kernel has nothing of it.</summary>
    public bool IsQuiet => _list is null && (_isShutDown || _error is not null);

    /// <inheritdoc/>
    public override bool CanGetUnflushedBytes => true;

    /// <inheritdoc/>
    public override long UnflushedBytes => _queue.UnflushedBytes;

    private RingTransportOptions Options => _transport.Options;

    private bool MustWait =>
        _queue.UnsentBytes >= Options.PauseUnsentBytes || _queue.PartCount >= Options.MaxUnsentParts / 2;

    private bool MayGoOn =>
        _queue.UnsentBytes < Options.ResumeUnsentBytes && _queue.PartCount < Options.MaxUnsentParts / 4 + 1;

    /// <inheritdoc/>
    public override Memory<byte> GetMemory(int sizeHint = 0)
    {
        CheckMayWrite();
        return _queue.Room(sizeHint);
    }

    /// <inheritdoc/>
    public override Span<byte> GetSpan(int sizeHint = 0) => GetMemory(sizeHint).Span;

    /// <inheritdoc/>
    public override void Advance(int bytes)
    {
        CheckMayWrite();
        _queue.Advance(bytes);
    }

    /// <inheritdoc/>
    public void Append(in IoBuffer payload, IPayloadOwner owner)
    {
        CheckMayWrite();
        ArgumentNullException.ThrowIfNull(owner);
        if (!payload.IsMemory || payload.LengthBytes == 0)
        {
            throw new ArgumentException("no bytes of this process", nameof(payload));
        }

        if (_error is not null)
        {
            owner.OnPayloadSent(payload);
            return;
        }

        _queue.Append(payload, owner);
    }

    /// <inheritdoc/>
    public override ValueTask<FlushResult> FlushAsync(CancellationToken cancellationToken = default)
    {
        CheckMayWrite();
        if (_wait.IsWaiting)
        {
            throw new InvalidOperationException("a flush is under way");
        }

        if (cancellationToken.IsCancellationRequested)
        {
            return ValueTask.FromCanceled<FlushResult>(cancellationToken);
        }

        if (_error is not null)
        {
            DropIfClosed();
            return ValueTask.FromException<FlushResult>(_error);
        }

        _queue.Flush();
        ScheduleSend();
        if (_isCanceled || !MustWait)
        {
            return new ValueTask<FlushResult>(Result());
        }

        return _wait.Begin(cancellationToken);
    }

    /// <inheritdoc/>
    public override void CancelPendingFlush()
    {
        _loop.AssertOwner();
        _isCanceled = true;
        if (_wait.IsWaiting)
        {
            _wait.End(Result());
        }
    }

    /// <summary>
    /// Sends what was written and then tells the peer that nothing follows; with an exception the connection
    /// is aborted instead.
    /// </summary>
    /// <param name="exception">Why; null for an orderly end.</param>
    public override void Complete(Exception? exception = null)
    {
        _loop.AssertOwner();
        if (_isCompleted)
        {
            return;
        }

        _isCompleted = true;
        if (exception is not null)
        {
            _connection.Abort(new ConnectionAbortedException("the writer failed", exception));
        }

        if (_error is null)
        {
            _queue.Flush();
            ScheduleSend();
            ShutDownIfSent();
        }
        else
        {
            DropIfClosed();
        }

        _connection.CloseIfQuiet();
    }

    /// <summary>The connection ends: nothing more is sent, and flushes fail from now on.</summary>
    /// <param name="error">Why.</param>
    public void End(Exception error)
    {
        _error = error;
        _endOfRound.Cancel();
        _loop.Cancel(_send);
        if (_wait.IsWaiting)
        {
            _wait.Fail(error);
        }
    }

    /// <summary>The kernel has nothing any more: payload goes back to its owners.</summary>
    public void Close()
    {
        _isClosed = true;
        _queue.Drop(keepsRoom: !_isCompleted);
    }

    /// <inheritdoc/>
    void IRingCompletion.OnCompletion(ulong token, int result, CompletionFlags flags)
    {
        _transport.ReturnList(_list!);
        _list = null;
        _send = default;
        _queue.OnSent(Math.Max(result, 0));
        if (_error is null && result <= 0 && result != -Errno.EINTR)
        {
            _connection.Fail(TransportErrors.Of("send", result < 0 ? result : -Errno.EIO));
        }

        if (_error is null)
        {
            ScheduleSend();
            if (_wait.IsWaiting && MayGoOn)
            {
                _wait.End(Result());
            }

            ShutDownIfSent();
        }

        _connection.CloseIfQuiet();
    }

    // A timer without delay fires behind the completions of its round and before what they started goes to
    // the kernel: all that they say to a peer is in one send.
    private void ScheduleSend()
    {
        if (_list is null && _queue.HasFlushed && !_endOfRound.IsScheduled)
        {
            _loop.Schedule(_endOfRound, TimeSpan.Zero);
        }
    }

    private void Send()
    {
        _list = _transport.RentList();
        _queue.Gather(_list);
        _send = _loop.Submit(
            Entries.SendMessage(_connection.File, _list, Entries.MessageWaitAll), this, 0);
    }

    private void ShutDownIfSent()
    {
        if (_isCompleted && !_isShutDown && _error is null && _list is null && _queue.PartCount == 0)
        {
            _isShutDown = true;
            _connection.ShutDownSending();
        }
    }

    // While a send is under way its memory stays; Close follows.
    private void DropIfClosed()
    {
        if (_isClosed)
        {
            _queue.Drop(keepsRoom: false);
        }
    }

    private FlushResult Result()
    {
        var result = new FlushResult(_isCanceled, isCompleted: false);
        _isCanceled = false;
        return result;
    }

    private void CheckMayWrite()
    {
        _loop.AssertOwner();
        if (_isCompleted)
        {
            throw new InvalidOperationException("the output was completed");
        }
    }
}
