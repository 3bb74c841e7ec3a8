using System.Buffers;
using System.IO.Pipelines;
using System.Runtime.CompilerServices;
using Microsoft.AspNetCore.Connections;
using Ublk.Uring;

namespace Ublk.Wire.Security;

/// <summary>
/// The bytes of a connection as the stream that TLS wants beneath it. Used on another thread than that of
/// the connection's loop, as in the handshake, it goes to the loop for each step and comes back; on the
/// loop's thread, as afterwards, it goes straight to the pipes. The end of the connection is always an
/// error here: the orderly end is one of TLS, and nothing is read behind it.
/// </summary>
/// <param name="pipes">The connection's.</param>
/// <param name="loop">What its pipes belong to; null where they may be used on any thread.</param>
internal sealed class CipherStream(IDuplexPipe pipes, Loop? loop) : Stream
{
    private readonly PipeReader _input = pipes.Input;
    private readonly PipeWriter _output = pipes.Output;

    /// <summary>The first byte that came; null before.</summary>
    public byte? FirstByte { get; private set; }

    /// <inheritdoc/>
    public override bool CanRead => true;

    /// <inheritdoc/>
    public override bool CanWrite => true;

    /// <inheritdoc/>
    public override bool CanSeek => false;

    /// <inheritdoc/>
    public override long Length => throw new NotSupportedException();

    /// <inheritdoc/>
    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    private bool IsElsewhere => loop is { IsOwner: false };

    /// <summary>Reads what is there; without room for it, waits until something is.</summary>
    /// <param name="buffer">Where to.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <exception cref="IOException">The connection has ended, in whatever way.</exception>
    public override ValueTask<int> ReadAsync(
        Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        IsElsewhere ? new ValueTask<int>(ReadAtLoopAsync(buffer, cancellationToken))
            : ReadHereAsync(buffer, cancellationToken);

    /// <inheritdoc/>
    public override Task<int> ReadAsync(
        byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    /// <summary>Writes without waiting; it goes with the next flush.</summary>
    /// <param name="buffer">The bytes.</param>
    /// <param name="cancellationToken">Not looked at.</param>
    public override ValueTask WriteAsync(
        ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (IsElsewhere)
        {
            return new ValueTask(WriteAtLoopAsync(buffer));
        }

        _output.Write(buffer.Span);
        return default;
    }

    /// <inheritdoc/>
    public override Task WriteAsync(
        byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    /// <inheritdoc/>
    public override Task FlushAsync(CancellationToken cancellationToken) => IsElsewhere
        ? AtLoopAsync(() => _output.FlushAsync(cancellationToken).AsTask())
        : _output.FlushAsync(cancellationToken).AsTask();

    /// <summary>
    /// What TLS says last when it refuses a certificate, and without waiting: it goes out by itself.
    /// </summary>
    /// <param name="buffer">A few bytes.</param>
    public override void Write(ReadOnlySpan<byte> buffer)
    {
        byte[] alert = [.. buffer];
        void Say()
        {
            _output.Write(alert);
            _ = _output.FlushAsync().AsTask();
        }

        if (!IsElsewhere)
        {
            Say();
        }
        else
        {
            _ = loop!.Post(Say);
        }
    }

    /// <inheritdoc/>
    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    /// <inheritdoc/>
    public override void Flush()
    {
    }

    /// <inheritdoc/>
    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void SetLength(long value) => throw new NotSupportedException();

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<int> ReadHereAsync(Memory<byte> buffer, CancellationToken cancellationToken)
    {
        ReadResult read = await NextAsync(cancellationToken).ConfigureAwait(false);
        ReadOnlySequence<byte> there = read.Buffer;
        if (there.IsEmpty)
        {
            _input.AdvanceTo(there.End);
            cancellationToken.ThrowIfCancellationRequested();
            throw new IOException("the connection ends without the end of TLS");
        }

        FirstByte ??= there.FirstSpan[0];
        int count = (int)Math.Min(there.Length, buffer.Length);
        ReadOnlySequence<byte> taken = there.Slice(0, count);
        taken.CopyTo(buffer.Span);
        _input.AdvanceTo(taken.End);
        return count;
    }

    // TLS would hide the reason in an exception of its own.
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<ReadResult> NextAsync(CancellationToken cancellationToken)
    {
        try
        {
            return await _input.ReadAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (ConnectionAbortedException aborted)
        {
            throw new IOException(aborted.Message, aborted);
        }
    }

    // Apart from the way without a loop, where what these capture would be an allocation for each record.
    private Task<int> ReadAtLoopAsync(Memory<byte> buffer, CancellationToken cancellationToken) =>
        AtLoopAsync(() => ReadHereAsync(buffer, cancellationToken).AsTask());

    private Task<bool> WriteAtLoopAsync(ReadOnlyMemory<byte> buffer) => AtLoopAsync(() =>
    {
        _output.Write(buffer.Span);
        return Task.FromResult(true);
    });

    // What follows does not run on the loop's thread, however it ended: it computes for milliseconds.
    private async Task<T> AtLoopAsync<T>(Func<Task<T>> step)
    {
        try
        {
            Task<T> done = await loop!.InvokeAsync(step).ConfigureAwait(false);
            return await done.ConfigureAwait(false);
        }
        finally
        {
            await Task.Yield();
        }
    }
}
