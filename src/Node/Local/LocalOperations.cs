using Ublk.Frontend.Ublk;
using Ublk.Node.Cli;
using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Uring.Native;

namespace Ublk.Node.Local;

/// <summary>What operators do with devices of this host that another process serves.</summary>
internal sealed class LocalOperations(IUblkDriver driver, RunDirectory run, TimeProvider time)
{
    private static readonly TimeSpan s_goneLimit = TimeSpan.FromSeconds(10);

    /// <summary>All ublk devices of the host.</summary>
    public List<DeviceReport> List()
    {
        var reports = new List<DeviceReport>();
        foreach (int id in driver.ListDevices())
        {
            // A device may go while we look.
            if (driver.GetInfo(id, out UblkDeviceInfo info) == 0)
            {
                reports.Add(Report(info, withCounters: false));
            }
        }

        return reports;
    }

    public DeviceReport Show(int deviceId) =>
        Report(UblkSupport.Inspect(driver, deviceId), withCounters: true);

    /// <summary>From what the user wrote: a number, a node's path, or an attached image.</summary>
    /// <exception cref="CommandException">Nothing is known under it.</exception>
    public int Resolve(string text)
    {
        const string Node = "ublkb";
        string name = text.StartsWith("/dev/", StringComparison.Ordinal) ? text[5..] : text;
        string digits = name.StartsWith(Node, StringComparison.Ordinal) ? name[Node.Length..] : name;
        if (int.TryParse(digits, out int id) && id >= 0)
        {
            return id;
        }

        string path = Path.GetFullPath(text);
        foreach (LocalDeviceState state in run.ReadAll())
        {
            bool isIts = state.Options.Image == path ||
                state.Options.Images.Contains(path, StringComparer.Ordinal);
            if (isIts && driver.GetInfo(state.DeviceId, out _) == 0)
            {
                return state.DeviceId;
            }
        }

        throw new CommandException(ExitCode.NotFound,
            $"{text} is neither a device number nor an attached image; see 'qublk local list'");
    }

    /// <summary>Stops a device whoever serves it, and waits until it is gone.</summary>
    public async Task DetachAsync(int deviceId, bool force)
    {
        UblkDeviceInfo info = UblkSupport.Inspect(driver, deviceId);
        if (info.ServerFlags != UblkDeviceOptions.Mark && !force)
        {
            throw new UblkException(UblkError.Foreign,
                $"device {deviceId} was not made by this program; use --force to remove it all the same");
        }

        UblkSupport.Stop(driver, deviceId, force);
        // A living server sees its last tag come back and removes the device itself.
        bool hasServer = info.State == UblkDeviceState.Live && info.ServerPid > 0;
        if (!hasServer || !await IsGoneAsync(deviceId).ConfigureAwait(false))
        {
            int result = UblkSupport.Delete(driver, deviceId);
            if (result < 0 && result != -Errno.ENODEV)
            {
                throw UblkException.ForCommand($"delete device {deviceId}", result);
            }

            _ = await IsGoneAsync(deviceId).ConfigureAwait(false);
        }

        run.Remove(deviceId);
    }

    /// <summary>Changes the size of a device and of what is behind it: a file, or a mirror.</summary>
    public async Task ResizeAsync(int deviceId, long sizeBytes, bool mayShrink)
    {
        DeviceReport device = Show(deviceId);
        if (!device.IsOurs)
        {
            throw new UblkException(
                UblkError.Foreign, $"device {deviceId} was not made by this program");
        }

        bool isMirror = device.Replicas is not null;
        if (device.Image is null && !isMirror)
        {
            throw new CommandException(ExitCode.Usage,
                $"device {deviceId} serves no image; only images and mirrors can be resized");
        }

        if (sizeBytes % device.BlockBytes != 0)
        {
            throw new CommandException(ExitCode.Usage,
                $"{sizeBytes} bytes is no whole number of blocks of {device.BlockBytes}");
        }

        if (sizeBytes < device.SizeBytes && isMirror)
        {
            throw new CommandException(ExitCode.Usage,
                $"{Sizes.Format(sizeBytes)} is smaller than now ({Sizes.Format(device.SizeBytes)}): " +
                "a mirror only grows");
        }

        if (sizeBytes < device.SizeBytes && !mayShrink)
        {
            throw new CommandException(ExitCode.Usage,
                $"{Sizes.Format(sizeBytes)} is smaller than now ({Sizes.Format(device.SizeBytes)}): " +
                "what lies behind the new end is lost; shrink the filesystem first, then use --shrink");
        }

        // Growing: first the bytes, then their announcement. Shrinking: the other way round.
        UblkSupport.RequireResizable(driver, deviceId);
        bool isFile = device.Image is { } path && BlockImage.IsRegularFile(path);
        if (isFile && sizeBytes > device.SizeBytes)
        {
            BlockImage.Resize(device.Image!, sizeBytes);
        }
        else if (isMirror)
        {
            await LocalControl.GrowAsync(run.ControlPath(deviceId), sizeBytes, time).ConfigureAwait(false);
        }

        UblkSupport.Resize(driver, deviceId, sizeBytes);
        if (isFile && sizeBytes < device.SizeBytes)
        {
            BlockImage.Resize(device.Image!, sizeBytes);
        }
    }

