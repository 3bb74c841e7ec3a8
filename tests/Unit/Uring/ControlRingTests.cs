using Ublk.Uring;
using Ublk.Uring.Native;
using Xunit;

namespace Ublk.Tests.Unit.Uring;

public sealed class ControlRingTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(10);

    [Fact]
    public void FileWithoutCommandsRefuses()
    {
        using var directory = new TempDirectory();
        using FileHandle file = FileHandle.Open(directory.File("data", 4096), FileAccess.ReadWrite);
        using var control = new ControlRing(TimeProvider.System);
        byte[] payload = [1, 2, 3];
        int result = control.Execute(file, new ControlCommand(0x1234, 0, 0, 0), payload, s_limit);
        Assert.Equal(-Errno.EOPNOTSUPP, result);
        Assert.Equal([1, 2, 3], payload);
        Assert.Equal(0, control.AbandonedCount);
    }

    [Fact]
    public void CommandOfTheNullDeviceSucceeds()
    {
        using FileHandle file = FileHandle.Open("/dev/null", FileAccess.ReadWrite);
        using var control = new ControlRing(TimeProvider.System);
        for (uint i = 0; i < 100; i++)
        {
            int result = control.Execute(file, new ControlCommand(i, i, i, i), default, s_limit);
            Assert.SkipWhen(result == -Errno.EOPNOTSUPP, "the null device of this kernel has no commands");
            Assert.Equal(0, result);
        }
    }

    [Fact]
    public void ThreadsTakeTurns()
    {
        using FileHandle file = FileHandle.Open("/dev/null", FileAccess.ReadWrite);
        using var control = new ControlRing(TimeProvider.System);
        var threads = new Thread[4];
        int[] results = new int[threads.Length];
        for (int t = 0; t < threads.Length; t++)
        {
            int own = t;
            threads[t] = new Thread(() =>
            {
                byte[] payload = new byte[16];
                for (int i = 0; i < 200; i++)
                {
                    results[own] |= control.Execute(file, default, payload, s_limit);
                }
            });
            threads[t].Start();
        }

        Array.ForEach(threads, thread => thread.Join());
        Assert.All(results, result => Assert.Contains(result, new[] { 0, -Errno.EOPNOTSUPP }));
        Assert.Equal(0, control.AbandonedCount);
    }

    [Fact]
    public void PayloadHasALimit()
    {
        using FileHandle file = FileHandle.Open("/dev/null", FileAccess.ReadWrite);
        using var control = new ControlRing(TimeProvider.System);
        Assert.Throws<ArgumentOutOfRangeException>(() => control.Execute(
            file, default, new byte[ControlRing.MaxPayloadBytes + 1], s_limit));
    }

    [Fact]
    public void ClosedDeviceIsRefused()
    {
        FileHandle file = FileHandle.Open("/dev/null", FileAccess.ReadWrite);
        file.Dispose();
        using var control = new ControlRing(TimeProvider.System);
        Assert.Throws<ObjectDisposedException>(() => control.Execute(file, default, default, s_limit));
        using FileHandle open = FileHandle.Open("/dev/null", FileAccess.ReadWrite);
        Assert.Contains(control.Execute(open, default, default, s_limit), new[] { 0, -Errno.EOPNOTSUPP });
    }

    // A discard on a loop device ends on a thread of the kernel's, so a command without any patience is
    // given up while it runs.
    [Fact]
    public void CommandWithoutAnswerIsAbandonedAndTheNextOneRuns()
    {
        const uint Discard = 0x1200; // BLOCK_URING_CMD_DISCARD: start at 16, length at 48 of the entry.
        const int Length = 8 << 20;
        Assert.SkipUnless(ProcessSetup.IsRoot, "only root may make block devices");
        using var directory = new TempDirectory();
        string backing = directory.File("backing", Length);
        Assert.SkipUnless(
            Programs.Run("losetup", out string device, "--find", "--show", backing) == 0,
            "no loop devices here");
        try
        {
            using FileHandle file = FileHandle.Open(device.Trim(), FileAccess.ReadWrite);
            using var control = new ControlRing(TimeProvider.System);
            var command = new ControlCommand(Discard, Length, 0, 0);
            int result = control.Execute(file, command, default, s_limit);
            Assert.SkipWhen(result is -Errno.EOPNOTSUPP or -Errno.EINVAL, "kernel before 6.12");
            Assert.Equal(0, result);

            // Whether one outlasts no patience at all is the scheduler's decision; on an idle machine it
            // may take thousands.
            long start = TimeProvider.System.GetTimestamp();
            while (control.AbandonedCount == 0 && TimeProvider.System.GetElapsedTime(start) < s_limit)
            {
                result = control.Execute(file, command, default, TimeSpan.Zero);
            }

            Assert.Equal(-Errno.ETIME, result);
            Assert.Equal(1, control.AbandonedCount);
            GC.Collect();
            GC.WaitForPendingFinalizers();
            Assert.Equal(0, control.Execute(file, command, default, s_limit));
            Assert.Equal(1, control.AbandonedCount);
        }
        finally
        {
            Assert.Equal(0, Programs.Run("losetup", out _, "--detach", device.Trim()));
        }
    }
}
