using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using Microsoft.AspNetCore.Connections;
using Ublk.Testing;
using Ublk.Tests.Unit.Wire.Sessions;
using Ublk.Uring;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;
using Ublk.Wire.Security;
using Ublk.Wire.Sessions;
using Ublk.Wire.Transport;
using Xunit;

namespace Ublk.Tests.Unit.Wire.Security;

/// <summary>
/// Ten thousand connections of strangers while one session goes on: some say nothing, some garbage, some the
/// protocol without TLS, some show no certificate or one of another authority.
/// </summary>
public sealed class TlsHostileTests
{
    private const int Waves = 40, PerWave = 250, Strangers = Waves * PerWave, Kinds = 10, Addresses = 4;

    private static readonly RingListenerOptions s_listener = new() { Backlog = 1024, MaxConnections = 1024 };

    [Fact]
    public async Task StrangersAreRefusedAndDisturbNobody()
    {
        using var cluster = new TlsCluster();
        using var others = new TestAuthority(TimeProvider.System);
        using LoopThread thread = await LoopThread.StartAsync(
            new LoopOptions { Name = "hostile" }, TimeProvider.System,
            fault => Assert.Fail(fault.ToString()));
        Loop loop = thread.Loop;
        RingTransport transport = await loop.InvokeAsync(
            () => new RingTransport(loop, new RingTransportOptions { MaxConnections = 2048 }));
        using var memory = new PoolMemory(16 << 20);
        var told = new ConcurrentBag<(string Peer, CloseReason Reason)>();
        var host = new TlsSessionHost(
            cluster.Far with { HandshakeLimit = TimeSpan.FromSeconds(4) },
            Answering(loop, memory), TimeProvider.System);
        var acceptor = new SessionAcceptor(
            new SessionAcceptorOptions { MaxGreetings = 1000 }, host,
            (peer, end) => told.Add((peer, end.Reason)));
        var listener = (RingConnectionListener)await new RingConnectionListenerFactory(transport, s_listener)
            .BindAsync(new IPEndPoint(IPAddress.Loopback, 0));
        Task listening = acceptor.ListenAsync(listener);

        var good = new GoodPeer(loop, memory);
        await good.StartAsync(new TlsConnectionFactory(
            new RingConnectionFactory(transport), cluster.Near, TimeProvider.System), listener.EndPoint);
        await good.ExchangeAsync();
        int descriptors = SocketsAt(listener.EndPoint);
        Task exchanging = good.ExchangeUntilStoppedAsync();
        await PlayStrangersAsync(listener.EndPoint, others.Issue(new NodeId(1)));
        await Polling.AskAsync(
            () => Task.FromResult(listener.OpenCount + acceptor.GreetingCount), count => count > 1,
            TimeSpan.FromSeconds(20), TimeProvider.System);
        await good.StopAsync();
        await exchanging;

        long refused = acceptor.RefusedCount(CloseReason.NotTrusted);
        long late = acceptor.RefusedCount(CloseReason.TimedOut);
        Assert.Equal(Strangers, refused + late);
        Assert.InRange(late, Strangers / Kinds, Strangers / Kinds * 2); // A busy machine may be late too.
        Assert.Equal(2 * Addresses, told.Distinct().Count());
        Assert.Equal(2 * Addresses, told.Count);
        Assert.Equal((1, 0, 1), (acceptor.SessionCount, acceptor.GreetingCount, listener.OpenCount));
        Assert.Equal(2, await loop.InvokeAsync(() => transport.ConnectionCount));
        Assert.Equal(descriptors, SocketsAt(listener.EndPoint));
        Assert.True(good.Exchanges > 100, $"{good.Exchanges} exchanges");

        await good.EndAsync();
        await listener.UnbindAsync();
        await listening;
        await transport.StopAsync();
        Assert.True(await loop.InvokeAsync(() =>
        {
            transport.Dispose();
            return memory.IsWhole;
        }));
        await thread.StopAsync();
    }

    private static TestHost Answering(Loop loop, PoolMemory memory) => new(async (connection, onOpened) =>
    {
        SessionOptions options = SessionBench.Usual with { Node = new NodeId(2), AllowsUnproved = false };
        var handler = new RecordingHandler(memory)
        {
            OnKind = (session, _) => session.Send(new Applied(
                new Epoch(1), new Sequence(1), AnswerStatus.Ok, new Sequence(1), new Sequence(0))),
        };
        onOpened(); // Whoever comes through has proved who it is.
        return await await loop.InvokeAsync(
            () => new Session(connection, options, memory, handler).RunAsync());
    });