    /// <summary>The options to take a device over with.</summary>
    /// <param name="deviceId">Device.</param>
    /// <param name="images">What stands behind it, where that was named: an image, or a mirror's.</param>
    /// <exception cref="CommandException">Nothing is known of it, or something else.</exception>
    public LocalOptions OptionsForRecovery(int deviceId, IReadOnlyList<string> images)
    {
        if (images.Count > 0)
        {
            return OptionsFor(deviceId, [.. images.Select(Path.GetFullPath)]);
        }

        LocalDeviceState state = run.Read(deviceId) ?? throw new CommandException(ExitCode.NotFound,
            $"nothing is known about what device {deviceId} served; name it: " +
            $"qublk local recover {deviceId} --image PATH, for a mirror once for each of its images");
        return state.Options.Target != LocalTargetKind.Memory
            ? state.Options
            : throw new CommandException(ExitCode.Failure,
                $"device {deviceId} served memory of a process that is gone; its data is lost. " +
                $"Remove it with 'qublk local detach {deviceId}'");
    }

    /// <summary>Devices of ours that wait for a server.</summary>
    public List<int> Orphans()
    {
        var orphans = new List<int>();
        foreach (int id in driver.ListDevices())
        {
            if (driver.GetInfo(id, out UblkDeviceInfo info) == 0 &&
                info.ServerFlags == UblkDeviceOptions.Mark &&
                info.State is UblkDeviceState.Quiesced or UblkDeviceState.FailIo)
            {
                orphans.Add(id);
            }
        }

        return orphans;
    }

    /// <summary>
    /// The device that waits for a server of what is wanted, if it may be taken over; null when there is
    /// none.
    /// </summary>
    /// <param name="wanted">What is to be served.</param>
    /// <param name="mayTakeOver">Whether that was asked for.</param>
    /// <exception cref="CommandException">
    /// A mirror waits for one of these images: what is written to it elsewhere would be overwritten by what
    /// the mirror's users still have under way.
    /// </exception>
    public int? OrphanOf(LocalOptions wanted, bool mayTakeOver)
    {
        foreach (int id in Orphans())
        {
            LocalOptions? known = TryRead(id)?.Options;
            if (known is not { Target: LocalTargetKind.Mirror })
            {
                if (mayTakeOver && wanted.Target == LocalTargetKind.Image && known?.Image == wanted.Image)
                {
                    return id;
                }

                continue;
            }

            bool isSame = known.Images.ToHashSet(StringComparer.Ordinal).SetEquals(wanted.Images);
            if (isSame && mayTakeOver)
            {
                return id;
            }

            string? shared = known.Images.FirstOrDefault(
                image => image == wanted.Image || wanted.Images.Contains(image, StringComparer.Ordinal));
            if (shared is not null)
            {
                throw new CommandException(ExitCode.Busy,
                    $"device {id} waits for the mirror that {shared} belongs to; take it over with " +
                    $"'qublk local recover {id}' or 'qublk local mirror --take-over " +
                    $"{string.Join(' ', known.Images)}', or remove it with 'qublk local detach {id}'");
            }
        }

        return null;
    }

