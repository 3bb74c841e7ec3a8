using System.IO.Pipelines;
using Microsoft.AspNetCore.Connections;
using Ublk.Uring;
using Ublk.Uring.Abi;
using Ublk.Uring.Native;

namespace Ublk.Wire.Transport;

/// <summary>
/// The receiving side of a connection: what the kernel put into provided buffers is handed out where it
/// lies, and a buffer goes back when it is consumed. One receive at a time is under way. It goes on by
/// itself (multishot) until the connection holds its share of buffers unread, or none is left; then the
/// reader's progress starts the next. On the loop's thread; continuations run inline.
/// </summary>
internal sealed partial class RingPipeReader : PipeReader, IRingCompletion
{
    // Less room behind what a block holds is not worth a receive.
    private const int MinReceiveBytes = BlockPool.BlockBytes / 8;

    private readonly RingConnection _connection;
    private readonly RingTransport _transport;
    private readonly Loop _loop;
    private readonly ReceiveQueue _queue;
    private readonly int _maxHeld;
    private readonly LoopWait<ReadResult> _wait;
    private readonly LoopWait<bool> _payloadWait;

    private Exception? _error;
    private long _examinedIndex;
    private long _handedOutEnd;
    private bool _isHandedOut;
    private bool _isCanceled;
    private bool _isEndOfStream;
    private bool _isCompleted;

    private OperationId _receive;
    private TransportBlock? _target;
    private bool _isReceiving;
    private bool _isStopping;

    public RingPipeReader(RingConnection connection, RingTransport transport)
    {
        _connection = connection;
        _transport = transport;
        _loop = transport.Loop;
        _queue = new ReceiveQueue(transport);
        _maxHeld = transport.Options.MaxHeldBuffers;
        _wait = new LoopWait<ReadResult>(_loop);
        _payloadWait = new LoopWait<bool>(_loop);
    }

    /// <summary>Whether nothing is received any more and the kernel has nothing of it.</summary>
    public bool IsQuiet => !_isReceiving && IsEnding;

    /// <summary>Buffers and blocks held.</summary>
    public int HeldCount => _queue.HeldCount;

    private bool IsEnding => _isEndOfStream || _isCompleted || _error is not null;

    private bool IsReady => _isCanceled || _isEndOfStream || _queue.EndIndex > _examinedIndex;

