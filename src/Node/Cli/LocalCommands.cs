using System.CommandLine;
using Ublk.Frontend.Ublk;
using Ublk.Node.Local;

namespace Ublk.Node.Cli;

/// <summary>The verbs for single, unreplicated images of this host.</summary>
internal static class LocalCommands
{
    private static readonly Argument<string> s_device = new("DEVICE")
    {
        Description = "Number, /dev/ublkbN, or the path of an attached image, in a mirror of any of them",
    };

    private static readonly Option<bool> s_background = new("--background")
    {
        Description = "Serve in a process of its own and return once the device is there",
    };

    private static readonly TimeProvider s_time = TimeProvider.System;

    /// <summary>The command group.</summary>
    public static Command Build()
    {
        var local = new Command("local",
            "Images of this host as block devices, or over NBD: single ones, or mirrors");
        local.Subcommands.Add(Attach());
        local.Subcommands.Add(Mirror());
        local.Subcommands.Add(ExportCommand.Build());
        local.Subcommands.Add(List());
        local.Subcommands.Add(Show());
        local.Subcommands.Add(Resize());
        local.Subcommands.Add(Recover());
        local.Subcommands.Add(Detach());
        return local;
    }

    private static Command Attach()
    {
        var options = new AttachOptions();
        var takeOver = new Option<bool>("--take-over")
        {
            Description = "Where a device waits for this image, take it over (for services)",
        };
        var command = new Command("attach",
            "Serve raw images (files or block devices) as /dev/ublkbN until Ctrl-C or detach");
        options.AddTo(command);
        command.Options.Add(takeOver);
        command.Options.Add(s_background);
        command.Run(async (parse, output) =>
        {
            IReadOnlyList<LocalOptions> wanted = options.Read(parse);
            var run = new RunDirectory();
            if (parse.GetValue(s_background))
            {
                return await LocalBackground.StartAsync(
                    output, run, WithoutBackground(), s_time).ConfigureAwait(false);
            }

            using KernelUblkDriver driver = KernelUblkDriver.Open(s_time);
            var operations = new LocalOperations(driver, run, s_time);
            bool mayTakeOver = parse.GetValue(takeOver);
            List<LocalOrder> orders = [.. wanted.Select(local => new LocalOrder(
                local, operations.OrphanOf(local, mayTakeOver)))];
            return await new LocalForeground(output, driver, run, s_time)
                .RunAsync(orders).ConfigureAwait(false);
        });
        return command;
    }

    private static Command Mirror()
    {
        var options = new MirrorOptions();
        var takeOver = new Option<bool>("--take-over")
        {
            Description = "Where a device waits for this mirror, take it over (for services)",
        };
        var command = new Command("mirror",
            "Serve a volume over several replicas of this host as /dev/ublkbN until Ctrl-C or detach; " +
            "each is made by 'qublk replica format' with the same cluster and volume, and a number of its " +
            "own. The volume goes on while a quorum of them is there, and one that comes back is brought " +
            "up to date");
        options.AddTo(command);
        command.Options.Add(takeOver);
        command.Options.Add(s_background);
        command.Run(async (parse, output) =>
        {
            LocalOptions wanted = options.Read(parse);
            var run = new RunDirectory();
            if (parse.GetValue(s_background))
            {
                return await LocalBackground.StartAsync(
                    output, run, WithoutBackground(), s_time).ConfigureAwait(false);
            }

            using KernelUblkDriver driver = KernelUblkDriver.Open(s_time);
            int? orphan = new LocalOperations(driver, run, s_time)
                .OrphanOf(wanted, parse.GetValue(takeOver));
            return await new LocalForeground(output, driver, run, s_time)
                .RunAsync([new LocalOrder(wanted, orphan)]).ConfigureAwait(false);
        });
        return command;
    }

