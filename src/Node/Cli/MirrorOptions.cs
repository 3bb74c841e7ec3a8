using System.CommandLine;
using Ublk.Node.Local;

namespace Ublk.Node.Cli;

/// <summary>The options of 'local mirror': how they are written and what they mean.</summary>
internal sealed class MirrorOptions
{
    private const int MaxReplicas = 7;
    private const long DefaultMemory = 64L << 20;
    private const double HoursOfAWeek = 168;

    private readonly Argument<string[]> _images = new("IMAGE")
    {
        Description = "Images of the replicas, 1 to 7: regular files or block devices",
        Arity = new ArgumentArity(1, MaxReplicas),
    };

    private readonly Option<int> _quorum = new("--quorum")
    {
        Description = "Replicas that must have a write before it is acknowledged; without it what the " +
            "replicas were served with before, at first a majority",
    };

    private readonly DeviceOptions _device = new(
        "Number of the device; without it the kernel chooses", "Requests at once, 1 to 4096");

    private readonly Option<long> _memory = AttachOptions.SizeOption("--memory",
        "Payload memory, locked: 8M to 1G; without it 64M. A quarter of it is the write window");

    private readonly Option<double> _scrub = new("--scrub-every")
    {
        Description = "Hours after which all replicas are compared, again and again, and what differs is " +
            "repaired from the majority; 0 for never",
        DefaultValueFactory = _ => HoursOfAWeek,
    };

    /// <summary>What a mirror is served with where nothing else is known.</summary>
    public static LocalOptions Standard { get; } = new()
    {
        Target = LocalTargetKind.Mirror,
        PoolBytes = DefaultMemory,
        ScrubHours = HoursOfAWeek,
    };

    /// <summary>Adds them to a command.</summary>
    public void AddTo(Command command)
    {
        command.Arguments.Add(_images);
        Option[] options =
        [
            _quorum, _device.Id, _device.Direct, _device.Depth, _device.AutoBuffers, _memory,
            _device.Timeout, _device.Processor, _scrub,
        ];
        foreach (Option option in options)
        {
            command.Options.Add(option);
        }

        AttachOptions.Range(_memory, value => value is 0 or (>= 8 << 20 and <= 1 << 30), "8M to 1G");
        AttachOptions.Range(_scrub, value => value is 0 or (>= 0.0001 and <= 1000), "0, or 0.0001 to 1000");
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
    public LocalOptions Read(ParseResult parse) => _device.Read(parse) with
    {
        Target = LocalTargetKind.Mirror,
        Images = [.. parse.GetValue(_images)!.Select(Path.GetFullPath)],
        WriteQuorum = parse.GetValue(_quorum),
        ScrubHours = parse.GetValue(_scrub),
        PoolBytes = parse.GetValue(_memory) is > 0 and long memory ? memory : DefaultMemory,
    };
}
