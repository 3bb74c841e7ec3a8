using CsCheck;
using Ublk.Uring;
using Ublk.Uring.Native;
using Xunit;

namespace Ublk.Tests.Unit.Uring;

public sealed class BlockFileTests : IDisposable
{
    private const int Sector = 4096;
    private const int Sectors = 64;

    private static readonly Gen<(int Kind, int Start, int Count, byte Fill)[]> s_steps =
        Gen.Select(Gen.Int[0, 4], Gen.Int[0, Sectors - 1], Gen.Int[1, 16], Gen.Byte).Array[1, 40];

    private readonly TempDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData(DirectMode.Off)]
    [InlineData(DirectMode.Auto)]
    public void BehavesLikeAnArrayOfBytes(DirectMode direct)
    {
        string path = _directory.File("image", Sectors * Sector);
        using Loop loop = TestLoop.Create();
        BlockImage image = BlockImage.Open(path, readOnly: false, direct);
        using var file = new BlockFile<Told>(image, loop, 8);
        Assert.SkipUnless(image.CanPunchHole, "this filesystem makes no holes");
        using MemoryMapping memory = MemoryMapping.Allocate(Sectors * Sector);
        byte[] model = new byte[Sectors * Sector];
        s_steps.Sample(steps =>
        {
            foreach ((int kind, int start, int count, byte fill) in steps)
            {
                int sectors = Math.Min(count, Sectors - start);
                Apply(loop, file, memory, model, kind, (start * Sector, sectors * Sector), fill);
            }
        }, iter: 20, threads: 1);
        Assert.Equal(model, TestFiles.Bytes(path));
    }

    private static void Apply(
        Loop loop, BlockFile<Told> file, MemoryMapping memory, byte[] model, int kind,
        (int Start, int Length) range, byte fill)
    {
        Span<byte> part = model.AsSpan(range.Start, range.Length);
        IoBuffer buffer = memory.Slice(0, range.Length);
        var seen = new Collector();
        switch (kind)
        {
            case 0:
                buffer.Span.Fill(0xFF);
                file.Read(buffer, range.Start, new Told(seen, 1));
                break;
            case 1 or 2:
                SocketEntryTests.Fill(part);
                part[0] = fill;
                part.CopyTo(buffer.Span);
                file.Write(buffer, range.Start, dataSync: kind == 2, new Told(seen, 1));
                break;
            case 3:
                part.Clear();
                file.PunchHole(range.Start, range.Length, new Told(seen, 1));
                break;
            default:
                part.Clear();
                file.ZeroRange(range.Start, range.Length, new Told(seen, 1));
                break;
        }

        loop.Until(() => seen.Count == 1);
        Assert.Equal(0, seen.Seen[0].Result);
        Assert.True(kind != 0 || buffer.Span.SequenceEqual(part), $"read of {range} differs");
    }

    [Fact]
    public void ManyAtOnceAllEnd()
    {
        string path = _directory.File("image", 1 << 20);
        using Loop loop = TestLoop.Create();
        using var file = new BlockFile<Told>(
            BlockImage.Open(path, readOnly: false, DirectMode.Off), loop, 32);
        using MemoryMapping memory = MemoryMapping.Allocate(32 * Sector);
        var seen = new Collector();
        for (int i = 0; i < 32; i++)
        {
            IoBuffer buffer = memory.Slice(i * Sector, Sector);
            buffer.Span.Fill((byte)i);
            file.Write(buffer, i * Sector, dataSync: false, new Told(seen, (ulong)i));
        }

        Assert.Throws<InvalidOperationException>(
            () => file.Read(memory.Slice(0, Sector), 0, new Told(seen, 99)));
        loop.Until(() => seen.Count == 32);
        Assert.All(seen.Seen, completion => Assert.Equal(0, completion.Result));
        file.DataSync(new Told(seen, 100));
        loop.Until(() => seen.Count == 33);
        Assert.Equal(0, seen.Of(100).Result);
        byte[] bytes = TestFiles.Bytes(path);
        Assert.All(Enumerable.Range(0, 32), i => Assert.Equal((byte)i, bytes[i * Sector]));
    }

    [Fact]
    public void ReadBeyondTheEndIsAnError()
    {
        string path = _directory.File("image", (2 * Sector) + 100);
        using Loop loop = TestLoop.Create();
        using var file = new BlockFile<Told>(BlockImage.Open(path, readOnly: true, DirectMode.Off), loop, 4);
        using MemoryMapping memory = MemoryMapping.Allocate(4 * Sector);
        var seen = new Collector();
        file.Read(memory.Slice(0, 2 * Sector), Sector, new Told(seen, 1));
        file.Read(memory.Slice(0, Sector), 3 * Sector, new Told(seen, 2));
        file.Read(memory.Slice(0, 2 * Sector), 0, new Told(seen, 3));
        loop.Until(() => seen.Count == 3);
        Assert.Equal(-Errno.EIO, seen.Of(1).Result);
        Assert.Equal(-Errno.EIO, seen.Of(2).Result);
        Assert.Equal(0, seen.Of(3).Result);
        Assert.True(file.ShortTransferCount > 0);
    }

    [Fact]
    public void DirectReadBeyondTheEndIsAnError()
    {
        string path = _directory.File("image", 2 * Sector);
        using Loop loop = TestLoop.Create();
        using var file = new BlockFile<Told>(BlockImage.Open(path, readOnly: true, DirectMode.Auto), loop, 4);
        using MemoryMapping memory = MemoryMapping.Allocate(4 * Sector);
        var seen = new Collector();
        file.Read(memory.Slice(0, 2 * Sector), Sector, new Told(seen, 1));
        file.Read(memory.Slice(0, Sector), 4 * Sector, new Told(seen, 2));
        loop.Until(() => seen.Count == 2);
        Assert.Equal(-Errno.EIO, seen.Of(1).Result);
        Assert.Equal(-Errno.EIO, seen.Of(2).Result);
    }

    [Fact]
    public void FullFilesystemGivesNoSpace()
    {
        Assert.SkipUnless(ProcessSetup.IsRoot, "only root may mount");
        string mount = Directory.CreateDirectory(_directory.File("mount")).FullName;
        Assert.SkipUnless(Programs.Run("mount", out _, "-t", "tmpfs", "-o", "size=256k", "tmpfs", mount) == 0,
            "mounting is not allowed here");
        try
        {
            string path = Path.Combine(mount, "image");
            using (FileStream created = File.Create(path))
            {
                created.SetLength(4 << 20);
            }

            using Loop loop = TestLoop.Create();
            using var file = new BlockFile<Told>(
                BlockImage.Open(path, readOnly: false, DirectMode.Auto), loop, 4);
            using MemoryMapping memory = MemoryMapping.Allocate(1 << 20);
            memory.Bytes.Fill(1);
            var seen = new Collector();
            file.Write(memory.Slice(0, 1 << 20), 0, dataSync: false, new Told(seen, 1));
            loop.Until(() => seen.Count == 1);
            Assert.Equal(-Errno.ENOSPC, seen.Of(1).Result);
            file.Read(memory.Slice(0, Sector), 2 << 20, new Told(seen, 2));
            loop.Until(() => seen.Count == 2);
            Assert.Equal(0, seen.Of(2).Result);
        }
        finally
        {
            Assert.Equal(0, Programs.Run("umount", out _, "-l", mount));
        }
    }

    [Fact]
    public void LeavesTheLoopAsItWas()
    {
        string path = _directory.File("image", 65536);
        using Loop loop = TestLoop.Create(16);
        for (int i = 0; i < 3; i++)
        {
            var file = new BlockFile<Told>(BlockImage.Open(path, readOnly: false, DirectMode.Off), loop, 15);
            file.Dispose();
            file.Dispose();
        }

        // A second dispose must not have freed what was not its own.
        BlockImage image = BlockImage.Open(path, readOnly: false, DirectMode.Off);
        Assert.Throws<LoopFullException>(() => new BlockFile<Told>(image, loop, 16));
        using var last = new BlockFile<Told>(image, loop, 15);
    }

    [Fact(Timeout = 20_000)]
    public void OutlivesItsLoop()
    {
        string path = _directory.File("image", 65536);
        Loop loop = TestLoop.Create();
        var file = new BlockFile<Told>(BlockImage.Open(path, readOnly: false, DirectMode.Off), loop, 4);
        loop.Dispose();
        file.Dispose();
        // The ring held the file too, and the kernel takes rings apart in the background.
        while (Record.Exception(
            () => BlockImage.Open(path, readOnly: false, DirectMode.Off).Dispose()) is { } error)
        {
            Assert.Equal(BlockImageError.Busy, Assert.IsType<BlockImageException>(error).Error);
            TestContext.Current.CancellationToken.ThrowIfCancellationRequested();
            Thread.Yield();
        }
    }
}
