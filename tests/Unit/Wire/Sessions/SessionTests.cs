using Ublk.Wire;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;
using Ublk.Wire.Sessions;
using Xunit;

namespace Ublk.Tests.Unit.Wire.Sessions;

public sealed class SessionTests
{
    [Fact]
    public void BothSayWhoTheyAreWithoutWaiting()
    {
        using var bench = new SessionBench();
        MessageHead head = MessageParser.Parse(bench.Hear());
        Handshake ours = head.Read<Handshake>();
        Assert.Equal(SessionBench.Cluster, ours.Cluster);
        Assert.Equal(new NodeId(1), ours.Node);
        Assert.Equal(SessionStage.Greeting, bench.Session.Stage);
        bench.Say(SessionBench.Theirs());
        Assert.Equal(SessionStage.Open, bench.Session.Stage);
        Assert.Equal(["opened by 2 in 1"], bench.Handler.Heard);
    }

    // The same bytes in pieces of every length are the same messages.
    [Fact]
    public void WhereAStreamIsCutDoesNotMatter()
    {
        byte[] stream = Stream(seed: 1, messages: 12);
        string[] whole = HeardOf(stream, piece: stream.Length);
        Assert.Equal(13, whole.Length);
        for (int piece = 1; piece < 300; piece++)
        {
            Assert.Equal(whole, HeardOf(stream, piece));
        }
    }

    [Fact]
    public void AStreamThatEndsEarlyIsLostAndNothingHalfArrives()
    {
        byte[] stream = Stream(seed: 2, messages: 3);
        string[] whole = HeardOf(stream, stream.Length);
        for (int length = 0; length < stream.Length; length++)
        {
            using var bench = new SessionBench();
            bench.Say(stream.AsSpan(0, length));
            bench.HangUp();
            Assert.Equal(SessionEndCause.Lost, bench.Handler.End!.Cause);
            Assert.True(bench.Run.IsCompletedSuccessfully);
            Assert.Equal(
                whole.Take(bench.Handler.Heard.Count - 1), bench.Handler.Heard.SkipLast(1),
                StringComparer.Ordinal);
            Assert.True(bench.Memory.IsWhole);
        }
    }

    [Theory]
    [InlineData(CloseReason.WrongCluster, 78, 2, 1, 1)]
    [InlineData(CloseReason.Version, 77, 2, 2, 3)]
    [InlineData(CloseReason.NotTrusted, 77, 1, 1, 1)]
    [InlineData(CloseReason.NotTrusted, 77, 9, 1, 1)]
    public void WhoDoesNotFitIsRefusedWithAReason(
        CloseReason reason, int cluster, uint node, byte oldest, byte newest)
    {
        using var bench = new SessionBench(
            SessionBench.Usual with { Peer = node == 9 ? new NodeId(2) : null });
        _ = bench.Hear();
        bench.Say(new Handshake(oldest, newest, new ClusterId((UInt128)cluster), new NodeId(node), 0));
        Assert.Equal(reason, bench.HearClose().Reason);
        Assert.Equal((SessionEndCause.Refused, reason), (bench.Handler.End!.Cause, bench.Handler.End.Reason));
        Assert.Equal(SessionStage.Closing, bench.Session.Stage);
        bench.HangUp();
        Assert.True(bench.Run.IsCompletedSuccessfully);
    }

    // A cluster is upgraded node by node: who speaks one version more speaks the older one with the others.
    [Theory]
    [InlineData(1, 2, 1, 1, 1)]
    [InlineData(1, 1, 1, 2, 1)]
    [InlineData(1, 2, 2, 3, 2)]
    [InlineData(2, 3, 1, 2, 2)]
    [InlineData(2, 3, 2, 3, 3)]
    public void AdjacentVersionsUnderstandEachOther(
        byte ourOldest, byte ourNewest, byte oldest, byte newest, byte used)
    {
        using var bench = new SessionBench(SessionBench.Usual with { Versions = (ourOldest, ourNewest) });
        bench.Say(SessionBench.Theirs(oldest: oldest, newest: newest));
        Assert.Equal(used, bench.Session.Version);
    }

    [Theory]
    [InlineData(null, 2u, false)]
    [InlineData(2u, 2u, true)]
    [InlineData(3u, 2u, false)]
    public void ACertificateSpeaksForItsNodeOnly(uint? proved, uint says, bool isOpen)
    {
        using var bench = new SessionBench(
            SessionBench.Usual with { AllowsUnproved = false },
            proved: proved is { } node ? new NodeId(node) : null);
        bench.Say(SessionBench.Theirs(says));
        Assert.Equal(isOpen, bench.Session.Stage == SessionStage.Open);
        Assert.Equal(isOpen ? null : CloseReason.NotTrusted, bench.Handler.End?.Reason);
    }

    [Fact]
    public void FeaturesAreUsedThatBothOffer()
    {
        using var bench = new SessionBench(SessionBench.Usual with { Features = 6 });
        bench.Say(SessionBench.Theirs() with { Features = 3 });
        Assert.Equal(2u, bench.Session.Features);
    }

