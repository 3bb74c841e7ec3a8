using System.Diagnostics;
using Ublk.Node.Cli;
using Xunit;

namespace Ublk.Tests.Unit.Wire;

/// <summary>The verb 'qublk wire decode': where it reads from, and what its exit codes are.</summary>
public sealed class DecodeVerbTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("qublk-decode").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task FileIsDecoded()
    {
        string file = Path.Combine(_directory, "capture");
        await File.WriteAllBytesAsync(file, CapturedStream.Golden());
        (int code, string output, string errors) = await Run([], file);
        Assert.Equal((0, ""), (code, errors));
        string[] lines = output.TrimEnd('\n').Split('\n');
        Assert.Equal(CapturedStream.Print(CapturedStream.Golden()).Lines, lines, StringComparer.Ordinal);
    }

    [Fact]
    public async Task StandardInputIsDecodedUpToTheDamage()
    {
        byte[] flush = GoldenSamples.Get("Flush").Head;
        (int code, string output, string errors) = await Run([.. flush, .. flush[..^1]], "-", "--json");
        Assert.Equal((int)ExitCode.BadImage, code);
        Assert.Single(output.TrimEnd('\n').Split('\n'));
        Assert.Contains("\"exitCode\": 7", errors, StringComparison.Ordinal);
        Assert.Contains($"ends at byte {(2 * flush.Length) - 1}", errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task WhatCannotBeReadIsTold()
    {
        string missing = Path.Combine(_directory, "missing");
        Assert.Equal((5, "", $"qublk: {missing} is not there\n"), await Run([], missing));
        missing = Path.Combine(missing, "deeper");
        Assert.Equal((5, "", $"qublk: {missing} is not there\n"), await Run([], missing));
        string complaint = $"qublk: {_directory} is a directory; name a captured stream\n";
        Assert.Equal((7, "", complaint), await Run([], _directory));
    }

    [Fact]
    public async Task HelpNamesTheFile()
    {
        (int code, string output, _) = await Run([], "--help");
        Assert.Equal(0, code);
        Assert.Contains("- is standard input", output, StringComparison.Ordinal);
    }

    private static async Task<(int Code, string Output, string Errors)> Run(
        byte[] input, params string[] arguments)
    {
        string program = Path.Combine(AppContext.BaseDirectory, "qublk.dll");
        using Process process = Process.Start(new ProcessStartInfo(
            "dotnet", ["exec", program, "wire", "decode", .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        })!;
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> errors = process.StandardError.ReadToEndAsync();
        await process.StandardInput.BaseStream.WriteAsync(input);
        process.StandardInput.Close();
        await process.WaitForExitAsync();
        return (process.ExitCode, await output, await errors);
    }
}
