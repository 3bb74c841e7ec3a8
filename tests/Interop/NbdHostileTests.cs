using System.Net.Sockets;
using System.Text.RegularExpressions;
using Xunit;

namespace Ublk.Tests.Interop;

/// <summary>Strangers that say anything, hang up anywhere, or say nothing.</summary>
public sealed partial class NbdHostileTests
{
    private const int BadConnections = 10_000;
    private const int WarmUp = 5_000;

    private static readonly byte[] s_go =
    [
        0, 0, 0, 3, .. "IHAVEOPT"u8, 0, 0, 0, 7, 0, 0, 0, 10, 0, 0, 0, 4, .. "disk"u8, 0, 0,
    ];

    // Magic, no flags, a write of 1 MiB at 0.
    private static readonly byte[] s_write =
        [0x25, 0x60, 0x95, 0x13, 0, 0, 0, 1, .. new byte[8], .. new byte[8], 0, 16, 0, 0];

    [Fact]
    public async Task TenThousandBadConnectionsLeaveNothing()
    {
        // What is lost 10,000 times does not fit into the heap; and only so the resident size says something.
        Environment.SetEnvironmentVariable("DOTNET_GCHeapHardLimit", "0x4000000");
        await using Export export = await Export.StartAsync();
        Environment.SetEnvironmentVariable("DOTNET_GCHeapHardLimit", null);
        var random = new Random(1);

        // As many at once as there can be, so that all memory that is kept for them is there before.
        List<Socket> many = [.. Enumerable.Range(0, 300).Select(_ => Connect(export))];
        many.ForEach(socket => socket.Dispose());
        await Attack(export, random, WarmUp);
        Use before = await UseOf(export);
        await Attack(export, random, BadConnections);
        Use after = await UseOf(export);
        TestContext.Current.TestOutputHelper?.WriteLine($"{before} before, {after} after");
        Assert.InRange(after.Descriptors, 0, before.Descriptors + 2);
        Assert.InRange(after.Mappings, 0, before.Mappings * 1.1);
        Assert.InRange(after.ResidentKb, 0, before.ResidentKb * 1.1);
        Assert.Equal("67108864", (await Tool.Run("nbdinfo", "--size", export.Uri)).Trim());
        Assert.Equal(0, await export.StopAsync());
    }

    // They get the places that are left; who is served does not notice, and with them the places are free.
    [Fact]
    public async Task WhoSaysNothingKeepsNobodyFromBeingServed()
    {
        await using Export export = await Export.StartAsync();
        Task<string> client = Tool.Run("qemu-io", "-f", "raw", "-c", "write -P 7 0 1M", "-c", "sleep 3000",
            "-c", "read -P 7 0 1M", export.Uri);
        await Task.Delay(TimeSpan.FromSeconds(1), TestContext.Current.CancellationToken);
        var strangers = new List<Socket>();
        for (int i = 0; i < 1000; i++)
        {
            strangers.Add(Connect(export));
        }

        Assert.DoesNotContain("failed", await client);
        strangers.ForEach(stranger => stranger.Dispose());
        Assert.Equal("67108864", (await Tool.Run("nbdinfo", "--size", export.Uri)).Trim());
        Assert.Equal(0, await export.StopAsync());
    }

    // A write whose payload does not come is waited for; a second Ctrl-C does not wait.
    [Fact]
    public async Task ASecondInterruptEndsAtOnce()
    {
        await using Export export = await Export.StartAsync();
        using Socket client = Connect(export);
        await client.SendAsync((byte[])[.. s_go, .. s_write]);
        await Task.Delay(TimeSpan.FromMilliseconds(500), TestContext.Current.CancellationToken);
        Assert.Equal(1, await export.InterruptAsync(2));
    }

    private static async Task Attack(Export export, Random random, int count)
    {
        byte[] garbage = new byte[4096];
        for (int i = 0; i < count; i++)
        {
            using Socket socket = Connect(export);
            random.NextBytes(garbage);
            byte[] noise = garbage[..random.Next(garbage.Length)];
            byte[] said = random.Next(6) switch
            {
                0 => noise,
                1 => [0, 0, 0, 3, .. noise],
                2 => [.. s_go, .. noise],
                3 => [.. s_go, .. s_write, .. noise],
                4 => s_go[..random.Next(s_go.Length)],
                _ => [],
            };
            try
            {
                if (said.Length > 0)
                {
                    await socket.SendAsync(said);
                }

                if (random.Next(4) == 0)
                {
                    _ = await socket.ReceiveAsync(new byte[64]);
                }
            }
            catch (SocketException)
            {
                // Hung up on, as it should be.
            }
        }
    }

    // It waits where the server has many to accept; connecting asynchronously would fail then.
    private static Socket Connect(Export export)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint(export.File("nbd")));
        return socket;
    }

    // When the last of them is gone: the server hears of each end a moment later.
    private static async Task<Use> UseOf(Export export)
    {
        _ = await Tool.Run("nbdinfo", "--size", export.Uri);
        await Task.Delay(TimeSpan.FromSeconds(2), TestContext.Current.CancellationToken);
        string process = $"/proc/{export.ProcessId}";
        Match resident = Resident().Match(await File.ReadAllTextAsync($"{process}/status"));
        return new Use(
            Directory.GetFileSystemEntries($"{process}/fd").Length,
            (await File.ReadAllLinesAsync($"{process}/maps")).Length,
            int.Parse(resident.Groups[1].Value));
    }

    [GeneratedRegex(@"VmRSS:\s+(\d+) kB")]
    private static partial Regex Resident();

    private sealed record Use(int Descriptors, int Mappings, int ResidentKb);
}
