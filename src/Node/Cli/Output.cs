using System.Text.Json;
using System.Text.Json.Serialization;
using Spectre.Console;
using Ublk.Node.Local;

namespace Ublk.Node.Cli;

/// <summary>An error as JSON.</summary>
internal sealed record ErrorReport(string Code, int ExitCode, string Message);

/// <summary>A device as JSON: what attach, list and show answer.</summary>
internal sealed record DeviceReport
{
    public required int Id { get; init; }
    public required string Path { get; init; }
    public required string State { get; init; }
    public required long SizeBytes { get; init; }
    public required int BlockBytes { get; init; }
    public required int Queues { get; init; }
    public required int Depth { get; init; }
    /// <summary>Process of the server; null when there is none.</summary>
    public int? Pid { get; init; }
    /// <summary>Whether this program made the device.</summary>
    public required bool IsOurs { get; init; }
    /// <summary>auto-buffers or user-copy.</summary>
    public required string DataPath { get; init; }
    public string? Target { get; init; }
    public string? Image { get; init; }
    /// <summary>The replicas of a mirror; null for other targets.</summary>
    public IReadOnlyList<ReplicaLine>? Replicas { get; init; }
    /// <summary>The last scrub of a mirror; null before any, and for other targets.</summary>
    public ScrubLine? Scrub { get; init; }
    public required IReadOnlyList<string> Flags { get; init; }
    public bool HasVolatileCache { get; init; }
    public bool IsReadOnly { get; init; }
    public IReadOnlyDictionary<string, long>? Counters { get; init; }
}

/// <summary>An export as JSON: what 'local export' answers once it listens.</summary>
internal sealed record ExportReport
{
    public required string Uri { get; init; }
    public required string Name { get; init; }
    public required string Image { get; init; }
    public required long SizeBytes { get; init; }
    public required int BlockBytes { get; init; }
    public required bool IsReadOnly { get; init; }
    public required int Pid { get; init; }
}

/// <summary>One line of doctor's report.</summary>
/// <param name="Name">What was looked at.</param>
/// <param name="Result">ok, warning or failed.</param>
/// <param name="Detail">What was found.</param>
/// <param name="Advice">What to do; null when all is well.</param>
internal sealed record CheckReport(string Name, string Result, string Detail, string? Advice);

/// <summary>Doctor's report.</summary>
/// <param name="Verdict">full, copying, or unusable.</param>
/// <param name="Checks">Every check.</param>
internal sealed record DoctorReport(string Verdict, IReadOnlyList<CheckReport> Checks);

[JsonSourceGenerationOptions(WriteIndented = true,
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ErrorReport))]
[JsonSerializable(typeof(DeviceReport))]
[JsonSerializable(typeof(List<DeviceReport>))]
[JsonSerializable(typeof(DoctorReport))]
[JsonSerializable(typeof(ExportReport))]
[JsonSerializable(typeof(ReplicaReport))]
[JsonSerializable(typeof(ReplicaVerdict))]
internal sealed partial class ReportJson : JsonSerializerContext;

/// <summary>Where commands write: text for people or JSON for programs; errors to standard error.</summary>
internal sealed class Output(bool isJson)
{
    private const int RedirectedWidth = 200;

    static Output()
    {
        // Without a terminal there is no width to fit into; 80 columns would break paths.
        if (Console.IsOutputRedirected)
        {
            AnsiConsole.Profile.Width = RedirectedWidth;
        }
    }

    public bool IsJson { get; } = isJson;

    /// <summary>A line for people; nothing with --json.</summary>
    public void Say(string text)
    {
        if (!IsJson)
        {
            Console.Out.WriteLine(text);
        }
    }

    /// <summary>A remark that does not belong to the answer.</summary>
    public static void Note(string text) => Console.Error.WriteLine(text);

    public static void Json(string json)
    {
        Console.Out.WriteLine(json);
        Console.Out.Flush();
    }

