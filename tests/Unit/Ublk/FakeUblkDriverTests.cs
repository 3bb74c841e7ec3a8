using Ublk.Frontend.Ublk;
using Ublk.Testing;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Blocks;
using Xunit;

namespace Ublk.Tests.Unit.Ublk;

/// <summary>
/// The fake keeps the contract it stands for; what it lets pass, the product could break.
/// </summary>
public sealed class FakeUblkDriverTests : IUblkCommandSink, IDisposable
{
    private const int Depth = 2;
    private const ulong Fallback = 1 << 16;

    private readonly Loop _loop = new(
        new LoopOptions { MaxOperations = 16, BufferTableSlots = 4 }, TimeProvider.System);
    private readonly List<(int Tag, int Result)> _ends = [];
    private FakeUblkDriver _driver = null!;
    private IUblkCharDevice _file = null!;
    private IUblkQueueDriver _queue = null!;

    void IUblkCommandSink.OnCommandCompleted(int tag, int result)
    {
        int before = _ends.Count;
        Assert.Equal(0, _driver.Pump());
        Assert.Equal(before, _ends.Count);
        _ends.Add((tag, result));
    }

    public void Dispose() => _loop.Dispose();

    [Fact]
    public void TagsFollowTheProtocol()
    {
        Open(KernelProfile.V7_3);
        Assert.Equal(FakeErrno.Busy, _driver.OpenDevice(0, out _));
        Assert.Equal(FakeErrno.Time, _driver.Start(0, Environment.ProcessId));
        _queue.Fetch(0, 1UL << 17);
        _queue.Fetch(0, Fallback);
        _queue.Fetch(1, 1 | Fallback);
        _queue.Fetch(1, 1 | Fallback);
        Assert.Equal([(0, FakeErrno.Invalid), (1, FakeErrno.Busy)], Pump());
        Assert.Equal(FakeErrno.Invalid, _driver.Start(0, 1));
        Assert.Equal(0, _driver.Start(0, Environment.ProcessId));

        FakeBlockRequest read = _driver.Submit(0, 0, 0, 4096);
        Assert.Empty(_ends);
        Assert.Equal([(0, 0)], Pump());
        _queue.Commit(1, 0, 0);
        _queue.Commit(0, 4096, 1UL << 32);
        Exception? foreign = null;
        var thread = new Thread(() => foreign = Record.Exception(() => _queue.Commit(0, 4096, 0)));
        thread.Start();
        thread.Join();
        Assert.Null(foreign);
        Assert.False(read.IsDone);
        Assert.Equal(
            [(1, FakeErrno.Busy), (0, FakeErrno.Invalid), (0, FakeErrno.Invalid)], Pump());
        _queue.Commit(0, 4096, Fallback);
        Assert.True(read.IsDone);
        _queue.Commit(0, 4096, Fallback);
        Assert.Equal([(0, FakeErrno.Busy)], Pump());
    }

    [Fact]
    public void CopiesHaveADirectionAndBounds()
    {
        Start(KernelProfile.V7_3);
        var bytes = new byte[8192];
        Assert.Equal(FakeErrno.Invalid, _queue.CopyToRequest(0, bytes));
        FakeBlockRequest read = _driver.Submit(0, 0, 0, 4096);
        Pump();
        Assert.Equal(FakeErrno.Access, _queue.CopyFromRequest(0, bytes));
        Assert.Equal(4096, _queue.CopyToRequest(0, bytes));
        Assert.Equal(new byte[4096], read.Data);
        _driver.Submit(0, 1, 0, 4096);
        Pump();
        Assert.Equal(FakeErrno.Access, _queue.CopyToRequest(1, bytes));
        Assert.Equal(4096, _queue.CopyFromRequest(1, bytes));
    }

    [Theory]
    [InlineData("7.3", true)]
    [InlineData("7.2", false)]
    public void AShortCommitIsASuccessOrComesAgain(string kernel, bool isSuccess)
    {
        Start(KernelProfile.Of(kernel));
        FakeBlockRequest write = _driver.Submit(0, 1, 4096, 4096);
        Pump();
        _queue.Commit(0, 1024, Fallback);
        Assert.Equal(isSuccess, write.IsDone);
        if (!isSuccess)
        {
            (int tag, _) = Assert.Single(Pump());
            Assert.Equal(10UL, _queue.Descriptor(tag).StartSector);
            Assert.Equal(6u, _queue.Descriptor(tag).SectorCount);
        }

        Assert.Throws<InvalidOperationException>(_driver.AssertSound);
    }

