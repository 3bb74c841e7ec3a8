using System.Runtime.InteropServices;
using Ublk.Replication.Replica;
using Ublk.Uring;
using Ublk.Uring.Native;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Replica;

public sealed class ChecksumAccessTests : IDisposable
{
    private const int Block = ChecksumBench.Block;
    private const int Buffers = 64;
    private const int BufferBytes = 64 << 10;
    private const long PageSpan = 4 << 20;

    private readonly MemoryMapping _memory = MemoryMapping.Allocate(Buffers * BufferBytes);

    public void Dispose() => _memory.Dispose();

    // Reads see what was asked for before them, whatever ends first; afterwards files and checksums agree.
    [Theory]
    [InlineData(512, 1)]
    [InlineData(512, 2)]
    [InlineData(512, 3)]
    [InlineData(4096, 4)]
    [InlineData(4096, 5)]
    public void EverythingHappensInOrderBlockByBlock(int blockBytes, int seed)
    {
        long size = 6 * PageSpan - (blockBytes == 512 ? 1536 : 0);
        using var bench = new ChecksumBench(size, blockBytes);
        var random = new Random(seed);
        byte[] model = new byte[size];
        var expected = new Dictionary<ulong, byte[]>();
        var free = new Stack<int>(Enumerable.Range(0, Buffers));
        int ended = 0, asked = 0;
        const int Count = 4000;
        while (ended < Count)
        {
            bool mayAsk = asked < Count && free.Count > 0;
            if (mayAsk && (random.Next(2) == 0 || bench.StepCount == 0))
            {
                int buffer = free.Pop();
                Ask(bench, random, (ulong)buffer, model, expected, blockBytes);
                asked++;
            }
            else
            {
                bench.End(random.Next(bench.StepCount));
            }

            while (bench.Ended.TryDequeue(out (ulong Io, int Result) end))
            {
                Assert.True(end.Result >= 0, $"{end}");
                if (expected.Remove(end.Io, out byte[]? right))
                {
                    Assert.Equal(right, Buffer((int)end.Io, right.Length).Span.ToArray());
                }

                free.Push((int)end.Io);
                ended++;
            }
        }

        Assert.Empty(bench.Corrupt);
        Sync(bench);
        Assert.Equal(model, bench.Image);
        ReadOnlySpan<uint> kept = MemoryMarshal.Cast<byte, uint>(bench.Checksums);
        for (int block = 0; block * (long)Block < size; block++)
        {
            int length = (int)Math.Min(Block, size - block * (long)Block);
            Assert.Equal(BlockChecksum.Of(model.AsSpan(block * Block, length)), kept[block]);
        }
    }

    [Theory]
    [InlineData(0, 4096)]
    [InlineData(512, 512)]
    [InlineData(0, 65536)]
    public void ATurnedBitIsNoticed(int offset, int length)
    {
        using var bench = new ChecksumBench(2 * PageSpan, 512);
        Write(bench, 0, BufferBytes, 7);
        bench.Image[600] ^= 4;
        Assert.Equal(-Errno.EILSEQ, Read(bench, offset, length));
        Assert.Equal([0], bench.Corrupt);
        Assert.Equal(4096, Read(bench, 4096, 4096));
    }

    // What is changed next to it, or over it, does not make it right; all of the block does.
    [Fact]
    public void APartDoesNotMakeABlockRight()
    {
        using var bench = new ChecksumBench(PageSpan, 512);
        Write(bench, 0, Block, 7);
        bench.Image[600] ^= 4;
        Write(bench, 1024, 512, 8);
        Assert.Equal(-Errno.EILSEQ, Read(bench, 1024, 512));
        Write(bench, 512, 512, 9);
        Assert.Equal(-Errno.EILSEQ, Read(bench, 0, 512));
        Write(bench, 0, Block, 10);
        Assert.Equal(Block, Read(bench, 0, Block));
    }

    [Fact]
    public void AnExpectedChecksumIsMetByTheRightBytesOnly()
    {
        using var bench = new ChecksumBench(PageSpan, 4096);
        byte[] lost = new byte[Block];
        lost.AsSpan().Fill(3);
        bench.Access.Expect(1, 8192, BlockChecksum.Of(lost));
        bench.Run();
        Assert.Equal((1ul, 0), bench.Ended.Dequeue());
        Assert.Equal(-Errno.EILSEQ, Read(bench, 8192, Block));
        Write(bench, 8192, Block, 3);
        Assert.Equal(Block, Read(bench, 8192, Block));
    }

