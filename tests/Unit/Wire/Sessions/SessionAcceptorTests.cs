using System.Diagnostics.Metrics;
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

    // What other tests do meanwhile happens on other threads.
    [Fact]
    public void WhatIsRefusedIsCountedByTheMeter()
    {
        int here = Environment.CurrentManagedThreadId;
        var seen = new List<string>();
        using var listener = new MeterListener();
        listener.InstrumentPublished = (instrument, self) =>
        {
            if (instrument.Meter.Name == WireMeters.Name)
            {
                self.EnableMeasurementEvents(instrument);
            }
        };
        listener.SetMeasurementEventCallback<long>((instrument, change, tags, _) =>
        {
            if (Environment.CurrentManagedThreadId == here && change != 0)
            {
                string tag = tags.Length > 0 ? $" {tags[0].Value}" : "";
                seen.Add($"{instrument.Name} {change}{tag}");
            }
        });
        listener.Start();
        SessionAcceptor acceptor = Make(sessions: 1, greetings: 1);
        _ = acceptor.OnConnectedAsync(HandConnection.WithoutPipes());
        _ = acceptor.OnConnectedAsync(HandConnection.WithoutPipes());
        _running[0].OnOpened();
        _running[0].End.SetResult(new SessionEnd(SessionEndCause.Peer, CloseReason.Done, ""));
        Assert.Equal(
            [
                "ublk.session.greetings 1", "ublk.session.refused 1 Overloaded", "ublk.session.greetings -1",
                "ublk.session.open 1", "ublk.session.open -1",
            ],
            seen);
    }

    private SessionAcceptor Make(int sessions, int greetings) => new(
        new SessionAcceptorOptions { MaxSessions = sessions, MaxGreetings = greetings }, this,
        (peer, end) => _told.Add($"{peer}: {end.Reason}"));
}
