using Ublk.Frontend.Ublk;
using Ublk.Testing;
using Ublk.Uring.Native;
using Ublk.Wire.Blocks;
using Xunit;

namespace Ublk.Tests.Unit.Ublk;

/// <summary>Negotiation, parameters, decoding and counters.</summary>
public sealed class UblkSupportTests
{
    [Theory]
    [InlineData("6.4", UblkDataPath.None)]
    [InlineData("6.12", UblkDataPath.UserCopy)]
    [InlineData("6.16", UblkDataPath.AutoBuffers)]
    [InlineData("6.18", UblkDataPath.AutoBuffers)]
    [InlineData("7.2", UblkDataPath.AutoBuffers)]
    [InlineData("7.3", UblkDataPath.AutoBuffers)]
    public void TheDataPathFollowsTheFeatures(string kernel, UblkDataPath expected) =>
        Assert.Equal(expected, UblkSupport.DataPath(KernelProfile.Of(kernel).Features));

    [Fact]
    public void TheNewestKernelGrantsWhatWasSeen()
    {
        UblkFeatures wanted =
            UblkSupport.WantedFlags(KernelProfile.V7_3.Features, new UblkDeviceOptions());
        Assert.Equal(0x41C99UL, (ulong)wanted);
        Assert.Equal(0, KernelProfile.V7_3.Negotiate(wanted, out UblkFeatures granted));
        Assert.Equal(0x67CDBUL, (ulong)granted);
    }

    [Fact]
    public void NothingIsWantedThatTheKernelLacks()
    {
        foreach (KernelProfile profile in KernelProfile.All)
        {
            UblkFeatures wanted =
                UblkSupport.WantedFlags(profile.Features, new UblkDeviceOptions());
            Assert.Equal(UblkFeatures.None, wanted & ~profile.Features);
            Assert.Equal(0, profile.Negotiate(wanted, out UblkFeatures granted));
            Assert.Equal(wanted, wanted & granted);
            wanted = UblkSupport.WantedFlags(
                profile.Features, new UblkDeviceOptions { UsesAutoBuffers = false });
            Assert.Equal(UblkFeatures.None, wanted &
                (UblkFeatures.AutoBufferRegistration | UblkFeatures.SupportZeroCopy));
        }
    }

    [Theory]
    [InlineData("6.16")]
    [InlineData("7.3")]
    public void OnlyALiveDeviceIsResized(string kernel)
    {
        using var bench = new QueueBench(
            new BenchOptions { Profile = KernelProfile.Of(kernel), IsStarted = false });
        UblkException early = Assert.Throws<UblkException>(
            () => UblkSupport.Resize(bench.Driver, 0, 2 << 20));
        Assert.Equal(UblkError.Busy, early.Error);
        bench.Queue.Start();
        Assert.Equal(0, bench.Driver.Start(0, Environment.ProcessId));
        UblkSupport.Resize(bench.Driver, 0, 2 << 20);
        Assert.Equal((2UL << 20) / 512, bench.Driver.ParametersOf(0).DeviceSectors);
        bench.Driver.Inject(FakeCommand.UpdateSize, -Errno.EINVAL);
        Assert.Throws<UblkException>(() => UblkSupport.Resize(bench.Driver, 0, 2 << 20));
        bench.AssertEndsClean();
    }

    [Fact]
    public void AnOldKernelCannotResize()
    {
        using var bench = new QueueBench(new BenchOptions { Profile = KernelProfile.V6_12 });
        UblkException old = Assert.Throws<UblkException>(
            () => UblkSupport.Resize(bench.Driver, 0, 2 << 20));
        Assert.Equal(UblkError.KernelTooOld, old.Error);
        bench.AssertEndsClean();
    }

    [Fact]
    public void OptionsOutOfRangeAreRefused()
    {
        var good = new UblkDeviceOptions();
        good.Validate();
        UblkDeviceOptions[] wrong =
        [
            good with { QueueCount = 0 }, good with { QueueCount = 65 },
            good with { QueueDepth = 0 }, good with { QueueDepth = 4097 },
            good with { MaxTransferBytes = 4095 }, good with { MaxTransferBytes = 6000 },
            good with { MaxTransferBytes = 2 << 20 }, good with { DeviceId = -2 },
        ];
        Assert.All(wrong, static options => Assert.Throws<UblkException>(options.Validate));
    }