    // The next process does not know the checksum; the block itself tells.
    [Fact]
    public void WhatIsLostStaysLost()
    {
        using var bench = new ChecksumBench(PageSpan, 512);
        bench.Access.Expect(1, 8192, 77);
        bench.Run();
        bench.State.Intents.Add(0, 1);
        bench.Open(512);
        bench.Ended.Clear();
        Assert.Equal(-Errno.EILSEQ, Read(bench, 8192, Block));
        Write(bench, 8704, 512, 3);
        bench.Open(512);
        Assert.Equal(-Errno.EILSEQ, Read(bench, 8704, 512));
        Write(bench, 8192, Block, 3);
        bench.Open(512);
        Assert.Equal(Block, Read(bench, 8192, Block));
    }

    // Of a read that ends so, each block is told apart, with what it should hold.
    [Fact]
    public void BadBlocksAreToldApart()
    {
        using var bench = new ChecksumBench(PageSpan, 4096);
        Write(bench, 0, 4 * Block, 7);
        uint right = BlockChecksum.Of(bench.Image.AsSpan(Block, Block));
        bench.Image[Block] ^= 1;
        var bad = new List<(long, uint)>();
        bench.OnEnded = (_, _) =>
        {
            for (long offset = 0; offset < 4 * Block; offset += Block)
            {
                if (bench.Access.IsBad(offset, out uint kept))
                {
                    bad.Add((offset, kept));
                }
            }
        };
        _ = Read(bench, 0, 4 * Block);
        Assert.Equal([(Block, right)], bad);
    }

    // Intents say that nobody knows what the last process has written; that is so on disk after a sync.
    [Fact]
    public void WhatWasHotIsUnknownToTheNextProcess()
    {
        using var bench = new ChecksumBench(6 * PageSpan, 4096);
        Write(bench, 0, Block, 7);
        Write(bench, 5 * PageSpan, Block, 7);
        Sync(bench);
        bench.State.Intents.Add(0, 1);
        bench.Open(4096);
        Sync(bench);
        ReadOnlySpan<uint> kept = MemoryMarshal.Cast<byte, uint>(bench.Checksums);
        Assert.Equal(BlockChecksum.Unknown, kept[0]);
        Assert.Equal(BlockChecksum.Unknown, kept[15]);
        Assert.Equal(0u, kept[16]);
        Assert.NotEqual(BlockChecksum.Unknown, kept[(int)(5 * PageSpan / Block)]);
        bench.Image[3] ^= 1;
        Assert.Equal(Block, Read(bench, 0, Block)); // Nobody can know.
        bench.Image[3] ^= 1;
        Assert.Equal(-Errno.EILSEQ, Read(bench, 0, Block)); // From now on it is known.
    }

    [Fact]
    public void AFailedWriteLeavesItsBlocksUnknown()
    {
        using var bench = new ChecksumBench(PageSpan, 512);
        Write(bench, 0, Block, 7);
        bench.Fails = kind => kind == ReplicaIo.Operation ? -Errno.EIO : null;
        Assert.Equal(-Errno.EIO, Write(bench, 0, 512, 8));
        bench.Fails = _ => null;
        bench.Image[100] ^= 1;
        Assert.Equal(512, Read(bench, 0, 512));
    }

    // The image had changed by then: what is there may be either, also for the next process.
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void AWriteWithoutItsChecksumLeavesItsBlocksUnknown(bool isSyncedFirst)
    {
        using var bench = new ChecksumBench(2 * PageSpan, 512);
        Write(bench, PageSpan - Block, 2 * Block, 7);
        Sync(bench);
        bench.Open(512);
        Assert.Equal(512, Read(bench, PageSpan, 512)); // The second page is in memory, the first one is not.
        bench.Fails = kind => kind == ReplicaIo.ChecksumRead ? -Errno.EIO : null;
        Assert.Equal(-Errno.EIO, Write(bench, PageSpan - 512, 1024, 8));
        bench.Fails = _ => null;
        if (isSyncedFirst)
        {
            Sync(bench);
            bench.Open(512);
        }

        Assert.Equal(2 * Block, Read(bench, PageSpan - Block, 2 * Block));
        Assert.Empty(bench.Corrupt);
    }

