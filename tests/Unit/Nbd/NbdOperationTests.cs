using Ublk.Frontend.Nbd;
using Ublk.Testing;
using Ublk.Tests.Unit.Wire.Transport;
using Ublk.Wire.Blocks;
using Xunit;

namespace Ublk.Tests.Unit.Nbd;

/// <summary>What each request becomes on the way to the target.</summary>
public sealed class NbdOperationTests
{
    private const int Mebibyte = NbdWorld.Mebibyte;
    private const int Fua = (int)NbdCommandFlags.Fua;
    private const int FastZero = (int)NbdCommandFlags.FastZero;
    private const int NoHole = (int)NbdCommandFlags.NoHole;

    // FUA is the target's where it has it, a flush behind the write where not, and nothing without a cache.
    [Theory]
    [InlineData(true, true, NbdCommand.Write, 1)]
    [InlineData(true, false, NbdCommand.Write, 2)]
    [InlineData(false, false, NbdCommand.Write, 1)]
    [InlineData(true, true, NbdCommand.Trim, 2)]
    [InlineData(true, true, NbdCommand.WriteZeroes, 2)]
    [InlineData(false, true, NbdCommand.WriteZeroes, 1)]
    [InlineData(true, true, NbdCommand.Read, 1)]
    internal void FuaMeansStableMedia(bool hasCache, bool hasFua, NbdCommand command, int submits)
    {
        BlockLimits limits =
            NbdWorld.DefaultLimits with { HasVolatileCache = hasCache, CanForceUnitAccess = hasFua };
        using var world = new NbdWorld(new ModelTarget(Mebibyte, limits));
        NbdClient client = world.Connect();
        byte[]? payload = command == NbdCommand.Write ? Pattern.Bytes(4096) : null;
        Assert.Equal(NbdError.None, client.Ask(command, 0, 4096, Fua, payload));
        Assert.Equal(submits, world.Target.SubmitCount);
        Assert.Equal(submits == 2, world.Target.Last.Operation == BlockOperation.Flush);
        Assert.Equal(hasCache && hasFua && command == NbdCommand.Write,
            world.Target.Last.Flags == BlockRequestFlags.ForceUnitAccess);
    }

    [Theory]
    [InlineData(NbdCommand.Trim, BlockOperation.Discard)]
    [InlineData(NbdCommand.WriteZeroes, BlockOperation.WriteZeroes)]
    internal void LongRangesAreDoneInSteps(NbdCommand command, BlockOperation operation)
    {
        using var world = new NbdWorld();
        Array.Fill(world.Target.Bytes, (byte)7);
        NbdClient client = world.Connect();
        Assert.Equal(NbdError.None, client.Ask(command, 512, 11 * Mebibyte));
        Assert.Equal(3, world.Target.SubmitCount);
        Assert.Equal((operation, 512 + 8L * Mebibyte, 3L * Mebibyte),
            (world.Target.Last.Operation, world.Target.Last.OffsetBytes, world.Target.Last.LengthBytes));
        Assert.Equal(11 * Mebibyte, world.Target.Bytes.Count(value => value == 0));
    }

    [Fact]
    public void NoHoleKeepsTheSpace()
    {
        using var world = new NbdWorld();
        NbdClient client = world.Connect();
        Assert.Equal(NbdError.None, client.Ask(NbdCommand.WriteZeroes, 0, 4096, NoHole | FastZero));
        Assert.Equal(BlockRequestFlags.NoUnmap, world.Target.Last.Flags);
    }

    // A target may lack zeros, or find out that the medium does.
    [Theory]
    [InlineData(true, 0, NbdError.None)]
    [InlineData(true, FastZero, NbdError.NotSupported)]
    [InlineData(false, 0, NbdError.None)]
    [InlineData(false, FastZero, NbdError.NotSupported)]
    internal void ZerosAreWrittenWhereThereIsNoOtherWay(bool isTold, int flags, NbdError error)
    {
        BlockLimits limits = NbdWorld.DefaultLimits with { MaxWriteZeroesBytes = isTold ? 0 : 1 << 30 };
        var disk = new ModelTarget(Mebibyte, limits);
        Array.Fill(disk.Bytes, (byte)7);
        var target = new FaultTarget(disk);
        target.Add(new FaultRule
        {
            Action = FaultAction.Fail,
            Operation = BlockOperation.WriteZeroes,
            Status = BlockStatus.NotSupported,
        });
        using var world = new NbdWorld(target);
        NbdClient client = world.Connect();
        Assert.Equal(error, client.Ask(NbdCommand.WriteZeroes, 512, 300 << 10, flags));
        Assert.Equal(error == NbdError.None ? 300 << 10 : 0, disk.Bytes.Count(value => value == 0));
    }

