using Ublk.Uring;
using Ublk.Uring.Abi;
using Ublk.Uring.Native;
using Xunit;

namespace Ublk.Tests.Unit.Uring;

public sealed class EntriesTests : IDisposable
{
    private readonly MemoryMapping _memory = MemoryMapping.Allocate(8192);
    private readonly FileHandle _counter = TestFiles.EventCounter();

    public void Dispose()
    {
        _memory.Dispose();
        _counter.Dispose();
    }

    [Fact]
    public void ReadCarriesFileMemoryAndOffset()
    {
        IoBuffer buffer = _memory.Slice(512, 1024);
        SubmissionEntry entry = Entries.Read(RingFile.Of(_counter), buffer, 1L << 40);
        Assert.Equal(RingOpcode.Read, entry.Opcode);
        Assert.Equal(EntryFlags.None, entry.Flags);
        Assert.Equal(_counter.Fd, entry.Fd);
        Assert.Equal(buffer.Address, entry.Address);
        Assert.Equal(1024u, entry.Length);
        Assert.Equal(1ul << 40, entry.Offset);
        Assert.Equal(0u, entry.OperationFlags);
    }

    [Fact]
    public void RegisteredRequestBufferIsNamedByPlaceAndOffset()
    {
        IoBuffer request = IoBuffer.Registered(300, 65536).Slice(4096, 8192);
        SubmissionEntry entry = Entries.Write(RingFile.Fixed(2), request, 512, dataSync: true);
        Assert.Equal(RingOpcode.WriteFixed, entry.Opcode);
        Assert.Equal(EntryFlags.FixedFile, entry.Flags);
        Assert.Equal(2, entry.Fd);
        Assert.Equal(300, entry.BufferIndex);
        Assert.Equal(4096ul, entry.Address);
        Assert.Equal(8192u, entry.Length);
        Assert.Equal(Entries.WriteDataSync, entry.OperationFlags);
        Assert.False(request.IsMemory);
        Assert.Throws<InvalidOperationException>(() => { _ = request.Span; });
    }

    [Fact]
    public void RequestBufferCannotBecomeMemoryOrBeSent()
    {
        IoBuffer request = IoBuffer.Registered(3, 4096);
        Assert.Throws<InvalidOperationException>(() => request.WithTableIndex(4));
        Assert.Throws<ArgumentException>(() => Entries.Send(RingFile.Of(_counter), request, 0));
    }

    [Fact]
    public void GatheredSendNamesItsList()
    {
        using var list = new GatherList();
        list.Add(_memory.Slice(100, 7));
        list.Add(_memory.Slice(0, 9));
        SubmissionEntry entry = Entries.SendMessage(
            RingFile.Of(_counter), list, Entries.MessageWaitAll);
        Assert.Equal(RingOpcode.SendMessage, entry.Opcode);
        Assert.Equal(_counter.Fd, entry.Fd);
        Assert.Equal(list.Seal(), entry.Address);
        Assert.Equal(1u, entry.Length);
        Assert.Equal(Entries.MessageWaitAll | Entries.MessageNoSignal, entry.OperationFlags);
    }

    [Fact]
    public void ConnectKeepsItsOddFields()
    {
        IoBuffer address = _memory.Slice(64, 16);
        SubmissionEntry entry = Entries.Connect(RingFile.Of(_counter), address);
        Assert.Equal(RingOpcode.Connect, entry.Opcode);
        Assert.Equal(address.Address, entry.Address);
        Assert.Equal(16ul, entry.Offset);
        Assert.Equal(0u, entry.Length);
    }

    [Fact]
    public void FallocateKeepsItsOddFields()
    {
        SubmissionEntry entry = Entries.Allocate(RingFile.Of(_counter),
            FallocateModes.PunchHole | FallocateModes.KeepSize, 4096, 1L << 33);
        Assert.Equal(RingOpcode.Fallocate, entry.Opcode);
        Assert.Equal(4096ul, entry.Offset);
        Assert.Equal(1ul << 33, entry.Address);
        Assert.Equal(3u, entry.Length);
    }

    [Fact]
    public void CommandFillsTheDriversArea()
    {
        SubmissionEntry entry = Entries.Command(RingFile.Of(_counter), 0xC0107520, 11, 22, 33);
        Assert.Equal(RingOpcode.UringCommand, entry.Opcode);
        Assert.Equal(0xC0107520, entry.CommandOpcode);
        Assert.Equal(0xC0107520ul, entry.Offset); // The upper half must be zero.
        Assert.Equal(11ul, entry.Address);
        Assert.Equal(22ul, entry.Command0);
        Assert.Equal(33ul, entry.Command1);
    }

