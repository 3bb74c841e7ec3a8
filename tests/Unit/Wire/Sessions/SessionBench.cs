using System.Buffers;
using System.IO.Pipelines;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http.Features;
using Ublk.Uring;
using Ublk.Wire;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;
using Ublk.Wire.Sessions;
using Xunit;

namespace Ublk.Tests.Unit.Wire.Sessions;

/// <summary>
/// A session whose other end is in the test's hands: bytes to it and from it, on the test's thread.
/// </summary>
internal sealed class SessionBench : IDisposable, IDuplexPipe
{
    public static readonly ClusterId Cluster = new(77);

    public static readonly SessionOptions Usual = new()
    {
        Cluster = Cluster, Node = new NodeId(1), AllowsUnproved = true,
    };

    private static readonly PipeOptions s_inline = new(
        readerScheduler: PipeScheduler.Inline, writerScheduler: PipeScheduler.Inline,
        useSynchronizationContext: false);

    private readonly Pipe _toSession = new(s_inline);
    private readonly Pipe _fromSession;

    public SessionBench(
        SessionOptions? options = null, long memoryBytes = 4 << 20, long pauseBytes = 1 << 20,
        NodeId? proved = null)
    {
        _fromSession = new Pipe(new PipeOptions(
            readerScheduler: PipeScheduler.Inline, writerScheduler: PipeScheduler.Inline,
            pauseWriterThreshold: pauseBytes, resumeWriterThreshold: pauseBytes / 2,
            useSynchronizationContext: false));
        Memory = new PoolMemory(memoryBytes);
        Handler = new RecordingHandler(Memory);
        Connection = new HandConnection(this) { OnAbort = why => _toSession.Writer.Complete(why) };
        if (proved is { } node)
        {
            Connection.Features.Set(new ProvedPeer(node));
        }

        Session = new Session(Connection, options ?? Usual, Memory, Handler);
        Run = Session.RunAsync();
    }

    public HandConnection Connection { get; }

    public PoolMemory Memory { get; }

    public RecordingHandler Handler { get; }

    public Session Session { get; }

    public Task<SessionEnd> Run { get; }

    PipeReader IDuplexPipe.Input => _toSession.Reader;

    PipeWriter IDuplexPipe.Output => _fromSession.Writer;

    /// <summary>The handshake of a peer that fits.</summary>
    public static Handshake Theirs(
        uint node = 2, byte oldest = ProtocolVersion.Oldest, byte newest = ProtocolVersion.Current) =>
        new(oldest, newest, Cluster, new NodeId(node), 0);

    public static byte[] BytesOf<T>(in T message, ReadOnlySpan<byte> payload = default)
        where T : struct, IMessage<T>, allows ref struct
    {
        byte[] bytes = new byte[T.MaxBytes + payload.Length];
        int length = MessageWriter.Write(message, bytes);
        payload.CopyTo(bytes.AsSpan(length));
        return bytes[..(length + payload.Length)];
    }

    /// <summary>The peer says something.</summary>
    public void Say(ReadOnlySpan<byte> bytes)
    {
        _toSession.Writer.Write(bytes);
        _ = _toSession.Writer.FlushAsync().AsTask();
    }

    public void Say<T>(in T message) where T : struct, IMessage<T>, allows ref struct =>
        Say(BytesOf(message));

    /// <summary>The peer takes everything that the session has said since.</summary>
    public byte[] Hear()
    {
        if (!_fromSession.Reader.TryRead(out ReadResult read))
        {
            return [];
        }

        byte[] heard = read.Buffer.ToArray();
        _fromSession.Reader.AdvanceTo(read.Buffer.End);
        return heard;
    }

    /// <summary>The end that the session has said last.</summary>
    public (CloseReason Reason, string Text) HearClose()
    {
        byte[] heard = Hear();
        for (int at = 0; at < heard.Length;)
        {
            MessageHead head = MessageParser.Parse(heard.AsSpan(at));
            if (head.Kind == MessageKind.Close)
            {
                Close close = head.Read<Close>();
                return (close.Reason, System.Text.Encoding.UTF8.GetString(close.Text));
            }

            at += head.TotalBytes;
        }

        return default;
    }

    public void HangUp() => _toSession.Writer.Complete();

    /// <summary>The connection breaks, in both directions.</summary>
    public void Break(IOException why)
    {
        _toSession.Writer.Complete(why);
        _fromSession.Reader.Complete(why);
    }

    public void Dispose()
    {
        HangUp();
        _fromSession.Reader.Complete();
        Memory.Dispose();
    }
}

/// <summary>A connection in the test's hands.</summary>
internal sealed class HandConnection(IDuplexPipe pipes) : ConnectionContext
{
    public override string ConnectionId { get; set; } = "test";

    public override IFeatureCollection Features { get; } = new FeatureCollection();

    public override IDictionary<object, object?> Items { get; set; } = new Dictionary<object, object?>();

    public override IDuplexPipe Transport { get; set; } = pipes;

    public required Action<ConnectionAbortedException> OnAbort { get; init; }

    public bool IsAborted { get; private set; }

    /// <summary>One that nobody reads from or writes to.</summary>
    public static HandConnection WithoutPipes() => new(new Nothing()) { OnAbort = _ => { } };

    public override void Abort(ConnectionAbortedException abortReason)
    {
        IsAborted = true;
        OnAbort(abortReason);
    }

    private sealed class Nothing : IDuplexPipe
    {
        public PipeReader Input => throw new NotSupportedException();

        public PipeWriter Output => throw new NotSupportedException();
    }
}

/// <summary>Memory that may run out, and a count of what is out.</summary>
internal sealed class PoolMemory(long bytes) : ISessionMemory, IDisposable
{
    private readonly PayloadPool _pool = new(bytes, table: null);

    public bool IsWhole => _pool.FreeBytes == _pool.CapacityBytes;

    public bool TryRent(int lengthBytes, out IoBuffer buffer) => _pool.TryRent(lengthBytes, out buffer);

    public void Wait(IPayloadWaiter waiter) => _pool.Wait(waiter);

    public void Return(in IoBuffer buffer) => _pool.Return(buffer);

    public void Dispose() => _pool.Dispose();
}

/// <summary>Keeps what a session tells.</summary>
internal sealed class RecordingHandler(PoolMemory memory) : ISessionHandler
{
    public List<string> Heard { get; } = [];

    public SessionEnd? End { get; private set; }

    public bool KeepsPayload { get; set; }

    public List<IoBuffer> Kept { get; } = [];

    public Action<Session, MessageKind>? OnKind { get; set; }

    public void OnOpened(Session session) => Heard.Add($"opened by {session.Peer} in {session.Version}");

    public void OnMessage(Session session, scoped in MessageHead head, in IoBuffer payload)
    {
        string text = payload.LengthBytes == 0 ? "" : $" {Crc32C.Compute(payload.Span):x}";
        Heard.Add($"{head.Kind} {head.HeadBytes}+{payload.LengthBytes}{text}");
        if (payload.LengthBytes > 0)
        {
            if (KeepsPayload)
            {
                Kept.Add(payload);
            }
            else
            {
                memory.Return(payload);
            }
        }

        OnKind?.Invoke(session, head.Kind);
    }

    public void OnEnded(Session session, SessionEnd end)
    {
        Assert.Null(End);
        End = end;
        Heard.Add($"ended by {end.Cause}: {end.Reason}");
    }
}
