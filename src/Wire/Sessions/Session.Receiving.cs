using System.Buffers;
using System.IO.Pipelines;
using System.Runtime.CompilerServices;
using System.Text;
using Ublk.Uring;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Wire.Sessions;

/// <content>
/// What comes. Of a message that is not complete only its payload is taken from the transport, into memory of
/// its own, as it comes; where there is no memory, nothing more is taken until there is.
/// </content>
public sealed partial class Session
{
    // Below that the copy costs less than two receives in place of one that goes on by itself.
    private const int LongPayloadBytes = 128 << 10;

    private readonly byte[] _head = new byte[MessageLimits.MaxHeadBytes];
    private MessageParser? _parser;
    private IoBuffer _payload;
    private bool _hasPayload;
    private int _headBytes;
    private int _receivedBytes;
    private int _wantedBytes;

    /// <inheritdoc/>
    bool IPayloadWaiter.TryContinue()
    {
        if (_wantedBytes == 0)
        {
            return true; // It has ended meanwhile.
        }

        if (!_memory.TryRent(_wantedBytes, out _payload))
        {
            return false;
        }

        _hasPayload = true;
        _wantedBytes = 0;
        _goesOn.Set();
        return true;
    }

    private bool IsInMessage { get; set; }

    private async Task ReadAsync()
    {
        while (true)
        {
            if (_options.FlushesInTurn)
            {
                await FlushInTurnAsync().ConfigureAwait(false);
            }

            ReadResult read = await _input.ReadAsync().ConfigureAwait(false);
            ReadOnlySequence<byte> left = read.Buffer;
            Take(ref left);
            if (!read.IsCompleted && IsLongPayloadNext(left))
            {
                Flush();
                await ReceiveLongPayloadAsync().ConfigureAwait(false);
                continue;
            }

            bool isWaiting = _wantedBytes > 0;
            _input.AdvanceTo(left.Start, isWaiting ? left.Start : read.Buffer.End);
            Flush();
            if (Stage == SessionStage.Ended || (read.IsCompleted && !isWaiting))
            {
                string text = IsInMessage ? "the connection ends in the middle of a message"
                    : "the peer hung up without a word";
                EndWith(SessionEndCause.Lost, CloseReason.Failed, text);
                return;
            }

            _goesOn.Clear();
            if (isWaiting)
            {
                _memory.Wait(this);
                await _goesOn.WaitAsync().ConfigureAwait(false);
            }
            else if (_isFlushing && _options.StopsWhenBlocked && Stage == SessionStage.Open)
            {
                await _goesOn.WaitAsync().ConfigureAwait(false);
            }
        }
    }

    // The rest of a payload that is worth a receive of its own.
    private bool IsLongPayloadNext(in ReadOnlySequence<byte> left) =>
        _longPayload is not null && Stage == SessionStage.Open && _headBytes > 0 && left.IsEmpty &&
        _payload.LengthBytes - _receivedBytes >= LongPayloadBytes;

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask ReceiveLongPayloadAsync()
    {
        IoBuffer rest = _payload.Slice(_receivedBytes, _payload.LengthBytes - _receivedBytes);
        bool isThere = await _longPayload!.ReceiveAsync(rest).ConfigureAwait(false);
        if (isThere && Stage == SessionStage.Open)
        {
            _receivedBytes = _payload.LengthBytes;
            IsInMessage = false;
            DeliverWhole();
            Flush();
        }
    }

    private void Take(scoped ref ReadOnlySequence<byte> left)
    {
        bool goesOn = true;
        while (goesOn && !left.IsEmpty)
        {
            goesOn = Stage switch
            {
                SessionStage.Greeting => TryTakeGreeting(ref left),
                SessionStage.Open when _headBytes > 0 => TryTakePayload(ref left),
                SessionStage.Open => TryTakeMessage(ref left),
                _ => false,
            };
        }

        if (Stage >= SessionStage.Closing)
        {
            left = left.Slice(left.End);
        }

        bool isInMessage = _wantedBytes == 0 && (_headBytes > 0 || !left.IsEmpty);
        _messageBegunAt = isInMessage && IsInMessage ? _messageBegunAt : _now;
        IsInMessage = isInMessage;
    }

