using System.Net.Security;
using System.Security.Authentication;
using Microsoft.Extensions.Time.Testing;
using Ublk.Testing;
using Ublk.Tests.Unit.Wire.Sessions;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;
using Ublk.Wire.Security;
using Ublk.Wire.Sessions;
using Xunit;

namespace Ublk.Tests.Unit.Wire.Security;

/// <summary>Who is refused in the handshake, on either side, and what is said of it.</summary>
public sealed class TlsHandshakeTests : IDisposable
{
    private readonly TlsCluster _cluster = new();
    private readonly TestAuthority _others = new(TimeProvider.System);

    public void Dispose()
    {
        _cluster.Dispose();
        _others.Dispose();
    }

    [Theory]
    [InlineData("authority", "not of this cluster's authority")]
    [InlineData("revoked", "revoked")]
    [InlineData("expired", "has expired")]
    [InlineData("early", "has not begun")]
    public void ACertificateThatIsNotTrustedIsRefusedOnBothSides(string what, string words)
    {
        var node = new NodeId(1);
        SslStreamCertificateContext bad = what switch
        {
            "authority" => _others.Issue(node),
            "expired" => _cluster.Authority.Issue(node, -10, -1),
            "early" => _cluster.Authority.Issue(node, 1, 10),
            _ => _cluster.Authority.Issue(node),
        };
        if (what == "revoked")
        {
            _cluster.Authority.Revoke(bad);
        }

        var between = new Middleman();
        Task<TlsConnection> server = AcceptAsync(between);
        Task<TlsConnection> client = ConnectAsync(between, _cluster.Of(bad));
        Refused.Says(words, between.RefusalOf(server));
        ReadsOfRefusal(between, client);

        between = new Middleman();
        server = AcceptAsync(between, _cluster.Of(bad));
        client = ConnectAsync(between);
        Refused.Says(words, between.RefusalOf(client));
        ReadsOfRefusal(between, server);
    }

    // Whose certificate is refused has done its part of the handshake: it reads of it.
    private static void ReadsOfRefusal(Middleman between, Task<TlsConnection> handshake)
    {
        TlsConnection connection = between.Run(handshake);
        Assert.ThrowsAny<IOException>(() => between.Run(connection.Input.ReadAsync().AsTask()));
        between.Await(connection.DisposeAsync().AsTask());
    }

    [Fact]
    public void WhoShowsNoCertificateIsRefused()
    {
        var between = new Middleman();
        Task<TlsConnection> server = AcceptAsync(between);
        using var stranger = new SslStream(new CipherStream(between.Client, null));
        _ = stranger.AuthenticateAsClientAsync(Stranger(SslProtocols.Tls13));
        Refused.Says("shows no certificate", between.RefusalOf(server));
    }

    [Fact]
    public void OlderTlsIsRefusedOnBothSides()
    {
        var between = new Middleman();
        Task<TlsConnection> server = AcceptAsync(between);
        using var client = new SslStream(new CipherStream(between.Client, null));
        Task older = client.AuthenticateAsClientAsync(Stranger(SslProtocols.Tls12));
        Refused.Says("unsupported protocol", between.RefusalOf(server));
        between.Await(older.ContinueWith(_ => { }, TaskScheduler.Default));

        between = new Middleman();
        Task<TlsConnection> ours = ConnectAsync(between);
        using var host = new SslStream(new CipherStream(between.Server, null));
        older = host.AuthenticateAsServerAsync(new SslServerAuthenticationOptions
        {
            EnabledSslProtocols = SslProtocols.Tls12,
            ServerCertificateContext = _cluster.Far.Certificate(),
        });
        Refused.Says("no TLS 1.3 with the peer", between.RefusalOf(ours));
        between.Await(older.ContinueWith(_ => { }, TaskScheduler.Default));
    }

    [Fact]
    public void ASideWithoutTlsIsToldFromOneThatIsNotTrusted()
    {
        var between = new Middleman();
        var host = new TlsSessionHost(_cluster.Far, TestHost.OfNobody(), TimeProvider.System);
        Task<SessionEnd> end = host.RunAsync(between.Server, () => { });
        using var memory = new PoolMemory(1 << 20);
        var handler = new RecordingHandler(memory);
        Task<SessionEnd> plain = new Session(
            between.Client, SessionBench.Usual, memory, handler).RunAsync();
        Refused.Says("does not speak TLS", between.Run(end));
        Assert.NotEqual(SessionEndCause.Here, between.Run(plain).Cause);

        between = new Middleman();
        plain = new Session(between.Server, SessionBench.Usual, memory, new RecordingHandler(memory))
            .RunAsync();
        Refused.Says("does not speak TLS", between.RefusalOf(ConnectAsync(between)));
        Assert.Equal(CloseReason.ProtocolError, between.Run(plain).Reason);
    }

    [Fact]
    public void GarbageIsRefusedWhicheverItIs()
    {
        var random = new Random(17);
        for (int round = 0; round < 300; round++)
        {
            byte[] garbage = new byte[random.Next(0, 600)];
            random.NextBytes(garbage);
            if (round % 3 > 0 && garbage.Length > 10)
            {
                // The beginning of a record, and of a message of the handshake.
                byte[] head = [(byte)(20 + round % 5), 3, (byte)(round % 5), 0, (byte)round, 1, 0, 0, 100];
                head.CopyTo(garbage, 0);
            }

            var between = new Middleman();
            bool isServer = round % 2 == 0;
            Task<TlsConnection> ours = isServer ? AcceptAsync(between) : ConnectAsync(between);
            MemoryConnection theirs = isServer ? between.Client : between.Server;
            between.Await(theirs.Output.WriteAsync(garbage).AsTask());
            theirs.Output.Complete();
            _ = between.RefusalOf(ours);
        }
    }

