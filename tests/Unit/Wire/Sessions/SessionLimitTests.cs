using Ublk.Uring;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;
using Ublk.Wire.Sessions;
using Xunit;

namespace Ublk.Tests.Unit.Wire.Sessions;

/// <summary>Peers that are slow, greedy or silent, and memory that is short.</summary>
public sealed class SessionLimitTests
{
    private const long Second = 1_000_000_000;
    private const int Mebibyte = 1 << 20;

    [Fact]
    public void WhoDoesNotSayWhoItIsIsNotWaitedForForEver()
    {
        using var bench = new SessionBench();
        _ = bench.Hear();
        bench.Session.OnTick(100 * Second);
        bench.Session.OnTick(105 * Second);
        Assert.Equal(SessionStage.Greeting, bench.Session.Stage);
        bench.Session.OnTick(106 * Second);
        Assert.Equal(CloseReason.TimedOut, bench.HearClose().Reason);
        Assert.Equal(CloseReason.TimedOut, bench.Handler.End!.Reason);
    }

    // A byte now and then does not keep a connection.
    [Fact]
    public void AMessageThatTricklesEndsTheSession()
    {
        using var bench = new SessionBench();
        bench.Session.OnTick(0);
        bench.Say(SessionBench.Theirs());
        byte[] write = Write(4096);
        int said = 0;
        for (int second = 1; bench.Handler.End is null; second++)
        {
            bench.Session.OnTick(second * Second);
            bench.Say(write.AsSpan(said++, 1));
            Assert.True(second < 20);
        }

        Assert.Equal(CloseReason.TimedOut, bench.HearClose().Reason);
        bench.HangUp();
        Assert.True(bench.Run.IsCompletedSuccessfully);
        Assert.True(bench.Memory.IsWhole);
    }

    // Each message begins a time of its own; nothing at all is no message.
    [Fact]
    public void WhoSaysWholeMessagesMaySaySoSlowly()
    {
        using var bench = new SessionBench();
        bench.Session.OnTick(0);
        bench.Say(SessionBench.Theirs());
        byte[] release = SessionBench.BytesOf(new Release(new Epoch(300)));
        for (int second = 0; second < 300; second += 3)
        {
            bench.Session.OnTick(second * Second);
            bench.Say(release.AsSpan(0, 2));
            bench.Session.OnTick((second + 2) * Second);
            bench.Say(release.AsSpan(2));
        }

        bench.Session.OnTick(1000 * Second);
        Assert.Null(bench.Handler.End);
        Assert.Equal(101, bench.Handler.Heard.Count);
    }

    // While its connection stands: whose does not the transport finds out.
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void APeerThatTakesNothingForLongIsGivenUp(bool takesSome)
    {
        using var bench = new SessionBench(pauseBytes: 4096);
        bench.Session.OnTick(0);
        bench.Say(SessionBench.Theirs());
        _ = bench.Hear();
        for (int i = 0; i < 4096; i++)
        {
            bench.Session.Send(new Release(new Epoch(300)));
        }

        bench.Session.Flush();
        bench.Session.OnTick(19 * Second);
        if (takesSome)
        {
            _ = bench.Hear();
        }

        bench.Session.OnTick(21 * Second);
        Assert.Equal(!takesSome, bench.Connection.IsAborted);
        Assert.Equal(takesSome ? null : CloseReason.Overloaded, bench.Handler.End?.Reason);
    }

    [Fact]
    public void APeerThatDoesNotHangUpIsCutOff()
    {
        using var bench = new SessionBench();
        bench.Session.OnTick(0);
        bench.Say(SessionBench.Theirs());
        bench.Session.Close(CloseReason.Done, "");
        bench.Session.OnTick(Second);
        Assert.False(bench.Connection.IsAborted);
        bench.Session.OnTick(3 * Second);
        Assert.True(bench.Connection.IsAborted);
    }

    [Fact]
    public void WithoutMemoryNothingMoreIsTakenUntilThereIs()
    {
        using var bench = new SessionBench(memoryBytes: Mebibyte);
        bench.Handler.KeepsPayload = true;
        bench.Say(SessionBench.Theirs());
        byte[] write = Write(Mebibyte / 2);
        bench.Say([.. write, .. write, .. write, .. SessionBench.BytesOf(new Release(new Epoch(1)))]);
        Assert.Equal(3, bench.Handler.Heard.Count);
        bench.Memory.Return(bench.Handler.Kept[0]);
        Assert.Equal(5, bench.Handler.Heard.Count);
        bench.Session.OnTick(0);
        bench.Session.OnTick(100 * Second);
        Assert.Null(bench.Handler.End);
        bench.Memory.Return(bench.Handler.Kept[1]);
        bench.Memory.Return(bench.Handler.Kept[2]);
        Assert.True(bench.Memory.IsWhole);
    }