    /// <inheritdoc/>
    public override ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default)
    {
        CheckMayRead();
        if (cancellationToken.IsCancellationRequested)
        {
            return ValueTask.FromCanceled<ReadResult>(cancellationToken);
        }

        if (_error is not null)
        {
            return ValueTask.FromException<ReadResult>(_error);
        }

        if (IsReady)
        {
            return new ValueTask<ReadResult>(HandOut());
        }

        return _wait.Begin(cancellationToken);
    }

    /// <inheritdoc/>
    public override bool TryRead(out ReadResult result)
    {
        CheckMayRead();
        if (_error is not null)
        {
            throw _error;
        }

        result = IsReady ? HandOut() : default;
        return _isHandedOut;
    }

    /// <inheritdoc/>
    public override void AdvanceTo(SequencePosition consumed) => AdvanceTo(consumed, consumed);

    /// <inheritdoc/>
    public override void AdvanceTo(SequencePosition consumed, SequencePosition examined)
    {
        _loop.AssertOwner();
        if (!_isHandedOut)
        {
            throw new InvalidOperationException("nothing was read that could be advanced over");
        }

        long consumedIndex = _queue.IndexOf(consumed);
        long examinedIndex = Math.Max(_queue.IndexOf(examined), consumedIndex);
        if (consumedIndex < _queue.StartIndex || examinedIndex > _queue.EndIndex)
        {
            throw new ArgumentOutOfRangeException(nameof(consumed), "not a position of what was read");
        }

        _isHandedOut = false;
        _examinedIndex = examinedIndex;
        _queue.Consume(consumedIndex);
        Pump();
    }

    /// <inheritdoc/>
    public override void CancelPendingRead()
    {
        _loop.AssertOwner();
        _isCanceled = true;
        Wake();
    }

    /// <summary>
    /// Ends reading and gives all buffers back. What comes after it stays in the kernel; with an exception
    /// the connection is aborted.
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
        _isHandedOut = false;
        _queue.Clear();
        StopReceiving();
        if (_wait.IsWaiting)
        {
            _wait.Fail(new ConnectionAbortedException("the reader was completed"));
        }

        if (exception is not null)
        {
            _connection.Abort(new ConnectionAbortedException("the reader failed", exception));
        }

        _connection.CloseIfQuiet();
    }

    /// <summary>Starts to receive where it may.</summary>
    public void Pump()
    {
        bool isFull = _queue.HeldCount > _maxHeld / 2;
        if (_isReceiving || IsEnding || _payloadWait.IsWaiting || (isFull && !TryMakeRoom()))
        {
            return;
        }

        _isReceiving = true;
        if (_mayBePayload)
        {
            _mayBePayload = false;
            ReceiveIntoBlock(ShortReceiveBytes);
        }
        else if (_transport.HasFreeBuffers)
        {
            _receive = _loop.Submit(
                Entries.ReceiveMany(_connection.File, _transport.BufferGroup), this, 0);
        }
        else
        {
            _transport.StarvedReceiveCount++;
            ReceiveIntoBlock(BlockPool.BlockBytes);
        }
    }

    /// <summary>The connection ends: reads fail from now on.</summary>
    /// <param name="error">Why.</param>
    public void End(Exception error)
    {
        _error = error;
        StopReceiving();
        GoOnWithPayload();
        Wake();
    }

    /// <inheritdoc/>
    void IRingCompletion.OnCompletion(ulong token, int result, CompletionFlags flags)
    {
        bool wasStopping = _isStopping;
        if ((flags & CompletionFlags.More) == CompletionFlags.None)
        {
            _isReceiving = false;
            _isStopping = false;
            _receive = default;
        }

        if (token == PayloadToken)
        {
            TakePayload(result);
        }
        else
        {
            Take(result, flags);
        }

        if (result < 0 && !IsEnding && !IsHarmless(result, wasStopping))
        {
            _connection.Fail(TransportErrors.Of("receive", result));
        }

        GoOnWithPayload();
        Wake(); // The reader may end the connection here, or consume what just came.
        if (_isReceiving && !IsEnding && _queue.HeldCount >= _maxHeld)
        {
            StopReceiving();
        }

        Pump();
        _connection.CloseIfQuiet();
    }

    // Without buffers the next receive goes elsewhere; the completions that took them came before this one.
    private static bool IsHarmless(int result, bool wasStopping) =>
        result is -Errno.ENOBUFS or -Errno.EINTR || (result == -Errno.ECANCELED && wasStopping);

    // What comes after the end is dropped, but its memory goes back.
    private void Take(int result, CompletionFlags flags)
    {
        bool hasBuffer = (flags & CompletionFlags.Buffer) != CompletionFlags.None;
        bool isWanted = result > 0 && !IsEnding;
        if (hasBuffer)
        {
            ushort id = ProvidedBuffers.IdOf(flags);
            if (isWanted)
            {
                _queue.AddBuffer(id, result);
            }
            else
            {
                _ = _transport.TakeBuffer(id, 0);
                _transport.ReturnBuffer(id);
            }
        }
        else if (_target is { } block)
        {
            _target = null;
            if (isWanted)
            {
                int offset = block.UsedBytes;
                block.UsedBytes += result;
                _queue.AddBlock(block, offset, result);
            }

            _transport.Blocks.Release(block);
        }

        _isEndOfStream |= result == 0;
    }

    private void ReceiveIntoBlock(int mostBytes)
    {
        TransportBlock? last = _queue.LastBlock(MinReceiveBytes);
        TransportBlock block = last ?? _transport.Blocks.Rent();
        if (last is not null)
        {
            block.UserCount++; // The reader may consume all else that is in it meanwhile.
        }

        _target = block;
        _receive = _loop.Submit(Entries.Receive(
            _connection.File, block.Buffer.Slice(block.UsedBytes, Math.Min(mostBytes, block.FreeBytes)), 0),
            this, 0);
    }

    // A reader that has work to do makes room by doing it. One that waits for more than it may hold in
    // buffers, which may hold a few bytes each, gets its bytes packed; up to a limit.
    private bool TryMakeRoom()
    {
        if (_isHandedOut || _queue.EndIndex > _examinedIndex)
        {
            return false;
        }

        _queue.Compact();
        if (_queue.BlockCount <= _maxHeld)
        {
            return true;
        }

        long held = _queue.EndIndex - _queue.StartIndex;
        _connection.Fail(new IOException($"the reader wants more than the {held} bytes a connection holds"));
        return false;
    }

    private void StopReceiving()
    {
        if (_isReceiving && !_isStopping)
        {
            _isStopping = true;
            _loop.Cancel(_receive);
        }
    }

    private ReadResult HandOut()
    {
        var result = new ReadResult(_queue.Sequence, _isCanceled, _isEndOfStream);
        _isCanceled = false;
        _isHandedOut = true;
        _handedOutEnd = _queue.EndIndex;
        return result;
    }

    private void Wake()
    {
        if (!_wait.IsWaiting || (_error is null && !IsReady))
        {
            return;
        }

        if (_error is not null)
        {
            _wait.Fail(_error);
        }
        else
        {
            _wait.End(HandOut());
        }
    }

    private void CheckMayRead()
    {
        _loop.AssertOwner();
        if (_isCompleted || _wait.IsWaiting || _isHandedOut)
        {
            throw new InvalidOperationException(
                _isCompleted ? "the reader was completed" : "a read is under way");
        }
    }
}
