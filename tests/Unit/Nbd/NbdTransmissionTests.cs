using Microsoft.AspNetCore.Connections;
using Ublk.Frontend.Nbd;
using Ublk.Testing;
using Ublk.Tests.Unit.Wire.Transport;
using Ublk.Wire.Blocks;
using Xunit;

namespace Ublk.Tests.Unit.Nbd;

/// <summary>Requests of a client and what becomes of them, without sockets and threads.</summary>
public sealed class NbdTransmissionTests
{
    private const int Mebibyte = NbdWorld.Mebibyte;

    // Longer than one block of memory, and not a whole number of them.
    [Theory]
    [InlineData(NbdReplyStyle.Simple)]
    [InlineData(NbdReplyStyle.Structured)]
    [InlineData(NbdReplyStyle.Extended)]
    internal void WhatIsWrittenIsRead(NbdReplyStyle style)
    {
        using var world = new NbdWorld();
        NbdClient client = world.Connect(style);
        byte[] payload = Pattern.Bytes(3 * Mebibyte + 512);
        client.Send(NbdCommand.Write, 1, 512, payload.Length, 0, payload);
        client.Send(NbdCommand.Read, 2, 512, payload.Length);
        List<NbdReply> replies = client.Receive();
        Assert.Equal([1ul, 2ul], replies.Select(reply => reply.Cookie));
        Assert.Equal(payload, replies[1].Data);
        Assert.True(payload.AsSpan().SequenceEqual(world.Target.Bytes.AsSpan(512, payload.Length)));
        Assert.True(world.IsWhole);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void TheOutcomeDoesNotDependOnHowRequestsArrive(int seed)
    {
        var random = new Random(seed);
        using var world = new NbdWorld();
        NbdClient client = world.Connect();
        byte[] payload = Pattern.Bytes(8192);
        byte[] talk = NbdClientBytes.Join(
            Bytes(NbdCommand.Write, 1, 0, 8192, payload), Bytes(NbdCommand.Write, 2, 3, 8192, payload),
            Bytes(NbdCommand.Read, 3, 4096, 4096), Bytes((NbdCommand)99, 4, 0, 512),
            Bytes(NbdCommand.Flush, 5, 0, 0));
        var replies = new List<NbdReply>();
        for (int at = 0; at < talk.Length;)
        {
            int count = Math.Min(random.Next(1, random.Next(2, 3000)), talk.Length - at);
            client.Send(talk[at..(at + count)]);
            replies.AddRange(client.Receive());
            at += count;
        }

        Assert.Equal(
            [NbdError.None, NbdError.Invalid, NbdError.None, NbdError.Invalid, NbdError.None],
            replies.OrderBy(reply => reply.Cookie).Select(reply => reply.Error));
        Assert.Equal(payload[4096..], replies.Single(reply => reply.Cookie == 3).Data);
    }

    [Fact]
    public void RequestsAreAnsweredAsTheyEnd()
    {
        using var world = new NbdWorld();
        world.Target.IsManual = true;
        NbdClient client = world.Connect();
        client.Send(NbdCommand.Read, 1, 0, 4096);
        client.Send(NbdCommand.Read, 2, 4096, 4096);
        world.Target.Complete(1);
        Assert.Equal(2ul, client.ReceiveOne().Cookie);
        world.Target.Complete(0, BlockStatus.IoError);
        Assert.Equal(new NbdReply(1, NbdError.Io, []).Error, client.ReceiveOne().Error);
        Assert.True(world.IsWhole);
    }

    // The reply to a refused write comes behind its payload: before that some clients do not expect it.
    [Fact]
    public void ARefusedWriteIsAnsweredBehindItsPayload()
    {
        using var world = new NbdWorld();
        NbdClient client = world.Connect();
        byte[] request = Bytes(NbdCommand.Write, 1, 16 * Mebibyte, 4096, new byte[4096]);
        client.Send(request[..^1]);
        Assert.Empty(client.Receive());
        client.Send(request[^1..]);
        Assert.Equal(NbdError.NoSpace, client.ReceiveOne().Error);
        Assert.Equal(NbdError.None, client.Ask(NbdCommand.Flush, 0, 0));
        Assert.Equal(1, world.Target.SubmitCount);
    }

    [Fact]
    public void UnknownRequestsWithPayloadDoNotEndTheConnection()
    {
        using var world = new NbdWorld();
        NbdClient client = world.Connect(NbdReplyStyle.Extended);
        Assert.Equal(NbdError.Invalid, client.Ask((NbdCommand)99, 0, 5000, 0, new byte[5000]));
        Assert.Equal(NbdError.Invalid, client.Ask(NbdCommand.BlockStatus, 0, 12, 0, new byte[12]));
        Assert.Equal(NbdError.None, client.Ask(NbdCommand.Cache, 0, 1 << 20));
        Assert.False(client.Run.IsCompleted);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void WhatWasTakenIsAnsweredBeforeTheEnd(bool isOrderly)
    {
        using var world = new NbdWorld();
        world.Target.IsManual = true;
        NbdClient client = world.Connect();
        client.Send(NbdCommand.Read, 1, 0, 4096);
        client.Send(isOrderly ? Bytes(NbdCommand.Disconnect, 2, 0, 0) : new byte[28]);
        Assert.False(client.Run.IsCompleted);
        world.Target.Complete();
        Assert.Equal(NbdError.None, client.ReceiveOne().Error);
        Assert.True(client.Run.IsCompletedSuccessfully);
        Assert.Equal(isOrderly, client.Server.Complaint is null);
        Assert.True(world.IsWhole);
    }

    [Theory]
    [InlineData(27)]
    [InlineData(28)]
    [InlineData(28 + 4095)]
    public void AWriteThatIsCutShortChangesNothing(int bytes)
    {
        using var world = new NbdWorld();
        NbdClient client = world.Connect();
        client.Send(Bytes(NbdCommand.Write, 1, 0, 4096, new byte[4096])[..bytes]);
        client.Connection.Output.Complete();
        world.Scheduler.TurnAll();
        Assert.True(client.Run.IsCompletedSuccessfully);
        Assert.Equal("the connection ends in the middle of a request", client.Server.Complaint);
        Assert.Equal(0, world.Target.SubmitCount);
        Assert.True(world.IsWhole);
    }

    [Fact]
    public void AWriteThatIsFarTooLongEndsTheConnection()
    {
        using var world = new NbdWorld();
        NbdClient client = world.Connect();
        client.Send(Bytes(NbdCommand.Write, 1, 0, 32 * Mebibyte + 512));
        Assert.True(client.Run.IsCompletedSuccessfully);
        Assert.NotNull(client.Server.Complaint);
    }

    [Fact]
    public void OnlySoManyRequestsAreTaken()
    {
        using var world = new NbdWorld();
        world.Target.IsManual = true;
        NbdClient client = world.Connect(options: new() { MaxRequests = 4, MaxPayloadBytes = Mebibyte });
        for (ulong cookie = 1; cookie <= 10; cookie++)
        {
            client.Send(NbdCommand.Read, cookie, 0, 512);
        }

        Assert.Equal(4, world.Target.InFlightCount);
        world.Target.Complete();
        world.Scheduler.TurnAll();
        Assert.Equal(4, world.Target.InFlightCount);
        while (world.Target.InFlightCount > 0)
        {
            world.Target.CompleteAll();
            world.Scheduler.TurnAll();
        }

        Assert.Equal(10, client.Receive().Count);
        Assert.Equal(4, world.Target.PeakInFlightCount);
    }

    [Fact]
    public void TheTargetIsAskedOnlySoMuchAtOnce()
    {
        var target = new ModelTarget(Mebibyte, new BlockLimits { MaxRequests = 3 }) { IsManual = true };
        using var world = new NbdWorld(target);
        NbdClient client = world.Connect();
        for (ulong cookie = 1; cookie <= 10; cookie++)
        {
            client.Send(NbdCommand.Read, cookie, 0, 512);
        }

        Assert.Equal(7, world.Export.Requests.WaitingCount);
        target.CompleteAll();
        Assert.Equal(10, client.Receive().Count);
        Assert.Equal(3, target.PeakInFlightCount);
    }

    // One connection has its own limit; the pool is everybody's.
    [Fact]
    public void AConnectionHasOnlySoMuchMemory()
    {
        using var world = new NbdWorld();
        world.Target.IsManual = true;
        NbdClient client = world.Connect(
            options: new() { MaxHeldBytes = Mebibyte, MaxPayloadBytes = Mebibyte });
        for (ulong cookie = 1; cookie <= 8; cookie++)
        {
            client.Send(NbdCommand.Read, cookie, 0, Mebibyte / 2);
        }

        int answered = 0;
        while (answered < 8)
        {
            Assert.Equal(2, world.Target.InFlightCount);
            world.Target.CompleteAll();
            answered += client.Receive().Count;
        }

        Assert.Equal(2, world.Target.PeakInFlightCount);
        Assert.True(world.IsWhole);
    }

    // Each wants almost all memory, in many blocks: whoever is first in line gets it, and then the next.
    [Fact]
    public void LongRequestsOfSeveralClientsDoNotWaitForEachOther()
    {
        using var world = new NbdWorld(poolBytes: 5 * Mebibyte);
        world.Target.IsManual = true;
        List<NbdClient> clients =
        [
            .. Enumerable.Range(0, 6).Select(_ => world.Connect(
                options: new() { MaxPayloadBytes = 4 * Mebibyte, MaxHeldBytes = 4 * Mebibyte })),
        ];
        foreach (NbdClient client in clients)
        {
            client.Send(NbdCommand.Read, 1, 0, 3 * Mebibyte);
            client.Send(NbdCommand.Read, 2, 0, 512);
            client.Send(NbdCommand.Write, 3, 0, 2 * Mebibyte, 0, new byte[2 * Mebibyte]);
        }

        int answered = 0;
        for (int round = 0; round < 100 && answered < 18; round++)
        {
            world.Target.CompleteAll();
            answered += clients.Sum(client => client.Receive().Count);
        }

        Assert.Equal(18, answered);
        Assert.True(world.IsWhole);
    }

    [Fact]
    public void ABreakLosesNoMemory()
    {
        using var world = new NbdWorld();
        world.Target.IsManual = true;
        NbdClient client = world.Connect();
        client.Send(NbdCommand.Read, 1, 0, 3 * Mebibyte);
        client.Send(NbdCommand.Write, 2, 0, 4096, 0, new byte[4096]);
        client.Send(Bytes(NbdCommand.Write, 3, 0, 2 * Mebibyte, new byte[100]));
        client.Connection.Abort(new ConnectionAbortedException("cut"));
        world.Scheduler.TurnAll();
        Assert.False(client.Run.IsCompleted);
        world.Target.CompleteAll();
        world.Scheduler.TurnAll();
        Assert.True(client.Run.IsCompletedSuccessfully);
        Assert.NotNull(client.Server.Complaint);
        Assert.True(world.IsWhole);
    }

    [Fact]
    public void AStopFinishesWhatIsInHandAndRefusesTheRest()
    {
        using var world = new NbdWorld();
        world.Target.IsManual = true;
        NbdClient client = world.Connect();
        byte[] write = Bytes(NbdCommand.Write, 2, 0, 512, Pattern.Bytes(512));
        client.Send(NbdCommand.Read, 1, 0, 512);
        client.Send(write[..100]);
        client.Server.Stop();
        client.Send(write[100..], Bytes(NbdCommand.Read, 3, 0, 512),
            Bytes(NbdCommand.Write, 4, 0, 512, new byte[512]));
        Assert.Equal([(3ul, NbdError.Shutdown), (4ul, NbdError.Shutdown)],
            client.Receive().Select(reply => (reply.Cookie, reply.Error)));
        Assert.False(client.Run.IsCompleted);
        world.Target.CompleteAll();
        Assert.Equal([1ul, 2ul], client.Receive().Select(reply => reply.Cookie));
        Assert.True(client.Run.IsCompletedSuccessfully);
        Assert.Null(client.Server.Complaint);
    }

    [Fact]
    public void AQuietConnectionEndsWithTheStop()
    {
        using var world = new NbdWorld();
        NbdClient client = world.Connect();
        Assert.Equal(NbdError.None, client.Ask(NbdCommand.Flush, 0, 0));
        client.Server.Stop();
        world.Scheduler.TurnAll();
        Assert.True(client.Run.IsCompletedSuccessfully);
    }

    [Fact]
    public void AClientThatOwesBytesForTooLongIsComplainedAbout()
    {
        using var world = new NbdWorld();
        NbdClient client = world.Connect(options: new() { StallLimitNs = 10, IdleLimitNs = 100 });
        Assert.Null(client.Server.OnTick(1000));
        client.Send(Bytes(NbdCommand.Write, 1, 0, 512, new byte[512])[..50]);
        Assert.Null(client.Server.OnTick(1010));
        Assert.NotNull(client.Server.OnTick(1011));
        client.Send(Bytes(NbdCommand.Write, 1, 0, 512, new byte[512])[50..]);
        Assert.Null(client.Server.OnTick(1111));
        Assert.NotNull(client.Server.OnTick(1112));
    }

    internal static byte[] Bytes(
        NbdCommand command, ulong cookie, long offset, long length, byte[]? payload = null) =>
        NbdClientBytes.Request(NbdReplyStyle.Structured, command, cookie, offset, length, 0, payload);
}
