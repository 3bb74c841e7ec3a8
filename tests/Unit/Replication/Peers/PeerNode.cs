using System.Net;
using System.Net.Security;
using Microsoft.AspNetCore.Connections;
using Ublk.Replication.Runtime;
using Ublk.Replication.Store;
using Ublk.Tests.Unit.Uring;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;
using Ublk.Wire.Security;
using Ublk.Wire.Sessions;
using Ublk.Wire.Transport;

namespace Ublk.Tests.Unit.Replication.Peers;

/// <summary>Where a node listens, and how the host gets there.</summary>
internal interface IPeerNet
{
    /// <summary>Binds the node's address.</summary>
    IConnectionListener Listen(IConnectionListenerFactory factory);

    /// <summary>Connects from the host.</summary>
    IConnectionFactory FromHost(IConnectionFactory factory);

    /// <summary>Where the host connects to, once the node listens.</summary>
    EndPoint Address { get; }
}

/// <summary>A node with one replica of the volume; without a net it is the host itself.</summary>
internal sealed class PeerNode
{
    public static readonly VolumeId Volume = new(5);

    private readonly PeerVolume _world;
    private readonly ReplicaServer _server;
    private readonly IConnectionListener? _listener;
    private bool _isStopped;

    public PeerNode(PeerVolume world, uint node, IPeerNet? net, TempDirectory directory)
    {
        _world = world;
        Image = directory.File($"image{node}");
        var identity = new ReplicaIdentity(
            new ClusterId(1), Volume, new ReplicaId(node), new Incarnation(1000 + node));
        _ = ReplicaFormat.Create(Image, new ReplicaFormatOptions
        {
            Identity = identity,
            Content = ImageContent.New,
            SizeBytes = world.SizeBytes,
            LogicalBlockBytes = PeerVolume.BlockBytes,
        });
        _server = new ReplicaServer(world.Loop, new ReplicaServerOptions
        {
            Session = world.SessionOf(node, isAsked: true),
            LiveDirectory = Path.Combine(directory.Root, "live"),
            Tick = TimeSpan.FromMilliseconds(10),
        });
        Served = _server.Add(Image);
        var member = new ReplicaMember(identity.Replica, identity.Incarnation);
        if (net is null)
        {
            Place = new VolumePlace(member, Served, null);
            world.Until(() => Served.IsOpen);
            return;
        }

        TlsOptions? tls = world.Authority is null ? null : world.TlsOf(node);
        Certificate = tls?.Certificate();
        ISessionHost host = tls is null ? _server : new TlsSessionHost(tls, _server, TimeProvider.System);
        Acceptor = new SessionAcceptor(
            new SessionAcceptorOptions(), host, (peer, end) => Refusals.Add($"{peer}: {end.Text}"));
        _listener = net.Listen(new RingConnectionListenerFactory(world.Transport, new RingListenerOptions()));
        _ = AcceptAsync(_listener);
        IConnectionFactory factory = net.FromHost(new RingConnectionFactory(world.Transport));
        Place = new VolumePlace(member, null, new ReplicaPeerOptions
        {
            Session = world.SessionOf(1, isAsked: false) with { Peer = new NodeId(node) },
            Factory = world.Authority is null ? factory
                : new TlsConnectionFactory(factory, world.TlsOf(1), TimeProvider.System),
            EndPoint = net.Address,
        });
    }

    public string Image { get; }

    public ServedReplica Served { get; }

    public VolumePlace Place { get; }

    public SessionAcceptor? Acceptor { get; }

    /// <summary>What it shows; null without TLS.</summary>
    public SslStreamCertificateContext? Certificate { get; }

    public List<string> Refusals { get; } = [];

    /// <summary>What sessions threw: nothing, ever.</summary>
    public List<Exception> Failures { get; } = [];

    /// <summary>Operations of the stream that its image was given since it was opened.</summary>
    public long OperationCount => Served.Replica.Driver?.OperationCount ?? 0;

    private async Task AcceptAsync(IConnectionListener listener)
    {
        while (await listener.AcceptAsync() is { } connection)
        {
            _ = ServeAsync(connection);
        }
    }

    private async Task ServeAsync(ConnectionContext connection)
    {
        try
        {
            await Acceptor!.OnConnectedAsync(connection);
        }
        catch (Exception failure) when (failure is not OutOfMemoryException)
        {
            lock (Failures)
            {
                Failures.Add(failure);
            }
        }
    }

    public void Stop()
    {
        if (!_isStopped)
        {
            _isStopped = true;
            if (_listener is not null)
            {
                _world.Run(_listener.UnbindAsync().AsTask());
            }

            _world.Run(_server.StopAsync());
        }
    }
}

/// <summary>A node at the loopback interface, nothing between.</summary>
internal sealed class LoopbackNet : IPeerNet
{
    public EndPoint Address { get; private set; } = new IPEndPoint(IPAddress.Loopback, 0);

#pragma warning disable VSTHRD002 // Binding does not wait.
    public IConnectionListener Listen(IConnectionListenerFactory factory)
    {
        IConnectionListener listener = factory.BindAsync(Address).AsTask().GetAwaiter().GetResult();
        Address = listener.EndPoint;
        return listener;
    }
#pragma warning restore VSTHRD002

    public IConnectionFactory FromHost(IConnectionFactory factory) => factory;
}
