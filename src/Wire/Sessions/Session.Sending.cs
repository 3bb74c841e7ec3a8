using System.Buffers;
using System.Runtime.CompilerServices;
using Microsoft.AspNetCore.Connections;
using Ublk.Uring;
using Ublk.Wire.Messages;

namespace Ublk.Wire.Sessions;

/// <content>
/// What is sent. Messages are written one behind the other and go out together, with the next
/// <see cref="Flush"/>; those that a message makes its handler send, when everything that came with it has
/// been dealt with. Payload goes out from where it lies if the transport can do that.
/// </content>
public sealed partial class Session
{
    private long _unsentBytes;
    private bool _hasUnflushed;
    private bool _isFlushing;

    /// <summary>Bytes that were sent since the peer last took all of it, about.</summary>
    public long UnsentBytes => _unsentBytes;

    /// <summary>Sends a message without payload.</summary>
    /// <param name="message">The message.</param>
    /// <typeparam name="T">Its type.</typeparam>
    public void Send<T>(in T message) where T : struct, IMessage<T>, allows ref struct
    {
        if (Stage == SessionStage.Open)
        {
            Write(message);
        }
    }

    /// <summary>Sends a message with payload.</summary>
    /// <param name="message">The message.</param>
    /// <param name="payload">
    /// The bytes; the session's from now on, which returns them to the memory when they are not needed.
    /// </param>
    /// <typeparam name="T">Type of the message.</typeparam>
    public void Send<T>(in T message, in IoBuffer payload) where T : struct, IMessage<T>, allows ref struct
    {
        if (Stage != SessionStage.Open)
        {
            _memory.Return(payload);
            return;
        }

        Write(message);
        _unsentBytes += payload.LengthBytes;
        if (_payloads is not null)
        {
            _payloads.Append(payload, this);
        }
        else
        {
            _output.Write(payload.Span);
            _memory.Return(payload);
        }
    }

    /// <summary>
    /// Lets everything go out that was sent. May end the session, where the peer has taken nothing for too
    /// long.
    /// </summary>
    public void Flush()
    {
        if (_unsentBytes > _options.MaxUnsentBytes && Stage < SessionStage.Closing)
        {
            GiveUp();
            return;
        }

        if (_hasUnflushed && !_isFlushing)
        {
            _mustSend.Set();
        }
    }

    // It would not hear the end either.
    private void GiveUp()
    {
        const string Text = "the peer takes nothing of what it is sent";
        EndWith(SessionEndCause.Refused, CloseReason.Overloaded, Text);
        _connection.Abort(new ConnectionAbortedException(Text));
    }

    /// <inheritdoc/>
    void Transport.IPayloadOwner.OnPayloadSent(in IoBuffer payload) => _memory.Return(payload);

    private void Write<T>(in T message) where T : struct, IMessage<T>, allows ref struct
    {
        _hasUnflushed = true;
        if (T.MaxBytes <= MessageLimits.MaxHeadBytes)
        {
            int length = MessageWriter.Write(message, _output.GetSpan(MessageLimits.MaxHeadBytes));
            _output.Advance(length);
            _unsentBytes += length;
            return;
        }

        // Lists are rare, and most are short: the transport's blocks need not be that long.
        byte[] scratch = ArrayPool<byte>.Shared.Rent(T.MaxBytes);
        int bytes = MessageWriter.Write(message, scratch);
        _output.Write(scratch.AsSpan(0, bytes));
        _unsentBytes += bytes;
        ArrayPool<byte>.Shared.Return(scratch);
    }

    // As soon as something is to be sent and the transport takes it.
    private async Task SendAsync()
    {
        while (Stage != SessionStage.Ended)
        {
            await _mustSend.WaitAsync().ConfigureAwait(false);
            while (_hasUnflushed)
            {
                _hasUnflushed = false;
                _isFlushing = true;
                _takenAt = _now;
                bool isSent = await TryFlushAsync().ConfigureAwait(false);
                _isFlushing = false;
                if (!isSent)
                {
                    _goesOn.Set(); // Or a side that reads nothing meanwhile would never hear of the break.
                    return;
                }

                _unsentBytes = 0;
                if (_wantedBytes == 0)
                {
                    _goesOn.Set();
                }
            }
        }
    }

    private async ValueTask FlushInTurnAsync()
    {
        if (_hasUnflushed && await TryFlushAsync().ConfigureAwait(false))
        {
            _hasUnflushed = false;
            _unsentBytes = 0;
        }
    }

    // A transport that is broken tells that to whoever reads.
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<bool> TryFlushAsync()
    {
        try
        {
            _ = await _output.FlushAsync().ConfigureAwait(false);
            return true;
        }
        catch (Exception failure) when (IsBreak(failure))
        {
            return false;
        }
    }
}
