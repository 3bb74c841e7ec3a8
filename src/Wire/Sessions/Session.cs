using System.IO.Pipelines;
using Microsoft.AspNetCore.Connections;
using Ublk.Uring;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;
using Ublk.Wire.Transport;

namespace Ublk.Wire.Sessions;

/// <summary>
/// One side of a connection between nodes: both say who they are, then messages go both ways, each in order,
/// until one side says the end. It knows no sockets and no clock. Used by one thread at a time, that of the
/// transport's callbacks; on a loop that is the loop's thread. No allocation for a message whose kind has a
/// short head. What a message means is the handler's business.
/// </summary>
public sealed partial class Session : IPayloadOwner, IPayloadWaiter
{
    private readonly ConnectionContext _connection;
    private readonly SessionOptions _options;
    private readonly ISessionMemory _memory;
    private readonly ISessionHandler _handler;
    private readonly PipeReader _input;
    private readonly PipeWriter _output;
    private readonly IPayloadOutput? _payloads;
    private readonly IPayloadInput? _longPayload;
    private readonly Signal _goesOn = new();
    private readonly Signal _mustSend = new();
    private SessionEnd? _end;
    private long _now;
    private long _startedAt;
    private long _messageBegunAt;
    private long _closedAt;
    private long _takenAt;
    private bool _hasTicked;

    /// <summary>Nothing is said before <see cref="RunAsync"/>.</summary>
    /// <param name="connection">The connection; owned from now on.</param>
    /// <param name="options">What this side is.</param>
    /// <param name="memory">Where payload lies.</param>
    /// <param name="handler">Hears of what happens.</param>
    public Session(
        ConnectionContext connection, SessionOptions options, ISessionMemory memory, ISessionHandler handler)
    {
        _connection = connection;
        _options = options;
        _memory = memory;
        _handler = handler;
        _input = connection.Transport.Input;
        _output = connection.Transport.Output;
        _payloads = _output as IPayloadOutput;
        _longPayload = _input as IPayloadInput;
    }

    /// <summary>How far it is.</summary>
    public SessionStage Stage { get; private set; }

    /// <summary>The peer; none while greeting.</summary>
    public NodeId Peer { get; private set; }

    /// <summary>The version of the protocol; 0 while greeting.</summary>
    public byte Version { get; private set; }

    /// <summary>Features that both sides offer.</summary>
    public ulong Features { get; private set; }

    /// <summary>How it has ended; null before.</summary>
    public SessionEnd? End => _end;

    /// <summary>What the connection is called in logs.</summary>
    public string ConnectionId => _connection.ConnectionId;

    /// <summary>Lives until the end; called once.</summary>
    /// <returns>How it has ended; the connection is closed then.</returns>
    public async Task<SessionEnd> RunAsync()
    {
        Task sending = Task.CompletedTask;
        try
        {
            SayWhoThisIs();
            sending = _options.FlushesInTurn ? sending : SendAsync();
            await ReadAsync().ConfigureAwait(false);
        }
        catch (Exception failure) when (IsBreak(failure))
        {
            EndWith(SessionEndCause.Lost, CloseReason.Failed, failure.Message);
        }
        finally
        {
            Stage = SessionStage.Ended;
            DropPayload();
            _hasUnflushed = false;
            _mustSend.Set();
            await _input.CompleteAsync().ConfigureAwait(false);
            await _output.CompleteAsync().ConfigureAwait(false);
            await _connection.DisposeAsync().ConfigureAwait(false);
            await sending.ConfigureAwait(false);
        }

        return _end!;
    }

    /// <summary>
    /// Says the end. The handler hears nothing of this session any more, and what is sent is ignored; what
    /// was sent before still goes out.
    /// </summary>
    /// <param name="reason">Why.</param>
    /// <param name="text">The same for people; cut where it is too long.</param>
    public void Close(CloseReason reason, string text)
    {
        if (Stage < SessionStage.Closing)
        {
            SayEnd(reason, text);
            EndWith(SessionEndCause.Here, reason, text);
        }
    }

    /// <summary>
    /// Time passes: limits are looked at. To be called a few times a second until <see cref="RunAsync"/> has
    /// ended; without it, nothing is limited.
    /// </summary>
    /// <param name="nowNs">The clock, in nanoseconds.</param>
    public void OnTick(long nowNs)
    {
        _now = nowNs;
        if (!_hasTicked)
        {
            _hasTicked = true;
            _startedAt = _messageBegunAt = _closedAt = _takenAt = nowNs;
        }

        if (Stage == SessionStage.Greeting && nowNs - _startedAt > _options.GreetingLimitNs)
        {
            Refuse(CloseReason.TimedOut, "the peer has not said who it is");
        }
        else if (Stage == SessionStage.Open && IsInMessage &&
            nowNs - _messageBegunAt > _options.MessageLimitNs)
        {
            Refuse(CloseReason.TimedOut, "a message was begun and not finished");
        }
        else if (Stage == SessionStage.Open && _isFlushing && nowNs - _takenAt > _options.StallLimitNs)
        {
            GiveUp();
        }
        else if (Stage >= SessionStage.Closing && nowNs - _closedAt > _options.CloseLimitNs)
        {
            _connection.Abort(new ConnectionAbortedException("the peer does not hang up"));
        }
    }

    private static bool IsBreak(Exception failure) => failure is IOException or ConnectionAbortedException;

    private void SayWhoThisIs()
    {
        Write(new Handshake(
            _options.Versions.Oldest, _options.Versions.Newest, _options.Cluster, _options.Node,
            _options.Features));
        Flush();
    }

    private void Refuse(CloseReason reason, string text)
    {
        if (Stage < SessionStage.Closing)
        {
            SayEnd(reason, text);
            EndWith(SessionEndCause.Refused, reason, text);
        }
    }

    private void SayEnd(CloseReason reason, string text)
    {
        Span<byte> fitting = stackalloc byte[MessageLimits.MaxTextBytes];
        Write(new Close { Reason = reason, Text = fitting[..MessageText.Fit(text, fitting)] });
        _hasUnflushed = false;
        _output.Complete(); // All that was written goes out before.
    }

    // The first end counts.
    private void EndWith(SessionEndCause cause, CloseReason reason, string text)
    {
        if (_end is not null)
        {
            return;
        }

        _end = new SessionEnd(cause, reason, text);
        _closedAt = _now;
        Stage = cause is SessionEndCause.Here or SessionEndCause.Refused
            ? SessionStage.Closing : SessionStage.Ended;
        if (cause != SessionEndCause.Here)
        {
            _handler.OnEnded(this, _end);
        }

        _wantedBytes = 0;
        _goesOn.Set();
    }
}
