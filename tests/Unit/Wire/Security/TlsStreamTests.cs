using System.Buffers;
using System.IO.Pipelines;
using Microsoft.AspNetCore.Connections;
using Ublk.Tests.Unit.Wire.Transport;
using Ublk.Uring.Native;
using Ublk.Wire.Ids;
using Ublk.Wire.Security;
using Ublk.Wire.Sessions;
using Xunit;

namespace Ublk.Tests.Unit.Wire.Security;

/// <summary>Bytes over TLS, with somebody in between.</summary>
public sealed class TlsStreamTests : IDisposable
{
    private readonly TlsCluster _cluster = new();

    public void Dispose() => _cluster.Dispose();

    [Fact]
    public void BothKnowWhoIsThere()
    {
        var between = new Middleman();
        (TlsConnection client, TlsConnection server) = between.Greet(_cluster);
        Assert.Equal(new NodeId(2), client.Features.Get<ProvedPeer>()!.Node);
        Assert.Equal(new NodeId(1), server.Features.Get<ProvedPeer>()!.Node);
        Assert.Null(between.Client.Features.Get<ProvedPeer>());
        Assert.Equal(between.Client.ConnectionId, client.ConnectionId, StringComparer.Ordinal);
    }

    // Pieces end within the head of a record, at its end, within its tag, and behind it.
    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    [InlineData(21)]
    [InlineData(22)]
    [InlineData(23)]
    [InlineData(1000)]
    [InlineData(16 * 1024 + 21)]
    [InlineData(16 * 1024 + 22)]
    [InlineData(16 * 1024 + 23)]
    [InlineData(1 << 20)]
    public void WhereTheBytesAreCutDoesNotMatter(int piece)
    {
        long length = piece < 100 ? 40_000 : 2_000_000;
        var between = new Middleman(piece, pause: 10_000);
        (TlsConnection client, TlsConnection server) = between.Greet(_cluster);
        Task<long>[] reads =
            [Talk.ReadPattern(client.Input), Talk.ReadPattern(server.Input, new Random(piece))];
        Task[] writes =
        [
            Talk.WritePattern(client.Output, length, new Random(1)),
            Talk.WritePattern(server.Output, length, new Random(2)),
        ];
        between.Await(Task.WhenAll([.. reads, .. writes]));
        Assert.All(reads, read => Assert.Equal(length, between.Run(read)));
        between.Await(client.DisposeAsync().AsTask());
        between.Await(server.DisposeAsync().AsTask());
        between.Await(client.DisposeAsync().AsTask());
        Assert.Throws<InvalidOperationException>(() => client.Output.GetMemory());
    }

    // In the handshake, and within the first record.
    [Fact]
    public void AStreamThatIsCutAnywhereFailsAndDoesNotEndInOrder()
    {
        long whole = Say(new Middleman(), out long heard);
        Assert.Equal(3 * 300, heard);
        for (long end = 0; end < whole - 700; end += 23)
        {
            _ = Say(new Middleman { CutAt = end }, out long part);
            Assert.True(part < 0, $"{part} bytes of what was cut after {end} of {whole}");
        }
    }

