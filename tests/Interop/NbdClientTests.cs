using System.Text.Json;
using Xunit;

namespace Ublk.Tests.Interop;

/// <summary>Every client that Debian has, with both block sizes, over a unix socket and TCP.</summary>
public sealed class NbdClientTests
{
    private const long Mebibyte = 1 << 20;

    public static TheoryData<int, bool> Shapes() => new() { { 512, true }, { 4096, true }, { 512, false } };

    [Theory]
    [MemberData(nameof(Shapes))]
    public async Task NbdinfoSeesWhatIsThere(int blockBytes, bool isUnix)
    {
        await using Export export = await Export.StartAsync(64 * Mebibyte, blockBytes, isUnix);
        JsonElement info = JsonDocument.Parse(await Tool.Run("nbdinfo", "--json", export.Uri)).RootElement;
        JsonElement disk = info.GetProperty("exports")[0];
        Assert.Equal("newstyle-fixed", info.GetProperty("protocol").GetString());
        Assert.True(info.GetProperty("structured").GetBoolean());
        Assert.Equal(64 * Mebibyte, disk.GetProperty("export-size").GetInt64());
        Assert.Equal(blockBytes, disk.GetProperty("block_size_minimum").GetInt32());
        Assert.Equal(32 * Mebibyte, disk.GetProperty("block_size_maximum").GetInt64());
        Assert.Equal("base:allocation", disk.GetProperty("contexts")[0].GetString());
        string[] abilities =
            ["can_multi_conn", "can_fua", "can_flush", "can_df", "can_zero", "can_fast_zero", "can_trim"];
        Assert.All(abilities, ability => Assert.True(disk.GetProperty(ability).GetBoolean(), ability));
        Assert.False(disk.GetProperty("is_read_only").GetBoolean());
        string list = await Tool.Run("nbdinfo", "--list", export.Uri);
        Assert.Contains("export=\"disk\"", list);
        Assert.Equal(0, await export.StopAsync());
    }