    [Theory]
    [InlineData(nameof(ReplicaIo.ChecksumRead))]
    [InlineData(nameof(ReplicaIo.Edge))]
    public void WhatCannotBeReadFailsTheOperation(string kind)
    {
        using var bench = new ChecksumBench(PageSpan, 512);
        bench.Fails = io => io == Enum.Parse<ReplicaIo>(kind) ? -Errno.EIO : null;
        Assert.Equal(-Errno.EIO, Write(bench, 512, 512, 8));
        Assert.Equal(-Errno.EIO, Read(bench, 512, 512));
    }

    [Theory]
    [InlineData(nameof(ReplicaIo.ChecksumWrite))]
    [InlineData(nameof(ReplicaIo.ChecksumSync))]
    [InlineData(nameof(ReplicaIo.Sync))]
    public void ASyncFailsWithAnyPartOfIt(string kind)
    {
        using var bench = new ChecksumBench(PageSpan, 4096);
        Write(bench, 0, Block, 7);
        bench.Fails = io => io == Enum.Parse<ReplicaIo>(kind) ? -Errno.ENOSPC : null;
        bench.Access.Sync(ReplicaContext.Name(ReplicaIo.Sync));
        bench.Run();
        Assert.Equal((ReplicaContext.Name(ReplicaIo.Sync), -Errno.ENOSPC), bench.Ended.Dequeue());
    }

    [Fact]
    public void NothingIsAllocatedOnceWarm()
    {
        using var bench = new ChecksumBench(6 * PageSpan, 512);
        Work(bench);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Work(bench);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    private void Work(ChecksumBench bench)
    {
        for (int i = 0; i < 200; i++)
        {
            long offset = i * 97L % 12000 * 512;
            bench.Access.Write(1, offset, Buffer(0, 2048));
            bench.Access.Read(2, offset, Buffer(1, 8192));
            bench.Access.Zero(3, offset, 1024, keepsSpace: false);
            if (i % 16 == 0)
            {
                bench.Access.Sync(ReplicaContext.Name(ReplicaIo.Sync));
            }

            bench.Run();
            bench.Ended.Clear();
        }
    }

    private IoBuffer Buffer(int index, int length) => _memory.Slice(index * BufferBytes, length);

    private void Ask(
        ChecksumBench bench, Random random, ulong io, byte[] model, Dictionary<ulong, byte[]> expected,
        int blockBytes)
    {
        int blocks = model.Length / blockBytes;
        int count = random.Next(1, BufferBytes / blockBytes + 1);
        int first = random.Next(blocks - count);
        first = random.Next(4) == 0 ? random.Next(200) : first;
        long offset = (long)first * blockBytes;
        IoBuffer buffer = Buffer((int)io, count * blockBytes);
        switch (random.Next(5))
        {
            case 0:
                bench.Access.Zero(io, offset, buffer.LengthBytes, keepsSpace: false);
                model.AsSpan((int)offset, buffer.LengthBytes).Clear();
                break;
            case <= 2:
                random.NextBytes(buffer.Span);
                buffer.Span.CopyTo(model.AsSpan((int)offset));
                bench.Access.Write(io, offset, buffer);
                break;
            default:
                expected.Add(io, model.AsSpan((int)offset, buffer.LengthBytes).ToArray());
                bench.Access.Read(io, offset, buffer);
                break;
        }
    }

    private int Write(ChecksumBench bench, long offset, int length, byte value)
    {
        IoBuffer buffer = Buffer(0, length);
        buffer.Span.Fill(value);
        bench.Access.Write(ReplicaContext.Name(ReplicaIo.Operation), offset, buffer);
        bench.Run();
        return bench.Ended.Dequeue().Result;
    }

    private int Read(ChecksumBench bench, long offset, int length)
    {
        bench.Access.Read(ReplicaContext.Name(ReplicaIo.Read), offset, Buffer(1, length));
        bench.Run();
        return bench.Ended.Dequeue().Result;
    }

    private static void Sync(ChecksumBench bench)
    {
        bench.Access.Sync(ReplicaContext.Name(ReplicaIo.Sync));
        bench.Run();
        Assert.Equal(0, bench.Ended.Dequeue().Result);
    }
}