    // A byte at a time does not make the handshake last, and nobody waits for it longer.
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(40)]
    public void AHandshakeThatTricklesIsCutOff(int bytesPerSecond)
    {
        var recorded = new Middleman();
        _ = recorded.Greet(_cluster);
        var time = new FakeTimeProvider();
        var between = new Middleman();
        var host = new TlsSessionHost(
            _cluster.Far with { HandshakeLimit = TimeSpan.FromSeconds(5) }, TestHost.OfNobody(), time);
        Task<SessionEnd> end = host.RunAsync(between.Server, () => { });
        int second = 0;
        for (; !end.IsCompleted && second < 10; second++)
        {
            byte[] piece = [.. recorded.ToServer.Skip(second * bytesPerSecond).Take(bytesPerSecond)];
            if (second < 5)
            {
                between.Await(between.Client.Output.WriteAsync(piece).AsTask());
            }

            between.Turn();
            time.Advance(TimeSpan.FromSeconds(1));
            between.Turn();
            if (second >= 4)
            {
                between.Await(end);
            }
        }

        Assert.Equal(5, second);
        Refused.Says("longer than 5 s", between.Run(end), CloseReason.TimedOut);
        Assert.NotNull(between.Server.CloseReason);
    }

    [Fact]
    public void WhoHangsUpIsLostAndWhoGivesUpIsNotRefused()
    {
        var between = new Middleman();
        var host = new TlsSessionHost(_cluster.Far, TestHost.OfNobody(), TimeProvider.System);
        Task<SessionEnd> end = host.RunAsync(between.Server, () => { });
        between.Client.Output.Complete();
        Assert.Equal(SessionEndCause.Lost, between.Run(end).Cause);

        between = new Middleman();
        using var source = new CancellationTokenSource();
        Task<TlsConnection> client = TlsConnection.ConnectAsync(
            between.Client, _cluster.Near, TimeProvider.System, source.Token);
        between.Turn();
        source.Cancel();
        between.Await(client.ContinueWith(_ => { }, TaskScheduler.Default));
        Assert.True(client.IsCanceled);
    }

    [Fact]
    public void ACertificateIsRenewedBetweenConnectionsAndRevokedOnesAreLookedAtEachTime()
    {
        SslStreamCertificateContext old = _cluster.Authority.Issue(new NodeId(1));
        SslStreamCertificateContext renewed = _cluster.Authority.Issue(new NodeId(1));
        SslStreamCertificateContext current = old;
        TlsOptions options = _cluster.Near with { Certificate = () => current };
        (Middleman First, TlsConnection Client) = (new Middleman(), null!);
        Task<TlsConnection> server = AcceptAsync(First);
        Client = First.Run(ConnectAsync(First, options));
        TlsConnection stays = First.Run(server);
        current = renewed;
        var second = new Middleman();
        server = AcceptAsync(second);
        _ = second.Run(ConnectAsync(second, options));
        _ = second.Run(server);
        Assert.Contains(
            old.TargetCertificate.SerialNumber, _cluster.Authority.Seen, StringComparer.Ordinal);
        Assert.Contains(
            renewed.TargetCertificate.SerialNumber, _cluster.Authority.Seen, StringComparer.Ordinal);
        First.Await(Client.Output.WriteAsync(new byte[10]).AsTask());
        Assert.Equal(10, First.Run(stays.Input.ReadAsync().AsTask()).Buffer.Length);

        // No session is resumed past its certificate.
        _cluster.Authority.Revoke(renewed);
        var third = new Middleman();
        server = AcceptAsync(third);
        _ = ConnectAsync(third, options);
        Refused.Says("revoked", third.RefusalOf(server));
    }

    [Fact]
    public void ANodeSpeaksForItselfOnly()
    {
        var between = new Middleman();
        (TlsConnection client, TlsConnection server) = between.Greet(_cluster);
        using var memory = new PoolMemory(1 << 20);
        SessionOptions strict = SessionBench.Usual with { AllowsUnproved = false };
        Task<SessionEnd> liar = new Session(
            client, strict with { Node = new NodeId(3) }, memory, new RecordingHandler(memory)).RunAsync();
        Task<SessionEnd> end = new Session(
            server, strict with { Node = new NodeId(2) }, memory, new RecordingHandler(memory)).RunAsync();
        Refused.Says("with the certificate of node 1", between.Run(end));
        Assert.Equal((SessionEndCause.Peer, CloseReason.NotTrusted),
            (between.Run(liar).Cause, between.Run(liar).Reason));
    }

    private static SslClientAuthenticationOptions Stranger(SslProtocols protocols) => new()
    {
        TargetHost = "", EnabledSslProtocols = protocols,
        RemoteCertificateValidationCallback = (_, shown, _, _) => shown is not null,
    };

    private Task<TlsConnection> AcceptAsync(Middleman between, TlsOptions? options = null) =>
        TlsConnection.AcceptAsync(between.Server, options ?? _cluster.Far, TimeProvider.System);

    private Task<TlsConnection> ConnectAsync(Middleman between, TlsOptions? options = null) =>
        TlsConnection.ConnectAsync(between.Client, options ?? _cluster.Near, TimeProvider.System);
}
