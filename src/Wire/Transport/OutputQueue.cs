using Ublk.Uring;

namespace Ublk.Wire.Transport;

/// <summary>
/// What a connection has to send, in order: bytes written into blocks, and payload by reference. It moves
/// through three states: written, flushed, gathered for the send under way.
/// </summary>
/// <param name="transport">Where blocks come from.</param>
internal sealed class OutputQueue(RingTransport transport)
{
    /// <summary>
    /// Most bytes of one send, so that what holds the payload hears of it in time. A longer part goes alone.
    /// </summary>
    private const int MaxSendBytes = 4 << 20;

    // Blocks for what a writer writes before it waits, and once more for what it writes without asking.
    private readonly int _maxBlocks = 2 * (transport.Options.PauseUnsentBytes / BlockPool.BlockBytes + 2);
    private readonly int _maxParts = transport.Options.MaxUnsentParts;

    private OutputPart[] _parts = new OutputPart[16]; // A ring; its length is a power of two.
    private uint _head;
    private uint _gathered;
    private uint _flushed;
    private uint _tail;
    private int _headSentBytes;
    private int _blockCount;

    private TransportBlock? _block;
    private int _openStart;
    private bool _isLent;

    /// <summary>Bytes flushed and not sent.</summary>
    public long UnsentBytes { get; private set; }

    /// <summary>Bytes written and not flushed.</summary>
    public long UnflushedBytes { get; private set; }

    /// <summary>Parts not sent.</summary>
    public int PartCount => (int)(_tail - _head);

    /// <summary>Whether something is flushed that no send has gathered.</summary>
    public bool HasFlushed => _flushed != _gathered;

    private int OpenBytes => _block is null ? 0 : _block.UsedBytes - _openStart;

    /// <summary>Room to write, at least a number of bytes.</summary>
    public Memory<byte> Room(int minBytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(minBytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(minBytes, BlockPool.BlockBytes);
        if (_block is null || _block.FreeBytes < Math.Max(minBytes, 1))
        {
            Seal(canJoinFlushed: false);
            ReleaseOpenBlock();
            if (_blockCount == _maxBlocks)
            {
                throw new InvalidOperationException(
                    $"{_blockCount} blocks were written and not sent; wait for the flush");
            }

            _block = transport.Blocks.Rent();
            _blockCount++;
            _openStart = 0;
        }

        _isLent = true;
        return _block.Memory[_block.UsedBytes..];
    }

    /// <summary>Bytes were written into the room.</summary>
    public void Advance(int bytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        if (bytes > 0 && (!_isLent || bytes > _block!.FreeBytes))
        {
            throw new InvalidOperationException("more was written than there was room for");
        }

        _isLent = false;
        if (_block is not null)
        {
            _block.UsedBytes += bytes;
            UnflushedBytes += bytes;
        }
    }

    /// <summary>Adds payload behind what was written.</summary>
    public void Append(in IoBuffer payload, IPayloadOwner owner)
    {
        Seal(canJoinFlushed: false);
        Add(payload, owner);
        UnflushedBytes += payload.LengthBytes;
    }

    /// <summary>What was written may be sent.</summary>
    public void Flush()
    {
        Seal(canJoinFlushed: true);
        _isLent = false;
        _flushed = _tail;
        UnsentBytes += UnflushedBytes;
        UnflushedBytes = 0;
    }

    /// <summary>Names what goes with the next send; it stays unchanged until <see cref="OnSent"/>.</summary>
    /// <param name="list">Empty list.</param>
    public void Gather(GatherList list)
    {
        int skip = _headSentBytes;
        _gathered = _head;
        while (_gathered != _flushed && !list.IsFull)
        {
            IoBuffer buffer = At(_gathered).Buffer;
            if (list.Count > 0 && list.LengthBytes + buffer.LengthBytes > MaxSendBytes)
            {
                break;
            }

            list.Add(buffer.Slice(skip, buffer.LengthBytes - skip));
            skip = 0;
            _gathered++;
        }
    }

    /// <summary>The send ended; owners of payload that is sent hear of it, and may append more.</summary>
    /// <param name="bytes">Bytes the kernel took, possibly fewer than gathered.</param>
    public void OnSent(long bytes)
    {
        UnsentBytes -= bytes;
        while (bytes > 0)
        {
            int left = At(_head).Buffer.LengthBytes - _headSentBytes;
            if (bytes < left)
            {
                _headSentBytes += (int)bytes;
                break;
            }

            bytes -= left;
            RemoveHead();
        }

        _gathered = _head;
        if (_head == _tail && OpenBytes == 0 && !_isLent)
        {
            ReleaseOpenBlock(); // A connection with nothing to send holds no memory for it.
        }
    }

    /// <summary>Forgets everything; no send may be under way. Owners hear of their payload.</summary>
    /// <param name="keepsRoom">Whether room that is being written to stays; it belongs to the writer.</param>
    public void Drop(bool keepsRoom)
    {
        while (_head != _tail)
        {
            RemoveHead();
        }

        _gathered = _flushed = _tail;
        UnsentBytes = 0;
        UnflushedBytes = 0;
        _isLent &= keepsRoom;
        if (!_isLent)
        {
            ReleaseOpenBlock();
        }
    }

    private ref OutputPart At(uint index) => ref _parts[index & (_parts.Length - 1)];

    private void RemoveHead()
    {
        OutputPart part = At(_head);
        At(_head) = default;
        _head++;
        _headSentBytes = 0;
        if ((int)(_gathered - _head) < 0)
        {
            _gathered = _head;
        }

        if (part.Holder is TransportBlock block)
        {
            Release(block);
        }
        else
        {
            ((IPayloadOwner)part.Holder!).OnPayloadSent(part.Buffer);
        }
    }

    // What was written since the last part becomes a part, or joins the last one where the kernel has not
    // got that yet: small messages one after the other are one part.
    private void Seal(bool canJoinFlushed)
    {
        int length = OpenBytes;
        if (length == 0)
        {
            return;
        }

        TransportBlock block = _block!;
        uint last = _tail - 1;
        uint joinable = canJoinFlushed ? _gathered : _flushed;
        if (_tail != joinable && At(last).Holder == block)
        {
            ref OutputPart part = ref At(last);
            int start = block.UsedBytes - length - part.Buffer.LengthBytes;
            part.Buffer = block.Buffer.Slice(start, part.Buffer.LengthBytes + length);
        }
        else
        {
            Add(block.Buffer.Slice(_openStart, length), block);
            block.UserCount++;
        }

        _openStart = block.UsedBytes;
    }

    private void Add(in IoBuffer buffer, object holder)
    {
        if (PartCount == _maxParts)
        {
            throw new InvalidOperationException(
                $"{PartCount} parts were written and not sent; wait for the flush");
        }

        if (PartCount == _parts.Length)
        {
            Grow();
        }

        At(_tail) = new OutputPart { Buffer = buffer, Holder = holder };
        _tail++;
    }

    private void Grow()
    {
        var parts = new OutputPart[2 * _parts.Length];
        for (uint index = _head; index != _tail; index++)
        {
            parts[index & (parts.Length - 1)] = At(index);
        }

        _parts = parts;
    }

    private void ReleaseOpenBlock()
    {
        if (_block is { } block)
        {
            _block = null;
            Release(block);
        }
    }

    private void Release(TransportBlock block)
    {
        if (transport.Blocks.Release(block))
        {
            _blockCount--;
        }
    }

    private struct OutputPart
    {
        public IoBuffer Buffer;

        /// <summary>The block it lies in, or the owner of the payload.</summary>
        public object? Holder;
    }
}
