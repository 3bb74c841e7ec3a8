using System.IO.Pipelines;
using System.Net;
using System.Net.Security;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http.Features;
using Ublk.Uring;
using Ublk.Wire.Ids;
using Ublk.Wire.Sessions;

namespace Ublk.Wire.Security;

/// <summary>
/// TLS 1.3 with certificates of both sides, over another connection; the feature <see cref="ProvedPeer"/>
/// says whose certificate the peer has. Its pipes are used where those beneath are, on the loop's thread;
/// <see cref="Abort(ConnectionAbortedException)"/> and <see cref="DisposeAsync"/> from any. The output that
/// is completed says the end of TLS, and input ends in order only behind the peer's: a connection that ends
/// without was cut, and reading fails.
/// </summary>
public sealed class TlsConnection : ConnectionContext, IDuplexPipe
{
    private readonly ConnectionContext _connection;
    private readonly Loop? _loop;
    private readonly SslStream _tls;
    private readonly TlsPipeReader _reader;
    private readonly TlsPipeWriter _writer;
    private readonly FeatureCollection _features;

    internal TlsConnection(ConnectionContext connection, Loop? loop, SslStream tls, NodeId peer)
    {
        _connection = connection;
        _loop = loop;
        _tls = tls;
        _reader = new TlsPipeReader(tls, connection.Transport.Input);
        _writer = new TlsPipeWriter(connection, loop, tls);
        _features = new FeatureCollection(connection.Features);
        _features.Set(new ProvedPeer(peer));
        ConnectionClosed = connection.ConnectionClosed;
        Transport = this;
    }

    /// <summary>What is received, decrypted.</summary>
    public PipeReader Input => _reader;

    /// <summary>What is sent, not yet encrypted.</summary>
    public PipeWriter Output => _writer;

    /// <inheritdoc/>
    public override string ConnectionId
    {
        get => _connection.ConnectionId;
        set => _connection.ConnectionId = value;
    }

    /// <summary>Those of the connection beneath, and <see cref="ProvedPeer"/>.</summary>
    public override IFeatureCollection Features => _features;

    /// <inheritdoc/>
    public override IDictionary<object, object?> Items
    {
        get => _connection.Items;
        set => _connection.Items = value;
    }

    /// <inheritdoc/>
    public override EndPoint? LocalEndPoint
    {
        get => _connection.LocalEndPoint;
        set => _connection.LocalEndPoint = value;
    }

    /// <inheritdoc/>
    public override EndPoint? RemoteEndPoint
    {
        get => _connection.RemoteEndPoint;
        set => _connection.RemoteEndPoint = value;
    }

    /// <inheritdoc/>
    public override IDuplexPipe Transport { get; set; }

    /// <summary>
    /// Makes it of a connection that others have opened to this side. From any thread; the work is done on
    /// the thread pool where the connection belongs to a loop.
    /// </summary>
    /// <param name="connection">The connection, owned from now on: closed where the handshake fails.</param>
    /// <param name="options">This side.</param>
    /// <param name="time">The clock of the handshake's limit.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="PeerRefusedException">The peer does not prove that it belongs here.</exception>
    /// <exception cref="IOException">The connection ends meanwhile.</exception>
    public static Task<TlsConnection> AcceptAsync(
        ConnectionContext connection, TlsOptions options, TimeProvider time,
        CancellationToken cancellationToken = default) =>
        new TlsHandshake(connection, options, time).RunAsync(isServer: true, cancellationToken);

    /// <summary>
    /// Makes it of a connection that this side has opened. From any thread. As when it is accepted, what the
    /// peer thinks of this side's certificate may show only when it is read from.
    /// </summary>
    /// <param name="connection">The connection, owned from now on: closed where the handshake fails.</param>
    /// <param name="options">This side.</param>
    /// <param name="time">The clock of the handshake's limit.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="PeerRefusedException">The peer does not prove that it belongs here.</exception>
    /// <exception cref="IOException">The connection ends meanwhile.</exception>
    public static Task<TlsConnection> ConnectAsync(
        ConnectionContext connection, TlsOptions options, TimeProvider time,
        CancellationToken cancellationToken = default) =>
        new TlsHandshake(connection, options, time).RunAsync(isServer: false, cancellationToken);

    /// <summary>Ends the connection beneath without sending what waits.</summary>
    /// <param name="abortReason">What readers and writers see.</param>
    public override void Abort(ConnectionAbortedException abortReason) => _connection.Abort(abortReason);

    /// <summary>
    /// Completes both pipes: what was written is still sent, and then the end of TLS, which takes as long as
    /// the peer lets it (abort first to end at once). From any thread, any number of times.
    /// </summary>
#pragma warning disable CA2215 // What it overrides does nothing.
    public override async ValueTask DisposeAsync()
    {
        if (_loop is { IsOwner: false })
        {
            _ = await _loop.InvokeAsync(CompletePipes).ConfigureAwait(false);
        }
        else
        {
            _ = CompletePipes();
        }

        await _writer.Ended.ConfigureAwait(false);
        await _connection.DisposeAsync().ConfigureAwait(false);
        FreeTls();
    }
#pragma warning restore CA2215

    // Not asynchronously: that would flush what was completed.
    private void FreeTls() => _tls.Dispose();

    private bool CompletePipes()
    {
        _reader.Complete();
        _writer.Complete();
        return true;
    }
}
