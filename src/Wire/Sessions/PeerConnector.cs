using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Connections;
using Polly;
using Polly.Retry;
using Polly.Timeout;

namespace Ublk.Wire.Sessions;

/// <summary>
/// Keeps one session with a peer: connects, and again when it has ended, at once at first and then in
/// growing, jittered steps, none longer than a second or so, for a peer that comes back is needed. Connecting
/// and waiting happen on the thread pool, the session where its connection belongs.
/// </summary>
public sealed class PeerConnector : IAsyncDisposable
{
    private const int MaxDoublings = 16;

    private readonly PeerConnectorOptions _options;
    private readonly IConnectionFactory _factory;
    private readonly EndPoint _endPoint;
    private readonly string _name;
    private readonly Func<ConnectionContext, PeerAttempt> _begin;
    private readonly TimeProvider _time;
    private readonly ResiliencePipeline _pipeline;
    private readonly CancellationTokenSource _stop = new();
    private readonly Lock _lock = new();
    private CancellationTokenSource? _wait;
    private PeerSnapshot _snapshot;
    private Task? _run;
    private int _shortLived;

    /// <summary>Nothing happens before <see cref="Start"/>.</summary>
    /// <param name="options">How often, how long.</param>
    /// <param name="factory">Makes connections.</param>
    /// <param name="endPoint">Where the peer is.</param>
    /// <param name="begin">
    /// Begins the session of a connection, on the thread it belongs to, and says what becomes of it. Called
    /// on the thread pool.
    /// </param>
    /// <param name="time">The clock.</param>
    public PeerConnector(
        PeerConnectorOptions options, IConnectionFactory factory, EndPoint endPoint,
        Func<ConnectionContext, PeerAttempt> begin, TimeProvider time)
    {
        _options = options;
        _factory = factory;
        _endPoint = endPoint;
        _name = endPoint.ToString() ?? "";
        _begin = begin;
        _time = time;
        _snapshot = new PeerSnapshot(PeerStage.Stopped, 0, time.GetUtcNow(), null);
        _pipeline = new ResiliencePipelineBuilder { TimeProvider = time }
            .AddRetry(new RetryStrategyOptions
            {
                ShouldHandle = outcome => ValueTask.FromResult(
                    outcome.Outcome.Exception is { } failure && IsExpected(failure)),
                BackoffType = DelayBackoffType.Exponential,
                UseJitter = true,
                Delay = options.FirstPause,
                MaxDelay = options.LongestPause,
                MaxRetryAttempts = int.MaxValue,
                OnRetry = retry =>
                {
                    Failed(retry.Outcome.Exception!);
                    return default;
                },
            })
            .AddTimeout(options.AttemptLimit)
            .Build();
    }

    /// <summary>How it stands; any thread.</summary>
    public PeerSnapshot Snapshot => Volatile.Read(ref _snapshot);

    /// <summary>Begins to connect.</summary>
    public void Start() => _run ??= Task.Run(RunAsync);

    /// <summary>Ends a pause: the peer was heard of. Any thread.</summary>
    public void Hurry()
    {
        lock (_lock)
        {
            if (Snapshot.Stage == PeerStage.Pausing)
            {
                _wait?.Cancel();
            }
        }
    }

    /// <summary>Connects no more. A session that is open is its owner's to close.</summary>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        if (_run is not null)
        {
            await _run.ConfigureAwait(false);
        }