    [Fact]
    public void ATrimIsAHint()
    {
        var target = new ModelTarget(Mebibyte, NbdWorld.DefaultLimits) { Status = BlockStatus.NotSupported };
        using var world = new NbdWorld(target);
        Assert.Equal(NbdError.None, world.Connect().Ask(NbdCommand.Trim, 0, 4096));
    }

    [Theory]
    [InlineData(BlockStatus.IoError, NbdError.Io)]
    [InlineData(BlockStatus.NoSpace, NbdError.NoSpace)]
    [InlineData(BlockStatus.ReadOnly, NbdError.Permission)]
    [InlineData(BlockStatus.InvalidRange, NbdError.Invalid)]
    [InlineData(BlockStatus.TimedOut, NbdError.Io)]
    [InlineData(BlockStatus.Gone, NbdError.Io)]
    internal void WhatTheTargetSaysIsTold(BlockStatus status, NbdError error)
    {
        using var world = new NbdWorld();
        world.Target.Status = status;
        NbdClient client = world.Connect();
        Assert.Equal(error, client.Ask(NbdCommand.Write, 0, 2 * Mebibyte, 0, new byte[2 * Mebibyte]));
        Assert.Equal(error, client.Ask(NbdCommand.Read, 0, 2 * Mebibyte));
        Assert.Equal(error, client.Ask(NbdCommand.Flush, 0, 0));
        Assert.True(world.IsWhole);
    }

    [Fact]
    public void AnExportThatGrewIsSeen()
    {
        using var world = new NbdWorld();
        NbdClient client = world.Connect();
        Assert.Equal(NbdError.Invalid, client.Ask(NbdCommand.Read, 16 * Mebibyte, 512));
        world.Target.Grow(17 * Mebibyte);
        Assert.Equal(NbdError.None, client.Ask(NbdCommand.Read, 16 * Mebibyte, 512));
    }

    [Theory]
    [InlineData(NbdReplyStyle.Structured)]
    [InlineData(NbdReplyStyle.Extended)]
    internal void ExtentsAreToldAndJoined(NbdReplyStyle style)
    {
        using var world = new NbdWorld(new SparseTarget());
        NbdClient client = world.Connect(style);
        client.Send(NbdCommand.BlockStatus, 1, 0, 8192);
        const NbdExtentFlags Hole = NbdExtentFlags.Hole | NbdExtentFlags.Zero;
        Assert.Equal([(2048, NbdExtentFlags.None), (2048, Hole), (2048, NbdExtentFlags.None), (2048, Hole)],
            client.ReceiveOne().Extents(style));
        client.Send(NbdCommand.BlockStatus, 1, 512, 8192 - 512, (int)NbdCommandFlags.RequestOne);
        Assert.Equal([(1536, NbdExtentFlags.None)], client.ReceiveOne().Extents(style));
        client.Send(NbdCommand.BlockStatus, 1, 0, Mebibyte);
        Assert.Equal(256, client.ReceiveOne().Extents(style).Count);
    }

    [Fact]
    public void WhatIsNotKnownIsAllocated()
    {
        using var world = new NbdWorld();
        NbdClient client = world.Connect();
        client.Send(NbdCommand.BlockStatus, 1, 4096, 4 * Mebibyte);
        Assert.Equal([(4 * Mebibyte, NbdExtentFlags.None)],
            client.ReceiveOne().Extents(NbdReplyStyle.Structured));
    }

    /// <summary>Data and holes of 2 KiB in turn, told in pieces of 512 bytes.</summary>
    private sealed class SparseTarget : IBlockTarget, IBlockExtents
    {
        public BlockLimits Limits { get; } = new();

        public long SizeBytes => 1 << 20;

        public BlockExtent ExtentAt(long offsetBytes) => new(512, (offsetBytes >> 11 & 1) != 0);

        public long RefreshSize() => SizeBytes;

        public void Submit(in BlockRequest request, IBlockCompletion completion) =>
            completion.OnBlockCompleted(request.Token, BlockStatus.Ok);

        public void Dispose()
        {
        }
    }
}
