using System.Buffers.Binary;
using Ublk.Frontend.Nbd;

namespace Ublk.Tests.Unit.Nbd;

/// <summary>A reply as a client understands it.</summary>
/// <param name="Cookie">Which request.</param>
/// <param name="Error">Its error.</param>
/// <param name="Data">What was read, or the extents.</param>
internal sealed record NbdReply(ulong Cookie, NbdError Error, byte[] Data)
{
    /// <summary>Length and flags of each extent.</summary>
    public List<(long LengthBytes, NbdExtentFlags Flags)> Extents(NbdReplyStyle style)
    {
        var extents = new List<(long, NbdExtentFlags)>();
        bool isExtended = style == NbdReplyStyle.Extended;
        for (ReadOnlySpan<byte> left = Data.AsSpan(isExtended ? 8 : 4); !left.IsEmpty;
            left = left[(isExtended ? 16 : 8)..])
        {
            extents.Add(isExtended
                ? (BinaryPrimitives.ReadInt64BigEndian(left),
                    (NbdExtentFlags)BinaryPrimitives.ReadUInt64BigEndian(left[8..]))
                : (BinaryPrimitives.ReadUInt32BigEndian(left),
                    (NbdExtentFlags)BinaryPrimitives.ReadUInt32BigEndian(left[4..])));
        }

        return extents;
    }
}

/// <summary>Takes replies from a stream of bytes; what is not whole waits for more.</summary>
internal sealed class NbdReplyReader(NbdReplyStyle style)
{
    private readonly Dictionary<ulong, int> _reads = [];
    private byte[] _left = [];

    /// <summary>Bytes that are no whole reply yet.</summary>
    public int LeftBytes => _left.Length;

    /// <summary>Simple replies do not say how long they are: the client knows from its request.</summary>
    public void Expect(ulong cookie, int readBytes) => _reads[cookie] = readBytes;

    /// <summary>The replies that are whole now.</summary>
    public List<NbdReply> Take(byte[] bytes)
    {
        _left = [.. _left, .. bytes];
        var replies = new List<NbdReply>();
        while (TryTake(_left, out NbdReply? reply, out int length))
        {
            replies.Add(reply!);
            _left = _left[length..];
        }

        return replies;
    }

    private bool TryTake(ReadOnlySpan<byte> bytes, out NbdReply? reply, out int length)
    {
        reply = null;
        length = style switch { NbdReplyStyle.Simple => 16, NbdReplyStyle.Structured => 20, _ => 32 };
        if (bytes.Length < length)
        {
            return false;
        }

        ulong cookie = BinaryPrimitives.ReadUInt64BigEndian(bytes[8..]);
        uint magic = BinaryPrimitives.ReadUInt32BigEndian(bytes);
        int head = length;
        if (style == NbdReplyStyle.Simple)
        {
            var error = (NbdError)BinaryPrimitives.ReadUInt32BigEndian(bytes[4..]);
            length += error == NbdError.None ? _reads.GetValueOrDefault(cookie) : 0;
            bool isWhole = magic == 0x67446698 && bytes.Length >= length;
            reply = isWhole ? new NbdReply(cookie, error, bytes[head..length].ToArray()) : null;
            return isWhole;
        }

        bool isExtended = style == NbdReplyStyle.Extended;
        uint expected = isExtended ? 0x6e8a278cu : 0x668e33efu;
        ushort flags = BinaryPrimitives.ReadUInt16BigEndian(bytes[4..]);
        if (magic != expected || flags != 1)
        {
            throw new InvalidDataException($"magic {magic:x}, flags {flags}");
        }

        length += isExtended ? (int)BinaryPrimitives.ReadUInt64BigEndian(bytes[24..])
            : (int)BinaryPrimitives.ReadUInt32BigEndian(bytes[16..]);
        if (bytes.Length < length)
        {
            return false;
        }

        reply = Chunk(cookie, (NbdChunk)BinaryPrimitives.ReadUInt16BigEndian(bytes[6..]),
            bytes[head..length]);
        return true;
    }

    private static NbdReply Chunk(ulong cookie, NbdChunk chunk, ReadOnlySpan<byte> payload) => chunk switch
    {
        NbdChunk.None => new(cookie, NbdError.None, []),
        NbdChunk.OffsetData => new(cookie, NbdError.None, payload[8..].ToArray()),
        NbdChunk.BlockStatus or NbdChunk.BlockStatusExtended =>
            new(cookie, NbdError.None, payload.ToArray()),
        NbdChunk.Error => new(cookie, (NbdError)BinaryPrimitives.ReadUInt32BigEndian(payload), []),
        _ => throw new InvalidDataException($"chunk {chunk}"),
    };
}
