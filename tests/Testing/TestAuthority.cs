using System.Globalization;
using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Ublk.Wire.Ids;
using Ublk.Wire.Sessions;

namespace Ublk.Testing;

/// <summary>
/// Who gives nodes their certificates, and says whose one is: by the name in it, from its root only, in its
/// time, unless it was revoked. Made anew in each test; any thread.
/// </summary>
public sealed class TestAuthority : IPeerTrust, IDisposable
{
    private const string NamePrefix = "node-";

    private readonly Lock _lock = new();
    private readonly HashSet<string> _revoked = new(StringComparer.Ordinal);
    private readonly List<string> _seen = [];
    private readonly List<X509Certificate2> _issued = [];
    private readonly TimeProvider _time;
    private readonly X509Certificate2 _root;
    private byte _lastSerial;

    /// <summary>Makes a root.</summary>
    /// <param name="time">When certificates are made and looked at.</param>
    public TestAuthority(TimeProvider time)
    {
        _time = time;
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=test cluster", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, true, 0, true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(
            X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.CrlSign, critical: true));
        DateTimeOffset now = time.GetUtcNow();
        _root = request.CreateSelfSigned(now.AddYears(-2), now.AddYears(2));
    }

    /// <summary>Serial numbers of the certificates that were looked at, in order.</summary>
    public IReadOnlyList<string> Seen
    {
        get
        {
            lock (_lock)
            {
                return [.. _seen];
            }
        }
    }

    /// <summary>Gives a node a certificate, with its key.</summary>
    /// <param name="node">The node.</param>
    /// <param name="fromDays">When its time begins, in days from now.</param>
    /// <param name="untilDays">When it ends.</param>
    public SslStreamCertificateContext Issue(NodeId node, double fromDays = -1, double untilDays = 1)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        string name = NamePrefix + node.Value.ToString(CultureInfo.InvariantCulture);
        var request = new CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddDnsName(name);
        request.CertificateExtensions.Add(names.Build());
        request.CertificateExtensions.Add(new X509KeyUsageExtension(
            X509KeyUsageFlags.DigitalSignature, critical: true));
        DateTimeOffset now = _time.GetUtcNow();
        lock (_lock)
        {
            using X509Certificate2 bare = request.Create(
                _root, now.AddDays(fromDays), now.AddDays(untilDays), [++_lastSerial]);
            X509Certificate2 certificate = bare.CopyWithPrivateKey(key);
            _issued.Add(certificate);
            return SslStreamCertificateContext.Create(
                certificate, additionalCertificates: null, offline: true);
        }
    }

    /// <summary>Takes a certificate back.</summary>
    /// <param name="certificate">As it was given.</param>
    public void Revoke(SslStreamCertificateContext certificate)
    {
        lock (_lock)
        {
            _revoked.Add(certificate.TargetCertificate.SerialNumber);
        }
    }

    /// <inheritdoc/>
    public PeerIdentity Identify(X509Certificate2 certificate, X509Certificate2Collection chain)
    {
        using var path = new X509Chain();
        path.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        path.ChainPolicy.CustomTrustStore.Add(_root);
        path.ChainPolicy.ExtraStore.AddRange(chain);
        path.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        path.ChainPolicy.DisableCertificateDownloads = true;
        path.ChainPolicy.VerificationFlags = X509VerificationFlags.IgnoreNotTimeValid;
        lock (_lock)
        {
            _seen.Add(certificate.SerialNumber);
            string? refusal = !path.Build(certificate) ? "the certificate is not of this cluster's authority"
                : _revoked.Contains(certificate.SerialNumber) ? "the certificate was revoked"
                : TimeOf(certificate);
            return refusal is null && NodeOf(certificate) is { } node ? new PeerIdentity(node, null)
                : new PeerIdentity(default, refusal ?? "the certificate names no node");
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _root.Dispose();
        _issued.ForEach(certificate => certificate.Dispose());
    }

    private string? TimeOf(X509Certificate2 certificate)
    {
        DateTime now = _time.GetUtcNow().UtcDateTime;
        return now < certificate.NotBefore.ToUniversalTime() ? "the time of the certificate has not begun"
            : now > certificate.NotAfter.ToUniversalTime() ? "the certificate has expired" : null;
    }

    private static NodeId? NodeOf(X509Certificate2 certificate)
    {
        string? name = certificate.Extensions.OfType<X509SubjectAlternativeNameExtension>()
            .SelectMany(names => names.EnumerateDnsNames()).FirstOrDefault();
        return name?.StartsWith(NamePrefix, StringComparison.Ordinal) == true &&
            uint.TryParse(name.AsSpan(NamePrefix.Length), CultureInfo.InvariantCulture, out uint node)
            ? new NodeId(node) : null;
    }
}
