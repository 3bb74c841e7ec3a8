using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Connections;

namespace Ublk.Tests.Unit.Replication.Peers;

/// <summary>What a relay does to a connection.</summary>
internal enum WireFault
{
    /// <summary>Both ends get a reset.</summary>
    Reset,
    /// <summary>Both ends hear that nothing follows.</summary>
    Cut,
    /// <summary>The way back goes on, this one has ended.</summary>
    HalfCut,
    /// <summary>Nothing goes on for a while, one way.</summary>
    Stall,
    /// <summary>The plug of the node is out for a while: nothing arrives, and nobody hears of it.</summary>
    Unplug,
}

/// <summary>
/// The only way between a host and one of its peers: takes connections in its own network namespace, makes
/// one to the peer for each, and carries the bytes; after a random number of them it does something bad.
/// </summary>
internal sealed class Relay : IPeerNet, IDisposable
{
    private const int Port = 7000;

    private readonly NetworkNamespaces _net;
    private readonly int _peer;
    private readonly Socket _listener;
    private readonly int[] _counts = new int[Enum.GetValues<WireFault>().Length];
    private readonly Lock _lock = new();
    private readonly Random _random;
    private readonly HashSet<Socket> _open = [];
    private bool _isDisposed;

    public Relay(NetworkNamespaces net, int peer)
    {
        _net = net;
        _peer = peer;
        _random = new Random(peer);
        var address = new IPEndPoint(NetworkNamespaces.RelayAddress(0), Port + peer);
        Address = address;
        _listener = net.Relay.Invoke(() =>
        {
            var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            listener.Bind(address);
            listener.Listen(16);
            return listener;
        });
        _ = AcceptAsync();
    }

    public EndPoint Address { get; }

    /// <summary>Whether it does anything bad.</summary>
    public bool IsBad { get; set; }

    /// <summary>Whether resets are all it does.</summary>
    public bool OnlyResets { get; set; }

    /// <summary>Most bytes that it carries one way before it does.</summary>
    public int MaxBytes { get; set; } = 400_000;

    /// <summary>What it has done.</summary>
    public IReadOnlyList<int> Counts => _counts;

    public int FaultCount => _counts.Sum();

#pragma warning disable VSTHRD002 // Binding does not wait.
    public IConnectionListener Listen(IConnectionListenerFactory factory) => _net.Peers[_peer - 1].Invoke(
        () => factory.BindAsync(Behind).AsTask().GetAwaiter().GetResult());
#pragma warning restore VSTHRD002

    public IConnectionFactory FromHost(IConnectionFactory factory) =>
        new NamespaceFactory(_net.Host, factory);

    public void Dispose()
    {
        Socket[] open;
        lock (_lock)
        {
            _isDisposed = true;
            open = [.. _open];
        }

        _listener.Dispose();
        Array.ForEach(open, socket => socket.Dispose());
    }

    private IPEndPoint Behind => new(NetworkNamespaces.NodeAddress(_peer), Port);

    private async Task AcceptAsync()
    {
        while (true)
        {
            Socket near;
            try
            {
                near = await _listener.AcceptAsync();
            }
            catch (Exception end) when (end is SocketException or ObjectDisposedException)
            {
                return;
            }

            _ = CarryAsync(near);
        }
    }

    private async Task CarryAsync(Socket near)
    {
        Socket far = _net.Relay.Invoke(
            () => new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp));
        if (!TryKeep(near) || !TryKeep(far))
        {
            near.Dispose();
            far.Dispose();
            return;
        }

        near.NoDelay = far.NoDelay = true;
        try
        {
            await far.ConnectAsync(Behind);
            await Task.WhenAll(CarryAsync(near, far), CarryAsync(far, near));
        }
        catch (Exception end) when (end is SocketException or ObjectDisposedException)
        {
            // The other end is to hear of it as well.
            near.LingerState = far.LingerState = new LingerOption(enable: true, seconds: 0);
        }
        finally
        {
            Forget(near);
            Forget(far);
        }
    }

    private async Task CarryAsync(Socket from, Socket to)
    {
        byte[] buffer = new byte[16 << 10];
        int left = Next(1, MaxBytes);
        while (true)
        {
            int count = await from.ReceiveAsync(buffer.AsMemory());
            if (count == 0)
            {
                to.Shutdown(SocketShutdown.Send);
                return;
            }

            int before = IsBad ? Math.Min(left, count) : count;
            await SendAsync(to, buffer.AsMemory(0, before));
            left -= IsBad ? count : 0;
            if (left <= 0)
            {
                left = Next(1, MaxBytes);
                if (await HurtAsync(from, to))
                {
                    return;
                }
            }

            await SendAsync(to, buffer.AsMemory(before, count - before));
        }
    }

    // Whether this way has ended.
    private async Task<bool> HurtAsync(Socket from, Socket to)
    {
        int dice = Next(0, 100);
        WireFault fault = dice < 40 || OnlyResets ? WireFault.Reset : dice < 60 ? WireFault.Cut
            : dice < 70 ? WireFault.HalfCut : dice < 99 ? WireFault.Stall : WireFault.Unplug;
        lock (_lock)
        {
            _counts[(int)fault]++;
        }

        switch (fault)
        {
            case WireFault.Reset:
                from.LingerState = to.LingerState = new LingerOption(enable: true, seconds: 0);
                from.Dispose();
                to.Dispose();
                return true;
            case WireFault.Cut:
                from.Dispose();
                to.Dispose();
                return true;
            case WireFault.HalfCut:
                to.Shutdown(SocketShutdown.Send);
                return true;
            case WireFault.Stall:
                await Task.Delay(Next(1, 60));
                return false;
            default:
                _net.Plug(_peer, isIn: false);
                await Task.Delay(Next(20, 400));
                _net.Plug(_peer, isIn: true);
                return false;
        }
    }

    private static async Task SendAsync(Socket to, ReadOnlyMemory<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            bytes = bytes[await to.SendAsync(bytes)..];
        }
    }

    private bool TryKeep(Socket socket)
    {
        lock (_lock)
        {
            return !_isDisposed && _open.Add(socket);
        }
    }

    private void Forget(Socket socket)
    {
        socket.Dispose();
        lock (_lock)
        {
            _ = _open.Remove(socket);
        }
    }

    private int Next(int low, int high)
    {
        lock (_lock)
        {
            return _random.Next(low, high);
        }
    }
}