    // Whoever waits for memory and is ended leaves the line to those behind it.
    [Fact]
    public void AnEndedSessionWaitsForNoMemory()
    {
        using var bench = new SessionBench(memoryBytes: Mebibyte);
        Assert.True(bench.Memory.TryRent(Mebibyte, out IoBuffer all));
        bench.Say(SessionBench.Theirs());
        bench.Say(Write(4096));
        bench.Session.Close(CloseReason.Shutdown, "");
        bench.HangUp();
        Assert.True(bench.Run.IsCompletedSuccessfully);
        bench.Memory.Return(all);
        Assert.True(bench.Memory.IsWhole);
    }

    [Fact]
    public void WhoTakesNothingOfWhatItIsSentIsGivenUp()
    {
        using var bench = new SessionBench(
            SessionBench.Usual with { MaxUnsentBytes = 10_000 }, pauseBytes: 100);
        bench.Say(SessionBench.Theirs());
        for (ulong epoch = 1; bench.Handler.End is null; epoch++)
        {
            bench.Session.Send(new Release(new Epoch(epoch)));
            bench.Session.Flush();
            Assert.True(epoch < 10_000);
        }

        Assert.Equal(CloseReason.Overloaded, bench.Handler.End!.Reason);
    }

    // The side that answers does not pile up answers.
    [Fact]
    public void WhoAnswersStopsTakingQuestionsWhileItsAnswersAreNotTaken()
    {
        using var bench = new SessionBench(
            SessionBench.Usual with { StopsWhenBlocked = true }, pauseBytes: 200);
        bench.Handler.OnKind = (session, _) => session.Send(new Release(new Epoch(1)));
        bench.Say(SessionBench.Theirs());
        byte[] release = SessionBench.BytesOf(new Release(new Epoch(1)));
        for (int i = 0; i < 1000; i++)
        {
            bench.Say(release);
        }

        int heard = bench.Handler.Heard.Count;
        Assert.InRange(heard, 10, 200);
        int taken = 0;
        while (bench.Hear() is { Length: > 0 } bytes)
        {
            taken += bytes.Length;
        }

        Assert.Equal(1001, bench.Handler.Heard.Count);
        Assert.True(taken >= 1000 * release.Length);
    }

    [Fact]
    public void PayloadThatIsSentGoesBackToTheMemory()
    {
        using var bench = new SessionBench();
        Assert.True(bench.Memory.TryRent(4096, out IoBuffer early));
        bench.Session.Send(Message(4096), early); // Nobody is there yet.
        bench.Say(SessionBench.Theirs());
        _ = bench.Hear();
        Assert.True(bench.Memory.TryRent(4096, out IoBuffer payload));
        payload.Span.Fill(7);
        bench.Session.Send(Message(4096), payload);
        bench.Session.Flush();
        byte[] heard = bench.Hear();
        Assert.Equal(MessageParser.Parse(heard).TotalBytes, heard.Length);
        Assert.True(bench.Memory.IsWhole);
    }

    // It reads nothing while its answers are not taken.
    [Fact]
    public void ASideThatIsBlockedHearsOfABreak()
    {
        using var bench = new SessionBench(
            SessionBench.Usual with { StopsWhenBlocked = true }, pauseBytes: 16);
        bench.Say(SessionBench.Theirs());
        Assert.Equal(SessionStage.Open, bench.Session.Stage);
        bench.Break(new IOException("it broke"));
        Assert.True(bench.Run.IsCompletedSuccessfully);
        Assert.Equal((SessionEndCause.Lost, "it broke"), (bench.Handler.End!.Cause, bench.Handler.End.Text));
    }

    private static Write Message(int bytes) => new(
        new Epoch(1), new Sequence(1), Mutation.Write, MutationFlags.None, 0, bytes, 0, new Sequence(0),
        new View(1));

    private static byte[] Write(int bytes) => SessionBench.BytesOf(Message(bytes), new byte[bytes]);
}
