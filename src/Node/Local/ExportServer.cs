using Ublk.Frontend.Nbd;
using Ublk.Frontend.Targets;
using Ublk.Uring;
using Ublk.Wire.Transport;

namespace Ublk.Node.Local;

/// <summary>What to export, and where.</summary>
internal sealed record LocalExportOptions
{
    /// <summary>Absolute path of the image.</summary>
    public required string Image { get; init; }

    /// <summary>Where to listen.</summary>
    public required NbdAddress Address { get; init; }

    /// <summary>The export's name; may be empty.</summary>
    public string Name { get; init; } = "";

    public bool ReadOnly { get; init; }

    /// <summary>Logical block in bytes; 0 takes the image's own.</summary>
    public int BlockBytes { get; init; }

    public DirectMode Direct { get; init; }

    /// <summary>Payload memory in bytes.</summary>
    public long PoolBytes { get; init; } = 64L << 20;

    /// <summary>Processor of the loop; null for any.</summary>
    public int? Processor { get; init; }

    /// <summary>What TLS needs; null without.</summary>
    public ExportTlsFiles? Tls { get; init; }
}

/// <summary>One loop thread with an image, payload memory, and an NBD server before it.</summary>
internal sealed class ExportServer
{
    /// <summary>Requests that the image is given at once.</summary>
    private const int TargetRequests = 256;

    /// <summary>Connections that are there for as long as it takes to refuse them.</summary>
    private const int RefusedConnections = 16;

    private readonly LoopThread _thread;
    private readonly RingTransport _transport;
    private readonly PayloadPool _pool;
    private readonly ExportTls? _tls;

    private ExportServer(
        LoopThread thread, RingTransport transport, PayloadPool pool, ImageTarget target, NbdServer server,
        RingConnectionListenerFactory listeners, ExportTls? tls)
    {
        _tls = tls;
        _thread = thread;
        _transport = transport;
        _pool = pool;
        Target = target;
        Server = server;
        Listeners = listeners;
    }

    /// <summary>The image.</summary>
    public ImageTarget Target { get; }

    /// <summary>The server.</summary>
    public NbdServer Server { get; }

    /// <summary>Makes listeners for it.</summary>
    public RingConnectionListenerFactory Listeners { get; }

    /// <summary>Opens the image and starts the loop; nobody listens yet.</summary>
    /// <param name="options">What to export.</param>
    /// <param name="time">Clock.</param>
    /// <param name="onFault">The loop died: the process must end.</param>
    public static async Task<ExportServer> StartAsync(
        LocalExportOptions options, TimeProvider time, Action<Exception> onFault)
    {
        var image = BlockImage.Open(options.Image, options.ReadOnly, options.Direct);
        LoopThread? thread = null;
        try
        {
            thread = await LoopThread.StartAsync(
                new LoopOptions { Name = "qublk-loop", Processor = options.Processor }, time, onFault)
                .ConfigureAwait(false);
            return await thread.Loop.InvokeAsync(() => Create(options, image, thread, time))
                .ConfigureAwait(false);
        }
        catch
        {
            image.Dispose();
            if (thread is not null)
            {
                await thread.StopAsync().ConfigureAwait(false);
            }

            throw;
        }
    }

    /// <summary>Ends connections in order, then the loop. The listeners were unbound before.</summary>
    /// <param name="limit">Longest wait for clients.</param>
    public async Task StopAsync(TimeSpan limit)
    {
        await Server.StopAsync(limit).ConfigureAwait(false);
        await _transport.StopAsync().ConfigureAwait(false);
        await _thread.Loop.InvokeAsync(() =>
        {
            _transport.Dispose();
            Target.Dispose();
            _pool.Dispose();
            return true;
        }).ConfigureAwait(false);
        await _thread.StopAsync().ConfigureAwait(false);
        _tls?.Dispose();
    }

    private static ExportServer Create(
        LocalExportOptions options, BlockImage image, LoopThread thread, TimeProvider time)
    {
        Loop loop = thread.Loop;
        ExportTls? tls = options.Tls is null ? null : ExportTls.Load(options.Tls, loop, time);
        var limits = new NbdServerOptions
        {
            Tls = tls, TlsPolicy = tls is null ? NbdTlsPolicy.None : NbdTlsPolicy.Required,
        };
        var target = ImageTarget.Create(
            image, ImageTarget.LimitsOf(image, options.BlockBytes, TargetRequests), loop);
        var pool = new PayloadPool(options.PoolBytes, loop.Buffers);
        int connections = limits.MaxConnections + RefusedConnections;
        var transport = new RingTransport(loop, new RingTransportOptions { MaxConnections = connections });
        var export = new NbdExport(options.Name, Path.GetFileName(options.Image), target, TargetRequests);
        var server = new NbdServer(loop, pool, [export], limits, time);
        var listeners = new RingConnectionListenerFactory(
            transport, new RingListenerOptions { MaxConnections = connections });
        return new ExportServer(thread, transport, pool, target, server, listeners, tls);
    }
}