    // Whoever has not said who it is gets no memory: its only message has a short head.
    private bool TryTakeGreeting(scoped ref ReadOnlySequence<byte> left)
    {
        int length = (int)Math.Min(left.Length, MessageLimits.MaxHeadBytes);
        left.Slice(0, length).CopyTo(_head);
        MessageHead head = MessageParser.Parse(_head.AsSpan(0, length));
        if (head.Kind is not (MessageKind.None or MessageKind.Handshake))
        {
            Refuse(CloseReason.ProtocolError, "the first message is the handshake");
            return false;
        }

        switch (head.Outcome)
        {
            case ParseOutcome.NeedMore:
                return false;
            case ParseOutcome.Refused:
                Refuse(CloseReason.ProtocolError, head.Error.ToString());
                return false;
            default:
                left = left.Slice(head.HeadBytes);
                Greet(head.Read<Handshake>());
                return true;
        }
    }

    private void Greet(in Handshake theirs)
    {
        NodeId? proved = _connection.Features.Get<ProvedPeer>()?.Node;
        var greeting = Greeting.Of(_options, proved, theirs);
        if (greeting.Refusal is { } refusal)
        {
            Refuse(refusal.Reason, refusal.Text);
            return;
        }

        Peer = theirs.Node;
        Version = greeting.Version;
        Features = greeting.Features;
        Stage = SessionStage.Open;
        _parser = new MessageParser();
        _handler.OnOpened(this);
    }

    private bool TryTakeMessage(scoped ref ReadOnlySequence<byte> left)
    {
        MessageHead head = _parser!.Parse(left);
        if (head.Outcome != ParseOutcome.Complete)
        {
            if (head.Outcome == ParseOutcome.Refused)
            {
                Refuse(CloseReason.ProtocolError, head.Error.ToString());
            }

            return false;
        }

        int total = head.TotalBytes;
        if (head.PayloadBytes == 0)
        {
            Deliver(head, default);
            left = left.Slice(total);
            return true;
        }

        if (!_hasPayload && !_memory.TryRent(head.PayloadBytes, out _payload))
        {
            _wantedBytes = Stage == SessionStage.Open ? head.PayloadBytes : 0; // It may refuse the peer.
            return false;
        }

        _hasPayload = true;
        if (left.Length < total)
        {
            _headBytes = head.HeadBytes;
            left.Slice(0, _headBytes).CopyTo(_head);
            left = left.Slice(_headBytes);
            _receivedBytes = 0;
            return true;
        }

        left.Slice(head.HeadBytes, head.PayloadBytes).CopyTo(_payload.Span);
        Deliver(head, PassPayload());
        left = left.Slice(total);
        return true;
    }

    private bool TryTakePayload(scoped ref ReadOnlySequence<byte> left)
    {
        int count = (int)Math.Min(left.Length, _payload.LengthBytes - _receivedBytes);
        left.Slice(0, count).CopyTo(_payload.Span[_receivedBytes..]);
        left = left.Slice(count);
        _receivedBytes += count;
        if (_receivedBytes < _payload.LengthBytes)
        {
            return false;
        }

        DeliverWhole();
        return true;
    }

    private void DeliverWhole()
    {
        MessageHead head = MessageParser.Parse(_head.AsSpan(0, _headBytes));
        _headBytes = 0;
        Deliver(head, PassPayload());
    }

    private void Deliver(scoped in MessageHead head, in IoBuffer payload)
    {
        if (head.Kind == MessageKind.Close)
        {
            Close close = head.Read<Close>();
            EndWith(SessionEndCause.Peer, close.Reason, Encoding.UTF8.GetString(close.Text));
        }
        else if (head.Kind == MessageKind.Handshake)
        {
            Refuse(CloseReason.ProtocolError, "a second handshake");
        }
        else
        {
            _handler.OnMessage(this, head, payload);
        }
    }

    private IoBuffer PassPayload()
    {
        _hasPayload = false;
        return _payload;
    }

    private void DropPayload()
    {
        if (_hasPayload)
        {
            _memory.Return(PassPayload());
        }
    }
}
