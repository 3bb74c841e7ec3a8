using System.Net;
using System.Net.Sockets;
using Ublk.Uring;
using Ublk.Uring.Abi;
using Ublk.Uring.Native;
using Xunit;

namespace Ublk.Tests.Unit.Uring;

public sealed class SocketEntryTests
{
    [Fact]
    public void SendsAndReceives()
    {
        using var pair = new SocketPair();
        using MemoryMapping memory = MemoryMapping.Allocate(8192);
        using Loop loop = TestLoop.Create();
        var seen = new Collector();
        IoBuffer source = memory.Slice(0, 1000);
        IoBuffer target = memory.Slice(4096, 1000);
        Fill(source.Span);
        loop.Submit(Entries.Receive(
            RingFile.Of(pair.Far.SafeHandle), target, Entries.MessageWaitAll), seen, 1);
        loop.Submit(Entries.Send(RingFile.Of(pair.Near.SafeHandle), source, 0), seen, 2);
        loop.Until(() => seen.Count == 2);
        Assert.Equal(1000, seen.Of(1).Result);
        Assert.Equal(1000, seen.Of(2).Result);
        Assert.Equal(source.Span, target.Span);
    }

    [Fact]
    public void WaitAllSendsMoreThanTheSocketHolds()
    {
        const int Length = 8 << 20;
        using var pair = new SocketPair();
        using MemoryMapping memory = MemoryMapping.Allocate(2L * Length);
        using Loop loop = TestLoop.Create();
        var seen = new Collector();
        IoBuffer source = memory.Slice(0, Length);
        IoBuffer target = memory.Slice(Length, Length);
        Fill(source.Span);
        loop.Submit(Entries.Send(
            RingFile.Of(pair.Near.SafeHandle), source, Entries.MessageWaitAll), seen, 2);
        loop.Drain();
        Assert.Empty(seen.Seen);
        loop.Submit(Entries.Receive(
            RingFile.Of(pair.Far.SafeHandle), target, Entries.MessageWaitAll), seen, 1);
        loop.Until(() => seen.Count == 2);
        Assert.Equal(Length, seen.Of(1).Result);
        Assert.Equal(Length, seen.Of(2).Result);
        Assert.True(source.Span.SequenceEqual(target.Span));
    }

    [Fact]
    public void GatheredSendKeepsTheOrderOfItsParts()
    {
        using var pair = new SocketPair();
        using MemoryMapping memory = MemoryMapping.Allocate(8192);
        using var list = new GatherList();
        using Loop loop = TestLoop.Create();
        Fill(memory.Bytes);
        list.Add(memory.Slice(1000, 10));
        list.Add(memory.Slice(0, 500));
        list.Add(memory.Slice(3000, 1));
        Assert.Equal(511, list.LengthBytes);
        Assert.Equal(511, loop.Run(Entries.SendMessage(
            RingFile.Of(pair.Near.SafeHandle), list, Entries.MessageWaitAll)).Result);
        IoBuffer target = memory.Slice(4096, 511);
        Assert.Equal(511, loop.Run(Entries.Receive(
            RingFile.Of(pair.Far.SafeHandle), target, Entries.MessageWaitAll)).Result);
        Span<byte> source = memory.Bytes;
        Assert.Equal([.. source[1000..1010], .. source[..500], source[3000]], target.Span.ToArray());
    }

    [Fact]
    public void GatherListIsLimited()
    {
        using MemoryMapping memory = MemoryMapping.Allocate(4096);
        using var list = new GatherList();
        Assert.Throws<ArgumentException>(() => list.Add(IoBuffer.Registered(1, 4096)));
        for (int i = 0; i < GatherList.MaxParts; i++)
        {
            Assert.False(list.IsFull);
            list.Add(memory.Slice(i, 1));
        }

        Assert.True(list.IsFull);
        Assert.Throws<InvalidOperationException>(() => list.Add(memory.Slice(0, 1)));
        list.Clear();
        Assert.Equal((0, 0L), (list.Count, list.LengthBytes));
    }

    [Fact]
    public async Task SocketIsMadeBlockingAgain()
    {
        using var pair = new SocketPair();
        Task<int> first = pair.Far.ReceiveAsync(new byte[1]); // The runtime marks it for this.
        await pair.Near.SendAsync(new byte[1]);
        Assert.Equal(1, await first);
        Assert.True(IsNonBlocking(pair.Far));
        SocketMode.MakeBlocking(pair.Far.SafeHandle);
        Assert.False(IsNonBlocking(pair.Far));
        SocketMode.MakeBlocking(pair.Far.SafeHandle);
        Assert.False(IsNonBlocking(pair.Far));
    }

