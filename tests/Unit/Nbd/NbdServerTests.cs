using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Connections;
using Ublk.Frontend.Nbd;
using Ublk.Testing;
using Ublk.Tests.Unit.Uring;
using Ublk.Tests.Unit.Wire.Transport;
using Ublk.Uring;
using Ublk.Wire.Transport;
using Xunit;
using static Ublk.Tests.Unit.Nbd.NbdClientBytes;

namespace Ublk.Tests.Unit.Nbd;

/// <summary>A server on a loop, and plain sockets as its clients.</summary>
public sealed class NbdServerTests : IDisposable
{
    private const int GreetingBytes = 18;
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(5);

    private readonly TransportWorld _world = new(operations: 4096);
    private readonly TempDirectory _directory = new();
    private readonly PayloadPool _pool = new(8 << 20, table: null);
    private readonly ModelTarget _target = new(4 << 20, NbdWorld.DefaultLimits);
    private IConnectionListener? _listener;
    private NbdServer? _server;
    private Task? _listening;

    public void Dispose()
    {
        _target.CompleteAll();
        Stop();
        _world.Dispose();
        _pool.Dispose();
        _directory.Dispose();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void AClientIsServedFromTheGreetingToTheEnd(bool isUnix)
    {
        Start(new NbdServerOptions(), isUnix);
        using Socket client = Connect();
        Assert.Equal(GreetingBytes, Receive(client, GreetingBytes).Length);
        Send(client, Flags(FixedNoZeroes), Info(NbdOption.Go, "disk"));
        _ = Receive(client, 20 + 12 + 20);
        byte[] payload = Pattern.Bytes(1 << 20);
        Send(client, Request(NbdReplyStyle.Simple, NbdCommand.Write, 1, 0, payload.Length, 0, payload));
        Assert.Equal(16, Receive(client, 16).Length);
        Send(client, Request(NbdReplyStyle.Simple, NbdCommand.Read, 2, 0, payload.Length));
        Assert.Equal(payload, Receive(client, 16 + payload.Length)[16..]);
        Send(client, Request(NbdReplyStyle.Simple, NbdCommand.Disconnect, 3, 0, 0));
        Assert.Equal(0, ReceiveSome(client, new byte[1]));
        client.Dispose();
        _world.Loop.Until(() => _server!.ConnectionCount == 0);
        Assert.Equal(0, _server!.FaultCount);
        Stop();
        _world.AssertNothingIsLeft();
        Assert.Equal(_pool.CapacityBytes, _pool.FreeBytes);
    }

    [Fact]
    public void WhoChoosesNothingIsHungUpOn()
    {
        Start(new NbdServerOptions { NegotiationLimit = TimeSpan.FromMilliseconds(1) });
        using Socket client = Connect();
        _world.Loop.Until(() => _server!.FaultCount == 1);
        Assert.Equal("the client has not chosen an export in time", _server!.LastFault);
        Assert.Equal(0, _server.ConnectionCount);
    }

    [Fact]
    public void TooManyConnectionsAreRefused()
    {
        Start(new NbdServerOptions { MaxConnections = 2 });
        using Socket first = Connect(), second = Connect(), third = Connect();
        _world.Loop.Until(() => _server!.RefusedCount == 1);
        Assert.Equal(2, _server!.ConnectionCount);
        first.Dispose();
        _world.Loop.Until(() => _server.ConnectionCount == 1);
        using Socket fourth = Connect();
        Assert.Equal(GreetingBytes, Receive(fourth, GreetingBytes).Length);
    }

    [Fact]
    public void AStopAnswersWhatIsInHand()
    {
        Start(new NbdServerOptions());
        using Socket client = Negotiated();
        using Socket quiet = Negotiated();
        using Socket stranger = Connect();
        _target.IsManual = true;
        Send(client, Request(NbdReplyStyle.Simple, NbdCommand.Read, 1, 0, 512));
        _world.Loop.Until(() => _target.InFlightCount == 1);
        Task stopped = _server!.StopAsync(s_limit);
        Assert.Equal(0, ReceiveSome(quiet, new byte[1]));
        _target.Complete();
        Assert.Equal(16 + 512, Receive(client, 16 + 512).Length);
        Assert.Equal(0, ReceiveSome(client, new byte[1]));
        client.Dispose();
        quiet.Dispose();
        _world.Run(stopped);
        _server = null;
        Assert.Equal(_pool.CapacityBytes, _pool.FreeBytes);
    }

    // Whatever strangers say, nothing of them is left, and who is served does not notice.
    [Fact]
    public void BadConnectionsLeaveNothingBehind()
    {
        Start(new NbdServerOptions());
        using Socket client = Negotiated();
        var random = new Random(7);
        for (int round = 0; round < 500; round++)
        {
            using Socket bad = Connect();
            byte[] garbage = new byte[random.Next(1, 2000)];
            random.NextBytes(garbage);
            byte[][] talk = random.Next(5) switch
            {
                0 => [garbage],
                1 => [Flags(3), garbage],
                2 => [Flags(3), Info(NbdOption.Go, "disk"), garbage],
                3 => [Flags(3), Option(NbdOption.Go, garbage)],
                _ => [Flags(3), Info(NbdOption.Go, "disk"),
                    Request(NbdReplyStyle.Simple, NbdCommand.Write, 1, 0, 1 << 20, 0, garbage)],
            };
            bad.Send(Join(talk));
            _world.Settle();
            bad.Dispose();
            _world.Loop.Until(() => _server!.ConnectionCount == 1);
        }

        Assert.Equal(2, CountSockets());
        Send(client, Request(NbdReplyStyle.Simple, NbdCommand.Read, 1, 0, 512));
        Assert.Equal(16 + 512, Receive(client, 16 + 512).Length);
        Assert.Equal(_pool.CapacityBytes - (256 << 10), _pool.FreeBytes);
    }

    // Reads and writes of one client, over real sockets: after warm-up nothing is allocated for any of them.
    [Theory]
    [InlineData(4096, 16)]
    [InlineData(256 << 10, 4)]
    public void NoRequestAllocates(int bytes, int depth)
    {
        (RingConnection near, RingConnection far) = _world.Pair(isUnix: true);
        var export = new NbdExport("disk", "", _target, 64);
        Assert.True(_pool.TryRent(4096, out IoBuffer zeros));
        var server = new NbdTransmission(
            far, new NbdAgreement(export, NbdReplyStyle.Structured, false), new(), _pool, zeros);
        Task run = server.RunAsync();
        byte[] read = Request(NbdReplyStyle.Structured, NbdCommand.Read, 1, 0, bytes);
        byte[] write =
            Request(NbdReplyStyle.Structured, NbdCommand.Write, 1, 0, bytes, 0, Pattern.Bytes(bytes));
        var talk = new Talker(near, _world.Loop);
        long allocated = Allocation.Steady(() =>
        {
            for (int round = 0; round < 50; round++)
            {
                talk.Ask(read, depth, depth * (28 + bytes));
                talk.Ask(write, depth, depth * 20);
            }
        });
        Assert.True(allocated == 0, $"{allocated} bytes in 50 rounds of {2 * depth}");
        near.Output.Complete();
        _world.Run(run);
        near.Abort(new ConnectionAbortedException("the test ends"));
        far.Abort(new ConnectionAbortedException("the test ends"));
        _pool.Return(zeros);
    }

    private void Start(NbdServerOptions options, bool isUnix = true)
    {
        _server = new NbdServer(_world.Loop, _pool, [new NbdExport("disk", "", _target, 64)], options,
            TimeProvider.System);
        EndPoint endPoint = isUnix ? new UnixDomainSocketEndPoint(_directory.File("nbd"))
            : new IPEndPoint(IPAddress.Loopback, 0);
        _listener = _world.Run(new RingConnectionListenerFactory(_world.Transport, new RingListenerOptions())
            .BindAsync(endPoint).AsTask());
        _listening = _server.ListenAsync(_listener);
    }

    private void Stop()
    {
        if (_listener is not null)
        {
            _world.Run(_listener.UnbindAsync().AsTask());
            _world.Run(_listening!);
            _listener = null;
        }

        if (_server is not null)
        {
            _world.Run(_server.StopAsync(TimeSpan.Zero));
            _server = null;
        }
    }

    private Socket Connect()
    {
        EndPoint endPoint = _listener!.EndPoint;
        bool isUnix = endPoint is UnixDomainSocketEndPoint;
        var socket = new Socket(endPoint.AddressFamily, SocketType.Stream,
            isUnix ? ProtocolType.Unspecified : ProtocolType.Tcp);
        long accepted = _server!.AcceptedCount + _server.RefusedCount;
        socket.Connect(endPoint);
        _world.Loop.Until(() => _server.AcceptedCount + _server.RefusedCount > accepted);
        return socket;
    }

    private Socket Negotiated()
    {
        Socket client = Connect();
        _ = Receive(client, GreetingBytes);
        Send(client, Flags(FixedNoZeroes), Info(NbdOption.Go, "disk"));
        _ = Receive(client, 20 + 12 + 20);
        return client;
    }

    private void Send(Socket socket, params byte[][] parts)
    {
        byte[] bytes = Join(parts);
        socket.Blocking = false;
        for (int at = 0; at < bytes.Length;)
        {
            int sent = socket.Send(bytes.AsSpan(at), SocketFlags.None, out SocketError error);
            Assert.True(error is SocketError.Success or SocketError.WouldBlock, error.ToString());
            at += sent;
            _ = _world.Loop.Drain();
        }
    }

    private byte[] Receive(Socket socket, int count)
    {
        byte[] bytes = new byte[count];
        for (int at = 0; at < count;)
        {
            int received = ReceiveSome(socket, bytes.AsMemory(at));
            Assert.NotEqual(0, received);
            at += received;
        }

        return bytes;
    }

    private int ReceiveSome(Socket socket, Memory<byte> room)
    {
        socket.Blocking = false;
        int received = 0;
        _world.Loop.Until(() =>
        {
            _ = _world.Loop.Drain();
            received = socket.Receive(room.Span, SocketFlags.None, out SocketError error);
            return error != SocketError.WouldBlock;
        });
        return received;
    }

    // Those of the server: the listener, and what it accepted. Other tests of the process have others.
    private int CountSockets() => File.ReadLines("/proc/net/unix").Count(
        line => line.EndsWith($" {_listener!.EndPoint}", StringComparison.Ordinal));

    /// <summary>Asks the same many times and counts what comes back.</summary>
    private sealed class Talker(RingConnection connection, Loop loop)
    {
        public void Ask(byte[] request, int count, int replyBytes)
        {
            for (int i = 0; i < count; i++)
            {
                for (int at = 0; at < request.Length;)
                {
                    Span<byte> room = connection.Output.GetSpan(1);
                    int length = Math.Min(room.Length, request.Length - at);
                    request.AsSpan(at, length).CopyTo(room);
                    connection.Output.Advance(length);
                    at += length;
                }

                ValueTask<System.IO.Pipelines.FlushResult> flush = connection.Output.FlushAsync();
                while (!flush.IsCompleted)
                {
                    Take(ref replyBytes);
                    _ = loop.DrainOrWait();
                }

#pragma warning disable VSTHRD002 // It has ended.
                _ = flush.Result;
#pragma warning restore VSTHRD002
            }

            while (replyBytes > 0)
            {
                Take(ref replyBytes);
                if (replyBytes > 0)
                {
                    _ = loop.DrainOrWait();
                }
            }
        }

        private void Take(ref int replyBytes)
        {
            if (connection.Input.TryRead(out System.IO.Pipelines.ReadResult read))
            {
                replyBytes -= (int)read.Buffer.Length;
                connection.Input.AdvanceTo(read.Buffer.End);
            }
        }
    }
}
