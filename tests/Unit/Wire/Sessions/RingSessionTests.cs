using Microsoft.AspNetCore.Connections;
using Ublk.Testing;
using Ublk.Tests.Unit.Uring;
using Ublk.Tests.Unit.Wire.Transport;
using Ublk.Uring;
using Ublk.Wire;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;
using Ublk.Wire.Sessions;
using Xunit;

namespace Ublk.Tests.Unit.Wire.Sessions;

/// <summary>Sessions over real sockets on a loop: writes one way, answers the other.</summary>
public sealed class RingSessionTests
{
    private const int Kibibyte = 1 << 10;

    [Theory]
    [InlineData(false, 1, 4 * Kibibyte)]
    [InlineData(false, 32, 4 * Kibibyte)]
    [InlineData(true, 32, 4 * Kibibyte)]
    [InlineData(false, 8, 512 * Kibibyte)]
    public void NoMessageAllocates(bool isUnix, int depth, int payloadBytes)
    {
        using var world = new TransportWorld();
        using var memory = new PoolMemory(32L << 20);
        using var pair = new WritePair(world, memory, isUnix, payloadBytes);
        pair.AssertNothingIsAllocated(depth);
        pair.End();
        Assert.True(memory.IsWhole);
        world.AssertNothingIsLeft();
    }

    // The connection breaks in the middle of everything: both hear, and no memory is lost.
    [Fact]
    public void ABreakIsHeardOnBothSidesAndLosesNoMemory()
    {
        var random = new Random(11);
        for (int round = 0; round < 60; round++)
        {
            using var world = new TransportWorld();
            using var memory = new PoolMemory(32L << 20);
            int bytes = round % 4 < 2 ? 64 * Kibibyte : 512 * Kibibyte; // Some in a receive of their own.
            using var pair = new WritePair(world, memory, isUnix: round % 2 == 0, bytes);
            for (int i = random.Next(1, bytes > 64 * Kibibyte ? 6 : 40); i > 0; i--)
            {
                pair.Write();
            }

            pair.Near.Flush();
            for (int turns = random.Next(8); turns > 0; turns--)
            {
                _ = world.Loop.Drain();
            }

            (round % 3 == 0 ? pair.FarConnection : pair.NearConnection).Abort(
                new ConnectionAbortedException("cut"));
            world.Run(pair.Ended);
            Assert.Equal(SessionEndCause.Lost, pair.Near.End!.Cause);
            Assert.Equal(SessionEndCause.Lost, pair.Far.End!.Cause);
            Assert.True(memory.IsWhole);
            world.AssertNothingIsLeft();
        }
    }

    [Fact]
    public void WhatWasSentBeforeTheEndArrivesBeforeIt()
    {
        using var world = new TransportWorld();
        using var memory = new PoolMemory(32L << 20);
        using var pair = new WritePair(world, memory, isUnix: false, 256 * Kibibyte);
        for (int i = 0; i < 20; i++)
        {
            pair.Write();
        }

        pair.Near.Close(CloseReason.Shutdown, "enough");
        world.Run(pair.Ended);
        Assert.Equal(20ul, pair.Taken);
        Assert.Equal(new SessionEnd(SessionEndCause.Peer, CloseReason.Shutdown, "enough"), pair.Far.End);
        Assert.True(memory.IsWhole);
        world.AssertNothingIsLeft();
    }
}

/// <summary>A session that writes and one that answers, on one loop.</summary>
internal sealed class WritePair : ISessionHandler, IDisposable
{
    private readonly TransportWorld _world;
    private readonly PoolMemory _memory;
    private readonly int _payloadBytes;
    private readonly uint _crc;

    public WritePair(TransportWorld world, PoolMemory memory, bool isUnix, int payloadBytes)
        : this(world, memory, world.Pair(isUnix), payloadBytes, isProved: false)
    {
    }

    public WritePair(
        TransportWorld world, PoolMemory memory, (ConnectionContext Near, ConnectionContext Far) pair,
        int payloadBytes, bool isProved)
    {
        _world = world;
        _memory = memory;
        _payloadBytes = payloadBytes;
        _crc = Crc32C.Compute(Pattern.Bytes(payloadBytes));
        (NearConnection, FarConnection) = pair;
        SessionOptions usual = SessionBench.Usual with { AllowsUnproved = !isProved };
        Near = new Session(NearConnection, usual, memory, this);
        Far = new Session(
            FarConnection, usual with { Node = new NodeId(2), StopsWhenBlocked = true }, memory, this);
        Ended = Task.WhenAll(Near.RunAsync(), Far.RunAsync());
        world.Loop.Until(() => Near.Stage == SessionStage.Open && Far.Stage == SessionStage.Open);
    }

    public ConnectionContext NearConnection { get; }

    public ConnectionContext FarConnection { get; }

    public Session Near { get; }

    public Session Far { get; }

    public Task Ended { get; }

    public ulong Written { get; private set; }

    public ulong Taken { get; private set; }

    public ulong Answered { get; private set; }

    public void Write()
    {
        _ = _memory.TryRent(_payloadBytes, out IoBuffer payload);
        Pattern.Fill(payload.Span, 0);
        Near.Send(
            new Write(
                new Epoch(1), new Sequence(++Written), Mutation.Write, MutationFlags.None, 0, _payloadBytes,
                _crc, new Sequence(0), new View(1)), payload);
    }

    /// <summary>Once warm, writes and their answers allocate nothing on either side.</summary>
    public void AssertNothingIsAllocated(int depth)
    {
        int rounds = _payloadBytes > 64 << 10 ? 20 : 300;
        long bytes = Allocation.Steady(() =>
        {
            for (int round = 0; round < rounds; round++)
            {
                for (int i = 0; i < depth; i++)
                {
                    Write();
                }

                Near.Flush();
                while (Answered < Written)
                {
                    _ = _world.Loop.DrainOrWait();
                }
            }
        });
        Assert.True(bytes == 0, $"{bytes} bytes in {rounds} rounds of {depth}");
    }

    public void End()
    {
        Near.Close(CloseReason.Done, "");
        _world.Run(Ended);
    }

    public void OnOpened(Session session)
    {
    }

    public void OnMessage(Session session, scoped in MessageHead head, in IoBuffer payload)
    {
        if (head.Kind == MessageKind.Applied)
        {
            Answered++;
            return;
        }

        Write write = head.Read<Write>();
        bool isRight = write.Sequence.Value == ++Taken && write.Crc32C == Crc32C.Compute(payload.Span);
        if (!isRight)
        {
            Assert.Fail($"{write} is number {Taken}"); // The other assertions allocate.
        }

        _memory.Return(payload);
        session.Send(new Applied(
            write.Epoch, write.Sequence, AnswerStatus.Ok, write.Sequence, new Sequence(0)));
    }

    public void OnEnded(Session session, SessionEnd end)
    {
    }

    public void Dispose()
    {
        NearConnection.Abort(new ConnectionAbortedException("the test ends"));
        _world.Run(Ended);
    }
}
