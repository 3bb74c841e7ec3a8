using Ublk.Uring;
using Ublk.Uring.Native;
using Xunit;

namespace Ublk.Tests.Unit.Uring;

public sealed class MemoryMappingTests
{
    [Fact]
    public void AllocatesZeroedMemory()
    {
        using MemoryMapping memory = MemoryMapping.Allocate(10_000, populate: true);
        Assert.Equal(10_000, memory.LengthBytes);
        Assert.Equal(-1, memory.Bytes.IndexOfAnyExcept((byte)0));
        memory.Bytes[9_999] = 1;
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(4093)]
    [InlineData(4096)]
    [InlineData(long.MaxValue)]
    [InlineData(long.MaxValue - 3)]
    [InlineData(long.MinValue)]
    public void StructureOutsideIsRefused(long offset)
    {
        using MemoryMapping memory = MemoryMapping.Allocate(4096);
        Assert.Throws<ArgumentOutOfRangeException>(() => { _ = memory.At<int>(offset); });
    }

    [Theory]
    [InlineData(-1, 1)]
    [InlineData(0, -1)]
    [InlineData(0, 4097)]
    [InlineData(4096, 1)]
    [InlineData(4097, 0)]
    [InlineData(long.MaxValue, 1)]
    [InlineData(long.MaxValue, int.MaxValue)]
    public void PartOutsideIsRefused(long offset, int length)
    {
        using MemoryMapping memory = MemoryMapping.Allocate(4096);
        Assert.Throws<ArgumentOutOfRangeException>(() => memory.Slice(offset, length));
    }

    [Fact]
    public void StructureAndPartInsideAreTheSameMemory()
    {
        using MemoryMapping memory = MemoryMapping.Allocate(4096);
        memory.At<int>(4092) = 0x01020304;
        Assert.Equal([4, 3, 2, 1], memory.Slice(4092, 4).Span.ToArray());
        Assert.Equal(0, memory.Slice(4096, 0).LengthBytes);
    }

    [Fact]
    public void ClosedMappingIsOutOfReach()
    {
        MemoryMapping memory = MemoryMapping.Allocate(4096);
        memory.Dispose();
        Assert.Throws<ObjectDisposedException>(() => { _ = memory.At<int>(0); });
        Assert.Throws<ObjectDisposedException>(() => memory.Slice(0, 1));
        Assert.Throws<ObjectDisposedException>(() => { _ = memory.Bytes; });
        Assert.Throws<ObjectDisposedException>(() => memory.Lock());
    }

    [Fact]
    public void WindowOnAFileSharesItsBytes()
    {
        using var directory = new TempDirectory();
        using FileHandle file = FileHandle.Open(directory.File("data", 8192), FileAccess.ReadWrite);
        using MemoryMapping window = MemoryMapping.Open(file, 4096, 4096, writable: true);
        window.Bytes[10] = 99;
        byte[] one = new byte[1];
        Assert.Equal(1, file.ReadAt(one, 4106));
        Assert.Equal(99, one[0]);
        Assert.Equal(1, file.WriteAt([77], 4107));
        Assert.Equal(77, window.Bytes[11]);
    }

    [Fact]
    public void KernelsRefusalIsAnException()
    {
        SystemCallException error =
            Assert.Throws<SystemCallException>(() => MemoryMapping.Allocate(0));
        Assert.Equal(Errno.EINVAL, error.Number);
        Assert.Contains("map 0 bytes of memory", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ClosedFileIsOutOfReach()
    {
        FileHandle file = TestFiles.EventCounter();
        file.Dispose();
        Assert.Throws<ObjectDisposedException>(() => RingFile.Of(file));
        Assert.Throws<ObjectDisposedException>(() => file.ReadAt(new byte[8], 0));
    }

    [Fact]
    public void OpenFailureCarriesTheErrorNumber()
    {
        using var directory = new TempDirectory();
        string path = directory.File("missing");
        Assert.Equal(-Errno.ENOENT,
            FileHandle.TryOpen(path, FileAccess.Read, OpenOptions.None, out FileHandle? file));
        Assert.Null(file);
        SystemCallException error = Assert.Throws<SystemCallException>(
            () => FileHandle.Open(path, FileAccess.Read));
        Assert.Equal(Errno.ENOENT, error.Number);
        Assert.Contains(path, error.Message, StringComparison.Ordinal);
    }
}