    [Fact]
    public void TheFirstMessageIsTheHandshakeAndThereIsOne()
    {
        using var early = new SessionBench();
        early.Say(new Release(new Epoch(1)));
        Assert.Equal(CloseReason.ProtocolError, early.HearClose().Reason);
        using var twice = new SessionBench();
        twice.Say(SessionBench.Theirs());
        twice.Say(SessionBench.Theirs());
        Assert.Equal(CloseReason.ProtocolError, twice.HearClose().Reason);
        Assert.Equal(2, twice.Handler.Heard.Count);
    }

    [Fact]
    public void WhatIsNoMessageEndsTheSessionAndNothingOfItTakesEffect()
    {
        var random = new Random(5);
        for (int round = 0; round < 500; round++)
        {
            byte[] garbage = new byte[random.Next(1, 200)];
            random.NextBytes(garbage);
            using var bench = new SessionBench();
            bool isGreeted = round % 2 == 0;
            if (isGreeted)
            {
                bench.Say(SessionBench.Theirs());
            }

            bench.Say(garbage);
            bench.HangUp();
            Assert.True(bench.Run.IsCompletedSuccessfully);
            Assert.InRange(bench.Handler.Heard.Count, 1, 3);
            Assert.True(bench.Memory.IsWhole);
        }
    }

    [Fact]
    public void WhoClosesHearsNothingMoreAndThePeerHearsWhy()
    {
        using var bench = new SessionBench();
        bench.Say(SessionBench.Theirs());
        _ = bench.Hear();
        bench.Session.Send(new Release(new Epoch(4)));
        bench.Session.Close(CloseReason.Shutdown, "the process ends\n");
        bench.Session.Send(new Release(new Epoch(5)));
        byte[] release = SessionBench.BytesOf(new Release(new Epoch(4)));
        byte[] heard = bench.Hear();
        Assert.Equal(release, heard.AsSpan(0, release.Length));
        MessageHead head = MessageParser.Parse(heard.AsSpan(release.Length));
        Assert.Equal(CloseReason.Shutdown, head.Read<Close>().Reason);
        Assert.Equal("the process ends "u8, head.Read<Close>().Text);
        Assert.Equal(heard.Length, release.Length + head.TotalBytes);
        bench.Say(new Release(new Epoch(6)));
        Assert.False(bench.Run.IsCompleted);
        bench.HangUp();
        Assert.True(bench.Run.IsCompletedSuccessfully);
        Assert.Equal(["opened by 2 in 1"], bench.Handler.Heard);
        Assert.Equal(SessionEndCause.Here, bench.Session.End!.Cause);
    }

    [Fact]
    public void ThePeersReasonIsTold()
    {
        using var bench = new SessionBench();
        bench.Say(SessionBench.Theirs());
        bench.Say(new Close { Reason = CloseReason.Superseded, Text = "another one"u8 });
        Assert.Equal(
            new SessionEnd(SessionEndCause.Peer, CloseReason.Superseded, "another one"), bench.Handler.End);
        Assert.True(bench.Run.IsCompletedSuccessfully);
    }

    // Answers that a message makes its handler send go out together.
    [Fact]
    public void WhatAMessageMakesItsHandlerSendGoesOutByItself()
    {
        using var bench = new SessionBench();
        bench.Handler.OnKind = (session, kind) => session.Send(new Release(new Epoch(9)));
        bench.Say(SessionBench.Theirs());
        _ = bench.Hear();
        byte[] release = SessionBench.BytesOf(new Release(new Epoch(1)));
        bench.Say([.. release, .. release]);
        byte[] answer = SessionBench.BytesOf(new Release(new Epoch(9)));
        Assert.Equal([.. answer, .. answer], bench.Hear());
    }

    private static string[] HeardOf(byte[] stream, int piece)
    {
        using var bench = new SessionBench();
        for (int at = 0; at < stream.Length; at += piece)
        {
            bench.Say(stream.AsSpan(at, Math.Min(piece, stream.Length - at)));
        }

        Assert.True(bench.Memory.IsWhole);
        return [.. bench.Handler.Heard];
    }

    private static byte[] Stream(int seed, int messages)
    {
        var random = new Random(seed);
        var stream = new List<byte>(SessionBench.BytesOf(SessionBench.Theirs()));
        for (int i = 0; i < messages; i++)
        {
            byte[] payload = new byte[512 * random.Next(1, 8)];
            random.NextBytes(payload);
            stream.AddRange(i % 3 == 1
                ? SessionBench.BytesOf(new Release(new Epoch((ulong)i)))
                : SessionBench.BytesOf(
                    new Write(
                        new Epoch(1), new Sequence((ulong)i + 1), Mutation.Write, MutationFlags.None, 0,
                        payload.Length, Crc32C.Compute(payload), new Sequence(0), new View(1)), payload));
        }

        return [.. stream];
    }
}
