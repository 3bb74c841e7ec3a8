using System.Buffers;
using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Connections;
using Ublk.Tests.Unit.Uring;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Transport;
using Xunit;

namespace Ublk.Tests.Unit.Wire.Transport;

/// <summary>Connecting and accepting, with the loop on a thread of its own as in the product.</summary>
public sealed class TransportFactoryTests
{
    private static readonly LoopOptions s_loop = new()
    {
        Name = "transport",
        MaxOperations = 64,
        BufferTableSlots = 4,
        FileTableSlots = 4,
    };

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ConnectsAcceptsAndTalks(bool isUnix)
    {
        using var directory = new TempDirectory();
        await using LiveTransport live = await LiveTransport.Start(new RingTransportOptions());
        await using IConnectionListener listener = await live.Listen(isUnix, directory);
        (RingConnection client, RingConnection server) = await live.Connect(listener);
        Assert.Equal(listener.EndPoint.ToString(), client.RemoteEndPoint!.ToString(), StringComparer.Ordinal);
        Assert.NotNull(client.LocalEndPoint);
        Assert.NotEqual(client.ConnectionId, server.ConnectionId, StringComparer.Ordinal);
        if (!isUnix)
        {
            Assert.Equal(client.LocalEndPoint, server.RemoteEndPoint);
        }

        byte[] answer = await live.Run(async () =>
        {
            client.Output.Write(Pattern.Bytes(10_000));
            await client.Output.FlushAsync().ConfigureAwait(false);
            byte[] question = await Talk.ReadExactly(server.Input, 10_000).ConfigureAwait(false);
            server.Output.Write(question);
            await server.Output.FlushAsync().ConfigureAwait(false);
            return await Talk.ReadExactly(client.Input, 10_000).ConfigureAwait(false);
        });
        Assert.Equal(Pattern.Bytes(10_000), answer);
        await client.DisposeAsync();
        await server.DisposeAsync();
        await listener.UnbindAsync();
        Assert.Null(await listener.AcceptAsync());
    }

    [Fact]
    public async Task NobodyAnswers()
    {
        using var directory = new TempDirectory();
        await using LiveTransport live = await LiveTransport.Start(new RingTransportOptions());
        IConnectionListener listener = await live.Listen(isUnix: false, directory);
        await listener.DisposeAsync();
        SystemCallException error = await Assert.ThrowsAsync<SystemCallException>(
            async () => await live.Factory.ConnectAsync(listener.EndPoint));
        Assert.Equal(Errno.ECONNREFUSED, error.Number);
        error = await Assert.ThrowsAsync<SystemCallException>(async () =>
            await live.Factory.ConnectAsync(new UnixDomainSocketEndPoint(directory.File("nobody"))));
        Assert.Equal(Errno.ENOENT, error.Number);
        await Assert.ThrowsAsync<NotSupportedException>(
            async () => await live.Factory.ConnectAsync(new DnsEndPoint("localhost", 1)));
        Assert.Equal(0, await live.Loop.InvokeAsync(() => live.Transport.ConnectionCount));
    }

