using Microsoft.AspNetCore.Connections;
using Ublk.Wire.Messages;
using Ublk.Wire.Sessions;
using Xunit;

namespace Ublk.Tests.Unit.Wire.Sessions;

public sealed class SessionAcceptorTests : ISessionHost
{
    private readonly List<(TaskCompletionSource<SessionEnd> End, Action OnOpened)> _running = [];
    private readonly List<string> _told = [];

    public Task<SessionEnd> RunAsync(ConnectionContext connection, Action onOpened)
    {
        var end = new TaskCompletionSource<SessionEnd>();
        _running.Add((end, onOpened));
        return end.Task;
    }

    // Those who have said who they are do not compete with those who have not.
    [Fact]
    public async Task StrangersTakeNoPlaceOfThoseWhoAreKnown()
    {
        SessionAcceptor acceptor = Make(sessions: 5, greetings: 2);
        Task[] tasks =
        [
            .. Enumerable.Range(0, 10).Select(
                _ => acceptor.OnConnectedAsync(HandConnection.WithoutPipes())),
        ];
        Assert.Equal(2, acceptor.GreetingCount);
        Assert.Equal(8, acceptor.RefusedCount(CloseReason.Overloaded));
        Assert.Equal(8, tasks.Count(task => task.IsCompletedSuccessfully));
        _running[0].OnOpened();
        _running[1].OnOpened();
        Assert.Equal((2, 0), (acceptor.SessionCount, acceptor.GreetingCount));
        Task more = acceptor.OnConnectedAsync(HandConnection.WithoutPipes());
        Assert.False(more.IsCompleted);
        foreach ((TaskCompletionSource<SessionEnd> end, _) in _running)
        {
            end.SetResult(new SessionEnd(SessionEndCause.Peer, CloseReason.Done, ""));
        }

        await more;
        await Task.WhenAll(tasks);
        Assert.Equal((0, 0), (acceptor.SessionCount, acceptor.GreetingCount));
        Assert.Equal(["unknown: Overloaded"], _told);
    }

    [Fact]
    public async Task ThousandsWhoAreRefusedAreCountedAndToldOnce()
    {
        SessionAcceptor acceptor = Make(sessions: 20_000, greetings: 20_000);
        Task[] tasks =
        [
            .. Enumerable.Range(0, 10_000).Select(
                _ => acceptor.OnConnectedAsync(HandConnection.WithoutPipes())),
        ];
        for (int i = 0; i < _running.Count; i++)
        {
            CloseReason reason = i % 2 == 0 ? CloseReason.WrongCluster : CloseReason.ProtocolError;
            _running[i].End.SetResult(new SessionEnd(SessionEndCause.Refused, reason, ""));
        }

        await Task.WhenAll(tasks);
        Assert.Equal(5_000, acceptor.RefusedCount(CloseReason.WrongCluster));
        Assert.Equal(5_000, acceptor.RefusedCount(CloseReason.ProtocolError));
        Assert.Equal(2, _told.Count);
        Assert.Equal(0, acceptor.GreetingCount);
    }

    private SessionAcceptor Make(int sessions, int greetings) => new(
        new SessionAcceptorOptions { MaxSessions = sessions, MaxGreetings = greetings }, this,
        (peer, end) => _told.Add($"{peer}: {end.Reason}"));
}
