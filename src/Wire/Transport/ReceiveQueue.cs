using System.Buffers;

namespace Ublk.Wire.Transport;

/// <summary>
/// A piece of received bytes: a provided buffer, or a part of a block. Used again and again.
/// </summary>
internal sealed class ReceiveSegment : ReadOnlySequenceSegment<byte>
{
    /// <summary>The block it lies in; null when it is a provided buffer.</summary>
    public TransportBlock? Block { get; private set; }

    /// <summary>Its provided buffer, without a block.</summary>
    public ushort BufferId { get; private set; }

    /// <summary>Where it begins in its block.</summary>
    public int BlockOffset { get; private set; }

    public ReceiveSegment? Following => (ReceiveSegment?)Next;

    public int LengthBytes => Memory.Length;

    public long EndIndex => RunningIndex + Memory.Length;

    public void SetBuffer(ushort id, ReadOnlyMemory<byte> memory)
    {
        BufferId = id;
        Memory = memory;
    }

    public void SetBlock(TransportBlock block, int offset, int lengthBytes)
    {
        Block = block;
        BlockOffset = offset;
        Memory = block.Memory.Slice(offset, lengthBytes);
    }

    /// <summary>Takes more bytes of its block in; a sequence that was handed out does not see them.</summary>
    public void Extend(int lengthBytes) =>
        Memory = Block!.Memory.Slice(BlockOffset, Memory.Length + lengthBytes);

    public void Link(long index, ReceiveSegment? previous)
    {
        RunningIndex = index;
        Next = null;
        if (previous is not null)
        {
            previous.Next = this;
        }
    }

    public void Clear()
    {
        Block = null;
        Memory = default;
        Next = null;
    }
}

/// <summary>
/// What a connection has received and its reader has not consumed, in order. Positions are counted from the
/// beginning of the stream.
/// </summary>
/// <param name="transport">Where buffers and blocks come from.</param>
internal sealed class ReceiveQueue(RingTransport transport)
{
    private ReceiveSegment? _first;
    private ReceiveSegment? _last;

    /// <summary>Position of the first byte that is not consumed.</summary>
    public long StartIndex { get; private set; }

    /// <summary>Position behind the last byte received.</summary>
    public long EndIndex { get; private set; }

    /// <summary>Provided buffers and blocks held.</summary>
    public int HeldCount => BufferCount + BlockCount;

    /// <summary>Provided buffers held.</summary>
    public int BufferCount { get; private set; }

    /// <summary>Segments that lie in blocks.</summary>
    public int BlockCount { get; private set; }

    /// <summary>All bytes; valid until the next call of <see cref="Consume"/>.</summary>
    public ReadOnlySequence<byte> Sequence => _first is null
        ? default
        : new ReadOnlySequence<byte>(
            _first, (int)(StartIndex - _first.RunningIndex), _last!, _last!.LengthBytes);

    /// <summary>Adds a provided buffer.</summary>
    public void AddBuffer(ushort id, int lengthBytes)
    {
        ReceiveSegment segment = transport.RentSegment();
        segment.SetBuffer(id, transport.TakeBuffer(id, lengthBytes));
        BufferCount++;
        Append(segment, EndIndex);
        EndIndex += lengthBytes;
    }

    /// <summary>Adds bytes that were received into a block; the queue becomes a user of it.</summary>
    public void AddBlock(TransportBlock block, int offset, int lengthBytes)
    {
        AppendBlock(block, offset, lengthBytes, EndIndex);
        EndIndex += lengthBytes;
    }

    /// <summary>The last block, when the next bytes may go behind what is in it.</summary>
    /// <param name="minBytes">Least room that is worth it.</param>
    public TransportBlock? LastBlock(int minBytes) =>
        _last?.Block is { } block && block.FreeBytes >= minBytes ? block : null;

    /// <summary>Position in the stream of a position in the sequence.</summary>
    public long IndexOf(SequencePosition position) => position.GetObject() is ReceiveSegment segment
        ? segment.RunningIndex + position.GetInteger()
        : StartIndex;

    /// <summary>Forgets the bytes before a position and gives back what held only them.</summary>
    public void Consume(long index)
    {
        while (_first is { } segment && segment.EndIndex <= index)
        {
            _first = segment.Following;
            Release(segment);
        }

        if (_first is null)
        {
            _last = null;
        }

        StartIndex = index;
    }

    /// <summary>
    /// Copies what lies in provided buffers into blocks, so that the buffers can be used for more: they are
    /// given back however few bytes are in them. What lies in blocks stays.
    /// </summary>
    public void Compact()
    {
        ReceiveSegment? segment = _first;
        _first = null;
        _last = null;
        while (segment is not null)
        {
            ReceiveSegment? next = segment.Following;
            if (segment.Block is not null)
            {
                Append(segment, segment.RunningIndex);
            }
            else
            {
                long index = Math.Max(StartIndex, segment.RunningIndex);
                CopyToBlocks(segment.Memory.Span[(int)(index - segment.RunningIndex)..], index);
                Release(segment);
            }

            segment = next;
        }
    }

    /// <summary>Gives everything back.</summary>
    public void Clear() => Consume(EndIndex);

    private void CopyToBlocks(ReadOnlySpan<byte> bytes, long index)
    {
        while (bytes.Length > 0)
        {
            TransportBlock? last = LastBlock(minBytes: 1);
            TransportBlock block = last ?? transport.Blocks.Rent();
            int offset = block.UsedBytes;
            int count = Math.Min(bytes.Length, block.FreeBytes);
            bytes[..count].CopyTo(block.Memory.Span[offset..]);
            block.UsedBytes += count;
            AppendBlock(block, offset, count, index);
            if (last is null)
            {
                transport.Blocks.Release(block); // The queue's own use remains.
            }

            bytes = bytes[count..];
            index += count;
        }
    }

    private void AppendBlock(TransportBlock block, int offset, int lengthBytes, long index)
    {
        if (_last is { } last && last.Block == block && last.BlockOffset + last.LengthBytes == offset)
        {
            last.Extend(lengthBytes);
            return;
        }

        ReceiveSegment segment = transport.RentSegment();
        segment.SetBlock(block, offset, lengthBytes);
        block.UserCount++;
        BlockCount++;
        Append(segment, index);
    }

    private void Append(ReceiveSegment segment, long index)
    {
        segment.Link(index, _last);
        _first ??= segment;
        _last = segment;
    }

    private void Release(ReceiveSegment segment)
    {
        if (segment.Block is { } block)
        {
            BlockCount--;
            transport.Blocks.Release(block);
        }
        else
        {
            BufferCount--;
            transport.ReturnBuffer(segment.BufferId);
        }

        segment.Clear();
        transport.ReturnSegment(segment);
    }
}
