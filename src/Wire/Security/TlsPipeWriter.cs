using System.Buffers;
using System.IO.Pipelines;
using System.Net.Security;
using System.Runtime.CompilerServices;
using Microsoft.AspNetCore.Connections;
using Ublk.Uring;
using Ublk.Wire.Sessions;
using Ublk.Wire.Transport;

namespace Ublk.Wire.Security;

/// <summary>
/// What a TLS connection sends: written as it comes, also while a flush is under way, and encrypted when it
/// is flushed, in records as long as they may be. On a loop that is at the end of the round, so that all
/// that is said in it shares records, and owners of payload are never told within somebody's call. Long
/// payload is encrypted from where it lies. A flush waits as long as the transport beneath makes it wait.
/// </summary>
internal sealed class TlsPipeWriter : PipeWriter, IPayloadOutput
{
    /// <summary>Most plain bytes of one record.</summary>
    public const int RecordBytes = 16 << 10;

    // Encrypted before the transport is asked whether it takes more.
    private const int StepBytes = 16 * RecordBytes;

    private readonly ConnectionContext _connection;
    private readonly SslStream _tls;
    private readonly PipeWriter _output;
    private readonly Loop? _loop;
    private readonly LoopTimer _endOfRound;
    private readonly Signal _roundEnded = new();
    private readonly Pipe _text = new(new PipeOptions(
        readerScheduler: PipeScheduler.Inline, writerScheduler: PipeScheduler.Inline,
        pauseWriterThreshold: 0, minimumSegmentSize: RecordBytes, useSynchronizationContext: false));

    private readonly Queue<Part> _payloads = new();
    private readonly byte[] _record = new byte[RecordBytes];
    private readonly LentMemory _lent = new();
    private readonly TaskCompletionSource _ended = new();
    private long _writtenText;
    private long _committedText;
    private long _takenText;
    private int _takenPayload;
    private long _appendedPayloads;
    private long _passedPayloads;
    private Exception? _error;
    private bool _isLent;
    private bool _isSending;
    private bool _isCompleted;

    /// <summary>For a connection whose handshake is done.</summary>
    /// <param name="connection">The one beneath.</param>
    /// <param name="loop">What it belongs to; null for none.</param>
    /// <param name="tls">Encrypts into its output.</param>
    public TlsPipeWriter(ConnectionContext connection, Loop? loop, SslStream tls)
    {
        _connection = connection;
        _output = connection.Transport.Output;
        _loop = loop;
        _tls = tls;
        _endOfRound = new LoopTimer(_roundEnded.Set);
    }

    /// <summary>Ends when it was completed and all is sent, or cannot be.</summary>
    public Task Ended => _ended.Task;

    private bool IsPending => _error is null && (TextBeforePayload > 0 || IsPayloadNext);

    private bool IsPayloadNext => _payloads.TryPeek(out Part next) && next.At == _takenText;

    private long TextBeforePayload =>
        (_payloads.TryPeek(out Part next) ? Math.Min(next.At, _committedText) : _committedText) - _takenText;

    /// <inheritdoc/>
    public override Memory<byte> GetMemory(int sizeHint = 0)
    {
        CheckMayWrite();
        _isLent = true;
        return _text.Writer.GetMemory(sizeHint);
    }

    /// <inheritdoc/>
    public override Span<byte> GetSpan(int sizeHint = 0) => GetMemory(sizeHint).Span;

    /// <inheritdoc/>
    public override void Advance(int bytes)
    {
        CheckMayWrite();
        _text.Writer.Advance(bytes);
        _isLent = false;
        _writtenText += bytes;
    }

    /// <inheritdoc/>
    public void Append(in IoBuffer payload, IPayloadOwner owner)
    {
        CheckMayWrite();
        ArgumentNullException.ThrowIfNull(owner);
        if (!payload.IsMemory || payload.LengthBytes == 0)
        {
            throw new ArgumentException("no bytes of this process", nameof(payload));
        }

        if (_error is not null)
        {
            owner.OnPayloadSent(payload);
            return;
        }

        _appendedPayloads++;
        _payloads.Enqueue(new Part(_writtenText, payload, owner));
    }

    /// <inheritdoc/>
    public override ValueTask<FlushResult> FlushAsync(CancellationToken cancellationToken = default)
    {
        CheckMayWrite();
        if (_isSending)
        {
            throw new InvalidOperationException("a flush is under way");
        }

        if (cancellationToken.IsCancellationRequested)
        {
            return ValueTask.FromCanceled<FlushResult>(cancellationToken);
        }

        if (_error is not null)
        {
            return ValueTask.FromException<FlushResult>(_error);
        }

        _isLent = false;
        Commit();
        return IsPending ? SendAsync(cancellationToken) : _output.FlushAsync(cancellationToken);
    }

    /// <inheritdoc/>
    public override void CancelPendingFlush() => _output.CancelPendingFlush();

