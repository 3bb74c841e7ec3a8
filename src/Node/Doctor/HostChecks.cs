using Ublk.Frontend.Ublk;
using Ublk.Node.Cli;
using Ublk.Uring;
using Ublk.Uring.Abi;
using Ublk.Uring.Native;

namespace Ublk.Node.Doctor;

/// <summary>
/// Looks at this host as the program will meet it: tries things, and asks the kernel, instead of
/// comparing version numbers.
/// </summary>
internal static class HostChecks
{
    /// <summary>Verdict: zero-copy reads, every feature that serving needs.</summary>
    public const string Full = "full";

    /// <summary>Verdict: ublk works, every payload is copied.</summary>
    public const string Copying = "copying";

    /// <summary>Verdict: no ublk device can be served.</summary>
    public const string Unusable = "unusable";

    private const string Ok = "ok";
    private const string Warning = "warning";
    private const string Failed = "failed";

    /// <summary>Runs every check; changes nothing on the host.</summary>
    /// <param name="time">Clock of the driver's time limits.</param>
    public static DoctorReport Run(TimeProvider time)
    {
        var checks = new List<CheckReport> { Kernel(), User() };
        bool hasRing = CheckRing(checks);
        UblkDataPath path = hasRing ? CheckUblk(checks, time) : UblkDataPath.None;
        checks.Add(LockedMemory());
        checks.Add(IoFlusher());
        checks.Add(OomScore());
        string verdict = path switch
        {
            UblkDataPath.AutoBuffers => Full,
            UblkDataPath.UserCopy => Copying,
            _ => Unusable,
        };
        return new DoctorReport(verdict, checks);
    }

    private static CheckReport Kernel() => new("kernel", Ok, Read("/proc/sys/kernel/osrelease"), null);

    private static CheckReport User() => ProcessSetup.IsRoot
        ? new("user", Ok, "root", null)
        : new("user", Failed, "not root",
            "run as root: ublk devices of ordinary users cannot use user copy or registered buffers, " +
            "and cannot be taken over after a crash");

    private static bool CheckRing(List<CheckReport> checks)
    {
        try
        {
            using Ring ring = Ring.Create(new RingOptions(8, 64));
            bool[] opcodes = ring.ProbeOpcodes();
            RingOpcode[] needed =
            [
                RingOpcode.ReadFixed, RingOpcode.WriteFixed, RingOpcode.Fsync, RingOpcode.Fallocate,
                RingOpcode.UringCommand,
            ];
            var missing = new List<RingOpcode>();
            foreach (RingOpcode opcode in needed)
            {
                if (!opcodes[(int)opcode])
                {
                    missing.Add(opcode);
                }
            }

            checks.Add(missing.Count == 0
                ? new("io_uring", Ok, $"works ({ring.SetupFlags})", null)
                : new("io_uring", Failed, $"lacks {string.Join(", ", missing)}",
                    "use Linux 6.5 or later"));
            return missing.Count == 0;
        }
        catch (SystemCallException exception)
        {
            string disabled = Read("/proc/sys/kernel/io_uring_disabled");
            string advice = disabled is "1" or "2"
                ? "io_uring is switched off: sysctl -w kernel.io_uring_disabled=0"
                : exception.Number == Errno.ENOSYS
                    ? "use a kernel with CONFIG_IO_URING, or a container profile that allows it"
                    : "a container profile (seccomp) may forbid io_uring_setup; allow it";
            checks.Add(new("io_uring", Failed, exception.Message, advice));
            return false;
        }
    }

    private static UblkDataPath CheckUblk(List<CheckReport> checks, TimeProvider time)
    {
        try
        {
            using KernelUblkDriver driver = KernelUblkDriver.Open(time);
            UblkFeatures features = UblkSupport.Require(driver);
            checks.Add(new("ublk driver", Ok, $"features 0x{(ulong)features:x}", null));
            Feature(checks, features, UblkFeatures.AutoBufferRegistration, "zero-copy reads",
                "Linux 6.16 or later reads without a copy");
            Feature(checks, features, UblkFeatures.UserRecoveryReissue, "take-over after a crash",
                "Linux 6.1 or later has it");
            Feature(checks, features, UblkFeatures.UpdateSize, "resize while in use",
                "Linux 6.16 or later has it");
            Feature(checks, features, UblkFeatures.Quiesce, "quiet upgrade of the server",
                "Linux 6.16 or later has it");
            Feature(checks, features, UblkFeatures.SafeStop, "stop that refuses while in use",
                "before Linux 7.0 only mounts and exclusive opens are noticed");
            return UblkSupport.DataPath(features);
        }
        catch (UblkException exception)
        {
            checks.Add(new("ublk driver", Failed, exception.Message, exception.Error switch
            {
                UblkError.NoDriver => "modprobe ublk_drv; or use a kernel with CONFIG_BLK_DEV_UBLK",
                UblkError.NoPermission => "run as root, outside of a user namespace",
                _ => null,
            }));
            return UblkDataPath.None;
        }
    }

    private static void Feature(
        List<CheckReport> checks, UblkFeatures features, UblkFeatures feature, string name, string advice)
    {
        bool has = features.HasFlag(feature);
        checks.Add(new(name, has ? Ok : Warning, has ? "yes" : "not on this kernel", has ? null : advice));
    }

    private static CheckReport LockedMemory()
    {
        const long Wanted = 64L << 20;
        using MemoryMapping probe = MemoryMapping.Allocate(Wanted);
        int result = probe.Lock();
        return result == 0
            ? new("locked memory", Ok, "64 MiB can be locked", null)
            : new("locked memory", Warning, $"64 MiB cannot be locked: {Errno.Describe(result)}",
                "raise the limit: LimitMEMLOCK=infinity in the unit, or 'ulimit -l unlimited'");
    }

    private static CheckReport IoFlusher()
    {
        bool can = ProcessSetup.IsIoFlusher || CanBeIoFlusher();
        return can
            ? new("write-back mark", Ok, "threads can be marked (PR_SET_IO_FLUSHER)", null)
            : new("write-back mark", Warning, "threads cannot be marked (PR_SET_IO_FLUSHER)",
                "CAP_SYS_RESOURCE is needed; without it memory pressure may stall I/O");
    }

    // On a thread of its own, because the mark stays with the thread.
    private static bool CanBeIoFlusher()
    {
        bool can = false;
        var thread = new Thread(() => can = ProcessSetup.SetIoFlusher() == 0);
        thread.Start();
        thread.Join();
        return can;
    }

    private static CheckReport OomScore()
    {
        string now = Read("/proc/self/oom_score_adj");
        bool can = ProcessSetup.IsRoot;
        return can
            ? new("out-of-memory protection", Ok, $"can be set (now {now})", null)
            : new("out-of-memory protection", Warning, $"cannot be set (now {now})",
                "OOMScoreAdjust=-1000 in the unit");
    }

    private static string Read(string path)
    {
        try
        {
            return File.ReadAllText(path).Trim();
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return "unknown";
        }
    }
}
