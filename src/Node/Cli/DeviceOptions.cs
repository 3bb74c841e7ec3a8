using System.CommandLine;
using Ublk.Node.Local;
using Ublk.Uring;

namespace Ublk.Node.Cli;

/// <summary>The options that every local device has, whatever it serves.</summary>
internal sealed class DeviceOptions
{
    /// <summary>Makes them.</summary>
    /// <param name="id">What --id says of itself.</param>
    /// <param name="depth">What --depth says of itself.</param>
    public DeviceOptions(string id, string depth)
    {
        Id = new Option<int>("--id") { Description = id, DefaultValueFactory = _ => -1 };
        Depth = new Option<int>("--depth") { Description = depth, DefaultValueFactory = _ => 128 };
        AttachOptions.Range(Id, value => value >= -1, "0 or higher");
        AttachOptions.Range(Depth, value => value is >= 1 and <= 4096, "1 to 4096");
        AttachOptions.Range(Timeout, value => value is >= 0 and <= 86400, "0 to 86400 seconds");
        AttachOptions.Range(Processor, value => value is null or (>= 0 and < 1024), "0 to 1023");
    }

    public Option<int> Id { get; }

    public Option<int> Depth { get; }

    public Option<DirectMode> Direct { get; } = new("--direct")
    {
        Description = "Go past the page cache (O_DIRECT)",
        DefaultValueFactory = _ => DirectMode.Auto,
    };

    public Option<string> AutoBuffers { get; } = AttachOptions.OnOff("--auto-buffers",
        "Read straight into the request's pages where the kernel can");

    public Option<double> Timeout { get; } = new("--request-timeout")
    {
        Description = "Seconds after which a request fails with a time-out; 0 for never",
    };

    public Option<int?> Processor { get; } = new("--cpu")
    {
        Description = "Processor for the serving thread",
    };

    /// <summary>What the user asked for.</summary>
    public LocalOptions Read(ParseResult parse) => new()
    {
        DeviceId = parse.GetValue(Id),
        Direct = parse.GetValue(Direct),
        Depth = parse.GetValue(Depth),
        AutoBuffers = parse.GetValue(AutoBuffers) == "on",
        RequestTimeoutSeconds = parse.GetValue(Timeout),
        Processor = parse.GetValue(Processor),
    };
}
