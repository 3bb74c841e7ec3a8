using System.Net;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Ublk.Tests.Unit.Wire.Security;
using Ublk.Tests.Unit.Wire.Sessions;
using Ublk.Uring;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;
using Ublk.Wire.Security;
using Ublk.Wire.Sessions;
using Ublk.Wire.Transport;

namespace Ublk.Tests.Unit.Benchmarks;

/// <summary>Keeps as many writes under way as is wanted, until their time is over.</summary>
internal sealed class WritingSide(WireCell cell, PoolMemory memory) : ISessionHandler
{
    private readonly WireClock _clock = new(cell);
    private readonly long[] _sentAt = new long[cell.Depth];
    private readonly TaskCompletionSource<WireFigures> _done =
        new(TaskCreationOptions.RunContinuationsAsynchronously);
    private ulong _sent;
    private ulong _answered;

    public Task<WireFigures> Done => _done.Task;

    public void OnOpened(Session session)
    {
        _clock.Start();
        for (int i = 0; i < cell.Depth; i++)
        {
            Send(session);
        }
    }

    public void OnMessage(Session session, scoped in MessageHead head, in IoBuffer payload)
    {
        _clock.Answered(_sentAt[_answered++ % (ulong)cell.Depth]);
        if (_clock.IsRunning)
        {
            Send(session);
        }
        else if (_answered == _sent)
        {
            _done.TrySetResult(_clock.Stop());
        }
    }

    public void OnEnded(Session session, SessionEnd end) => _done.TrySetException(new IOException(end.Text));

    private void Send(Session session)
    {
        _ = memory.TryRent(cell.PayloadBytes, out IoBuffer payload);
        _sentAt[_sent % (ulong)cell.Depth] = TimeProvider.System.GetTimestamp();
        session.Send(
            new Write(
                new Epoch(7), new Sequence(++_sent), Mutation.Write, MutationFlags.None, 1L << 33,
                cell.PayloadBytes, 0, new Sequence(_answered), new View(1)), payload);
    }
}

/// <summary>Answers writes.</summary>
internal sealed class AnsweringSide(PoolMemory memory) : ISessionHandler
{
    public void OnOpened(Session session)
    {
    }

    public void OnMessage(Session session, scoped in MessageHead head, in IoBuffer payload)
    {
        Sequence sequence = head.Read<Write>().Sequence;
        memory.Return(payload);
        session.Send(new Applied(new Epoch(7), sequence, AnswerStatus.Ok, sequence, new Sequence(0)));
    }

    public void OnEnded(Session session, SessionEnd end)
    {
    }
}

/// <summary>Sessions on the ring.</summary>
internal static class RingWire
{
    private const long PoolBytes = 192L << 20;

    public static async Task<WireFigures> PlayAsync(WireCell cell, int loops, TlsCluster? tls = null)
    {
        var threads = new LoopThread[loops];
        var transports = new RingTransport[loops];
        for (int i = 0; i < loops; i++)
        {
            LoopThread thread = await LoopThread.StartAsync(
                new LoopOptions { Name = $"wire{i}" }, TimeProvider.System,
                fault => Environment.FailFast("the loop failed", fault)).ConfigureAwait(false);
            threads[i] = thread;
            transports[i] = await thread.Loop.InvokeAsync(
                () => new RingTransport(thread.Loop, new RingTransportOptions())).ConfigureAwait(false);
        }

        RingTransport near = transports[0], far = transports[^1];
        IConnectionListener listener = await new RingConnectionListenerFactory(far, new RingListenerOptions())
            .BindAsync(new IPEndPoint(IPAddress.Loopback, 0)).ConfigureAwait(false);
        ValueTask<ConnectionContext?> accepting = listener.AcceptAsync();
        ConnectionContext client = await new RingConnectionFactory(near).ConnectAsync(listener.EndPoint)
            .ConfigureAwait(false);
        ConnectionContext server = (await accepting.ConfigureAwait(false))!;
        (client, server) = await TlsWire.OverAsync(tls, client, server).ConfigureAwait(false);
        using var nearMemory = new PoolMemory(PoolBytes);
        using var farMemory = new PoolMemory(PoolBytes);
        var writing = new WritingSide(cell, nearMemory);
        SessionOptions usual = SessionBench.Usual with { AllowsUnproved = tls is null };
        Task<SessionEnd> answer = await far.Loop.InvokeAsync(() => new Session(
            server, usual with { Node = new NodeId(2), StopsWhenBlocked = true }, farMemory,
            new AnsweringSide(farMemory)).RunAsync()).ConfigureAwait(false);
        var session = new Session(client, usual, nearMemory, writing);
        Task<SessionEnd> write = await near.Loop.InvokeAsync(session.RunAsync).ConfigureAwait(false);
        try
        {
            await writing.Done.ConfigureAwait(false);
            _ = near.Loop.Post(() => session.Close(CloseReason.Done, ""));
        }
        finally
        {
            await Task.WhenAll(answer, write).ConfigureAwait(false); // Before their memory is gone.
        }

        WireFigures figures = await writing.Done.ConfigureAwait(false);
        await listener.DisposeAsync().ConfigureAwait(false);
        for (int i = 0; i < loops; i++)
        {
            RingTransport transport = transports[i];
            await transport.StopAsync().ConfigureAwait(false);
            await transport.Loop.InvokeAsync(() =>
            {
                transport.Dispose();
                return true;
            }).ConfigureAwait(false);
            await threads[i].StopAsync().ConfigureAwait(false);
            threads[i].Dispose();
        }

        return figures;
    }
}