        _stop.Dispose();
    }

    private static bool IsExpected(Exception failure) => failure is
        SocketException or IOException or TimeoutRejectedException or PeerRefusedException or
        ConnectionAbortedException or AddressInUseException;

    private async Task RunAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            Tell(PeerStage.Connecting, Snapshot.Attempts, Snapshot.LastFailure);
            using var wait = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
            lock (_lock)
            {
                _wait = wait;
            }

            try
            {
                PeerAttempt open = await _pipeline.ExecuteAsync(
                    static (self, token) => self.ConnectAsync(token), this, wait.Token).ConfigureAwait(false);
                long since = _time.GetTimestamp();
                Tell(PeerStage.Open, 0, null);
                SessionEnd end = await open.Ended.WaitAsync(_stop.Token).ConfigureAwait(false);
                WireMeters.Ended(_name, end.Reason);
                Tell(PeerStage.Connecting, 0, end.Text);
                await PauseAfterAsync(end, since, wait.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                // Stopped, or hurried.
            }
            finally
            {
                lock (_lock)
                {
                    _wait = null;
                }
            }
        }

        Tell(PeerStage.Stopped, 0, Snapshot.LastFailure);
    }

    private async ValueTask<PeerAttempt> ConnectAsync(CancellationToken token)
    {
        Tell(PeerStage.Connecting, Snapshot.Attempts + 1, Snapshot.LastFailure);
        WireMeters.Attempt(_name);
        ConnectionContext connection = await _factory.ConnectAsync(_endPoint, token).ConfigureAwait(false);
        PeerAttempt attempt = _begin(connection);
        try
        {
            await attempt.Opened.WaitAsync(token).ConfigureAwait(false);
            return attempt;
        }
        catch (OperationCanceledException)
        {
            attempt.GiveUp();
            throw;
        }
    }

    // A peer that takes every connection and says the end at once is asked less and less often; after a
    // session that lasted at once, and where the way is bad, soon.
    private async Task PauseAfterAsync(SessionEnd end, long since, CancellationToken token)
    {
        bool hasLasted = _time.GetElapsedTime(since) >= _options.LongestPause;
        _shortLived = hasLasted || end.Cause == SessionEndCause.Lost ? 0 : _shortLived + 1;
        if (hasLasted)
        {
            return;
        }

        Tell(PeerStage.Pausing, 0, Snapshot.LastFailure);
        double pause = _options.FirstPause.TotalMilliseconds * (1 << Math.Min(_shortLived, MaxDoublings));
        await Task.Delay(
            TimeSpan.FromMilliseconds(Math.Min(pause, _options.LongestPause.TotalMilliseconds)), _time, token)
            .ConfigureAwait(false);
    }

    private void Failed(Exception failure)
    {
        WireMeters.Failure(_name);
        Tell(
            PeerStage.Pausing, Snapshot.Attempts,
            failure is TimeoutRejectedException ? $"{_name} did not answer in time" : failure.Message);
    }

    private void Tell(PeerStage stage, int attempts, string? failure) => Volatile.Write(
        ref _snapshot, new PeerSnapshot(stage, attempts, _time.GetUtcNow(), failure));
}

/// <summary>How often a peer is tried.</summary>
public sealed record PeerConnectorOptions
{
    /// <summary>Pause after the first failure; later ones grow.</summary>
    public TimeSpan FirstPause { get; init; } = TimeSpan.FromMilliseconds(50);

    /// <summary>Longest pause, about: a peer that is back is used within so long.</summary>
    public TimeSpan LongestPause { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Longest time of one attempt, until both sides know each other.</summary>
    public TimeSpan AttemptLimit { get; init; } = TimeSpan.FromSeconds(2);
}

/// <summary>What becomes of a connection.</summary>
/// <param name="Opened">
/// Ends when both sides know each other, with <see cref="PeerRefusedException"/> when they will not.
/// </param>
/// <param name="Ended">Ends when the session has.</param>
/// <param name="GiveUp">Ends it, because it takes too long.</param>
public sealed record PeerAttempt(Task Opened, Task<SessionEnd> Ended, Action GiveUp);

/// <summary>How the connection to a peer stands.</summary>
/// <param name="Stage">How far it is.</param>
/// <param name="Attempts">Attempts since it was open last.</param>
/// <param name="Since">Since when it stands so.</param>
/// <param name="LastFailure">Why it is not open, or was not before; null when it is.</param>
public sealed record PeerSnapshot(PeerStage Stage, int Attempts, DateTimeOffset Since, string? LastFailure);

/// <summary>How far the connection to a peer is.</summary>
public enum PeerStage : byte
{
    /// <summary>Not wanted.</summary>
    Stopped,
    /// <summary>An attempt is under way.</summary>
    Connecting,
    /// <summary>The next attempt waits for its time.</summary>
    Pausing,
    /// <summary>There is a session.</summary>
    Open,
}

/// <summary>A peer, or this side, would not have a session.</summary>
/// <param name="end">Why.</param>
public sealed class PeerRefusedException(SessionEnd end) : Exception(end.Text)
{
    /// <summary>Why.</summary>
    public SessionEnd End { get; } = end;
}