    [Fact]
    public void SendNeverRaisesASignal()
    {
        SubmissionEntry entry = Entries.SendZeroCopy(
            RingFile.Of(_counter), _memory.Slice(0, 64), Entries.MessageWaitAll);
        Assert.Equal(RingOpcode.SendZeroCopy, entry.Opcode);
        Assert.Equal(Entries.MessageWaitAll | Entries.MessageNoSignal, entry.OperationFlags);
    }

    [Fact]
    public void SliceKeepsToTheBuffer()
    {
        IoBuffer buffer = _memory.Slice(0, 100);
        Assert.Equal(0, buffer.Slice(100, 0).LengthBytes);
        Assert.Throws<ArgumentOutOfRangeException>(() => buffer.Slice(101, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => buffer.Slice(50, 51));
        Assert.Throws<ArgumentOutOfRangeException>(() => buffer.Slice(-1, 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => buffer.Slice(0, -1));
        Assert.Equal(-1, buffer.TableIndex);
        Assert.Equal(5, buffer.WithTableIndex(5).Slice(1, 2).TableIndex);
    }

    [Fact]
    public void TimeoutEndsWithTimeExpired()
    {
        using MemoryMapping time = TestFiles.Timespec(TimeSpan.FromMilliseconds(1));
        using Loop loop = TestLoop.Create();
        Assert.Equal(-Errno.ETIME, loop.Run(Entries.Timeout(time.Slice(0, 16))).Result);
    }

    [Fact]
    public void TimeoutEndsEarlyWithItsCount()
    {
        using MemoryMapping time = TestFiles.Timespec(TimeSpan.FromHours(1));
        using Loop loop = TestLoop.Create();
        var seen = new Collector();
        loop.Submit(Entries.Timeout(time.Slice(0, 16), 2), seen, 1);
        loop.Submit(Entries.Nop(), seen, 2);
        loop.Drain();
        Assert.Equal(1, seen.Count);
        loop.Submit(Entries.Nop(), seen, 3);
        loop.Until(() => seen.Count == 3);
        Assert.Equal(0, seen.Of(1).Result);
    }

    [Fact]
    public void LinkedTimeoutCancelsTheEntryBefore()
    {
        using MemoryMapping time = TestFiles.Timespec(TimeSpan.FromMilliseconds(1));
        using Loop loop = TestLoop.Create();
        var seen = new Collector();
        loop.EnsureRoom(2);
        SubmissionEntry read = Entries.Read(RingFile.Of(_counter), _memory.Slice(0, 8), 0);
        read.Flags |= EntryFlags.Link;
        loop.Submit(read, seen, 1);
        loop.Submit(Entries.LinkTimeout(time.Slice(0, 16)), seen, 2);
        loop.Until(() => seen.Count == 2);
        Assert.Equal(-Errno.ECANCELED, seen.Of(1).Result);
        Assert.Equal(-Errno.ETIME, seen.Of(2).Result);
    }

    [Fact]
    public void LinkedTimeoutIsSilentWhenTheEntryIsQuick()
    {
        using MemoryMapping time = TestFiles.Timespec(TimeSpan.FromHours(1));
        using Loop loop = TestLoop.Create();
        var seen = new Collector();
        loop.EnsureRoom(2);
        SubmissionEntry nop = Entries.Nop();
        nop.Flags |= EntryFlags.Link;
        loop.Submit(nop, seen, 1);
        loop.Submit(Entries.LinkTimeout(time.Slice(0, 16)), seen, 2);
        loop.Until(() => seen.Count == 2);
        Assert.Equal(0, seen.Of(1).Result);
        Assert.Equal(-Errno.ECANCELED, seen.Of(2).Result);
    }

    [Fact]
    public void DataSyncAndFallocateRunOnAFile()
    {
        using var directory = new TempDirectory();
        using FileHandle file = FileHandle.Open(directory.File("data", 65536), FileAccess.ReadWrite);
        using Loop loop = TestLoop.Create();
        RingFile name = RingFile.Of(file);
        _memory.Bytes.Fill(0xEE);
        Assert.Equal(8192, loop.Run(Entries.Write(name, _memory.Slice(0, 8192), 0)).Result);
        Assert.Equal(0, loop.Run(Entries.DataSync(name)).Result);
        int punch = loop.Run(Entries.Allocate(name,
            FallocateModes.PunchHole | FallocateModes.KeepSize, 0, 4096)).Result;
        Assert.SkipWhen(punch == -Errno.EOPNOTSUPP, "this filesystem makes no holes");
        Assert.Equal(0, punch);
        Assert.Equal(8192, loop.Run(Entries.Read(name, _memory.Slice(0, 8192), 0)).Result);
        Assert.Equal(-1, _memory.Bytes[..4096].IndexOfAnyExcept((byte)0));
        Assert.Equal(-1, _memory.Bytes[4096..].IndexOfAnyExcept((byte)0xEE));
    }
}