    private static async Task PlayStrangersAsync(EndPoint endPoint, SslStreamCertificateContext wrong)
    {
        var silent = new List<Task>();
        for (int wave = 0; wave < Waves; wave++)
        {
            var loud = new List<Task>();
            for (int i = 0; i < PerWave; i++)
            {
                (i % Kinds == 0 ? silent : loud).Add(PlayStrangerAsync(endPoint, i, wrong));
            }

            await Task.WhenAll(loud);
        }

        await Task.WhenAll(silent);
    }

    // Nobody hangs up before the other side does.
    private static async Task PlayStrangerAsync(
        EndPoint endPoint, int number, SslStreamCertificateContext wrong)
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Parse($"127.0.0.{2 + number / Kinds % Addresses}"), 0));
        await socket.ConnectAsync(endPoint);
        using var stream = new NetworkStream(socket);
        try
        {
            switch (number % Kinds)
            {
                case 0:
                    break;
                case 1 or 2 or 3 or 4:
                    byte[] garbage = new byte[200];
                    new Random(number).NextBytes(garbage);
                    garbage[0] |= 0x80; // No record of TLS begins like that: it need not be waited for.
                    await stream.WriteAsync(garbage);
                    break;
                case 5 or 6 or 7:
                    await stream.WriteAsync(SessionBench.BytesOf(SessionBench.Theirs()));
                    break;
                default:
                    await using (var tls = new SslStream(stream))
                    {
                        await tls.AuthenticateAsClientAsync(new SslClientAuthenticationOptions
                        {
                            TargetHost = "", EnabledSslProtocols = SslProtocols.Tls13,
                            ClientCertificateContext = number % Kinds == 8 ? null : wrong,
                            RemoteCertificateValidationCallback = (_, shown, _, _) => shown is not null,
                        });
                        await ReadToTheEndAsync(tls);
                    }

                    return;
            }

            await ReadToTheEndAsync(stream);
        }
        catch (Exception failure) when (failure is IOException or AuthenticationException)
        {
            // Refused.
        }
    }

    private static async Task ReadToTheEndAsync(Stream stream)
    {
        byte[] heard = new byte[1024];
        while (await stream.ReadAsync(heard) > 0)
        {
        }
    }

    // Descriptors of this process on one port, whatever other tests open meanwhile.
    private static int SocketsAt(EndPoint endPoint)
    {
        string port = ":" + ((IPEndPoint)endPoint).Port.ToString("X4", CultureInfo.InvariantCulture);
        return File.ReadLines("/proc/self/net/tcp").Skip(1)
            .Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Count(part => (part[1].EndsWith(port, StringComparison.Ordinal) ||
                part[2].EndsWith(port, StringComparison.Ordinal)) && part[9] != "0");
    }

    /// <summary>A peer that asks and is answered, one question at a time.</summary>
    private sealed class GoodPeer(Loop loop, PoolMemory memory) : ISessionHandler
    {
        private readonly TaskCompletionSource _opened =
            new(TaskCreationOptions.RunContinuationsAsynchronously);
        private TaskCompletionSource? _answered;
        private Session? _session;
        private Task<SessionEnd>? _run;
        private volatile bool _isStopping;

        public int Exchanges { get; private set; }

        public async Task StartAsync(TlsConnectionFactory factory, EndPoint endPoint)
        {
            ConnectionContext connection = await factory.ConnectAsync(endPoint);
            _session = new Session(
                connection, SessionBench.Usual with { AllowsUnproved = false, Peer = new NodeId(2) }, memory,
                this);
            _run = await loop.InvokeAsync(_session.RunAsync);
            await _opened.Task.WaitAsync(TimeSpan.FromSeconds(20));
        }

        public async Task ExchangeAsync()
        {
            var answered = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            _answered = answered;
            Assert.True(loop.Post(() =>
            {
                Assert.True(memory.TryRent(4096, out IoBuffer payload));
                _session!.Send(
                    new Write(
                        new Epoch(1), new Sequence(1), Mutation.Write, MutationFlags.None, 0, 4096, 0,
                        new Sequence(0), new View(1)), payload);
                _session.Flush();
            }));
            await answered.Task.WaitAsync(TimeSpan.FromSeconds(20));
            Exchanges++;
        }

        public async Task ExchangeUntilStoppedAsync()
        {
            while (!_isStopping)
            {
                await ExchangeAsync();
                await Task.Delay(1);
            }
        }

        public Task StopAsync()
        {
            _isStopping = true;
            Assert.False(_run!.IsCompleted);
            return Task.CompletedTask;
        }

        public async Task EndAsync()
        {
            Assert.True(loop.Post(() => _session!.Close(CloseReason.Done, "")));
            Assert.Equal(SessionEndCause.Here, (await _run!).Cause);
        }

        public void OnOpened(Session session) => _opened.TrySetResult();

        public void OnMessage(Session session, scoped in MessageHead head, in IoBuffer payload) =>
            _answered!.TrySetResult();

        public void OnEnded(Session session, SessionEnd end)
        {
        }
    }
}