    public int Fail(ExitCode code, string message)
    {
        if (IsJson)
        {
            var report = new ErrorReport(code.ToString(), (int)code, message);
            Console.Error.WriteLine(JsonSerializer.Serialize(report, ReportJson.Default.ErrorReport));
        }
        else
        {
            Console.Error.WriteLine($"qublk: {message}");
        }

        return (int)code;
    }

    public void Devices(List<DeviceReport> devices)
    {
        if (IsJson)
        {
            Json(JsonSerializer.Serialize(devices, ReportJson.Default.ListDeviceReport));
            return;
        }

        if (devices.Count == 0)
        {
            Say("no ublk devices");
            return;
        }

        var table = new Table().Border(TableBorder.None);
        table.AddColumns("ID", "DEVICE", "STATE", "SIZE", "PID", "SERVES");
        foreach (DeviceReport device in devices)
        {
            string serves = Served(device) ?? (device.IsOurs ? "unknown" : "not ours");
            table.AddRow(
                device.Id.ToString(), device.Path, device.State, Sizes.Format(device.SizeBytes),
                device.Pid?.ToString() ?? "-", Markup.Escape(serves));
        }

        AnsiConsole.Write(table);
    }

    /// <summary>Devices that came up: one line each, or a list in JSON.</summary>
    /// <param name="devices">The devices.</param>
    /// <param name="remark">Added for people.</param>
    public void Attached(List<DeviceReport> devices, string remark)
    {
        if (IsJson)
        {
            Json(JsonSerializer.Serialize(devices, ReportJson.Default.ListDeviceReport));
            return;
        }

        foreach (DeviceReport device in devices)
        {
            Say($"{device.Path} serves {Served(device)} " +
                $"({Sizes.Format(device.SizeBytes)}, {device.DataPath}); {remark}");
        }
    }

    private static string? Served(DeviceReport device) => device.Replicas is { } replicas
        ? $"mirror of {string.Join(", ", replicas.Select(replica => replica.Image))}"
        : device.Image ?? device.Target;

    public void Device(DeviceReport device)
    {
        if (IsJson)
        {
            Json(JsonSerializer.Serialize(device, ReportJson.Default.DeviceReport));
            return;
        }

        static void Row(string name, string value) => Console.Out.WriteLine($"{name,-22} {value}");
        Row("device", device.Path);
        Row("state", device.State);
        Row("serves", Served(device) ?? "-");
        Row("size", $"{Sizes.Format(device.SizeBytes)} ({device.SizeBytes} bytes)");
        Row("block", $"{device.BlockBytes} bytes");
        Row("queues", $"{device.Queues} of depth {device.Depth}");
        Row("server", device.Pid?.ToString() ?? "none");
        Row("data path", device.DataPath);
        Row("cache", device.HasVolatileCache ? "volatile, flush and FUA" : "none");
        Row("access", device.IsReadOnly ? "read-only" : "read and write");
        Row("flags", string.Join(' ', device.Flags));
        if (device.Replicas is [{ HasChecksums: true }, ..])
        {
            Row("checksums", "of every 4 KiB of each replica, compared with what is read");
        }

        foreach (ReplicaLine replica in device.Replicas ?? [])
        {
            Row("replica", $"{replica.Image}: {replica.Stage}" +
                (replica.MissingRegions > 0 ? $", {replica.MissingRegions} regions missing" : "") +
                (replica.Problem is null ? "" : $" ({replica.Problem})"));
            if (replica.Damage is { } damage)
            {
                Row("damage", $"{replica.Image}: {damage}");
            }
        }

        if (device.Scrub is { } scrub)
        {
            Row("scrub", Describe(scrub));
            foreach (string difference in scrub.Differences)
            {
                Row("difference", difference);
            }
        }

        if (device.Counters is { } counters)
        {
            foreach ((string name, long value) in counters)
            {
                Row(name, value.ToString());
            }
        }
    }

    private static string Describe(ScrubLine scrub) =>
        $"{scrub.EndedAt:u}: {scrub.RegionsCompared} regions compared, {scrub.RegionsNotCompared} not, " +
        $"{scrub.BlocksRepaired} blocks repaired, {scrub.BlocksNotRepaired} not" +
        (scrub.IsBrokenOff ? ", broken off" : "");
}