    [Fact]
    public void ConnectsToAnAddressInMemory()
    {
        using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen(4);
        using var client = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        using MemoryMapping memory = MemoryMapping.Allocate(4096);
        using Loop loop = TestLoop.Create();
        SocketAddress address = listener.LocalEndPoint!.Serialize();
        address.Buffer.Span[..address.Size].CopyTo(memory.Bytes);
        SubmissionEntry connect = Entries.Connect(
            RingFile.Of(client.SafeHandle), memory.Slice(0, address.Size));
        Assert.Equal(0, loop.Run(connect).Result);
        using Socket accepted = listener.Accept();
        using var known = new Socket(client.SafeHandle);
        Assert.Equal(known.LocalEndPoint, accepted.RemoteEndPoint);
    }

    [Fact]
    public void ZeroCopySendTellsWhenTheMemoryIsFree()
    {
        using var pair = new SocketPair();
        using MemoryMapping memory = MemoryMapping.Allocate(131072);
        using Loop loop = TestLoop.Create();
        var seen = new Collector();
        int idle = loop.InFlightCount;
        IoBuffer source = memory.Slice(0, 65536);
        IoBuffer target = memory.Slice(65536, 65536);
        Fill(source.Span);
        loop.Submit(Entries.SendZeroCopy(
            RingFile.Of(pair.Near.SafeHandle), source, Entries.MessageWaitAll), seen, 1);
        loop.Submit(Entries.Receive(
            RingFile.Of(pair.Far.SafeHandle), target, Entries.MessageWaitAll), seen, 2);
        loop.Until(() => seen.Count == 3);
        Completion[] sends = [.. seen.Seen.Where(completion => completion.Token == 1)];
        Assert.Equal(2, sends.Length);
        Assert.Equal(65536, sends[0].Result);
        Assert.True(sends[0].Flags.HasFlag(CompletionFlags.More));
        Assert.True(sends[1].Flags.HasFlag(CompletionFlags.Notification));
        Assert.False(sends[1].Flags.HasFlag(CompletionFlags.More));
        Assert.Equal(source.Span, target.Span);
        Assert.Equal(idle, loop.InFlightCount);
    }

    [Fact]
    public void ClosedPeerGivesAnErrorAndNoSignal()
    {
        const int BrokenPipe = 32;
        const int ConnectionReset = 104;
        using var pair = new SocketPair();
        using MemoryMapping memory = MemoryMapping.Allocate(4096);
        using Loop loop = TestLoop.Create();
        pair.Near.Shutdown(SocketShutdown.Send);
        RingFile near = RingFile.Of(pair.Near.SafeHandle);
        int result = loop.Run(Entries.Send(near, memory.Slice(0, 10), 0)).Result;
        Assert.Contains(-result, new[] { BrokenPipe, ConnectionReset });
        Assert.Equal(0, loop.Run(Entries.Receive(
            RingFile.Of(pair.Far.SafeHandle), memory.Slice(0, 10), 0)).Result);
    }

    [Fact]
    public void AcceptsAgainAndAgain()
    {
        using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen(4);
        using Loop loop = TestLoop.Create();
        var seen = new Collector();
        OperationId accept = loop.Submit(Entries.AcceptMany(RingFile.Of(listener.SafeHandle)), seen, 1);
        for (int i = 1; i <= 3; i++)
        {
            using var client = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            client.Connect(listener.LocalEndPoint!);
            loop.Until(() => seen.Count == i);
            Completion completion = seen.Seen[^1];
            Assert.True(completion.Flags.HasFlag(CompletionFlags.More));
            using var accepted = new Socket(new SafeSocketHandle(completion.Result, ownsHandle: true));
            Assert.Equal(client.LocalEndPoint, accepted.RemoteEndPoint);
        }

        loop.Cancel(accept);
        loop.Until(() => seen.Count == 4);
        Assert.Equal(-Errno.ECANCELED, seen.Seen[3].Result);
    }

    private static bool IsNonBlocking(Socket socket)
    {
        string line = File.ReadLines($"/proc/self/fdinfo/{socket.Handle}")
            .First(line => line.StartsWith("flags:", StringComparison.Ordinal));
        return (Convert.ToInt32(line["flags:".Length..].Trim(), 8) & Libc.NonBlocking) != 0;
    }

    internal static void Fill(Span<byte> bytes)
    {
        for (int i = 0; i < bytes.Length; i++)
        {
            bytes[i] = (byte)(i * 31 + (i >> 8));
        }
    }
}
