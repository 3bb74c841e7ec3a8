using System.CommandLine;
using Ublk.Node.Local;
using Ublk.Uring;

namespace Ublk.Node.Cli;

/// <summary>The options of 'local mirror': how they are written and what they mean.</summary>
internal sealed class MirrorOptions
{
    private const int MaxReplicas = 7;
    private const long DefaultMemory = 64L << 20;

    private readonly Argument<string[]> _images = new("IMAGE")
    {
        Description = "Images of the replicas, 1 to 7: regular files or block devices",
        Arity = new ArgumentArity(1, MaxReplicas),
    };

    private readonly Option<int> _quorum = new("--quorum")
    {
        Description = "Replicas that must have a write before it is acknowledged; without it a majority. " +
            "Use the same one every time",
    };

    private readonly Option<int> _id = new("--id")
    {
        Description = "Number of the device; without it the kernel chooses",
        DefaultValueFactory = _ => -1,
    };

    private readonly Option<DirectMode> _direct = new("--direct")
    {
        Description = "Go past the page cache (O_DIRECT)",
        DefaultValueFactory = _ => DirectMode.Auto,
    };

    private readonly Option<int> _depth = new("--depth")
    {
        Description = "Requests at once, 1 to 4096",
        DefaultValueFactory = _ => 128,
    };

    private readonly Option<string> _autoBuffers = AttachOptions.OnOff("--auto-buffers",
        "Read straight into the request's pages where the kernel can");

    private readonly Option<long> _memory = AttachOptions.SizeOption("--memory",
        "Payload memory, locked: 8M to 1G; without it 64M. A quarter of it is the write window");

    private readonly Option<double> _timeout = new("--request-timeout")
    {
        Description = "Seconds after which a request fails with a time-out; 0 for never",
    };

    private readonly Option<int?> _processor = new("--cpu")
    {
        Description = "Processor for the serving thread",
    };

    /// <summary>Adds them to a command.</summary>
    public void AddTo(Command command)
    {
        command.Arguments.Add(_images);
        foreach (Option option in (Option[])
            [_quorum, _id, _direct, _depth, _autoBuffers, _memory, _timeout, _processor])
        {
            command.Options.Add(option);
        }

        AttachOptions.Range(_id, value => value >= -1, "0 or higher");
        AttachOptions.Range(_depth, value => value is >= 1 and <= 4096, "1 to 4096");
        AttachOptions.Range(_memory, value => value is 0 or (>= 8 << 20 and <= 1 << 30), "8M to 1G");
        AttachOptions.Range(_timeout, value => value is >= 0 and <= 86400, "0 to 86400 seconds");
        AttachOptions.Range(_processor, value => value is null or (>= 0 and < 1024), "0 to 1023");
        command.Validators.Add(result =>
        {
            string[] images = result.GetValue(_images) ?? [];
            if (AttachOptions.TryGet(() => result.GetValue(_quorum), out int quorum) &&
                (quorum < 0 || quorum > images.Length))
            {
                result.AddError($"--quorum: 1 to {images.Length}, the number of images");
            }

            if (images.Select(Path.GetFullPath).Distinct(StringComparer.Ordinal).Count() < images.Length)
            {
                result.AddError("an image is named twice; each replica has one of its own");
            }
        });
    }

    /// <summary>What the user asked for.</summary>
    public LocalOptions Read(ParseResult parse) => new()
    {
        Target = LocalTargetKind.Mirror,
        Images = [.. parse.GetValue(_images)!.Select(Path.GetFullPath)],
        WriteQuorum = parse.GetValue(_quorum),
        DeviceId = parse.GetValue(_id),
        Direct = parse.GetValue(_direct),
        Depth = parse.GetValue(_depth),
        AutoBuffers = parse.GetValue(_autoBuffers) == "on",
        PoolBytes = parse.GetValue(_memory) is > 0 and long memory ? memory : DefaultMemory,
        RequestTimeoutSeconds = parse.GetValue(_timeout),
        Processor = parse.GetValue(_processor),
    };
}
