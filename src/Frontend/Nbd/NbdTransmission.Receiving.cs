using System.Buffers;
using System.IO.Pipelines;
using System.Runtime.CompilerServices;
using Ublk.Uring;

namespace Ublk.Frontend.Nbd;

/// <content>
/// What comes: heads, and the payload of writes, which is received into the memory it is written from.
/// Nothing more is read while requests, memory, or room for replies lack.
/// </content>
internal sealed partial class NbdTransmission
{
    // Below that the copy costs less than two receives in place of one that goes on by itself.
    private const int LongPayloadBytes = 128 << 10;

    private Stage _stage;
    private NbdRequest _refused;
    private NbdOutcome _refusal;
    private ulong _skipBytes;
    private int _current;
    private int _fillingPart;
    private int _filledBytes;
    private bool _hasPartOfHead;
    private bool _isInLine;

    private enum Stage : byte
    {
        /// <summary>The next bytes are a head.</summary>
        Head,
        /// <summary>The current request waits for memory.</summary>
        Memory,
        /// <summary>The next bytes are the current request's payload.</summary>
        Payload,
        /// <summary>
        /// The next bytes are payload of a request that was refused; its reply follows then.
        /// </summary>
        Skip,
        /// <summary>Nothing more is read.</summary>
        Ended,
    }

    /// <inheritdoc/>
    bool IPayloadWaiter.TryContinue()
    {
        if (_stage != Stage.Memory)
        {
            _isInLine = false; // It has ended meanwhile.
            return true;
        }

        // Whoever is first in line keeps what it gets, and nobody else keeps a part: so it gets all in the
        // end.
        if (!TryRentAll(_current))
        {
            return false;
        }

        _isInLine = false;
        UseMemory();
        if (!MustWait)
        {
            _goesOn.Set();
        }

        return true;
    }

    private bool IsInRequest => _hasPartOfHead || _stage is Stage.Payload or Stage.Skip;

    private bool MustWait => _isFlushing || _stage == Stage.Memory ||
        (_stage == Stage.Head && InFlightCount == _operations.Capacity);

    private async Task ReceiveAsync()
    {
        while (true)
        {
            ReadResult read = await _input.ReadAsync().ConfigureAwait(false);
            MadeProgress();
            ReadOnlySequence<byte> left = read.Buffer;
            Take(ref left);
            if (!read.IsCompleted && IsLongPayloadNext(left))
            {
                await ReceiveLongPayloadAsync().ConfigureAwait(false);
                continue;
            }

            bool mustWait = MustWait;
            _input.AdvanceTo(left.Start, mustWait ? left.Start : read.Buffer.End);
            bool isLeaving = _isStopping && InFlightCount == 0 && !IsInRequest && !mustWait;
            if (_stage == Stage.Ended || isLeaving)
            {
                return;
            }

            if (read.IsCompleted && !mustWait)
            {
                Complaint ??= IsInRequest ? "the connection ends in the middle of a request" : null;
                return;
            }

            _goesOn.Clear();
            if (mustWait)
            {
                await _goesOn.WaitAsync().ConfigureAwait(false);
            }
        }
    }

    private void Take(scoped ref ReadOnlySequence<byte> left)
    {
        bool goesOn = true;
        while (goesOn)
        {
            goesOn = _stage switch
            {
                Stage.Head => TryTakeHead(ref left),
                Stage.Payload => TryTakePayload(ref left),
                Stage.Skip => TrySkip(ref left),
                _ => false,
            };
        }

        _hasPartOfHead = _stage == Stage.Head && !left.IsEmpty &&
            left.Length < NbdRequest.HeadBytes(_rules.Style);
        if (_stage == Stage.Ended)
        {
            left = left.Slice(left.End);
        }
    }

    private bool TryTakeHead(scoped ref ReadOnlySequence<byte> left)
    {
        int length = NbdRequest.HeadBytes(_rules.Style);
        if (left.Length < length || InFlightCount == _operations.Capacity || _isFlushing)
        {
            return false;
        }

        Span<byte> head = stackalloc byte[NbdRequest.ExtendedBytes];
        left.Slice(0, length).CopyTo(head);
        if (!NbdRequest.TryParse(head, _rules.Style, out NbdRequest request))
        {
            Refuse("a request does not begin with its magic number");
            return false;
        }

        left = left.Slice(length);
        if (request.Command == NbdCommand.Disconnect)
        {
            _stage = Stage.Ended;
            return false;
        }

        Begin(request);
        return true;
    }

