using System.Diagnostics;
using System.Text.Json;
using Xunit;

namespace Ublk.Tests.Interop;

/// <summary>An image of our own that 'qublk local export' serves while the test runs.</summary>
internal sealed class Export : IAsyncDisposable
{
    // Twice what the server gives its clients.
    private static readonly TimeSpan s_stopLimit = TimeSpan.FromSeconds(60);

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("ublk-nbd-");
    private Process? _process;
    private Task<string>? _errors;

    private Export()
    {
    }

    /// <summary>The image.</summary>
    public string Image => File("disk.img");

    /// <summary>How clients name it.</summary>
    public string Uri { get; private set; } = "";

    /// <summary>The server.</summary>
    public int ProcessId => _process!.Id;

    /// <summary>Serves a new image of zeros that uses no space.</summary>
    public static async Task<Export> StartAsync(
        long sizeBytes = 64 << 20, int blockBytes = 512, bool isUnix = true, params string[] options)
    {
        var export = new Export();
        using (FileStream file = System.IO.File.Create(export.Image))
        {
            file.SetLength(sizeBytes);
        }

        await export.ServeAsync(blockBytes, isUnix, options);
        return export;
    }

    /// <summary>Serves the image, again after a stop.</summary>
    public async Task ServeAsync(int blockBytes = 512, bool isUnix = true, params string[] options)
    {
        // Who runs the tests may ignore Ctrl-C, and so would what they start.
        _process = Tool.Start("env",
        [
            "--default-signal=INT", "dotnet", Path.Combine(AppContext.BaseDirectory, "qublk.dll"),
            "local", "export", Image, "--json",
            "--nbd", isUnix ? File("nbd") : "127.0.0.1:0", "--name", "disk",
            "--block-size", $"{blockBytes}", "--direct", blockBytes == 512 ? "off" : "auto", .. options,
        ]);
        _errors = _process.StandardError.ReadToEndAsync();
        string json = "";
        while (!json.Contains('}'))
        {
            string? line = await _process.StandardOutput.ReadLineAsync();
            Assert.True(line is not null, $"qublk does not serve: {(line is null ? await _errors : "")}");
            json += line;
        }

        Uri = JsonDocument.Parse(json).RootElement.GetProperty("uri").GetString()!;
    }

    /// <summary>A path beside the image.</summary>
    public string File(string name) => Path.Combine(_directory.FullName, name);

    /// <summary>A file with data, holes, and data that is zero, always the same.</summary>
    public string MakeSource(long sizeBytes, int seed = 1)
    {
        const int PieceBytes = 256 << 10;
        string path = File($"source-{seed}.img");
        var random = new Random(seed);
        byte[] piece = new byte[PieceBytes];
        using FileStream file = System.IO.File.Create(path);
        file.SetLength(sizeBytes);
        for (long at = 0; at < sizeBytes; at += PieceBytes)
        {
            int kind = random.Next(4);
            if (kind < 2)
            {
                random.NextBytes(piece.AsSpan(0, kind == 0 ? PieceBytes : 8192));
                file.Position = at;
                file.Write(piece, 0, (int)Math.Min(PieceBytes, sizeBytes - at));
                piece.AsSpan().Clear();
            }
        }

        return path;
    }

    /// <summary>Presses Ctrl-C once and answers the exit code.</summary>
    public Task<int> StopAsync() => InterruptAsync(1);

    /// <summary>Presses Ctrl-C so often, and answers the exit code.</summary>
    public async Task<int> InterruptAsync(int times)
    {
        Process process = _process!;
        _process = null;
        await Tool.Run("kill", "-INT", $"{process.Id}");
        for (int i = 1; i < times; i++)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(300), TestContext.Current.CancellationToken);
            await Tool.Run("kill", "-INT", $"{process.Id}");
        }

        using var limit = new CancellationTokenSource(s_stopLimit);
        await process.WaitForExitAsync(limit.Token);
        int code = process.ExitCode;
        process.Dispose();
        return code;
    }

    /// <summary>Ends the server without a word.</summary>
    public async Task KillAsync()
    {
        _process!.Kill();
        await _process.WaitForExitAsync();
        _process.Dispose();
        _process = null;
    }

    public async ValueTask DisposeAsync()
    {
        if (_process is not null)
        {
            await KillAsync();
        }

        _directory.Delete(recursive: true);
    }
}
