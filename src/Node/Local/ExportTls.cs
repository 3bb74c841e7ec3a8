using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Microsoft.AspNetCore.Connections;
using Ublk.Frontend.Nbd;
using Ublk.Node.Cli;
using Ublk.Uring;
using Ublk.Wire.Security;
using Ublk.Wire.Sessions;

namespace Ublk.Node.Local;

/// <summary>Files with what an export needs for TLS, each PEM.</summary>
/// <param name="Certificate">The server's certificate, and what leads to its authority.</param>
/// <param name="Key">The key of that certificate, without a password.</param>
/// <param name="Authority">Certificates of those whose clients may connect.</param>
internal sealed record ExportTlsFiles(string Certificate, string Key, string Authority);

/// <summary>
/// TLS of an export: clients show a certificate that the given authority has issued, or get nothing. Who of
/// them it is makes no difference here.
/// </summary>
internal sealed class ExportTls : INbdTls, IPeerTrust, IDisposable
{
    private const string ClientAuthentication = "1.3.6.1.5.5.7.3.2"; // RFC 5280, section 4.2.1.12.

    private readonly Loop _loop;
    private readonly TimeProvider _time;
    private readonly SslStreamCertificateContext _certificate;
    private readonly X509Certificate2Collection _authority;
    private readonly TlsOptions _options;

    private ExportTls(
        Loop loop, TimeProvider time, SslStreamCertificateContext certificate,
        X509Certificate2Collection authority)
    {
        _loop = loop;
        _time = time;
        _certificate = certificate;
        _authority = authority;
        _options = new TlsOptions { Certificate = () => _certificate, Trust = this };
    }

    /// <summary>Reads the files.</summary>
    /// <param name="files">Which.</param>
    /// <param name="loop">The loop of the connections.</param>
    /// <param name="time">The clock of handshakes.</param>
    /// <exception cref="CommandException">One is missing, or not what it should be.</exception>
    public static ExportTls Load(ExportTlsFiles files, Loop loop, TimeProvider time)
    {
        X509Certificate2Collection chain = Certificates(files.Certificate);
        X509Certificate2Collection authority = Certificates(files.Authority);
        try
        {
            var certificate = X509Certificate2.CreateFromPemFile(files.Certificate, files.Key);
            chain.RemoveAt(0);
            return new ExportTls(
                loop, time, SslStreamCertificateContext.Create(certificate, chain, offline: true), authority);
        }
        catch (Exception failure) when (failure is CryptographicException or ArgumentException)
        {
            throw new CommandException(ExitCode.Failure,
                $"{files.Key} is not the key of {files.Certificate}: {failure.Message}");
        }
        catch (FileNotFoundException)
        {
            throw new CommandException(ExitCode.NotFound, $"there is no file {files.Key}");
        }
    }

    /// <inheritdoc/>
    public async ValueTask<ConnectionContext> SecureAsync(ConnectionContext connection)
    {
        // The handshake ends on the thread pool; who waits for it goes on here.
        var isDone = new Signal();
        Task<TlsConnection> handshake = TlsConnection.AcceptAsync(connection, _options, _time);
        _ = handshake.ContinueWith(
            _ => _loop.Post(isDone.Set), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously,
            TaskScheduler.Default);
        await isDone.WaitAsync().ConfigureAwait(false);
        try
        {
            return await handshake.ConfigureAwait(false);
        }
        catch (PeerRefusedException refused)
        {
            throw new IOException(refused.Message, refused);
        }
    }

    /// <inheritdoc/>
    public PeerIdentity Identify(X509Certificate2 certificate, X509Certificate2Collection chain)
    {
        using var path = new X509Chain();
        path.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        path.ChainPolicy.CustomTrustStore.AddRange(_authority);
        path.ChainPolicy.ExtraStore.AddRange(chain);
        path.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        path.ChainPolicy.DisableCertificateDownloads = true;
        path.ChainPolicy.ApplicationPolicy.Add(new Oid(ClientAuthentication));
        return path.Build(certificate) ? new PeerIdentity(default, Refusal: null)
            : new PeerIdentity(default, $"the client's certificate is not trusted: {WhyNot(path)}");
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _certificate.TargetCertificate.Dispose();
        foreach (X509Certificate2 certificate in _authority)
        {
            certificate.Dispose();
        }
    }

    private static string WhyNot(X509Chain path) =>
        path.ChainStatus.Length > 0 ? path.ChainStatus[0].StatusInformation.Trim() : "no reason is known";

    private static X509Certificate2Collection Certificates(string path)
    {
        var found = new X509Certificate2Collection();
        try
        {
            found.ImportFromPemFile(path);
        }
        catch (Exception failure) when (failure is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new CommandException(ExitCode.NotFound, $"there is no file {path}");
        }
        catch (CryptographicException failure)
        {
            throw new CommandException(ExitCode.Failure, $"{path}: {failure.Message}");
        }

        return found.Count > 0 ? found
            : throw new CommandException(ExitCode.Failure, $"{path} has no certificate in PEM form");
    }
}
