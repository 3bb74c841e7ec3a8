using System.IO.Pipelines;
using System.Runtime.CompilerServices;
using Microsoft.AspNetCore.Connections;
using Ublk.Uring;
using Ublk.Wire.Blocks;
using Ublk.Wire.Sessions;
using Ublk.Wire.Transport;

namespace Ublk.Frontend.Nbd;

/// <summary>What one connection may have of the server.</summary>
internal sealed record NbdTransmissionOptions
{
    /// <summary>Requests in hand; the next one is read when one of them is answered.</summary>
    public int MaxRequests { get; init; } = 128;

    /// <summary>
    /// Memory for payload in bytes, of requests and of replies that are not sent; more is read when some of
    /// it came back. A single request may have more.
    /// </summary>
    public long MaxHeldBytes { get; init; } = NbdProtocol.MaxPayloadBytes;

    /// <summary>Longest read or write in bytes, as the client was told.</summary>
    public int MaxPayloadBytes { get; init; } = NbdProtocol.MaxPayloadBytes;

    /// <summary>
    /// Longest time in nanoseconds in which a client that owes us bytes, or to take some, does neither.
    /// </summary>
    public long StallLimitNs { get; init; } = 60_000_000_000;

    /// <summary>Longest time in nanoseconds without a request; 0 for any.</summary>
    public long IdleLimitNs { get; init; }
}

/// <summary>
/// The transmission phase of one connection: requests come one behind the other, go to the target many at
/// once, and are answered as they end. It knows no sockets and no clock. On the loop's thread; no allocation
/// per request. Requests that were taken are carried out and answered whatever comes then; only a connection
/// that broke gets no answers.
/// </summary>
internal sealed partial class NbdTransmission : IBlockCompletion, IPayloadOwner, IPayloadWaiter
{
    private readonly NbdTransmissionOptions _options;
    private readonly NbdExport _export;
    private readonly NbdRequestRules _rules;
    private readonly PayloadPool _pool;
    private readonly IoBuffer _zeros;
    private readonly PipeReader _input;
    private readonly PipeWriter _output;
    private readonly IPayloadOutput? _payloads;
    private readonly IPayloadInput? _longPayload;
    private readonly Signal _goesOn = new();
    private readonly Signal _mustSend = new();
    private bool _isStopping;
    private bool _isBroken;
    private bool _isEnding;
    private bool _isFlushing;
    private bool _hasUnflushed;
    private long _now;
    private long _progressAt;

    /// <summary>Nothing happens before <see cref="RunAsync"/>.</summary>
    /// <param name="pipes">
    /// The connection, whose continuations run on the loop's thread; it stays the caller's, and is closed
    /// only after the end.
    /// </param>
    /// <param name="agreement">What was negotiated.</param>
    /// <param name="options">Limits.</param>
    /// <param name="pool">Memory for payload.</param>
    /// <param name="zeros">A block of it that holds zeros and is changed by nobody.</param>
    public NbdTransmission(
        IDuplexPipe pipes, in NbdAgreement agreement, NbdTransmissionOptions options, PayloadPool pool,
        in IoBuffer zeros)
    {
        _options = options;
        _export = agreement.Export;
        _pool = pool;
        _zeros = zeros;
        _input = pipes.Input;
        _output = pipes.Output;
        _payloads = _output as IPayloadOutput;
        _longPayload = _input as IPayloadInput;
        _rules = new NbdRequestRules(
            agreement.Style, _export.Limits.LogicalBlockBytes, options.MaxPayloadBytes, _export.IsReadOnly,
            _export.CanTrim, agreement.HasContext);
        _operations = new SlotTable<Operation>(options.MaxRequests, "requests of an NBD client");

        // Each request has one part, and one more for every block that its memory goes beyond one.
        long mostBytes = Math.Max(options.MaxHeldBytes, options.MaxPayloadBytes);
        int blocks = (int)(mostBytes / PayloadPool.MaxBlockBytes);
        _parts = new SlotTable<Part>(options.MaxRequests + blocks + 1, "payload blocks of an NBD client");
    }

