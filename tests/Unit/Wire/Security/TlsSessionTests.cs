using Microsoft.AspNetCore.Connections;
using Ublk.Tests.Unit.Benchmarks;
using Ublk.Tests.Unit.Uring;
using Ublk.Tests.Unit.Wire.Sessions;
using Ublk.Tests.Unit.Wire.Transport;
using Ublk.Wire.Messages;
using Ublk.Wire.Sessions;
using Xunit;

namespace Ublk.Tests.Unit.Wire.Security;

/// <summary>Sessions over TLS over real sockets: writes one way, answers the other.</summary>
public sealed class TlsSessionTests : IDisposable
{
    private const int Kibibyte = 1 << 10;

    private readonly TlsCluster _cluster = new();

    public void Dispose() => _cluster.Dispose();

    // Encrypting and decrypting included.
    [Theory]
    [InlineData(false, 1, 4 * Kibibyte)]
    [InlineData(false, 32, 4 * Kibibyte)]
    [InlineData(true, 32, 4 * Kibibyte)]
    [InlineData(false, 8, 512 * Kibibyte)]
    public void NoMessageAllocates(bool isUnix, int depth, int payloadBytes)
    {
        using var world = new TransportWorld();
        using var memory = new PoolMemory(32L << 20);
        using WritePair pair = Pair(world, memory, isUnix, payloadBytes);
        pair.AssertNothingIsAllocated(depth);
        pair.End();
        Assert.True(memory.IsWhole);
        world.AssertNothingIsLeft();
    }

    // A flush ends although more is written all the time: what the peer has taken does not count as waiting.
    [Fact]
    public void ASteadyLoadIsNoStandstill()
    {
        using var world = new TransportWorld();
        using var memory = new PoolMemory(64L << 20);
        using WritePair pair = Pair(world, memory, isUnix: false, 1024 * Kibibyte);
        while (pair.Answered < 400)
        {
            while (pair.Written < pair.Answered + 24)
            {
                pair.Write();
            }

            pair.Near.Flush();
            _ = world.Loop.DrainOrWait();
            Assert.InRange(pair.Near.UnsentBytes, 0, 64 << 20);
        }

        world.Loop.Until(() => pair.Answered == pair.Written);
        pair.End();
        Assert.True(memory.IsWhole);
    }

    // 1 GiB and a half through a memory of 64 MiB, with both directions full.
    [Fact]
    public void TheLongestPayloadGoesBothWaysUnderBackPressure()
    {
        using var world = new TransportWorld();
        using var memory = new PoolMemory(64L << 20);
        using WritePair one = Pair(world, memory, isUnix: true, 1024 * Kibibyte);
        using WritePair other = Pair(world, memory, isUnix: false, 1024 * Kibibyte);
        WritePair[] pairs = [one, other];
        while (pairs.Any(pair => pair.Answered < 100))
        {
            foreach (WritePair pair in pairs)
            {
                for (; pair.Written < Math.Min(100, pair.Answered + 24);)
                {
                    pair.Write();
                }

                pair.Near.Flush();
            }

            _ = world.Loop.DrainOrWait();
        }

        one.End();
        other.End();
        Assert.True(memory.IsWhole);
        world.AssertNothingIsLeft();
    }

    [Fact]
    public void ABreakIsHeardOnBothSidesAndLosesNoMemory()
    {
        var random = new Random(12);
        for (int round = 0; round < 40; round++)
        {
            using var world = new TransportWorld();
            using var memory = new PoolMemory(32L << 20);
            int bytes = round % 4 < 2 ? 64 * Kibibyte : 512 * Kibibyte; // Some received in their place.
            using WritePair pair = Pair(world, memory, isUnix: round % 2 == 0, bytes);
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
        for (int round = 0; round < 10; round++)
        {
            using var world = new TransportWorld();
            using var memory = new PoolMemory(32L << 20);
            using WritePair pair = Pair(world, memory, isUnix: round % 2 == 0, 256 * Kibibyte);
            for (int i = 0; i < 20; i++)
            {
                pair.Write();
                if (i == round)
                {
                    pair.Near.Flush(); // A flush is under way when the end is said.
                }
            }

            pair.Near.Close(CloseReason.Shutdown, "enough");
            world.Run(pair.Ended);
            Assert.Equal(20ul, pair.Taken);
            Assert.Equal(new SessionEnd(SessionEndCause.Peer, CloseReason.Shutdown, "enough"), pair.Far.End);
            Assert.True(memory.IsWhole);
            world.AssertNothingIsLeft();
        }
    }

    // As in the product: factory and acceptor, each on a loop of its own.
    [Theory]
    [InlineData(4 * Kibibyte, 32)]
    [InlineData(1024 * Kibibyte, 8)]
    public async Task TwoLoops(int payloadBytes, int depth)
    {
        var cell = new WireCell(payloadBytes, depth, TimeSpan.FromMilliseconds(300));
        WireFigures figures = await RingWire.PlayAsync(cell, loops: 2, _cluster);
        Assert.True(figures.PerSecond > 0);
    }

    [Theory]
    [InlineData(4 * Kibibyte, 32)]
    [InlineData(1024 * Kibibyte, 4)]
    public async Task KestrelsSockets(int payloadBytes, int depth)
    {
        var cell = new WireCell(payloadBytes, depth, TimeSpan.FromMilliseconds(300));
        WireFigures figures = await KestrelWire.PlayAsync(cell, _cluster);
        Assert.True(figures.PerSecond > 0);
    }

    private WritePair Pair(TransportWorld world, PoolMemory memory, bool isUnix, int payloadBytes) =>
        new(world, memory, _cluster.Pair(world, isUnix), payloadBytes, isProved: true);
}
