using System.Runtime.InteropServices;
using Ublk.Tests.Simulation.Judge;
using Ublk.Wire.Blocks;
using Xunit;

namespace Ublk.Tests.Simulation.Tests;

/// <summary>A small history written down by hand: N = 3, W = 2, eight blocks of 512 bytes.</summary>
internal sealed class MiniHistory
{
    public const int BlockBytes = 512;

    private readonly Dictionary<int, byte[]> _payloads = [];

    public HistoryChecker Checker { get; } = new(8, BlockBytes, nodes: 3, writeQuorum: 2);

    public int Begin(BlockOperation operation, int block = 0, int count = 1, bool isDurable = false)
    {
        bool isFlush = operation == BlockOperation.Flush;
        byte[] payload = new byte[operation == BlockOperation.Write ? count * BlockBytes : 0];
        int number = Checker.Begin(0, operation, isDurable, block, isFlush ? 0 : count, payload);
        _payloads[number] = payload;
        return number;
    }

    public void End(int number, BlockStatus status = BlockStatus.Ok) =>
        Checker.Complete(0, number, status, []);

    /// <summary>A write that is acknowledged at once.</summary>
    public int Write(int block = 0, bool isDurable = false)
    {
        int number = Begin(BlockOperation.Write, block, 1, isDurable);
        End(number);
        return number;
    }

    public int Fail(int block = 0)
    {
        int number = Begin(BlockOperation.Write, block);
        End(number, BlockStatus.IoError);
        return number;
    }

    public void Zero(int block = 0) => End(Begin(BlockOperation.WriteZeroes, block));

    public void Flush() => End(Begin(BlockOperation.Flush));

    /// <summary>A read of block 0 that shows what a write has put there; −1 for zeros.</summary>
    public void Read(int write) => EndRead(Begin(BlockOperation.Read), write);

    public void EndRead(int read, int write) => Checker.Complete(0, read, BlockStatus.Ok, BytesOf(write));

    public ReadOnlySpan<byte> BytesOf(int write) =>
        write < 0 ? new byte[BlockBytes] : _payloads[write].AsSpan(0, BlockBytes);

    public void LosePower(params int[] nodes)
    {
        Array.ForEach(nodes, Checker.Lost);
        Array.ForEach(nodes, Checker.Noted);
    }

    public void Accept()
    {
        Checker.Judge();
        Assert.Equal(0, Checker.UndecidedCount);
    }

    public string Refuse() => Assert.Throws<HistoryException>(Checker.Judge).Message;

    public static byte[] Mixed(ReadOnlySpan<byte> one, ReadOnlySpan<byte> other) =>
        [.. one[..(BlockBytes / 2)], .. other[(BlockBytes / 2)..]];

    public static ulong FirstWord(ReadOnlySpan<byte> bytes) => MemoryMarshal.Read<ulong>(bytes);
}
