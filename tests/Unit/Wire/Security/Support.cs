using System.Buffers;
using System.IO.Pipelines;
using System.Net.Security;
using Microsoft.AspNetCore.Connections;
using Ublk.Testing;
using Ublk.Tests.Unit.Wire.Transport;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;
using Ublk.Wire.Security;
using Ublk.Wire.Sessions;
using Ublk.Wire.Transport;
using Xunit;

namespace Ublk.Tests.Unit.Wire.Security;

/// <summary>An authority and two nodes that have their certificates from it.</summary>
internal sealed class TlsCluster : IDisposable
{
    public TlsCluster()
    {
        Authority = new TestAuthority(TimeProvider.System);
        Near = Of(Authority.Issue(new NodeId(1)));
        Far = Of(Authority.Issue(new NodeId(2)));
    }

    public TestAuthority Authority { get; }

    /// <summary>Node 1, which connects.</summary>
    public TlsOptions Near { get; }

    /// <summary>Node 2, which is connected to.</summary>
    public TlsOptions Far { get; }

    // Far longer than a busy machine needs: only tests of the limit meet it.
    public TlsOptions Of(SslStreamCertificateContext certificate) => new()
    {
        Certificate = () => certificate, Trust = Authority, HandshakeLimit = TimeSpan.FromSeconds(60),
    };

    /// <summary>Two connections of a loop, with TLS.</summary>
    public (TlsConnection Near, TlsConnection Far) Pair(TransportWorld world, bool isUnix)
    {
        (RingConnection near, RingConnection far) = world.Pair(isUnix);
        Task<TlsConnection> server = TlsConnection.AcceptAsync(far, Far, TimeProvider.System);
        Task<TlsConnection> client = TlsConnection.ConnectAsync(near, Near, TimeProvider.System);
        return (world.Run(client), world.Run(server));
    }

    public void Dispose() => Authority.Dispose();
}

/// <summary>
/// Two connections in memory and somebody between them: what one sends reaches the other in pieces, is
/// kept, and may be changed or cut off. All on the test's thread.
/// </summary>
internal sealed class Middleman
{
    private readonly ManualScheduler _scheduler = new();

    public Middleman(int pieceBytes = 1 << 20, long? changeAt = null, int pause = 1 << 20)
    {
        (Client, MemoryConnection near) = MemoryConnection.Pair(_scheduler, pause);
        (Server, MemoryConnection far) = MemoryConnection.Pair(_scheduler, pause);
        _ = PassAsync(near.Input, far.Output, ToServer, pieceBytes, changeAt);
        _ = PassAsync(far.Input, near.Output, ToClient, pieceBytes, null);
    }

    public MemoryConnection Client { get; }

    public MemoryConnection Server { get; }

    /// <summary>Bytes of the client after which its direction ends; null for none.</summary>
    public long? CutAt { get; set; }

    /// <summary>All that the client has sent.</summary>
    public List<byte> ToServer { get; } = [];

    /// <summary>All that the server has sent.</summary>
    public List<byte> ToClient { get; } = [];

    /// <summary>TLS on both sides.</summary>
    public (TlsConnection Client, TlsConnection Server) Greet(TlsCluster cluster)
    {
        Task<TlsConnection> server = TlsConnection.AcceptAsync(Server, cluster.Far, TimeProvider.System);
        Task<TlsConnection> client = TlsConnection.ConnectAsync(Client, cluster.Near, TimeProvider.System);
        return (Run(client), Run(server));
    }

    /// <summary>Lets everything happen that can.</summary>
    public void Turn() => _scheduler.TurnAll();

    /// <summary>Until a task has ended.</summary>
    public void Await(Task task)
    {
        long start = TimeProvider.System.GetTimestamp();
        while (!task.IsCompleted)
        {
            Assert.True(
                TimeProvider.System.GetElapsedTime(start) < TimeSpan.FromSeconds(20), "nothing happens");
            if (_scheduler.TurnAll() == 0)
            {
                Thread.Yield(); // Memory connections are closed on the thread pool.
            }
        }
    }

#pragma warning disable VSTHRD002 // The tasks have ended.
    public T Run<T>(Task<T> task)
    {
        Await(task);
        return task.GetAwaiter().GetResult();
    }

    /// <summary>How a handshake that must not succeed is refused; null where the peer was lost.</summary>
    public SessionEnd? RefusalOf(Task<TlsConnection> handshake)
    {
        Await(handshake);
        Exception failure = Assert.ThrowsAny<Exception>(() => handshake.GetAwaiter().GetResult());
        Assert.True(
            failure is PeerRefusedException or IOException or ConnectionAbortedException, failure.ToString());
        return (failure as PeerRefusedException)?.End;
    }
#pragma warning restore VSTHRD002

    private async Task PassAsync(
        PipeReader from, PipeWriter to, List<byte> kept, int pieceBytes, long? changeAt)
    {
        try
        {
            while (true)
            {
                ReadResult read = await from.ReadAsync().ConfigureAwait(false);
                long count = Math.Min(read.Buffer.Length, pieceBytes);
                long? end = kept == ToServer ? CutAt : null;
                count = Math.Min(count, end - kept.Count ?? count);
                byte[] piece = read.Buffer.Slice(0, count).ToArray();
                from.AdvanceTo(read.Buffer.GetPosition(count));
                if (changeAt - kept.Count is { } at && at >= 0 && at < piece.Length)
                {
                    piece[(int)at] ^= 0x10;
                }

                kept.AddRange(piece);
                await to.WriteAsync(piece).ConfigureAwait(false);
                if ((read.IsCompleted && count == read.Buffer.Length) || kept.Count == end)
                {
                    break;
                }
            }

            await to.CompleteAsync().ConfigureAwait(false);
        }
        catch (Exception failure)
        {
            await to.CompleteAsync(failure).ConfigureAwait(false);
        }
    }
}

/// <summary>Has sessions on the thread that its connections belong to, and remembers the last one.</summary>
internal sealed class TestHost(Func<ConnectionContext, Action, Task<SessionEnd>> run) : ISessionHost
{
    public List<NodeId?> Proved { get; } = [];

    public Task<SessionEnd> RunAsync(ConnectionContext connection, Action onOpened)
    {
        lock (Proved)
        {
            Proved.Add(connection.Features.Get<ProvedPeer>()?.Node);
        }

        return run(connection, onOpened);
    }

    /// <summary>One that nobody comes to.</summary>
    public static TestHost OfNobody() => new((_, _) => throw new InvalidOperationException("a session"));
}

/// <summary>Words of refusals.</summary>
internal static class Refused
{
    public static void Says(string words, SessionEnd? end, CloseReason reason = CloseReason.NotTrusted)
    {
        Assert.NotNull(end);
        Assert.Equal((SessionEndCause.Refused, reason), (end.Cause, end.Reason));
        Assert.Contains(words, end.Text, StringComparison.Ordinal);
    }
}