/// <summary>TLS over the connections of either, where it is wanted.</summary>
internal static class TlsWire
{
    public static async Task<(ConnectionContext Client, ConnectionContext Server)> OverAsync(
        TlsCluster? tls, ConnectionContext client, ConnectionContext server)
    {
        if (tls is null)
        {
            return (client, server);
        }

        Task<TlsConnection> accept = TlsConnection.AcceptAsync(server, tls.Far, TimeProvider.System);
        Task<TlsConnection> connect = TlsConnection.ConnectAsync(client, tls.Near, TimeProvider.System);
        return (await connect.ConfigureAwait(false), await accept.ConfigureAwait(false));
    }
}

/// <summary>The same sessions on the sockets of Kestrel, as they are without any setting.</summary>
internal static class KestrelWire
{
    private const long PoolBytes = 192L << 20;

    public static async Task<WireFigures> PlayAsync(WireCell cell, TlsCluster? tls = null)
    {
        var factory = new SocketTransportFactory(
            Options.Create(new SocketTransportOptions()), NullLoggerFactory.Instance);
        IConnectionListener listener = await factory.BindAsync(new IPEndPoint(IPAddress.Loopback, 0))
            .ConfigureAwait(false);
        using var clients = new SocketConnectionContextFactory(
            new SocketConnectionFactoryOptions(), NullLogger.Instance);
        var socket = new System.Net.Sockets.Socket(
            System.Net.Sockets.SocketType.Stream, System.Net.Sockets.ProtocolType.Tcp) { NoDelay = true };
        await socket.ConnectAsync(listener.EndPoint).ConfigureAwait(false);
        ConnectionContext client = clients.Create(socket);
        ConnectionContext server = (await listener.AcceptAsync().ConfigureAwait(false))!;
        (client, server) = await TlsWire.OverAsync(tls, client, server).ConfigureAwait(false);
        using var nearMemory = new PoolMemory(PoolBytes);
        using var farMemory = new PoolMemory(PoolBytes);
        var writing = new WritingSide(cell, nearMemory);
        SessionOptions usual = SessionBench.Usual with { FlushesInTurn = true, AllowsUnproved = tls is null };
        Task<SessionEnd> answer = new Session(
            server, usual with { Node = new NodeId(2) }, farMemory, new AnsweringSide(farMemory)).RunAsync();
        Task<SessionEnd> write = new Session(client, usual, nearMemory, writing).RunAsync();
        WireFigures figures = await writing.Done.ConfigureAwait(false);
        client.Abort(new ConnectionAbortedException("done"));
        await Task.WhenAll(answer, write).ConfigureAwait(false);
        await listener.DisposeAsync().ConfigureAwait(false);
        return figures;
    }
}
