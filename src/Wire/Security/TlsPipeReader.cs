using System.IO.Pipelines;
using System.Net.Security;
using System.Runtime.CompilerServices;
using Ublk.Uring;
using Ublk.Wire.Transport;

namespace Ublk.Wire.Security;

/// <summary>
/// What a TLS connection receives, decrypted; long payload straight to where it is to lie. Used where the
/// pipes beneath are.
/// </summary>
/// <param name="tls">After its handshake.</param>
/// <param name="input">The pipe beneath.</param>
internal sealed class TlsPipeReader(SslStream tls, PipeReader input) : PipeReader, IPayloadInput
{
    // Room for two records: what TLS takes from the transport at once.
    private const int BufferBytes = 32 << 10;

    private readonly PipeReader _plain = Create(
        tls, new StreamPipeReaderOptions(bufferSize: BufferBytes, minimumReadSize: 4096, leaveOpen: true));

    private readonly LentMemory _lent = new();
    private SequencePosition _end;
    private bool _isHandedOut;

    /// <inheritdoc/>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    public override async ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default) =>
        HandOut(await _plain.ReadAsync(cancellationToken).ConfigureAwait(false));

    /// <inheritdoc/>
    public override bool TryRead(out ReadResult result)
    {
        if (_plain.TryRead(out result))
        {
            _ = HandOut(result);
            return true;
        }

        return false;
    }

    /// <inheritdoc/>
    public override void AdvanceTo(SequencePosition consumed) => AdvanceTo(consumed, consumed);

    /// <inheritdoc/>
    public override void AdvanceTo(SequencePosition consumed, SequencePosition examined)
    {
        _isHandedOut = false;
        _plain.AdvanceTo(consumed, examined);
    }

    /// <inheritdoc/>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    public async ValueTask<bool> ReceiveAsync(IoBuffer destination)
    {
        if (!_isHandedOut)
        {
            throw new InvalidOperationException("nothing was read that payload could follow");
        }

        AdvanceTo(_end);
        for (IoBuffer rest = destination; rest.LengthBytes > 0;)
        {
            int count = await tls.ReadAsync(_lent.Lend(rest)).ConfigureAwait(false);
            if (count == 0)
            {
                return false;
            }

            rest = rest.Slice(count, rest.LengthBytes - count);
        }

        return true;
    }

    /// <inheritdoc/>
    public override void CancelPendingRead() => _plain.CancelPendingRead();

    /// <inheritdoc/>
    public override void Complete(Exception? exception = null)
    {
        _isHandedOut = false;
        input.Complete(exception); // First: a read that waits fails before its memory is given back.
        _plain.Complete(exception);
    }

    private ReadResult HandOut(in ReadResult result)
    {
        _isHandedOut = true;
        _end = result.Buffer.End;
        return result;
    }
}