    // There and back: the same bytes, and what is a hole stays one.
    [Theory]
    [MemberData(nameof(Shapes))]
    public async Task NbdcopyCopiesBothWays(int blockBytes, bool isUnix)
    {
        await using Export export = await Export.StartAsync(64 * Mebibyte, blockBytes, isUnix);
        string source = export.MakeSource(64 * Mebibyte);
        await Tool.Run("nbdcopy", "--connections=4", "--flush", source, export.Uri);
        await Tool.Run("cmp", source, export.Image);
        string back = export.File("back.img");
        await Tool.Run("nbdcopy", "--connections=4", export.Uri, back);
        await Tool.Run("cmp", source, back);
        string map = await Tool.Run("nbdinfo", "--map", export.Uri);
        Assert.Contains("hole,zero", map);
        Assert.Contains("data", map);
        Assert.Equal(0, await export.StopAsync());
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public async Task LibnbdGetsEveryCommandAndEveryError(int blockBytes, bool isUnix)
    {
        await using Export export = await Export.StartAsync(64 * Mebibyte, blockBytes, isUnix);
        string script = Path.Combine(AppContext.BaseDirectory, "commands.py");
        string output = await Tool.Run("python3", script, export.Uri, $"{blockBytes}", export.Image);
        Assert.EndsWith("all commands done", output.TrimEnd());
        Assert.Equal(0, await export.StopAsync());
    }

    [Fact]
    public async Task NothingIsWrittenToAReadOnlyExport()
    {
        await using Export export = await Export.StartAsync(Mebibyte, 512, isUnix: true, "--read-only");
        string script = Path.Combine(AppContext.BaseDirectory, "readonly.py");
        Assert.EndsWith("all refused", (await Tool.Run("python3", script, export.Uri)).TrimEnd());
        Assert.Equal(0, await export.StopAsync());
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public async Task QemuConvertsComparesAndMaps(int blockBytes, bool isUnix)
    {
        await using Export export = await Export.StartAsync(64 * Mebibyte, blockBytes, isUnix);
        string source = export.MakeSource(64 * Mebibyte, seed: 2);
        await Tool.Run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", source, export.Uri);
        await Tool.Run("cmp", source, export.Image);
        await Tool.Run("qemu-img", "compare", "-f", "raw", "-F", "raw", source, export.Uri);
        string map = await Tool.Run("qemu-img", "map", "-f", "raw", "--output=json", export.Uri);
        Assert.Contains("\"data\": false", map);
        Assert.Contains("\"data\": true", map);
        await Tool.Run("qemu-img", "bench", "-w", "-f", "raw", "-t", "none", "-c", "2000", "-d", "32",
            "-s", "4096", export.Uri);
        Assert.Equal(0, await export.StopAsync());
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public async Task QemuIoReadsBackWhatItDid(int blockBytes, bool isUnix)
    {
        await using Export export = await Export.StartAsync(64 * Mebibyte, blockBytes, isUnix);
        string output = await Tool.Run("qemu-io", "-f", "raw",
            "-c", "write -P 7 0 40M", "-c", "read -P 7 0 40M", "-c", "write -f -P 8 4k 64k",
            "-c", "read -P 8 4k 64k", "-c", "write -z 1M 1M", "-c", "read -P 0 1M 1M",
            "-c", "write -z -u 3M 5M", "-c", "read -P 0 3M 5M", "-c", "discard 10M 1M", "-c", "flush",
            "-c", "aio_write -P 9 20M 1M", "-c", "aio_read 30M 1M", "-c", "aio_flush",
            "-c", "read -P 9 20M 1M", export.Uri);
        Assert.DoesNotContain("failed", output);
        Assert.Equal(0, await export.StopAsync());
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public async Task FioVerifiesWhatItWrote(int blockBytes, bool isUnix)
    {
        await using Export export = await Export.StartAsync(64 * Mebibyte, blockBytes, isUnix);
        string output = await Tool.Run("fio", "--name=verify", "--ioengine=nbd", $"--uri={export.Uri}",
            "--rw=randrw", "--bsrange=4k-256k", "--blockalign=4k", "--size=48M", "--iodepth=32",
            "--verify=crc32c", "--verify_fatal=1", "--randseed=7");
        Assert.Contains("err= 0", output);
        Assert.Equal(0, await export.StopAsync());
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public async Task NbdkitStandsBetween(int blockBytes, bool isUnix)
    {
        await using Export export = await Export.StartAsync(64 * Mebibyte, blockBytes, isUnix);
        string source = export.MakeSource(64 * Mebibyte, seed: 3);
        string copy = $"nbdcopy --flush '{source}' \"$uri\" && " +
            $"qemu-img compare -f raw -F raw '{source}' \"$uri\"";
        await Tool.Run("nbdkit", "-U", "-", "nbd", $"uri={export.Uri}", "--run", copy);
        await Tool.Run("cmp", source, export.Image);
        Assert.Equal(0, await export.StopAsync());
    }

    // A killed server leaves its socket; the next one takes its place, and what was flushed is there.
    [Fact]
    public async Task AServerComesBackAfterItWasKilled()
    {
        await using Export export = await Export.StartAsync();
        await Tool.Run("qemu-io", "-f", "raw", "-c", "write -P 7 0 1M", "-c", "flush", export.Uri);
        await export.KillAsync();
        await export.ServeAsync();
        await Tool.Run("qemu-io", "-f", "raw", "-c", "read -P 7 0 1M", export.Uri);
        Assert.Equal(0, await export.StopAsync());
        Assert.False(File.Exists(export.File("nbd")));
    }

    [Fact]
    public async Task AnImageThatGrewIsLargerForTheNextClient()
    {
        await using Export export = await Export.StartAsync(Mebibyte);
        await Tool.Run("truncate", "-s", "2M", export.Image);
        Assert.Equal("2097152", (await Tool.Run("nbdinfo", "--size", export.Uri)).Trim());
        Assert.Equal(0, await export.StopAsync());
    }
}