    private static Command Recover()
    {
        var devices = new Argument<string[]>("DEVICE")
        {
            Description = "Number, /dev/ublkbN, or image; without it, every device that waits",
            Arity = ArgumentArity.ZeroOrMore,
        };
        var image = new Option<string[]>("--image")
        {
            Description = "Image behind the device, where nothing is known about it any more; for a mirror " +
                "once for each of its images",
        };
        var command = new Command("recover",
            "Take over devices whose serving process died or was stopped while they were in use")
        {
            devices, image, s_background,
        };
        command.Run(async (parse, output) =>
        {
            var run = new RunDirectory();
            using KernelUblkDriver driver = KernelUblkDriver.Open(s_time);
            var operations = new LocalOperations(driver, run, s_time);
            string[] names = parse.GetValue(devices) ?? [];
            List<int> ids = names.Length > 0
                ? [.. names.Select(operations.Resolve)] : operations.Orphans();
            if (ids.Count == 0)
            {
                throw new CommandException(ExitCode.NotFound, "no device waits for a server");
            }

            string[] paths = parse.GetValue(image) ?? [];
            if (paths.Length > 0 && ids.Count > 1)
            {
                throw new CommandException(ExitCode.Usage, "--image goes with one device");
            }

            List<LocalOrder> orders =
                [.. ids.Select(id => new LocalOrder(operations.OptionsForRecovery(id, paths), id))];
            if (parse.GetValue(s_background))
            {
                return await LocalBackground.StartAsync(
                    output, run, WithoutBackground(), s_time).ConfigureAwait(false);
            }

            return await new LocalForeground(output, driver, run, s_time)
                .RunAsync(orders).ConfigureAwait(false);
        });
        return command;
    }

    private static Command List()
    {
        var command = new Command("list", "All ublk devices of this host");
        command.Run((_, output) => Offline(operations =>
        {
            output.Devices(operations.List());
            return ExitCode.Success;
        }));
        return command;
    }

    private static Command Show()
    {
        var command = new Command("show", "One device, with its counters") { s_device };
        command.Run((parse, output) => Offline(operations =>
        {
            output.Device(operations.Show(operations.Resolve(parse.GetValue(s_device)!)));
            return ExitCode.Success;
        }));
        return command;
    }

    private static Command Resize()
    {
        var size = new Argument<long>("SIZE")
        {
            Description = "New size: bytes, or with K, M, G, T",
            CustomParser = Sizes.Parse,
        };
        var shrink = new Option<bool>("--shrink")
        {
            Description = "Allow a smaller size; what lies behind the new end is lost",
        };
        var command = new Command("resize",
            "Change the size of an attached image, or make a mirror larger, while it is in use")
        {
            s_device, size, shrink,
        };
        command.Run(async (parse, output) =>
        {
            using KernelUblkDriver driver = KernelUblkDriver.Open(s_time);
            var operations = new LocalOperations(driver, new RunDirectory(), s_time);
            int id = operations.Resolve(parse.GetValue(s_device)!);
            await operations.ResizeAsync(
                id, parse.GetValue(size), parse.GetValue(shrink)).ConfigureAwait(false);
            output.Device(operations.Show(id));
            return (int)ExitCode.Success;
        });
        return command;
    }

    private static Command Detach()
    {
        var force = new Option<bool>("--force")
        {
            Description = "Also while it is in use (its users get errors), and devices of others",
        };
        var devices = new Argument<string[]>("DEVICE")
        {
            Description = s_device.Description,
            Arity = ArgumentArity.OneOrMore,
        };
        var command = new Command("detach", "Remove devices, whoever serves them") { devices, force };
        command.Run(async (parse, output) =>
        {
            using KernelUblkDriver driver = KernelUblkDriver.Open(s_time);
            var operations = new LocalOperations(driver, new RunDirectory(), s_time);
            var detached = new List<DeviceReport>();
            List<int> ids = [.. parse.GetValue(devices)!.Select(operations.Resolve)];
            foreach (int id in ids)
            {
                DeviceReport device = operations.Show(id);
                await operations.DetachAsync(id, parse.GetValue(force)).ConfigureAwait(false);
                detached.Add(device with { State = "detached", Pid = null });
                output.Say($"{device.Path} detached");
            }

            if (output.IsJson)
            {
                output.Devices(detached);
            }

            return (int)ExitCode.Success;
        });
        return command;
    }

    private static Task<int> Offline(Func<LocalOperations, ExitCode> body)
    {
        using KernelUblkDriver driver = KernelUblkDriver.Open(s_time);
        return Task.FromResult((int)body(new LocalOperations(driver, new RunDirectory(), s_time)));
    }

    private static List<string> WithoutBackground()
    {
        var arguments = new List<string>(Environment.GetCommandLineArgs().Skip(1));
        arguments.Remove(s_background.Name);
        return arguments;
    }
}