    [Theory]
    [InlineData(512, 4096, 1, 0)]
    [InlineData(4096, 4096, 512, 511)]
    [InlineData(4096, 512, 4096, 4095)]
    [InlineData(512, 65536, 4, 0)]
    public void ParametersFollowTheLimitsAndPleaseTheKernel(
        int block, int physical, int align, int mask)
    {
        var limits = new BlockLimits
        {
            LogicalBlockBytes = block,
            PhysicalBlockBytes = physical,
            MemoryAlignBytes = align,
            ReadsIntoRegistered = true,
            DiscardGranularityBytes = 4096,
            MaxDiscardBytes = long.MaxValue,
            MaxWriteZeroesBytes = 1 << 20,
            HasVolatileCache = true,
            CanForceUnitAccess = true,
        };
        UblkParameters parameters = UblkParametersBuilder.Build(limits, 1L << 40, 1 << 20, true);
        Assert.Equal(1UL << 31, parameters.DeviceSectors);
        Assert.Equal(block, 1 << parameters.LogicalBlockShift);
        Assert.Equal(Math.Max(block, physical), 1 << parameters.PhysicalBlockShift);
        Assert.Equal(2048u, parameters.MaxSectors);
        Assert.Equal((uint)mask, parameters.DmaAlignmentMask);
        Assert.Equal(uint.MaxValue >> 9, parameters.MaxDiscardSectors);
        Assert.Equal(2048u, parameters.MaxWriteZeroesSectors);
        Assert.Equal(1, parameters.MaxDiscardSegments);
        Assert.Equal(UblkParameters.AttributeVolatileCache | UblkParameters.AttributeFua,
            parameters.Attributes);
        Assert.True(FakeParameterRules.Accepts(parameters, 1 << 20));
        Assert.False(FakeParameterRules.Accepts(parameters, 1 << 19));
    }

    [Fact]
    public void APlainTargetHasNoDiscardAndNoCache()
    {
        UblkParameters parameters = UblkParametersBuilder.Build(
            new BlockLimits { IsReadOnly = true, CanForceUnitAccess = true }, 1 << 20, 4096, false);
        Assert.Equal(UblkParameters.TypeBasic, parameters.Types);
        Assert.Equal(UblkParameters.AttributeReadOnly, parameters.Attributes);
        Assert.True(FakeParameterRules.Accepts(parameters, 4096));
        parameters.Types = 0;
        Assert.False(FakeParameterRules.Accepts(parameters, 4096));
    }

    [Fact]
    public void OperationsAreDecodedByTheirLowByte()
    {
        for (uint operation = 0; operation < 256; operation++)
        {
            uint word = operation | 1u << 11 | 1u << 17;
            var descriptor = new UblkIoDescriptor { OperationFlags = word };
            bool isKnown = UblkRequestDecoder.TryDecode(descriptor, out _, out var flags);
            Assert.Equal(operation is 0 or 1 or 2 or 3 or 5, isKnown);
            Assert.Equal(BlockRequestFlags.None, flags);
        }
    }

    [Fact]
    public void CountersCanBeReadByAnotherProcess()
    {
        string path = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName());
        try
        {
            Assert.Null(UblkCounters.Read(path));
            using (UblkCounters counters = UblkCounters.Create(path))
            {
                counters[UblkCounter.Reads]++;
                counters[UblkCounter.LoopAllocatedBytes] = long.MaxValue;
                long[] values = UblkCounters.Read(path)!;
                Assert.Equal(1, values[(int)UblkCounter.Reads]);
                Assert.Equal(long.MaxValue, values[(int)UblkCounter.LoopAllocatedBytes]);
                Assert.Equal(0, values[(int)UblkCounter.Writes]);
            }

            File.WriteAllBytes(path, new byte[UblkCounters.PageBytes]);
            Assert.Null(UblkCounters.Read(path));
            File.WriteAllBytes(path, new byte[7]);
            Assert.Null(UblkCounters.Read(path));
        }
        finally
        {
            File.Delete(path);
        }
    }
}