    private void Begin(in NbdRequest request)
    {
        ulong payloadBytes = request.PayloadBytes(_rules.Style);
        if (payloadBytes > NbdProtocol.MaxPayloadBytes)
        {
            Refuse($"a request has {payloadBytes} bytes of payload");
            return;
        }

        NbdOutcome outcome = _isStopping ? NbdOutcome.ShuttingDown : Check(request);
        if (outcome == NbdOutcome.Done)
        {
            Accept(request);
        }
        else if (payloadBytes == 0)
        {
            Answer(request, outcome);
        }
        else
        {
            _refused = request;
            _refusal = outcome;
            _skipBytes = payloadBytes;
            _stage = Stage.Skip;
        }
    }

    // Beyond the known end: the target may have grown since.
    private NbdOutcome Check(in NbdRequest request)
    {
        NbdOutcome outcome = _rules.Check(request, _export.Target.SizeBytes);
        return outcome is NbdOutcome.BeyondEnd or NbdOutcome.WriteBeyondEnd
            ? _rules.Check(request, _export.Target.RefreshSize()) : outcome;
    }

    private void Accept(in NbdRequest request)
    {
        ref Operation operation = ref _operations.Rent(out int slot);
        operation.Request = request;
        operation.FirstPart = NoPart;
        if (request.Command is NbdCommand.Read or NbdCommand.Write)
        {
            _current = slot;
            _stage = Stage.Memory;
            TakeMemory();
        }
        else
        {
            Serve(slot);
        }
    }

    private void TakeMemory()
    {
        long length = (long)_operations[_current].Request.LengthBytes;
        if (HeldBytes > 0 && HeldBytes + length > _options.MaxHeldBytes)
        {
            return; // What this connection has comes back first.
        }

        if (TryRentAll(_current))
        {
            UseMemory();
            return;
        }

        _isInLine = true;
        ReturnParts(_current);
        _pool.Wait(this);
        _pool.LookAgain(); // What was returned may be all that will ever come back.
    }

    private void UseMemory()
    {
        if (_operations[_current].Request.Command == NbdCommand.Write)
        {
            _fillingPart = _operations[_current].FirstPart;
            _filledBytes = 0;
            _stage = Stage.Payload;
        }
        else
        {
            _stage = Stage.Head;
            Serve(_current);
        }
    }

    private bool TryTakePayload(scoped ref ReadOnlySequence<byte> left)
    {
        IoBuffer memory = _parts[_fillingPart].Memory;
        int count = (int)Math.Min(left.Length, memory.LengthBytes - _filledBytes);
        left.Slice(0, count).CopyTo(memory.Span[_filledBytes..]);
        left = left.Slice(count);
        Filled(count);
        return _stage != Stage.Payload || !left.IsEmpty;
    }

    // A write is begun when all of it has come: what is cut short changes nothing.
    private void Filled(int bytes)
    {
        _filledBytes += bytes;
        if (_filledBytes < _parts[_fillingPart].Memory.LengthBytes)
        {
            return;
        }

        _fillingPart = _parts[_fillingPart].Next;
        _filledBytes = 0;
        if (_fillingPart == NoPart)
        {
            _stage = Stage.Head;
            Serve(_current);
        }
    }

    private bool IsLongPayloadNext(in ReadOnlySequence<byte> left) =>
        _longPayload is not null && _stage == Stage.Payload && left.IsEmpty &&
        _parts[_fillingPart].Memory.LengthBytes - _filledBytes >= LongPayloadBytes;

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask ReceiveLongPayloadAsync()
    {
        IoBuffer memory = _parts[_fillingPart].Memory;
        IoBuffer rest = memory.Slice(_filledBytes, memory.LengthBytes - _filledBytes);
        if (await _longPayload!.ReceiveAsync(rest).ConfigureAwait(false))
        {
            MadeProgress();
            Filled(rest.LengthBytes);
        }
    }

    private bool TrySkip(scoped ref ReadOnlySequence<byte> left)
    {
        long count = (long)Math.Min((ulong)left.Length, _skipBytes);
        left = left.Slice(count);
        _skipBytes -= (ulong)count;
        if (_skipBytes > 0)
        {
            return false;
        }

        _stage = Stage.Head;
        Answer(_refused, _refusal);
        return true;
    }

    private void Refuse(string complaint)
    {
        Complaint ??= complaint;
        _stage = Stage.Ended;
    }

    // A write whose payload has not come as a whole was not begun.
    private void End()
    {
        bool isCutShort = _stage == Stage.Payload;
        _stage = Stage.Ended;
        if (isCutShort)
        {
            ReturnParts(_current);
            _operations.Return(_current);
        }
    }
}
