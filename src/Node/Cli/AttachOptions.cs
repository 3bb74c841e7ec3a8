using System.CommandLine;
using Ublk.Node.Local;

namespace Ublk.Node.Cli;

/// <summary>The options of 'local attach': how they are written and what they mean.</summary>
internal sealed class AttachOptions
{
    private readonly Argument<string[]> _images = new("IMAGE")
    {
        Description = "Raw images: regular files or block devices; several share one loop",
        Arity = ArgumentArity.ZeroOrMore,
    };

    private readonly Option<LocalTargetKind> _target = TargetOption();

    private readonly Option<long> _size = SizeOption("--size", "Size of a memory or null target");

    private readonly DeviceOptions _device = new(
        "Number of the (first) device; without it the kernel chooses", "Requests per queue, 1 to 4096");

    private readonly Option<bool> _readOnly = new("--read-only")
    {
        Description = "Take no writes",
    };

    private readonly Option<int> _blockSize = new("--block-size")
    {
        Description = "Logical block in bytes: 512, 1024, 2048 or 4096; without it the image's own",
    };

    private readonly Option<int> _queues = new("--queues")
    {
        Description = "Queues; the kernel grants at most one per processor",
        DefaultValueFactory = _ => 1,
    };

    private readonly Option<string> _writeCopy = OnOff("--write-copy",
        "Copy each write once before it goes to the image; off saves the copy");

    private readonly Option<long> _memory = SizeOption("--memory",
        "Payload memory, locked: 1M to 1G; without it 32M");

    /// <summary>Adds them to a command.</summary>
    public void AddTo(Command command)
    {
        command.Arguments.Add(_images);
        Option[] options =
        [
            _target, _size, _device.Id, _readOnly, _blockSize, _device.Direct, _device.Depth, _queues,
            _writeCopy, _device.AutoBuffers, _memory, _device.Timeout, _device.Processor,
        ];
        foreach (Option option in options)
        {
            command.Options.Add(option);
        }

        AddValidators(command);
    }

    /// <summary>What the user asked for, one entry a device.</summary>
    public IReadOnlyList<LocalOptions> Read(ParseResult parse)
    {
        string[] images = parse.GetValue(_images) ?? [];
        LocalOptions common = ReadCommon(parse);
        return images.Length == 0
            ? [common]
            : [.. images.Select((image, i) => common with
            {
                Image = Path.GetFullPath(image),
                DeviceId = common.DeviceId < 0 ? -1 : common.DeviceId + i,
            })];
    }

    private LocalOptions ReadCommon(ParseResult parse)
    {
        long memory = parse.GetValue(_memory);
        return _device.Read(parse) with
        {
            Target = parse.GetValue(_target),
            SizeBytes = parse.GetValue(_size),
            ReadOnly = parse.GetValue(_readOnly),
            BlockBytes = parse.GetValue(_blockSize),
            Queues = parse.GetValue(_queues),
            WriteCopy = parse.GetValue(_writeCopy) == "on",
            PoolBytes = memory == 0 ? new LocalOptions().PoolBytes : memory,
        };
    }

    private void AddValidators(Command command)
    {
        Range(_queues, value => value is >= 1 and <= 64, "1 to 64");
        Range(_blockSize, value => value is 0 or 512 or 1024 or 2048 or 4096, "512, 1024, 2048 or 4096");
        Range(_memory, value => value is 0 or (>= 1 << 20 and <= 1 << 30), "1M to 1G");
        command.Validators.Add(result =>
        {
            if (!TryGet(() => result.GetValue(_target), out LocalTargetKind target) ||
                !TryGet(() => result.GetValue(_size), out long size))
            {
                return;
            }

            bool isImage = target == LocalTargetKind.Image;
            bool hasImage = result.GetValue(_images) is { Length: > 0 };
            if (isImage && !hasImage)
            {
                result.AddError("name the image to serve");
            }
            else if (!isImage && hasImage)
            {
                result.AddError("an image goes only with --target image");
            }
            else if (!isImage && (size == 0 || size % 4096 != 0))
            {
                result.AddError("a memory or null target needs --size, a multiple of 4096 bytes");
            }
            else if (isImage && size != 0)
            {
                result.AddError("--size goes only with a memory or null target; an image has its own");
            }
        });
    }

    internal static void Range<T>(Option<T> option, Func<T?, bool> isValid, string range) =>
        option.Validators.Add(result =>
        {
            if (TryGet(result.GetValueOrDefault<T>, out T? value) && !isValid(value))
            {
                result.AddError($"{option.Name}: {range}");
            }
        });

    private static Option<LocalTargetKind> TargetOption()
    {
        var option = new Option<LocalTargetKind>("--target")
        {
            Description = "What is served: the image, memory of this process, or nothing (reads zeros)",
            DefaultValueFactory = _ => LocalTargetKind.Image,
        };
        option.Validators.Add(result =>
        {
            if (TryGet(result.GetValueOrDefault<LocalTargetKind>, out LocalTargetKind target) &&
                target == LocalTargetKind.Mirror)
            {
                result.AddError("a mirror is served by 'qublk local mirror'");
            }
        });
        return option;
    }

    // Asking for a value that could not be read throws; the parser reports that one by itself.
    internal static bool TryGet<T>(Func<T?> read, out T? value)
    {
        try
        {
            value = read();
            return true;
        }
        catch (InvalidOperationException)
        {
            value = default;
            return false;
        }
    }

    internal static Option<string> OnOff(string name, string description)
    {
        var option = new Option<string>(name)
        {
            Description = description,
            DefaultValueFactory = _ => "on",
        };
        option.AcceptOnlyFromAmong("on", "off");
        return option;
    }

    internal static Option<long> SizeOption(string name, string description) => new(name)
    {
        Description = description,
        CustomParser = Sizes.Parse,
    };
}
