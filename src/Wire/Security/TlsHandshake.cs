using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using Microsoft.AspNetCore.Connections;
using Ublk.Uring;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;
using Ublk.Wire.Sessions;

namespace Ublk.Wire.Security;

/// <summary>
/// One handshake. Nothing of the machine's own trust takes part: the certificate goes to
/// <see cref="IPeerTrust"/>, each time, for no session is resumed. What is wrong with the peer is said as
/// exactly as this side knows it.
/// </summary>
/// <param name="connection">The connection beneath.</param>
/// <param name="options">This side.</param>
/// <param name="time">The clock of the limit.</param>
internal sealed class TlsHandshake(ConnectionContext connection, TlsOptions options, TimeProvider time)
{
    // For what TLS says last to reach the peer.
    private static readonly TimeSpan s_closeLimit = TimeSpan.FromSeconds(1);

    private readonly Loop? _loop = connection.Features.Get<Loop>();
    private NodeId? _peer;
    private string? _refusal;

    /// <summary>Does it, or closes the connection.</summary>
    /// <param name="isServer">Whether the peer begins.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<TlsConnection> RunAsync(bool isServer, CancellationToken cancellationToken)
    {
        var cipher = new CipherStream(connection.Transport, _loop);
        var tls = new SslStream(cipher, leaveInnerStreamOpen: true);
        using var limit = new CancellationTokenSource(options.HandshakeLimit, time);
        using var both = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, limit.Token);
        try
        {
            if (_loop is { IsOwner: true })
            {
                await Task.Yield(); // It would hold up everything else on the loop.
            }

            await (isServer ? tls.AuthenticateAsServerAsync(AsServer(), both.Token)
                : tls.AuthenticateAsClientAsync(AsClient(), both.Token)).ConfigureAwait(false);
            return new TlsConnection(connection, _loop, tls, _peer!.Value); // Nobody is not trusted.
        }
        catch (Exception failure)
        {
            bool isLate = both.IsCancellationRequested && _refusal is null;
            await HangUpAsync(tls, isLate).ConfigureAwait(false);
            cancellationToken.ThrowIfCancellationRequested();
            if (!isLate && _refusal is null && failure is IOException or ConnectionAbortedException)
            {
                throw;
            }

            throw new PeerRefusedException(Explain(failure, isLate, cipher.FirstByte));
        }
    }

    private SslServerAuthenticationOptions AsServer() => new()
    {
        EnabledSslProtocols = SslProtocols.Tls13,
        ServerCertificateContext = options.Certificate(),
        ClientCertificateRequired = true,
        RemoteCertificateValidationCallback = IsTrusted,
        CertificateChainPolicy = NoTrustOfItsOwn(),
        AllowRenegotiation = false,
        AllowTlsResume = false,
    };

    private SslClientAuthenticationOptions AsClient() => new()
    {
        EnabledSslProtocols = SslProtocols.Tls13,
        TargetHost = "",
        ClientCertificateContext = options.Certificate(),
        RemoteCertificateValidationCallback = IsTrusted,
        CertificateChainPolicy = NoTrustOfItsOwn(),
        AllowRenegotiation = false,
        AllowTlsResume = false,
    };

    // A chain is built before anybody asks us. It trusts nothing, and must not fetch what a stranger names.
    private static X509ChainPolicy NoTrustOfItsOwn() => new()
    {
        TrustMode = X509ChainTrustMode.CustomRootTrust,
        RevocationMode = X509RevocationMode.NoCheck,
        DisableCertificateDownloads = true,
    };

    private bool IsTrusted(
        object sender, X509Certificate? certificate, X509Chain? chain, SslPolicyErrors errors)
    {
        if (certificate is not X509Certificate2 shown)
        {
            _refusal = "the peer shows no certificate";
            return false;
        }

        PeerIdentity identity = options.Trust.Identify(shown, chain?.ChainPolicy.ExtraStore ?? []);
        _refusal = identity.Refusal;
        _peer = _refusal is null ? identity.Node : null;
        return _refusal is null;
    }

    private SessionEnd Explain(Exception failure, bool isLate, byte? firstByte)
    {
        if (isLate)
        {
            return new SessionEnd(
                SessionEndCause.Refused, CloseReason.TimedOut,
                $"the TLS handshake took longer than {options.HandshakeLimit.TotalSeconds} s");
        }

        if (_refusal is not null)
        {
            return new SessionEnd(SessionEndCause.Refused, CloseReason.NotTrusted, _refusal);
        }

        string text = failure.GetBaseException().Message;
        return failure is not AuthenticationException
            ? new SessionEnd(SessionEndCause.Refused, CloseReason.Failed, $"TLS failed on this side: {text}")
            : new SessionEnd(
                SessionEndCause.Refused, CloseReason.NotTrusted,
                IsTls(firstByte) ? $"no TLS 1.3 with the peer: {text}"
                    : "the peer does not speak TLS: a side without it, or something else");
    }

    // Types of records, from change_cipher_spec to application_data.
    private static bool IsTls(byte? firstByte) => firstByte is null or (>= 20 and <= 23);

    private Task HangUpAsync(SslStream tls, bool isLate)
    {
        tls.Dispose();
        return HangUpAsync(isLate);
    }

    private async Task HangUpAsync(bool isLate)
    {
        if (isLate)
        {
            connection.Abort(new ConnectionAbortedException("the TLS handshake takes too long"));
        }

        Task closing = connection.DisposeAsync().AsTask();
        try
        {
            await closing.WaitAsync(s_closeLimit, time).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            connection.Abort(new ConnectionAbortedException("the peer does not hear why it is refused"));
            await closing.ConfigureAwait(false);
        }
    }
}
