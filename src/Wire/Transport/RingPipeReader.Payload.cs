using System.Buffers;
using Ublk.Uring;

namespace Ublk.Wire.Transport;

/// <content>
/// Payload that goes where it is to lie. A receive that goes on by itself would take it into provided buffers
/// first, so where payload was received like this once, the next receive is a short one: for the head of the
/// message that follows, and little more.
/// </content>
internal sealed partial class RingPipeReader : IPayloadInput
{
    // A head, and not much of what has to be copied behind it.
    private const int ShortReceiveBytes = 4096;

    private const ulong PayloadToken = 1;

    private IoBuffer _payload;
    private bool _mayBePayload;

    /// <inheritdoc/>
    public ValueTask<bool> ReceiveAsync(IoBuffer destination)
    {
        _loop.AssertOwner();
        if (!_isHandedOut)
        {
            throw new InvalidOperationException("nothing was read that payload could follow");
        }

        _isHandedOut = false;
        _examinedIndex = _handedOutEnd;
        _queue.Consume(_handedOutEnd);
        _payload = destination;
        TakeQueued();
        if (_payload.LengthBytes == 0)
        {
            _mayBePayload = true;
            Pump();
            return new ValueTask<bool>(true);
        }

        if (_error is not null)
        {
            return ValueTask.FromException<bool>(_error);
        }

        if (_isEndOfStream)
        {
            return new ValueTask<bool>(false);
        }

        ValueTask<bool> wait = _payloadWait.Begin();
        if (_isReceiving)
        {
            StopReceiving();
        }
        else
        {
            ReceivePayload();
        }

        return wait;
    }

    private void ReceivePayload()
    {
        _isReceiving = true;
        _receive = _loop.Submit(
            Entries.Receive(_connection.File, _payload, Entries.MessageWaitAll), this, PayloadToken);
    }

    // What a receive brought that was under way before.
    private void TakeQueued()
    {
        ReadOnlySequence<byte> queued = _queue.Sequence;
        int count = (int)Math.Min(queued.Length, _payload.LengthBytes);
        if (count > 0)
        {
            queued.Slice(0, count).CopyTo(_payload.Span);
            _payload = _payload.Slice(count, _payload.LengthBytes - count);
            _queue.Consume(_queue.StartIndex + count);
            _examinedIndex = _queue.StartIndex;
        }
    }

    private void TakePayload(int result)
    {
        int count = Math.Max(result, 0);
        _payload = _payload.Slice(count, _payload.LengthBytes - count);
        _isEndOfStream |= result == 0;
    }

    // After every completion. The kernel has nothing of the memory any more when whoever waits for it hears.
    private void GoOnWithPayload()
    {
        if (!_payloadWait.IsWaiting)
        {
            return;
        }

        TakeQueued();
        bool isFull = _payload.LengthBytes == 0;
        if (isFull || (IsEnding && !_isReceiving))
        {
            EndPayload(isFull);
        }
        else if (!_isReceiving)
        {
            ReceivePayload();
        }
    }

    private void EndPayload(bool isFull)
    {
        _mayBePayload = isFull;
        if (!isFull && _error is not null)
        {
            _payloadWait.Fail(_error);
        }
        else
        {
            _payloadWait.End(isFull);
        }
    }
}
