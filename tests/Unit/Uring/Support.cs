using System.Net;
using System.Net.Sockets;
using Ublk.Uring;
using Ublk.Uring.Abi;
using Ublk.Uring.Native;
using Xunit;

namespace Ublk.Tests.Unit.Uring;

/// <summary>Keeps every completion it hears of.</summary>
internal sealed class Collector : IRingCompletion
{
    public List<Completion> Seen { get; } = [];

    public int Count => Seen.Count;

    public void OnCompletion(ulong token, int result, CompletionFlags flags) =>
        Seen.Add(new Completion(token, result, flags));

    public Completion Of(ulong token) => Assert.Single(Seen, seen => seen.Token == token);
}

internal readonly record struct Completion(ulong Token, int Result, CompletionFlags Flags);

/// <summary>Tells a handler of the ring of the end of a file's operation.</summary>
internal readonly record struct Told(IRingCompletion Handler, ulong Token) : IFileCompletion
{
    public void OnFileCompleted(int result) =>
        Handler.OnCompletion(Token, result, CompletionFlags.None);
}

/// <summary>Small loops, turned by the test itself.</summary>
internal static class TestLoop
{
    /// <summary>A defect shows as this limit; nothing waits for it otherwise.</summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(20);

    public static Loop Create(int operations = 64, TimeProvider? time = null) => new(
        new LoopOptions { MaxOperations = operations, BufferTableSlots = 16, FileTableSlots = 4 },
        time ?? TimeProvider.System);

    /// <summary>Turns the loop until something is so.</summary>
    public static void Until(this Loop loop, Func<bool> isDone)
    {
        long start = TimeProvider.System.GetTimestamp();
        while (!isDone())
        {
            Assert.True(TimeProvider.System.GetElapsedTime(start) < s_patience, "the loop got nowhere");
            loop.DrainOrWait(TimeSpan.FromMilliseconds(100));
        }
    }

    /// <summary>Runs one operation and answers its only completion.</summary>
    public static Completion Run(this Loop loop, in SubmissionEntry entry)
    {
        var seen = new Collector();
        loop.Submit(entry, seen, 1);
        loop.Until(() => seen.Count == 1);
        return seen.Seen[0];
    }
}

/// <summary>A directory of one test's own, removed with all it holds.</summary>
internal sealed class TempDirectory : IDisposable
{
    public string Root { get; } = Directory.CreateTempSubdirectory("ublk-test-").FullName;

    public string File(string name, long sizeBytes = -1)
    {
        string path = Path.Combine(Root, name);
        if (sizeBytes >= 0)
        {
            using FileStream file = System.IO.File.Create(path);
            file.SetLength(sizeBytes);
        }

        return path;
    }

    public void Dispose() => Directory.Delete(Root, recursive: true);
}

/// <summary>Two ends of a TCP connection on the loopback interface.</summary>
internal sealed class SocketPair : IDisposable
{
    public SocketPair()
    {
        using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen(1);
        Near = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        Near.Connect(listener.LocalEndPoint!);
        Far = listener.Accept();
        Far.NoDelay = true;
    }

    public Socket Near { get; }

    public Socket Far { get; }

    public void Dispose()
    {
        Near.Dispose();
        Far.Dispose();
    }
}

/// <summary>Kernel objects that only tests make.</summary>
internal static class TestFiles
{
    /// <summary>A counter that nobody has raised: a read of it waits.</summary>
    public static FileHandle EventCounter() => new(Libc.Result(Libc.EventFd(0, Libc.CloseOnExec)));

    /// <summary>The bytes of a file that may be locked: the runtime's own ways take a lock.</summary>
    public static byte[] Bytes(string path)
    {
        using FileHandle file = FileHandle.Open(path, FileAccess.Read);
        byte[] bytes = new byte[new FileInfo(path).Length];
        Assert.Equal(bytes.Length, file.ReadAt(bytes, 0));
        return bytes;
    }

    /// <summary>Memory that holds a kernel time span.</summary>
    public static MemoryMapping Timespec(TimeSpan time)
    {
        MemoryMapping memory = MemoryMapping.Allocate(4096);
        memory.At<long>(0) = time.Ticks / TimeSpan.TicksPerSecond;
        memory.At<long>(8) = time.Ticks % TimeSpan.TicksPerSecond * 100;
        return memory;
    }
}
