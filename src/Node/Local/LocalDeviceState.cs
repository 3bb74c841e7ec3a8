using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using Ublk.Node.Cli;
using Ublk.Uring;

namespace Ublk.Node.Local;

/// <summary>What stands behind a local device.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<LocalTargetKind>))]
internal enum LocalTargetKind
{
    /// <summary>A raw image.</summary>
    Image,
    /// <summary>Memory of the serving process; empty after it ends.</summary>
    Memory,
    /// <summary>Nothing: reads zeros.</summary>
    Null,
    /// <summary>A replicated volume, all replicas of which lie on this host.</summary>
    Mirror,
}

/// <summary>How a local device is served; kept beside it so that another process can take it over.</summary>
internal sealed record LocalOptions
{
    /// <summary>Absolute path of the image; empty for the other targets.</summary>
    public string Image { get; init; } = "";

    public LocalTargetKind Target { get; init; }

    /// <summary>Absolute paths of the images of a mirror, one a replica.</summary>
    public IReadOnlyList<string> Images { get; init; } = [];

    /// <summary>Replicas of a mirror that must have a write before it is answered; 0: a majority.</summary>
    public int WriteQuorum { get; init; }

    /// <summary>The replicas of a mirror are compared every so many hours; 0 for never.</summary>
    public double ScrubHours { get; init; }

    /// <summary>Wanted number; −1 for any.</summary>
    public int DeviceId { get; init; } = -1;

    /// <summary>Size of a memory or null target.</summary>
    public long SizeBytes { get; init; }

    public bool ReadOnly { get; init; }

    /// <summary>Logical block; 0 for the image's own.</summary>
    public int BlockBytes { get; init; }

    [JsonConverter(typeof(JsonStringEnumConverter<DirectMode>))]
    public DirectMode Direct { get; init; }

    public int Queues { get; init; } = 1;

    public int Depth { get; init; } = 128;

    /// <summary>Whether writes are copied before they go to the image.</summary>
    public bool WriteCopy { get; init; } = true;

    /// <summary>Whether registered request pages are used where the kernel has them.</summary>
    public bool AutoBuffers { get; init; } = true;

    /// <summary>Payload memory in bytes.</summary>
    public long PoolBytes { get; init; } = 32L << 20;

    /// <summary>Request time limit in seconds; 0 for none.</summary>
    public double RequestTimeoutSeconds { get; init; }

    /// <summary>Processor for the loop; null for any.</summary>
    public int? Processor { get; init; }
}

/// <summary>A local device as its server leaves word of it.</summary>
internal sealed record LocalDeviceState
{
    public required int DeviceId { get; init; }

    public required int Pid { get; init; }

    public required LocalOptions Options { get; init; }
}

/// <summary>One replica of a mirror, as its server sees it.</summary>
/// <param name="Image">Path of its image.</param>
/// <param name="Stage">closed, behind, resyncing, or in sync.</param>
/// <param name="MissingRegions">Regions of 1 MiB that it misses.</param>
/// <param name="HasChecksums">Whether it keeps checksums.</param>
/// <param name="Problem">Why it is not in sync; null when it is, or nothing is known.</param>
/// <param name="Damage">What its disk did to its bytes; null when nothing is known.</param>
internal sealed record ReplicaLine(
    string Image, string Stage, int MissingRegions, bool HasChecksums, string? Problem, string? Damage);

/// <summary>What the last scrub of a mirror has found.</summary>
internal sealed record ScrubLine
{
    public required DateTimeOffset EndedAt { get; init; }

    /// <summary>Regions of 1 MiB.</summary>
    public required long RegionsCompared { get; init; }

    public required long RegionsNotCompared { get; init; }

    /// <summary>Blocks of 4 KiB.</summary>
    public required long BlocksRepaired { get; init; }

    public required long BlocksNotRepaired { get; init; }

    /// <summary>The volume was given up before the scrub was through.</summary>
    public bool IsBrokenOff { get; init; }

    /// <summary>Where replicas differed, and how that ended: the first 100.</summary>
    public required IReadOnlyList<string> Differences { get; init; }
}

[JsonSourceGenerationOptions(WriteIndented = true,
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(ScrubLine))]
[JsonSerializable(typeof(LocalDeviceState))]
[JsonSerializable(typeof(List<ReplicaLine>))]
internal sealed partial class LocalJson : JsonSerializerContext;

/// <summary>
/// The run directory: one state file and one counter page per device. It is on a memory filesystem, as
/// devices do not outlive the boot either.
/// </summary>
internal sealed class RunDirectory
{
    private readonly string _path;

