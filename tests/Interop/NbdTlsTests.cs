using Xunit;

namespace Ublk.Tests.Interop;

/// <summary>Clients that speak TLS, and those that should.</summary>
public sealed class NbdTlsTests : IDisposable
{
    private const long Mebibyte = 1 << 20;

    private readonly Certificates _ours = new();
    private readonly Certificates _others = new();

    public void Dispose()
    {
        _ours.Dispose();
        _others.Dispose();
    }

    [Theory]
    [InlineData(512)]
    [InlineData(4096)]
    public async Task LibnbdCopiesBothWays(int blockBytes)
    {
        await using Export export = await ServeAsync(blockBytes);
        string uri = With(export.Uri, _ours), source = export.MakeSource(64 * Mebibyte);
        await Tool.Run("nbdcopy", "--connections=4", "--flush", source, uri);
        await Tool.Run("cmp", source, export.Image);
        string back = export.File("back.img");
        await Tool.Run("nbdcopy", "--connections=4", uri, back);
        await Tool.Run("cmp", source, back);
        Assert.Equal(0, await export.StopAsync());
    }

    [Fact]
    public async Task QemuConvertsAndCompares()
    {
        await using Export export = await ServeAsync();
        string source = export.MakeSource(64 * Mebibyte, seed: 4);
        var uri = new Uri(export.Uri);
        string[] tls =
            ["--object", $"tls-creds-x509,id=tls0,endpoint=client,dir={_ours.Folder}", "--image-opts"];
        string disk = $"driver=nbd,host={uri.Host},port={uri.Port},export=disk,tls-creds=tls0";
        await Tool.Run(
            "qemu-img", "convert", "-n", "--object", tls[1], "--target-image-opts", source, disk);
        await Tool.Run("cmp", source, export.Image);
        await Tool.Run("qemu-io", [.. tls, "-c", "write -P 7 0 8M", "-c", "read -P 7 0 8M", disk]);
        Assert.Equal(0, await export.StopAsync());
    }

    // Nobody gets anything who does not use TLS, or shows what somebody else has issued, or nothing.
    [Fact]
    public async Task OthersAreRefused()
    {
        await using Export export = await ServeAsync();
        Assert.NotEqual(0, (await Tool.Try("nbdinfo", export.Uri.Replace("nbds:", "nbd:"))).Code);
        Assert.NotEqual(0, (await Tool.Try("nbdinfo", With(export.Uri, _others))).Code);
        File.Copy(_ours.PathOf("ca-cert.pem"), _others.PathOf("ca-cert.pem"), overwrite: true);
        Assert.NotEqual(0, (await Tool.Try("nbdinfo", With(export.Uri, _others))).Code);
        File.Delete(_others.PathOf("client-cert.pem"));
        File.Delete(_others.PathOf("client-key.pem"));
        Assert.NotEqual(0, (await Tool.Try("nbdinfo", With(export.Uri, _others))).Code);
        Assert.Contains("export-size", (await Tool.Run("nbdinfo", With(export.Uri, _ours))));
        Assert.Equal(0, await export.StopAsync());
    }

    private static string With(string uri, Certificates client) =>
        $"{uri}?tls-certificates={Uri.EscapeDataString(client.Folder).Replace("%2F", "/")}";

    private Task<Export> ServeAsync(int blockBytes = 512) =>
        Export.StartAsync(64 * Mebibyte, blockBytes, isUnix: false, _ours.Options);
}