    /// <summary>Why it has ended; null where the client or a stop wanted that.</summary>
    public string? Complaint { get; private set; }

    /// <summary>Requests taken and not answered.</summary>
    public int InFlightCount => _operations.RentedCount;

    /// <summary>Bytes of memory for payload.</summary>
    public long HeldBytes { get; private set; }

    /// <summary>Requests answered.</summary>
    public long AnsweredCount { get; private set; }

    /// <summary>
    /// Serves until the client goes, or the stop; ends when everything that was taken is answered and
    /// flushed.
    /// </summary>
    public async Task RunAsync()
    {
        Task sending = SendAsync();
        try
        {
            await ReceiveAsync().ConfigureAwait(false);
        }
        catch (Exception failure) when (IsBreak(failure))
        {
            Break(failure);
        }

        End();
        while (InFlightCount > 0)
        {
            await _goesOn.WaitAsync().ConfigureAwait(false);
        }

        _isEnding = true;
        _mustSend.Set();
        await sending.ConfigureAwait(false);
    }

    /// <summary>
    /// The server goes: what was begun is finished and answered, what comes now is refused, and when nothing
    /// is in hand it ends.
    /// </summary>
    public void Stop()
    {
        _isStopping = true;
        LeaveIfQuiet();
    }

    /// <summary>Time passes; to be called about once a second.</summary>
    /// <param name="nowNs">The clock, in nanoseconds.</param>
    /// <returns>Why the connection is to be aborted; null while all is well.</returns>
    public string? OnTick(long nowNs)
    {
        _progressAt = _now == 0 ? nowNs : _progressAt;
        _now = nowNs;
        long quietNs = nowNs - _progressAt;
        if (IsClientsTurn)
        {
            return quietNs > _options.StallLimitNs
                ? "the client neither finishes its request nor takes what it is sent" : null;
        }

        bool isIdle = InFlightCount == 0 && _options.IdleLimitNs > 0 && quietNs > _options.IdleLimitNs;
        return isIdle ? "the client asked for nothing for too long" : null;
    }

    private static bool IsBreak(Exception failure) => failure is IOException or ConnectionAbortedException;

    // What can only go on when the client sends or takes something.
    private bool IsClientsTurn => _isFlushing || _unsentPayloads > 0 || IsInRequest;

    private void MadeProgress() => _progressAt = _now;

    // Called from where the reader does not wait: by the end of a request, or by the server.
    private void LeaveIfQuiet()
    {
        if (_isStopping && InFlightCount == 0 && !IsInRequest && _stage != Stage.Ended)
        {
            _input.CancelPendingRead();
        }
    }

    private void Break(Exception failure)
    {
        _isBroken = true;
        Complaint ??= failure.Message;
    }

    // As soon as something is to be sent and the transport takes it.
    private async Task SendAsync()
    {
        while (!_isEnding || _hasUnflushed)
        {
            if (!_hasUnflushed)
            {
                await _mustSend.WaitAsync().ConfigureAwait(false);
                continue;
            }

            _hasUnflushed = false;
            _isFlushing = true;
            if (_isBroken || !await TryFlushAsync().ConfigureAwait(false))
            {
                _isFlushing = false;
                return;
            }

            _isFlushing = false;
            MadeProgress();
            GoOn();
        }
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<bool> TryFlushAsync()
    {
        try
        {
            _ = await _output.FlushAsync().ConfigureAwait(false);
            return true;
        }
        catch (Exception failure) when (IsBreak(failure))
        {
            Break(failure);
            return false;
        }
    }

    private void Flush()
    {
        _hasUnflushed = true;
        if (!_isFlushing)
        {
            _mustSend.Set();
        }
    }

    // Something came back that the reader may wait for, or the end does.
    private void GoOn()
    {
        if (_stage == Stage.Memory && !_isInLine)
        {
            TakeMemory();
        }

        if (_stage == Stage.Ended || !MustWait)
        {
            _goesOn.Set();
        }
    }
}