    // Where a record ends a stranger can cut a stream so that all that came is whole.
    [Theory]
    [InlineData(-322)]
    [InlineData(-1)]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(5)]
    [InlineData(23)]
    public void AStreamThatIsCutBeforeItsEndIsSaidFails(int behindTheLastRecord)
    {
        var between = new Middleman();
        (TlsConnection client, TlsConnection server) = between.Greet(_cluster);
        Task<long> read = Talk.ReadPattern(server.Input);
        client.Output.Write(Pattern.Bytes(300));
        between.Await(client.Output.FlushAsync().AsTask());
        between.Turn();
        client.Output.Write(Pattern.Bytes(300, 300));
        between.CutAt = between.ToServer.Count + 322 + behindTheLastRecord;
        between.Await(client.Output.FlushAsync().AsTask());
        client.Output.Complete();
        Assert.Throws<IOException>(() => between.Run(read));
    }

    // A record that is not what was sent is never read, nor anything behind it.
    [Fact]
    public void AByteThatIsChangedAnywhereIsNoticed()
    {
        long whole = Say(new Middleman(), out _);
        for (long at = 0; at < whole; at += 29)
        {
            _ = Say(new Middleman(changeAt: at), out long heard);
            Assert.True(heard < 0 || at < 11, $"byte {at} of {whole}"); // The version of the first record.
        }
    }

    [Fact]
    public void BytesOfAnEarlierConnectionAreWorthNothing()
    {
        var first = new Middleman();
        _ = Say(first, out _);
        var second = new Middleman();
        Task<TlsConnection> server = TlsConnection.AcceptAsync(
            second.Server, _cluster.Far, TimeProvider.System);
        second.Await(second.Client.Output.WriteAsync(first.ToServer.ToArray()).AsTask());
        Refused.Says("no TLS 1.3 with the peer", second.RefusalOf(server));
    }

    [Fact]
    public void AnAbortInTheMiddleIsHeardOnBothSides()
    {
        var between = new Middleman(pause: 10_000);
        (TlsConnection client, TlsConnection server) = between.Greet(_cluster);
        Task<long> write = Talk.WritePattern(client.Output, 1_000_000, new Random(3))
            .ContinueWith(_ => 0L, TaskScheduler.Default);
        Task<ReadResult> read = client.Input.ReadAsync().AsTask();
        between.Turn();
        client.Abort(new ConnectionAbortedException("enough"));
        between.Turn();
        Assert.Equal("enough", Assert.ThrowsAny<IOException>(() => between.Run(read)).Message);
        Assert.ThrowsAny<IOException>(() => between.Run(Talk.ReadPattern(server.Input)));
        between.Await(client.DisposeAsync().AsTask());
        between.Await(server.DisposeAsync().AsTask());
        between.Await(write);
    }

    // Text, short and long payload in any order arrive in that order, and every owner hears once.
    [Fact]
    public void TextAndPayloadKeepTheirOrder()
    {
        using MemoryMapping memory = MemoryMapping.Allocate(8 << 20);
        for (int seed = 0; seed < 20; seed++)
        {
            var random = new Random(seed);
            var between = new Middleman(pause: 100_000);
            (TlsConnection client, TlsConnection server) = between.Greet(_cluster);
            Task<long> read = Talk.ReadPattern(server.Input);
            var output = (TlsPipeWriter)client.Output;
            var owner = new CountingOwner();
            long position = 0, payload = 0;
            Task flush = Task.CompletedTask;
            for (int i = 0; i < 100; i++)
            {
                int count = random.Next(1, random.Next(3) == 0 ? 60_000 : 200);
                if (random.Next(2) == 0)
                {
                    Pattern.Fill(output.GetSpan(count)[..count], position);
                    output.Advance(count);
                }
                else
                {
                    Pattern.Fill(memory.Slice(position, count).Span, position);
                    output.Append(memory.Slice(position, count), owner);
                    payload += count;
                }

                position += count;
                if (random.Next(4) == 0 && flush.IsCompleted)
                {
                    flush = output.FlushAsync().AsTask(); // And more is written while it is under way.
                }

                if (random.Next(8) == 0)
                {
                    between.Turn();
                }
            }

            output.Complete();
            Assert.Equal(position, between.Run(read));
            Assert.Equal(payload, owner.Bytes);
            between.Await(flush);
        }
    }

    [Fact]
    public void AFlushWaitsForAPeerThatReadsNothing()
    {
        var between = new Middleman(pause: 10_000);
        (TlsConnection client, TlsConnection server) = between.Greet(_cluster);
        client.Output.Write(Pattern.Bytes(2_000_000));
        Task<FlushResult> flush = client.Output.FlushAsync().AsTask();
        between.Turn();
        Assert.False(flush.IsCompleted);
        Assert.Throws<InvalidOperationException>(() => { _ = client.Output.FlushAsync().AsTask(); });
        client.Output.CancelPendingFlush();
        Assert.True(between.Run(flush).IsCanceled);
        Task<long> read = Talk.ReadPattern(server.Input);
        client.Output.Complete();
        Assert.Equal(2_000_000, between.Run(read));
    }

    // Says something to the server and then the end. Answers the bytes on the way; heard is -1 when it fails.
    private long Say(Middleman between, out long heard)
    {
        Task<long> all = SayAsync(between);
        Task<long> hearing = HearAsync(between);
        heard = between.Run(hearing);
        _ = between.Run(all);
        return between.ToServer.Count;
    }

    private async Task<long> SayAsync(Middleman between)
    {
        try
        {
            TlsConnection client = await TlsConnection.ConnectAsync(
                between.Client, _cluster.Near, TimeProvider.System).ConfigureAwait(false);
            for (int i = 0; i < 3; i++)
            {
                await client.Output.WriteAsync(Pattern.Bytes(300, i * 300)).ConfigureAwait(false);
            }

            await client.DisposeAsync().ConfigureAwait(false);
            return 0;
        }
        catch (Exception failure) when (failure is IOException or PeerRefusedException)
        {
            return -1;
        }
    }

    private async Task<long> HearAsync(Middleman between)
    {
        TlsConnection? server = null;
        try
        {
            server = await TlsConnection.AcceptAsync(between.Server, _cluster.Far, TimeProvider.System)
                .ConfigureAwait(false);
            return await Talk.ReadPattern(server.Input).ConfigureAwait(false);
        }
        catch (Exception failure) when (failure is IOException or PeerRefusedException)
        {
            return -1;
        }
        finally
        {
            if (server is not null)
            {
                await server.DisposeAsync().ConfigureAwait(false);
            }
        }
    }
}
