using System.Buffers;
using System.IO.Pipelines;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http.Features;
using Ublk.Uring;
using Ublk.Wire.Transport;

namespace Ublk.Testing;

/// <summary>
/// One end of a connection in memory, for sessions without sockets and threads: all continuations run when
/// the test turns the scheduler. Payload is copied, and its owner hears with a later turn, as from a socket.
/// </summary>
public sealed class MemoryConnection : ConnectionContext, IDuplexPipe
{
    private readonly CancellationTokenSource _closed = new();
    private readonly MemoryPipeWriter _output;
    private MemoryConnection _peer;

    private MemoryConnection(string name, PipeReader input, PipeWriter output, PipeScheduler scheduler)
    {
        ConnectionId = name;
        Input = input;
        _output = new MemoryPipeWriter(output, scheduler);
        _peer = this;
        Transport = this;
        ConnectionClosed = _closed.Token;
    }

    /// <inheritdoc/>
    public PipeReader Input { get; }

    /// <inheritdoc/>
    public PipeWriter Output => _output;

    /// <summary>The output again, for payload.</summary>
    public IPayloadOutput Payloads => _output;

    /// <summary>Why it ended; null while it has not, and for an orderly end.</summary>
    public Exception? CloseReason { get; private set; }

    /// <inheritdoc/>
    public override string ConnectionId { get; set; }

    /// <inheritdoc/>
    public override IFeatureCollection Features { get; } = new FeatureCollection();

    /// <inheritdoc/>
    public override IDictionary<object, object?> Items { get; set; } = new Dictionary<object, object?>();

    /// <inheritdoc/>
    public override IDuplexPipe Transport { get; set; }

    /// <summary>Two ends of one connection.</summary>
    /// <param name="scheduler">Turned by the test.</param>
    /// <param name="pauseBytes">Bytes on the way in one direction from which on a flush waits.</param>
    public static (MemoryConnection Near, MemoryConnection Far) Pair(
        ManualScheduler scheduler, int pauseBytes = 1 << 20)
    {
        var options = new PipeOptions(
            readerScheduler: scheduler, writerScheduler: scheduler, pauseWriterThreshold: pauseBytes,
            resumeWriterThreshold: (pauseBytes + 1) / 2, useSynchronizationContext: false);
        var there = new Pipe(options);
        var back = new Pipe(options);
        var near = new MemoryConnection("near", back.Reader, there.Writer, scheduler);
        var far = new MemoryConnection("far", there.Reader, back.Writer, scheduler);
        near._peer = far;
        far._peer = near;
        return (near, far);
    }

    /// <summary>Ends both ends: this one with the reason, the other as after a reset.</summary>
    /// <param name="abortReason">Why.</param>
    public override void Abort(ConnectionAbortedException abortReason)
    {
        if (CloseReason is null)
        {
            End(abortReason, new ConnectionResetException("the peer aborted the connection"));
            _peer.End(new ConnectionResetException("the peer aborted the connection"), abortReason);
        }
    }

    /// <inheritdoc/>
    public override async ValueTask DisposeAsync()
    {
        await Input.CompleteAsync().ConfigureAwait(false);
        await Output.CompleteAsync().ConfigureAwait(false);
        await _closed.CancelAsync().ConfigureAwait(false);
        await base.DisposeAsync().ConfigureAwait(false);
    }

    // What the peer reads of this end is the output's completion.
    private void End(Exception own, Exception seenByPeer)
    {
        CloseReason ??= own;
        _output.Inner.CancelPendingFlush();
        _output.Inner.Complete(seenByPeer);
        _closed.Cancel();
    }

    private sealed class MemoryPipeWriter(PipeWriter inner, PipeScheduler scheduler)
        : PipeWriter, IPayloadOutput
    {
        public PipeWriter Inner => inner;

        public override bool CanGetUnflushedBytes => inner.CanGetUnflushedBytes;

        public override long UnflushedBytes => inner.UnflushedBytes;

        public void Append(in IoBuffer payload, IPayloadOwner owner)
        {
            inner.Write(payload.Span);
            IoBuffer sent = payload;
            scheduler.Schedule(_ => owner.OnPayloadSent(sent), state: null);
        }

        public override void Advance(int bytes) => inner.Advance(bytes);

        public override Memory<byte> GetMemory(int sizeHint = 0) => inner.GetMemory(sizeHint);

        public override Span<byte> GetSpan(int sizeHint = 0) => inner.GetSpan(sizeHint);

        public override ValueTask<FlushResult> FlushAsync(CancellationToken cancellationToken = default) =>
            inner.FlushAsync(cancellationToken);

        public override void CancelPendingFlush() => inner.CancelPendingFlush();

        public override void Complete(Exception? exception = null) => inner.Complete(exception);
    }
}
