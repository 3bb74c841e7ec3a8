using Ublk.Uring.Native;
using Ublk.Wire.Blocks;

namespace Ublk.Frontend.Ublk;

/// <summary>How payload will move on this kernel.</summary>
public enum UblkDataPath
{
    /// <summary>The kernel is too old, or has no ublk.</summary>
    None,
    /// <summary>Kernel 6.5 to 6.15: every payload is copied.</summary>
    UserCopy,
    /// <summary>Kernel 6.16 and later: reads go straight into the request, writes are copied once.</summary>
    AutoBuffers,
}

/// <summary>
/// What both servers and operators do with devices: probing, inspecting, stopping, deleting. Decisions
/// rest on what the driver grants, never on version numbers.
/// </summary>
public static class UblkSupport
{
    /// <summary>The data path that the features allow.</summary>
    /// <param name="features">As the driver tells.</param>
    public static UblkDataPath DataPath(UblkFeatures features)
    {
        if (!features.HasFlag(UblkFeatures.UserCopy))
        {
            return UblkDataPath.None;
        }

        return features.HasFlag(UblkFeatures.AutoBufferRegistration)
            ? UblkDataPath.AutoBuffers : UblkDataPath.UserCopy;
    }

    /// <summary>Asks for the features and refuses kernels that cannot serve us.</summary>
    /// <param name="driver">The driver.</param>
    /// <exception cref="UblkException">Too old, or not allowed.</exception>
    public static UblkFeatures Require(IUblkDriver driver)
    {
        int result = driver.GetFeatures(out UblkFeatures features);
        if (result is -Errno.EPERM or -Errno.EACCES or -Errno.ETIME)
        {
            throw UblkException.ForCommand("ask for the features of ublk", result);
        }

        if (result < 0 || DataPath(features) == UblkDataPath.None)
        {
            throw new UblkException(UblkError.KernelTooOld,
                "this kernel's ublk lacks user copy (UBLK_F_USER_COPY); Linux 6.5 or later is needed, " +
                "6.16 or later for zero-copy reads");
        }

        return features;
    }

    /// <summary>The flags to ask for.</summary>
    /// <param name="features">What the driver has.</param>
    /// <param name="options">What is wanted.</param>
    public static UblkFeatures WantedFlags(UblkFeatures features, UblkDeviceOptions options)
    {
        UblkFeatures wanted = UblkFeatures.UserCopy | UblkFeatures.UserRecovery |
            UblkFeatures.UserRecoveryReissue | UblkFeatures.UpdateSize | UblkFeatures.Quiesce |
            UblkFeatures.NoAutoPartitionScan;
        if (options.UsesAutoBuffers && DataPath(features) == UblkDataPath.AutoBuffers)
        {
            wanted |= UblkFeatures.AutoBufferRegistration | UblkFeatures.SupportZeroCopy;
        }

        return wanted & features;
    }

    /// <summary>Checks that a device may be taken over and fits its target.</summary>
    /// <param name="driver">The driver.</param>
    /// <param name="deviceId">Device.</param>
    /// <param name="target">The target.</param>
    /// <returns>The device's shape.</returns>
    /// <exception cref="UblkException">Foreign, alive, not recoverable, or too large.</exception>
    public static UblkDeviceInfo InspectForRecovery(
        IUblkDriver driver, int deviceId, IBlockTarget target)
    {
        UblkDeviceInfo info = Inspect(driver, deviceId);
        if (info.ServerFlags != UblkDeviceOptions.Mark)
        {
            throw new UblkException(
                UblkError.Foreign, $"device {deviceId} was not made by this program");
        }

        if (!info.Flags.HasFlag(UblkFeatures.UserRecovery) || info.State == UblkDeviceState.Dead)
        {
            throw new UblkException(UblkError.Failed,
                $"device {deviceId} cannot be taken over (it is {Name(info.State)}); remove it with " +
                $"'qublk local detach {deviceId}'");
        }

        int result = driver.GetParameters(deviceId, out UblkParameters parameters);
        if (result < 0)
        {
            throw UblkException.ForCommand($"read the parameters of device {deviceId}", result);
        }

        long deviceBytes = (long)parameters.DeviceSectors << UblkAbi.SectorShift;
        int blockBytes = 1 << parameters.LogicalBlockShift;
        if (deviceBytes > target.SizeBytes || blockBytes < target.Limits.LogicalBlockBytes)
        {
            throw new UblkException(UblkError.Mismatch,
                $"device {deviceId} has {deviceBytes} bytes in blocks of {blockBytes}, the image has " +
                $"{target.SizeBytes} in blocks of {target.Limits.LogicalBlockBytes}: wrong image?");
        }

        return info;
    }