    public RunDirectory()
    {
        string root = Environment.GetEnvironmentVariable("QUBLK_RUN_DIR") ?? "/run/qublk";
        _path = Path.Combine(root, "local");
        LiveDirectory = Path.Combine(root, "live");
    }

    /// <summary>Where the live pages of replicas lie.</summary>
    public string LiveDirectory { get; }

    public string CounterPath(int deviceId) => Path.Combine(_path, $"{deviceId}.counters");

    /// <summary>Where the process that serves a mirror is spoken to.</summary>
    public string ControlPath(int deviceId) => Path.Combine(_path, $"{deviceId}.control");

    /// <summary>A counter page for a device that has no number yet.</summary>
    public string PendingCounterPath() =>
        Path.Combine(_path, $"pending-{Environment.ProcessId}.counters");

    /// <summary>Where a background server tells its starter how it went.</summary>
    public string StartReportPath(int pid) => Path.Combine(_path, $"start-{pid}.json");

    public void Create() => Directory.CreateDirectory(_path,
        UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);

    /// <summary>Writes the state so that a reader sees the old one or the new one, never a part.</summary>
    public void Write(LocalDeviceState state) =>
        WriteWhole(StatePath(state.DeviceId), state, LocalJson.Default.LocalDeviceState);

    /// <summary>The state of a device; null when there is none.</summary>
    /// <exception cref="CommandException">The file is damaged.</exception>
    public LocalDeviceState? Read(int deviceId)
    {
        string path = StatePath(deviceId);
        if (!File.Exists(path))
        {
            return null;
        }

        try
        {
            return JsonSerializer.Deserialize(
                File.ReadAllText(path), LocalJson.Default.LocalDeviceState);
        }
        catch (JsonException exception)
        {
            throw new CommandException(ExitCode.Failure,
                $"{path} is damaged ({exception.Message}); name the image: " +
                $"qublk local recover {deviceId} --image PATH");
        }
    }

    /// <summary>Writes how far the replicas of a mirror are.</summary>
    public void WriteReplicas(int deviceId, List<ReplicaLine> replicas) =>
        WriteWhole(ReplicasPath(deviceId), replicas, LocalJson.Default.ListReplicaLine);

    /// <summary>How far the replicas of a mirror are, as its server said last; else null.</summary>
    public List<ReplicaLine>? ReadReplicas(int deviceId) =>
        ReadIfThere(ReplicasPath(deviceId), LocalJson.Default.ListReplicaLine);

    /// <summary>Writes what a scrub has found.</summary>
    public void WriteScrub(int deviceId, ScrubLine scrub) =>
        WriteWhole(ScrubPath(deviceId), scrub, LocalJson.Default.ScrubLine);

    /// <summary>What the last scrub of a mirror has found; null before any.</summary>
    public ScrubLine? ReadScrub(int deviceId) =>
        ReadIfThere(ScrubPath(deviceId), LocalJson.Default.ScrubLine);

    /// <summary>All readable states.</summary>
    public List<LocalDeviceState> ReadAll()
    {
        var states = new List<LocalDeviceState>();
        if (!Directory.Exists(_path))
        {
            return states;
        }

        foreach (string path in Directory.EnumerateFiles(_path, "*.json"))
        {
            if (int.TryParse(Path.GetFileNameWithoutExtension(path), out int id) &&
                Read(id) is { } state)
            {
                states.Add(state);
            }
        }

        return states;
    }

    public void Remove(int deviceId)
    {
        File.Delete(StatePath(deviceId));
        File.Delete(CounterPath(deviceId));
        File.Delete(ReplicasPath(deviceId));
        File.Delete(ScrubPath(deviceId));
        File.Delete(ControlPath(deviceId));
    }

    private static void WriteWhole<T>(string path, T content, JsonTypeInfo<T> type)
    {
        File.WriteAllText($"{path}.new", JsonSerializer.Serialize(content, type));
        File.Move($"{path}.new", path, overwrite: true);
    }

    private static T? ReadIfThere<T>(string path, JsonTypeInfo<T> type) where T : class
    {
        try
        {
            return JsonSerializer.Deserialize(File.ReadAllText(path), type);
        }
        catch (FileNotFoundException)
        {
            return null;
        }
    }

    private string ScrubPath(int deviceId) => Path.Combine(_path, $"{deviceId}.scrub");

    private string ReplicasPath(int deviceId) => Path.Combine(_path, $"{deviceId}.replicas");

    private string StatePath(int deviceId) => Path.Combine(_path, $"{deviceId}.json");
}