    /// <summary>
    /// Sends what was written and then the end of TLS; with an exception the connection is aborted instead.
    /// </summary>
    /// <param name="exception">Why; null for an orderly end.</param>
    public override void Complete(Exception? exception = null)
    {
        if (_isCompleted)
        {
            return;
        }

        _isCompleted = true;
        _isLent = false;
        if (exception is not null)
        {
            _error ??= exception;
            _connection.Abort(new ConnectionAbortedException("the writer failed", exception));
        }

        if (_isSending)
        {
            return; // Which ends it.
        }

        if (_error is null)
        {
            _ = FinishAsync();
        }
        else
        {
            End();
        }
    }

    // A transport that is broken tells that to whoever reads.
    private async Task FinishAsync()
    {
        try
        {
            _ = await SendAsync(CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception failure) when (failure == _error)
        {
        }
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<FlushResult> SendAsync(CancellationToken cancellationToken)
    {
        _isSending = true;
        try
        {
            if (_loop is not null)
            {
                _loop.Schedule(_endOfRound, TimeSpan.Zero);
                await _roundEnded.WaitAsync().ConfigureAwait(false);
            }

            Commit();
            (long text, long payloads) = (_committedText, _appendedPayloads);
            FlushResult result = default;

            // What is written meanwhile goes with the next flush: this one would not end under a steady load.
            while (IsPending && (_isCompleted || !result.IsCanceled && IsOwed(text, payloads)))
            {
                await EncryptAsync().ConfigureAwait(false);
                result = await _output.FlushAsync(cancellationToken).ConfigureAwait(false);
                Commit(); // The end may have been said meanwhile, behind some last words.
            }

            if (_isCompleted && _error is null)
            {
                await _tls.ShutdownAsync().ConfigureAwait(false);
                _ = await _output.FlushAsync(CancellationToken.None).ConfigureAwait(false);
            }

            return result;
        }
        catch (Exception failure) when (!cancellationToken.IsCancellationRequested)
        {
            _error ??= failure;
            throw;
        }
        finally
        {
            _isSending = false;
            End();
        }
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask EncryptAsync()
    {
        for (int encrypted = 0; encrypted < StepBytes && IsPending;)
        {
            ReadOnlyMemory<byte> record = NextRecord();
            await _tls.WriteAsync(record).ConfigureAwait(false);
            encrypted += record.Length;
            if (_takenPayload > 0 && _payloads.Peek().Payload.LengthBytes == _takenPayload)
            {
                PassPayload();
            }
        }
    }

    private bool IsOwed(long text, long payloads) => _takenText < text || _passedPayloads < payloads;

    // A whole record of payload where it lies; else what comes next, put together.
    private ReadOnlyMemory<byte> NextRecord()
    {
        int filled = 0;
        while (filled < RecordBytes && IsPending)
        {
            int room = RecordBytes - filled;
            if (TextBeforePayload is > 0 and long text)
            {
                filled += TakeText(_record.AsSpan(filled, (int)Math.Min(room, text)));
                continue;
            }

            IoBuffer payload = _payloads.Peek().Payload;
            int left = payload.LengthBytes - _takenPayload;
            int count = Math.Min(room, left);
            IoBuffer next = payload.Slice(_takenPayload, count);
            _takenPayload += count;
            if (count == RecordBytes)
            {
                return _lent.Lend(next);
            }

            next.Span.CopyTo(_record.AsSpan(filled));
            filled += count;
            if (count == left)
            {
                PassPayload();
            }
        }

        return _record.AsMemory(0, filled);
    }

    private int TakeText(Span<byte> to)
    {
        _ = _text.Reader.TryRead(out ReadResult read);
        ReadOnlySequence<byte> taken = read.Buffer.Slice(0, to.Length);
        taken.CopyTo(to);
        _text.Reader.AdvanceTo(taken.End);
        _takenText += to.Length;
        return to.Length;
    }

    // The owner may append more at once.
    private void PassPayload()
    {
        Part part = _payloads.Dequeue();
        _passedPayloads++;
        _takenPayload = 0;
        part.Owner.OnPayloadSent(part.Payload);
    }

    // Memory that is being written to must not be taken away: what was written before it has to wait.
    private void Commit()
    {
        if (!_isLent && _committedText < _writtenText)
        {
            ValueTask<FlushResult> flush = _text.Writer.FlushAsync();
            _committedText = flush.IsCompletedSuccessfully ? _writtenText : _committedText; // It never waits.
        }
    }

    private void End()
    {
        while (_error is not null && _payloads.Count > 0)
        {
            PassPayload();
        }

        if (_isCompleted)
        {
            _text.Writer.Complete();
            _text.Reader.Complete();
            _output.Complete();
            _ended.TrySetResult();
        }
    }

    private void CheckMayWrite()
    {
        if (_isCompleted)
        {
            throw new InvalidOperationException("the output was completed");
        }
    }

    /// <summary>Payload, behind so many bytes that were written.</summary>
    private readonly record struct Part(long At, IoBuffer Payload, IPayloadOwner Owner);
}