    /// <summary>Reads a device's state.</summary>
    /// <param name="driver">The driver.</param>
    /// <param name="deviceId">Device.</param>
    /// <exception cref="UblkException">No such device.</exception>
    public static UblkDeviceInfo Inspect(IUblkDriver driver, int deviceId)
    {
        int result = driver.GetInfo(deviceId, out UblkDeviceInfo info);
        return result < 0 ? throw UblkException.ForCommand($"inspect device {deviceId}", result) : info;
    }

    /// <summary>Stops a device, its own server's or another's.</summary>
    /// <param name="driver">The driver.</param>
    /// <param name="deviceId">Device.</param>
    /// <param name="force">Also while it is open.</param>
    /// <exception cref="UblkException">Busy, or the driver does not answer.</exception>
    public static void Stop(IUblkDriver driver, int deviceId, bool force)
    {
        int result = -Errno.EOPNOTSUPP;
        if (!force)
        {
            result = driver.TryStop(deviceId);
            bool isUnknown = result is -Errno.EOPNOTSUPP or -Errno.EINVAL;
            if (result == -Errno.EBUSY || (isUnknown && driver.IsInUse(deviceId)))
            {
                throw new UblkException(UblkError.Busy,
                    $"{KernelUblkDriver.BlockPath(deviceId)} is in use; unmount it or close its users " +
                    "first, or use --force");
            }
        }

        if (result is -Errno.EOPNOTSUPP or -Errno.EINVAL)
        {
            result = driver.Stop(deviceId);
        }

        if (result < 0 && result != -Errno.ENODEV)
        {
            throw UblkException.ForCommand($"stop device {deviceId}", result);
        }
    }

    /// <summary>
    /// Deletes a stopped device without waiting for foreign references, where the kernel can (6.9).
    /// </summary>
    /// <param name="driver">The driver.</param>
    /// <param name="deviceId">Device.</param>
    /// <returns>0 or −errno.</returns>
    public static int Delete(IUblkDriver driver, int deviceId)
    {
        int result = driver.Delete(deviceId, isAsync: true);
        return result is -Errno.EOPNOTSUPP or -Errno.EINVAL
            ? driver.Delete(deviceId, isAsync: false) : result;
    }

    /// <summary>Refuses a device whose size cannot be changed now.</summary>
    /// <param name="driver">The driver.</param>
    /// <param name="deviceId">Device.</param>
    /// <exception cref="UblkException">Not live, or the kernel cannot.</exception>
    public static void RequireResizable(IUblkDriver driver, int deviceId)
    {
        UblkDeviceInfo info = Inspect(driver, deviceId);
        // Before it is live this command crashes kernels 6.16 to 6.18.
        if (info.State != UblkDeviceState.Live)
        {
            throw new UblkException(UblkError.Busy,
                $"device {deviceId} is {Name(info.State)}; only a live device can be resized");
        }

        if (!info.Flags.HasFlag(UblkFeatures.UpdateSize))
        {
            throw new UblkException(UblkError.KernelTooOld,
                "this kernel cannot resize a running ublk device (6.16 or later can); " +
                "detach, resize the image and attach again");
        }
    }

    /// <summary>Changes the size of a live device.</summary>
    /// <param name="driver">The driver.</param>
    /// <param name="deviceId">Device.</param>
    /// <param name="sizeBytes">New size.</param>
    /// <exception cref="UblkException">Not live, or the kernel cannot.</exception>
    public static void Resize(IUblkDriver driver, int deviceId, long sizeBytes)
    {
        RequireResizable(driver, deviceId);
        int result = driver.UpdateSize(deviceId, (ulong)sizeBytes >> UblkAbi.SectorShift);
        if (result < 0)
        {
            throw UblkException.ForCommand($"resize device {deviceId}", result);
        }
    }

    /// <summary>Name of a state, for people.</summary>
    /// <param name="state">State.</param>
    public static string Name(UblkDeviceState state) => state switch
    {
        UblkDeviceState.Dead => "stopped",
        UblkDeviceState.Live => "live",
        UblkDeviceState.Quiesced => "waiting for a server",
        UblkDeviceState.FailIo => "failing until a server comes",
        _ => $"in state {(ushort)state}",
    };
}