    // The queue of the listener is full, so a connect waits until it is given up.
    [Fact]
    public async Task ConnectIsGivenUp()
    {
        using var directory = new TempDirectory();
        await using LiveTransport live = await LiveTransport.Start(new RingTransportOptions());
        var factory = new RingConnectionListenerFactory(
            live.Transport, new RingListenerOptions { Backlog = 0 });
        await using IConnectionListener listener = await factory.BindAsync(
            new UnixDomainSocketEndPoint(directory.File("socket")));
        await using ConnectionContext first = await live.Factory.ConnectAsync(listener.EndPoint);
        using var source = new CancellationTokenSource();
        Task<ConnectionContext> second = live.Factory.ConnectAsync(listener.EndPoint, source.Token).AsTask();
        await Polling.AskAsync(
            () => live.Loop.InvokeAsync(() => live.Transport.ConnectionCount), count => count < 2,
            TimeSpan.FromSeconds(20), TimeProvider.System);
        Assert.False(second.IsCompleted);
        await source.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => second);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            async () => await live.Factory.ConnectAsync(listener.EndPoint, source.Token));

        Task<ConnectionContext> third = live.Factory.ConnectAsync(listener.EndPoint).AsTask();
        await Polling.AskAsync(
            () => live.Loop.InvokeAsync(() => live.Transport.ConnectionCount), count => count < 2,
            TimeSpan.FromSeconds(20), TimeProvider.System);
        await live.Transport.StopAsync();
        await Assert.ThrowsAsync<ConnectionAbortedException>(() => third);
        await Assert.ThrowsAsync<ObjectDisposedException>(
            async () => await live.Factory.ConnectAsync(listener.EndPoint));
    }

    [Fact]
    public async Task MoreConnectionsThanTheListenerTakesAreClosed()
    {
        using var directory = new TempDirectory();
        await using LiveTransport live = await LiveTransport.Start(new RingTransportOptions());
        var factory = new RingConnectionListenerFactory(
            live.Transport, new RingListenerOptions { MaxConnections = 1 });
        await using var listener = (RingConnectionListener)await factory.BindAsync(
            new UnixDomainSocketEndPoint(directory.File("socket")));
        (RingConnection client, RingConnection server) = await live.Connect(listener);
        Task<ConnectionContext?> next = listener.AcceptAsync().AsTask();
        await using (ConnectionContext refused = await live.Factory.ConnectAsync(listener.EndPoint))
        {
            bool isEnd = await live.Run(async () =>
                (await refused.Transport.Input.ReadAsync().ConfigureAwait(false)).IsCompleted);
            Assert.True(isEnd);
        }

        Assert.Equal(1, listener.RefusedCount);
        Assert.Equal(1, listener.OpenCount);
        await client.DisposeAsync();
        await server.DisposeAsync();
        await using ConnectionContext again = await live.Factory.ConnectAsync(listener.EndPoint);
        await using ConnectionContext? accepted = await next;
        Assert.NotNull(accepted);
    }

    [Fact]
    public async Task FullLoopRefusesBothWays()
    {
        using var directory = new TempDirectory();
        await using LiveTransport live = await LiveTransport.Start(
            new RingTransportOptions { MaxConnections = 2 });
        await using var listener = (RingConnectionListener)await live.Listen(isUnix: false, directory);
        await live.Connect(listener);
        await Assert.ThrowsAsync<LoopFullException>(
            async () => await live.Factory.ConnectAsync(listener.EndPoint));
        Task<ConnectionContext?> next = listener.AcceptAsync().AsTask();
        using var plain = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await plain.ConnectAsync(listener.EndPoint);
        Assert.Equal(0, await plain.ReceiveAsync(new byte[1]));
        await listener.UnbindAsync();
        Assert.Null(await next);
        Assert.Equal(1, listener.RefusedCount);
    }

    [Fact]
    public async Task AddressIsTakenOnce()
    {
        using var directory = new TempDirectory();
        await using LiveTransport live = await LiveTransport.Start(new RingTransportOptions());
        await using IConnectionListener first = await live.Listen(isUnix: true, directory);
        await Assert.ThrowsAsync<AddressInUseException>(() => live.Listen(isUnix: true, directory));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task TenThousandConnectionsLeaveNothing(bool isUnix)
    {
        const int Count = 5_000; // Each makes two descriptors; both kinds of sockets make ten thousand.
        const int OtherTests = 500; // Tests beside this one open files, too.
        using var directory = new TempDirectory();
        await using LiveTransport live = await LiveTransport.Start(
            new RingTransportOptions { MaxConnections = 4 });
        await using IConnectionListener listener = await live.Listen(isUnix, directory);
        int before = Directory.GetFileSystemEntries("/proc/self/fd").Length;
        for (int i = 0; i < Count; i++)
        {
            (RingConnection client, RingConnection server) = await live.Connect(listener);
            client.Abort(); // Without TIME_WAIT: there are fewer ports than connections.
            await client.DisposeAsync();
            await server.DisposeAsync();
        }

        int after = Directory.GetFileSystemEntries("/proc/self/fd").Length;
        Assert.InRange(after, 0, before + OtherTests);
        await live.Loop.InvokeAsync(() =>
        {
            Assert.Equal(0, live.Transport.ConnectionCount);
            Assert.Equal(0, live.Transport.HeldBufferCount);
            Assert.Equal(0, live.Transport.Blocks.RentedCount);
            Assert.Equal(1, live.Loop.InFlightCount);
            live.Loop.Reserve(s_loop.MaxOperations - 1); // All places are free again.
            return true;
        });
    }

    /// <summary>A loop thread with a transport.</summary>
    private sealed class LiveTransport : IAsyncDisposable
    {
        private readonly LoopThread _thread;

        private LiveTransport(LoopThread thread, RingTransport transport)
        {
            _thread = thread;
            Transport = transport;
            Factory = new RingConnectionFactory(transport);
        }

        public Loop Loop => _thread.Loop;

        public RingTransport Transport { get; }

        public RingConnectionFactory Factory { get; }

        public static async Task<LiveTransport> Start(RingTransportOptions options)
        {
            LoopThread thread = await LoopThread.StartAsync(
                s_loop, TimeProvider.System, error => Assert.Fail(error.ToString()));
            return new LiveTransport(
                thread, await thread.Loop.InvokeAsync(() => new RingTransport(thread.Loop, options)));
        }

        public async Task<IConnectionListener> Listen(bool isUnix, TempDirectory directory)
        {
            var factory = new RingConnectionListenerFactory(Transport, new RingListenerOptions());
            return await factory.BindAsync(isUnix
                ? new UnixDomainSocketEndPoint(directory.File("socket"))
                : new IPEndPoint(IPAddress.Loopback, 0));
        }

        public async Task<(RingConnection Client, RingConnection Server)> Connect(
            IConnectionListener listener)
        {
            Task<ConnectionContext?> accept = listener.AcceptAsync().AsTask();
            var client = (RingConnection)await Factory.ConnectAsync(listener.EndPoint);
            return (client, (RingConnection)(await accept)!);
        }

        /// <summary>Runs a conversation on the loop's thread.</summary>
        public async Task<T> Run<T>(Func<Task<T>> talk) => await await Loop.InvokeAsync(talk);

        public async ValueTask DisposeAsync()
        {
            await Transport.StopAsync();
            await Loop.InvokeAsync(() =>
            {
                Transport.Dispose();
                return true;
            });
            await _thread.StopAsync();
            _thread.Dispose();
        }
    }
}
