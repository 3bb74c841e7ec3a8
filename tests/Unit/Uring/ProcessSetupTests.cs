using Ublk.Uring;
using Ublk.Uring.Native;
using Xunit;

namespace Ublk.Tests.Unit.Uring;

/// <summary>Each test works on a thread of its own: these marks stay on the thread.</summary>
public sealed class ProcessSetupTests
{
    [Fact]
    public void FlusherMarkIsSetWithTheRightAndInherited()
    {
        (int result, bool before, bool after, bool child) = OnThread(() =>
        {
            bool before = ProcessSetup.IsIoFlusher;
            int result = ProcessSetup.SetIoFlusher();
            return (result, before, ProcessSetup.IsIoFlusher, OnThread(() => ProcessSetup.IsIoFlusher));
        });
        bool may = MayUseResources();
        Assert.Equal(may ? 0 : -Errno.EPERM, result);
        Assert.False(before);
        Assert.Equal(may, after);
        Assert.Equal(may, child);
    }

    // Source: capabilities(7): CAP_SYS_RESOURCE is bit 24 of the effective set.
    private static bool MayUseResources()
    {
        const string Key = "CapEff:";
        string line = File.ReadLines("/proc/self/status").First(
            text => text.StartsWith(Key, StringComparison.Ordinal));
        ulong set = Convert.ToUInt64(line[Key.Length..].Trim(), 16);
        return (set & 1UL << 24) != 0;
    }

    [Fact]
    public void PinnedThreadStaysOnItsProcessor()
    {
        int processor = OnThread(() =>
        {
            int here = Thread.GetCurrentProcessorId();
            ProcessSetup.PinThread(here);
            int now = Thread.GetCurrentProcessorId();
            return now == here ? here : -1;
        });
        Assert.True(processor >= 0);
    }

    [Fact]
    public void ProcessorThatIsNotThereIsRefused()
    {
        SystemCallException error = Assert.Throws<SystemCallException>(
            () => ProcessSetup.PinThread(1023));
        Assert.Equal(Errno.EINVAL, error.Number);
        Assert.Throws<ArgumentOutOfRangeException>(() => ProcessSetup.PinThread(-1));
        Assert.Throws<ArgumentOutOfRangeException>(() => ProcessSetup.PinThread(1024));
    }

    [Fact]
    public void ErrorTextNamesTheErrorAndItsNumber()
    {
        var error = new SystemCallException("open thing", -Errno.ENOENT);
        Assert.Equal(Errno.ENOENT, error.Number);
        Assert.Equal("open thing: No such file or directory (errno 2)", error.Message);
    }

    [Fact]
    public void ExecuteOfNothingAnswersTheError() => Assert.Equal(
        -Errno.ENOENT, ProcessSetup.Execute("/nonexistent/program", ["program"], []));

    private static T OnThread<T>(Func<T> function)
    {
        T result = default!;
        var thread = new Thread(() => result = function());
        thread.Start();
        thread.Join();
        return result;
    }
}