    [Theory]
    [InlineData("6.16", true)]
    [InlineData("7.2", false)]
    public void AnEarlyResizeCrashesOldKernels(string kernel, bool crashes)
    {
        Open(KernelProfile.Of(kernel));
        Assert.Equal(FakeErrno.NoDevice, _driver.UpdateSize(0, 8));
        Assert.Equal(crashes, _driver.Violations.Count == 1);
    }

    [Fact]
    public void ARefusedFetchPoisonsTheTagOf618()
    {
        Open(KernelProfile.V6_18);
        _queue.Fetch(0, 1UL << 40);
        _queue.Fetch(0, Fallback);
        Assert.Equal([(0, FakeErrno.Invalid), (0, FakeErrno.Invalid)], Pump());
        Assert.Equal(FakeErrno.Time, _driver.Start(0, Environment.ProcessId));
    }

    [Theory]
    [InlineData(UblkFeatures.None, 0, FakeErrno.Io)]
    [InlineData(UblkFeatures.UserRecovery, 2, FakeErrno.Io)]
    [InlineData(UblkFeatures.UserRecovery | UblkFeatures.UserRecoveryReissue, 2, 0)]
    [InlineData(UblkFeatures.UserRecovery | UblkFeatures.UserRecoveryFailIo, 3, FakeErrno.Io)]
    public void DeathFollowsTheFlags(UblkFeatures flags, int state, int result)
    {
        Start(KernelProfile.V7_3, flags);
        FakeBlockRequest write = _driver.Submit(0, 1, 0, 4096);
        Pump();
        Assert.Equal(flags == UblkFeatures.None ? FakeErrno.Invalid : FakeErrno.Busy,
            _driver.StartRecovery(0));
        _driver.KillServer();
        Assert.Equal((UblkDeviceState)state, _driver.StateOf(0));
        Assert.Equal(result, write.Result);
        Assert.Equal(result != 0, write.IsDone);
        _queue.Commit(0, 4096, 0);
        Assert.Empty(Pump());
    }

    [Theory]
    [InlineData(UblkFeatures.UserRecoveryReissue, "7.3", FakeErrno.Invalid)]
    [InlineData(UblkFeatures.UserRecoveryReissue, "6.12", 0)]
    [InlineData(UblkFeatures.Quiesce, "6.16", FakeErrno.Invalid)]
    [InlineData(UblkFeatures.UserCopy | UblkFeatures.UnprivilegedDevice, "7.3", FakeErrno.Invalid)]
    [InlineData(UblkFeatures.NoAutoPartitionScan | (UblkFeatures)(1UL << 60), "6.12", 0)]
    public void FlagsAreNegotiated(UblkFeatures flags, string kernel, int result)
    {
        Assert.Equal(result, KernelProfile.Of(kernel).Negotiate(flags, out UblkFeatures granted));
        Assert.Equal(UblkFeatures.None, granted & ~KernelProfile.Of(kernel).Features);
    }

    private (int Tag, int Result)[] Pump()
    {
        _ends.Clear();
        _driver.Pump();
        (int, int)[] ends = [.. _ends];
        _ends.Clear();
        return ends;
    }

    private void Open(KernelProfile profile, UblkFeatures recovery = UblkFeatures.None)
    {
        _driver = new FakeUblkDriver(profile) { WaitLimit = TimeSpan.Zero };
        var info = new UblkDeviceInfo
        {
            QueueCount = 1,
            QueueDepth = Depth,
            MaxIoBufferBytes = 1 << 16,
            Flags = UblkFeatures.UserCopy | UblkFeatures.AutoBufferRegistration |
                UblkFeatures.SupportZeroCopy | recovery,
        };
        Assert.Equal(0, _driver.Add(ref info));
        Assert.Equal(-Errno.EEXIST, _driver.Add(ref info));
        Assert.Equal(0, _driver.SetParameters(0, UblkParametersBuilder.Build(
            new BlockLimits(), 1 << 20, 1 << 16, true)));
        Assert.Equal(0, _driver.OpenDevice(0, out IUblkCharDevice? file));
        _file = file!;
        _queue = _file.OpenQueue(_loop, 0, Depth);
        _queue.Sink = this;
    }

    private void Start(KernelProfile profile, UblkFeatures recovery = UblkFeatures.None)
    {
        Open(profile, recovery);
        for (int tag = 0; tag < Depth; tag++)
        {
            _queue.Fetch(tag, (ulong)tag | Fallback);
        }

        Assert.Equal(0, _driver.Start(0, Environment.ProcessId));
    }
}
