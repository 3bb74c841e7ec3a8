using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Ublk.Tests.Interop;

/// <summary>
/// An authority with a server and a client, as files with the names that GnuTLS clients of NBD look for.
/// </summary>
internal sealed class Certificates : IDisposable
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("ublk-tls-");

    public Certificates()
    {
        DateTimeOffset from = DateTimeOffset.UtcNow.AddDays(-1), until = from.AddDays(30);
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=authority", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        request.CertificateExtensions.Add(
            new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.CrlSign, true));
        using X509Certificate2 authority = request.CreateSelfSigned(from, until);
        File.WriteAllText(PathOf("ca-cert.pem"), authority.ExportCertificatePem());
        Issue(authority, "server", "1.3.6.1.5.5.7.3.1");
        Issue(authority, "client", "1.3.6.1.5.5.7.3.2");
    }

    /// <summary>Where the client's files are.</summary>
    public string Folder => _directory.FullName;

    /// <summary>How 'qublk local export' is told of the server's.</summary>
    public string[] Options =>
    [
        "--tls-cert", PathOf("server-cert.pem"), "--tls-key", PathOf("server-key.pem"),
        "--tls-ca", PathOf("ca-cert.pem"),
    ];

    public string PathOf(string name) => Path.Combine(Folder, name);

    public void Dispose() => _directory.Delete(recursive: true);

    private void Issue(X509Certificate2 authority, string name, string purpose)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(false, false, 0, true));
        request.CertificateExtensions.Add(
            new X509KeyUsageExtension(X509KeyUsageFlags.DigitalSignature, true));
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([new Oid(purpose)], false));
        var names = new SubjectAlternativeNameBuilder();
        names.AddDnsName("localhost");
        names.AddIpAddress(IPAddress.Loopback);
        request.CertificateExtensions.Add(names.Build());
        byte[] serial = RandomNumberGenerator.GetBytes(16);
        using X509Certificate2 certificate = request.Create(
            authority, new DateTimeOffset(authority.NotBefore), new DateTimeOffset(authority.NotAfter),
            serial);
        File.WriteAllText(PathOf($"{name}-cert.pem"), certificate.ExportCertificatePem());
        File.WriteAllText(PathOf($"{name}-key.pem"), key.ExportPkcs8PrivateKeyPem());
    }
}
