using System.Net;
using System.Net.Sockets;
using System.Threading.Channels;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Time.Testing;
using Ublk.Wire.Messages;
using Ublk.Wire.Sessions;
using Xunit;

namespace Ublk.Tests.Unit.Wire.Sessions;

public sealed class PeerConnectorTests : IConnectionFactory
{
    private static readonly SessionEnd s_lost = new(SessionEndCause.Lost, CloseReason.Failed, "it broke");

    private readonly CountedTime _time = new();
    private readonly Channel<TaskCompletionSource<ConnectionContext>> _attempts =
        Channel.CreateUnbounded<TaskCompletionSource<ConnectionContext>>();

    private TaskCompletionSource _opened = new();
    private TaskCompletionSource<SessionEnd> _ended = new();
    private int _givenUp;

    public async ValueTask<ConnectionContext> ConnectAsync(
        EndPoint endpoint, CancellationToken cancellationToken = default)
    {
        var attempt = new TaskCompletionSource<ConnectionContext>(
            TaskCreationOptions.RunContinuationsAsynchronously);
        await _attempts.Writer.WriteAsync(attempt, cancellationToken);
        return await attempt.Task.WaitAsync(cancellationToken);
    }

    [Fact]
    public async Task ItConnectsUntilThePeerIsThereAndAgainWhenTheSessionHasEnded()
    {
        await using PeerConnector connector = Make();
        Assert.Equal(PeerStage.Stopped, connector.Snapshot.Stage);
        connector.Start();
        for (int failure = 1; failure <= 20; failure++)
        {
            // However often it failed, no pause is much longer than the longest.
            TaskCompletionSource<ConnectionContext> attempt = await NextAsync(TimeSpan.FromSeconds(3));
            Assert.Equal(failure, connector.Snapshot.Attempts);
            attempt.SetException(new SocketException((int)SocketError.ConnectionRefused));
        }

        Open(await NextAsync(TimeSpan.FromSeconds(3)));
        await Until(() => connector.Snapshot.Stage == PeerStage.Open);
        Assert.Null(connector.Snapshot.LastFailure);
        _time.Advance(TimeSpan.FromMinutes(1));
        TaskCompletionSource<SessionEnd> ended = _ended;
        (_opened, _ended) = (new(), new());
        ended.SetResult(s_lost);
        Open(await NextAsync(TimeSpan.Zero));
        await Until(() => connector.Snapshot.Stage == PeerStage.Open);
    }

    [Fact]
    public async Task APeerThatIsHeardOfIsTriedAtOnce()
    {
        await using PeerConnector connector = Make();
        connector.Start();
        for (int i = 0; i < 10; i++)
        {
            (await NextAsync(TimeSpan.FromSeconds(3))).SetException(new IOException("no way"));
        }

        await Until(() => connector.Snapshot.Stage == PeerStage.Pausing);
        Assert.Equal("no way", connector.Snapshot.LastFailure);
        connector.Hurry();
        Open(await NextAsync(TimeSpan.Zero));
        await Until(() => connector.Snapshot.Stage == PeerStage.Open);
    }

    [Fact]
    public async Task APeerThatSaysNothingIsGivenUpAndTriedAgain()
    {
        await using PeerConnector connector = Make();
        connector.Start();
        (await NextAsync(TimeSpan.Zero)).SetResult(HandConnection.WithoutPipes());
        _ = await NextAsync(TimeSpan.FromSeconds(5));
        Assert.Equal(1, Volatile.Read(ref _givenUp));
    }

    // Otherwise two nodes that do not fit would talk of nothing else.
    [Fact]
    public async Task APeerThatRefusesIsNotAskedWithoutEnd()
    {
        await using PeerConnector connector = Make();
        connector.Start();
        TaskCompletionSource<ConnectionContext> first = await NextAsync(TimeSpan.Zero);
        _opened.SetException(new PeerRefusedException(s_lost with { Text = "another cluster" }));
        first.SetResult(HandConnection.WithoutPipes());
        await Until(() => connector.Snapshot.Stage == PeerStage.Pausing);
        Assert.Equal("another cluster", connector.Snapshot.LastFailure);
        Assert.False(_attempts.Reader.TryRead(out _));
    }

    private PeerConnector Make() => new(
        new PeerConnectorOptions(), this, new IPEndPoint(IPAddress.Loopback, 1),
        _ => new PeerAttempt(_opened.Task, _ended.Task, () => Interlocked.Increment(ref _givenUp)), _time);

    private void Open(TaskCompletionSource<ConnectionContext> attempt)
    {
        _opened.SetResult();
        attempt.SetResult(HandConnection.WithoutPipes());
    }

    private static async Task Until(Func<bool> isSo)
    {
        while (!isSo())
        {
            await Task.Yield();
        }
    }

    // Time passes only while somebody waits for it: however slow the machine is, nothing takes longer.
    private async Task<TaskCompletionSource<ConnectionContext>> NextAsync(TimeSpan within)
    {
        var step = TimeSpan.FromMilliseconds(20);
        DateTimeOffset end = _time.GetUtcNow() + within;
        TaskCompletionSource<ConnectionContext>? attempt;
        for (int idle = 0; !_attempts.Reader.TryRead(out attempt); idle++)
        {
            await Task.Yield();
            if (idle % 1000 == 999 && within > TimeSpan.Zero && _time.PendingCount > 0)
            {
                Assert.True(_time.GetUtcNow() < end);
                _time.Advance(step);
            }
        }

        return attempt;
    }

    /// <summary>Knows how many timers have not fired.</summary>
    private sealed class CountedTime : FakeTimeProvider
    {
        private int _pending;

        public int PendingCount => Volatile.Read(ref _pending);

        public override ITimer CreateTimer(
            TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            var timer = new CountedTimer(this);
            timer.Set(dueTime);
            timer.Inner = base.CreateTimer(
                _ =>
                {
                    timer.Set(Timeout.InfiniteTimeSpan);
                    callback(state);
                }, null, dueTime, period);
            return timer;
        }

        private sealed class CountedTimer(CountedTime time) : ITimer
        {
            private int _isPending;

            public ITimer? Inner { get; set; }

            public void Set(TimeSpan dueTime)
            {
                int pending = dueTime == Timeout.InfiniteTimeSpan ? 0 : 1;
                int before = Interlocked.Exchange(ref _isPending, pending);
                _ = Interlocked.Add(ref time._pending, pending - before);
            }

            public bool Change(TimeSpan dueTime, TimeSpan period)
            {
                Set(dueTime);
                return Inner!.Change(dueTime, period);
            }

            public void Dispose()
            {
                Set(Timeout.InfiniteTimeSpan);
                Inner!.Dispose();
            }

            public ValueTask DisposeAsync()
            {
                Dispose();
                return default;
            }
        }
    }
}
