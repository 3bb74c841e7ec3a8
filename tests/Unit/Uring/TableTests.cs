using System.Text;
using Ublk.Uring;
using Ublk.Uring.Abi;
using Ublk.Uring.Native;
using Xunit;

namespace Ublk.Tests.Unit.Uring;

public sealed class TableTests
{
    [Fact]
    public void BufferPlacesAreGivenOutOnce()
    {
        using Loop loop = TestLoop.Create();
        Assert.Equal(0, loop.Buffers.RegisterResult);
        Assert.Equal(16, loop.Buffers.Capacity);
        var seen = new HashSet<ushort>();
        while (loop.Buffers.TryRent(out ushort index))
        {
            Assert.InRange(index, 0, 15);
            Assert.True(seen.Add(index));
        }

        Assert.Equal(16, seen.Count);
        Assert.Equal(0, loop.Buffers.FreeCount);
        loop.Buffers.Return(3);
        Assert.True(loop.Buffers.TryRent(out ushort again));
        Assert.Equal(3, again);
    }

    [Fact]
    public void BufferPlaceReturnedTwiceIsAnError()
    {
        using Loop loop = TestLoop.Create();
        Assert.True(loop.Buffers.TryRent(out ushort index));
        loop.Buffers.Return(index);
        Assert.Throws<InvalidOperationException>(() => loop.Buffers.Return(index));
        Assert.Throws<InvalidOperationException>(() => loop.Buffers.Return(9999));
        Assert.Equal(16, loop.Buffers.FreeCount);
    }

    [Fact]
    public void TableAboveTheKernelsLimitIsRefused()
    {
        using Ring ring = Ring.Create(new RingOptions(4, 16));
        Assert.Throws<ArgumentOutOfRangeException>(
            () => new BufferTable(ring, Ring.BufferTableLimit + 1));
    }

    [Fact]
    public void TableOfNoPlacesGivesNone()
    {
        using Ring ring = Ring.Create(new RingOptions(4, 16));
        var table = new BufferTable(ring, 0);
        Assert.Equal(0, table.RegisterResult);
        Assert.False(table.TryRent(out _));
    }

    [Fact]
    public void SecondTableOfARingIsRefusedByTheKernel()
    {
        using Ring ring = Ring.Create(new RingOptions(4, 16));
        var first = new BufferTable(ring, Ring.BufferTableLimit);
        Assert.Equal(Ring.BufferTableLimit, first.Capacity);
        var second = new BufferTable(ring, 4);
        Assert.Equal(-Errno.EBUSY, second.RegisterResult);
        Assert.Equal(0, second.Capacity);
    }

    [Fact]
    public void RegisteredMemoryServesFixedTransfers()
    {
        using var directory = new TempDirectory();
        using FileHandle file = FileHandle.Open(directory.File("data", 8192), FileAccess.ReadWrite);
        using MemoryMapping memory = MemoryMapping.Allocate(8192);
        using Loop loop = TestLoop.Create();
        Assert.True(loop.Buffers.TryRegister(memory, out ushort index));
        IoBuffer source = memory.Slice(0, 4096).WithTableIndex(index);
        IoBuffer target = memory.Slice(4096, 4096).WithTableIndex(index);
        source.Span.Fill(0x5A);

        SubmissionEntry write = Entries.Write(RingFile.Of(file), source, 4096);
        Assert.Equal(RingOpcode.WriteFixed, write.Opcode);
        Assert.Equal(4096, loop.Run(write).Result);
        SubmissionEntry read = Entries.Read(RingFile.Of(file), target, 4096);
        Assert.Equal(RingOpcode.ReadFixed, read.Opcode);
        Assert.Equal(4096, loop.Run(read).Result);
        Assert.Equal(source.Span, target.Span);

        Assert.Equal(0, loop.Buffers.Clear(index));
        Assert.Equal(-Errno.EFAULT, loop.Run(read).Result);
        loop.Buffers.Return(index);
        Assert.Equal(16, loop.Buffers.FreeCount);
    }

    [Fact]
    public void TransferBeyondTheRegisteredMemoryFails()
    {
        using var directory = new TempDirectory();
        using FileHandle file = FileHandle.Open(directory.File("data", 8192), FileAccess.ReadWrite);
        using MemoryMapping registered = MemoryMapping.Allocate(4096);
        using MemoryMapping other = MemoryMapping.Allocate(4096);
        using Loop loop = TestLoop.Create();
        Assert.True(loop.Buffers.TryRegister(registered, out ushort index));
        IoBuffer wrong = other.Slice(0, 512).WithTableIndex(index);
        Assert.Equal(-Errno.EFAULT, loop.Run(Entries.Read(RingFile.Of(file), wrong, 0)).Result);
    }

    [Fact]
    public void MemoryIsUsedUnregisteredWhenTheTableIsFull()
    {
        using MemoryMapping memory = MemoryMapping.Allocate(4096);
        using Loop loop = TestLoop.Create();
        while (loop.Buffers.TryRent(out _))
        {
        }

        Assert.False(loop.Buffers.TryRegister(memory, out _));
    }

    [Fact]
    public void FilesAreNamedByPlaceAndThenByDescriptor()
    {
        using var directory = new TempDirectory();
        using Loop loop = TestLoop.Create();
        var handles = new List<FileHandle>();
        var files = new List<RingFile>();
        for (int i = 0; i < 6; i++)
        {
            string path = directory.File($"file{i}");
            File.WriteAllText(path, $"text {i}");
            handles.Add(FileHandle.Open(path, FileAccess.Read));
            files.Add(loop.Files.Register(handles[i]));
            Assert.Equal(i < 4, files[i].IsFixed);
        }

        for (int i = 0; i < 6; i++)
        {
            Assert.Equal($"text {i}", ReadText(loop, files[i]));
        }

        loop.Files.Unregister(files[2]);
        Assert.Equal(-Errno.EBADF, ReadResult(loop, files[2]));
        RingFile again = loop.Files.Register(handles[5]);
        Assert.True(again.IsFixed);
        Assert.Equal("text 5", ReadText(loop, again));
        handles.ForEach(handle => handle.Dispose());
        Assert.Equal("text 5", ReadText(loop, again)); // The table holds the file open.
    }

    [Fact]
    public void FileUnregisteredTwiceIsAnError()
    {
        using Loop loop = TestLoop.Create();
        using FileHandle counter = TestFiles.EventCounter();
        RingFile file = loop.Files.Register(counter);
        loop.Files.Unregister(file);
        Assert.Throws<InvalidOperationException>(() => loop.Files.Unregister(file));
        loop.Files.Unregister(RingFile.Of(counter));
    }

    private static string ReadText(Loop loop, RingFile file)
    {
        using MemoryMapping memory = MemoryMapping.Allocate(4096);
        IoBuffer buffer = memory.Slice(0, 100);
        int length = loop.Run(Entries.Read(file, buffer, 0)).Result;
        return Encoding.UTF8.GetString(buffer.Span[..length]);
    }

    private static int ReadResult(Loop loop, RingFile file)
    {
        using MemoryMapping memory = MemoryMapping.Allocate(4096);
        return loop.Run(Entries.Read(file, memory.Slice(0, 100), 0)).Result;
    }
}