    private LocalOptions OptionsFor(int deviceId, string[] images)
    {
        LocalOptions? known = TryRead(deviceId)?.Options;
        bool isMirror = known?.Target == LocalTargetKind.Mirror;
        if (images.Length > 1)
        {
            return known is null || isMirror
                ? (known ?? MirrorOptions.Standard) with { Images = images }
                : throw new CommandException(ExitCode.Usage,
                    $"device {deviceId} served {known.Image}, not a mirror; name one image");
        }

        if (isMirror)
        {
            throw new CommandException(ExitCode.Usage,
                $"device {deviceId} served a mirror of {string.Join(", ", known!.Images)}, not an image");
        }

        if (known is null && ReplicaStore.TryReadSuperblock(images[0]) is { } replica)
        {
            throw new CommandException(ExitCode.Usage,
                $"{images[0]} is replica {replica.Identity.Replica} of a volume, and nothing is known " +
                $"about what device {deviceId} served. If that was a mirror, give --image for each of its " +
                $"images; if it was this image alone, move {ReplicaFormat.MetadataPath(images[0])} away " +
                "first");
        }

        return (known ?? new LocalOptions()) with { Image = images[0], Target = LocalTargetKind.Image };
    }

    private LocalDeviceState? TryRead(int deviceId)
    {
        try
        {
            return run.Read(deviceId);
        }
        catch (CommandException)
        {
            return null; // Damaged; the caller has what it needs from elsewhere.
        }
    }

    private async Task<bool> IsGoneAsync(int deviceId)
    {
        int result = await Polling.AskAsync(
            () => driver.GetInfo(deviceId, out _), static result => result != -Errno.ENODEV,
            s_goneLimit, time).ConfigureAwait(false);
        return result == -Errno.ENODEV;
    }

    private DeviceReport Report(in UblkDeviceInfo info, bool withCounters)
    {
        int id = (int)info.DeviceId;
        _ = driver.GetParameters(id, out UblkParameters parameters);
        bool isOurs = info.ServerFlags == UblkDeviceOptions.Mark;
        LocalOptions? options = isOurs ? TryRead(id)?.Options : null;
        const int SectorShift = 9;
        return new DeviceReport
        {
            Id = id,
            Path = KernelUblkDriver.BlockPath(id),
            State = UblkSupport.Name(info.State),
            SizeBytes = (long)parameters.DeviceSectors << SectorShift,
            BlockBytes = 1 << parameters.LogicalBlockShift,
            Queues = info.QueueCount,
            Depth = info.QueueDepth,
            Pid = info.ServerPid > 0 && info.State == UblkDeviceState.Live ? info.ServerPid : null,
            IsOurs = isOurs,
            DataPath = UblkSupport.DataPath(info.Flags) == UblkDataPath.AutoBuffers
                ? "auto-buffers" : "user-copy",
            Target = options?.Target.ToString(),
            Image = options?.Target == LocalTargetKind.Image ? options.Image : null,
            Replicas = options?.Target == LocalTargetKind.Mirror ? Replicas(id, options) : null,
            Scrub = options?.Target == LocalTargetKind.Mirror ? run.ReadScrub(id) : null,
            Flags = info.Flags.ToString().Split(", "),
            HasVolatileCache =
                (parameters.Attributes & UblkParameters.AttributeVolatileCache) != 0,
            IsReadOnly = (parameters.Attributes & UblkParameters.AttributeReadOnly) != 0,
            Counters = withCounters && isOurs ? Counters(id) : null,
        };
    }

    private List<ReplicaLine> Replicas(int deviceId, LocalOptions options) =>
        run.ReadReplicas(deviceId) ??
        [.. options.Images.Select(image => new ReplicaLine(
            image, "unknown", 0, HasChecksums: false, Problem: null, Damage: null))];

    private Dictionary<string, long>? Counters(int deviceId)
    {
        if (UblkCounters.Read(run.CounterPath(deviceId)) is not { } values)
        {
            return null;
        }

        var counters = new Dictionary<string, long>(StringComparer.Ordinal);
        foreach (UblkCounter counter in Enum.GetValues<UblkCounter>())
        {
            string name = counter.ToString();
            counters[char.ToLowerInvariant(name[0]) + name[1..]] = values[(int)counter];
        }

        return counters;
    }
}
