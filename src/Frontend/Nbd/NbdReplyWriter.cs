using System.Buffers.Binary;

namespace Ublk.Frontend.Nbd;

/// <summary>A range of an export and what is known of it.</summary>
/// <param name="LengthBytes">Length, above 0; it begins where the one before ends.</param>
/// <param name="Flags">What is known.</param>
internal readonly record struct NbdExtent(long LengthBytes, NbdExtentFlags Flags);

/// <summary>
/// Writes replies, each as one message that ends its request. Answers how many bytes were written; the room
/// given has to suffice (<see cref="MaxHeadBytes"/>, <see cref="ExtentsBytes"/>).
/// </summary>
internal static class NbdReplyWriter
{
    /// <summary>Longest text in an error, in bytes: ours, far below what the protocol allows.</summary>
    public const int MaxTextBytes = 128;

    /// <summary>Longest reply without extents and without the payload of a read.</summary>
    public const int MaxHeadBytes = 32 + 4 + 2 + MaxTextBytes;

    private const int SimpleBytes = 4 + 4 + 8;
    private const int StructuredBytes = 4 + 2 + 2 + 8 + 4;
    private const int ExtendedBytes = 4 + 2 + 2 + 8 + 8 + 8;

    /// <summary>NBD_REPLY_FLAG_DONE: no further chunk for this request.</summary>
    private const ushort DoneFlag = 1;

    /// <summary>The request was done, and there is nothing to tell.</summary>
    public static int Done(Span<byte> room, NbdReplyStyle style, in NbdRequest request) =>
        style == NbdReplyStyle.Simple
            ? Simple(room, request, NbdError.None)
            : Head(room, style, request, NbdChunk.None, 0);

    /// <summary>What stands before the bytes of a read, all of which follow as they lie.</summary>
    public static int Data(Span<byte> room, NbdReplyStyle style, in NbdRequest request)
    {
        if (style == NbdReplyStyle.Simple)
        {
            return Simple(room, request, NbdError.None);
        }

        int length = Head(room, style, request, NbdChunk.OffsetData, sizeof(ulong) + request.LengthBytes);
        BinaryPrimitives.WriteUInt64BigEndian(room[length..], request.OffsetBytes);
        return length + sizeof(ulong);
    }

    /// <summary>
    /// The request was not done. The text is for people; simple replies have no place for it.
    /// </summary>
    public static int Error(
        Span<byte> room, NbdReplyStyle style, in NbdRequest request, NbdError error, ReadOnlySpan<byte> text)
    {
        if (style == NbdReplyStyle.Simple)
        {
            return Simple(room, request, error);
        }

        const int FixedBytes = sizeof(uint) + sizeof(ushort);
        int length = Head(room, style, request, NbdChunk.Error, (ulong)(FixedBytes + text.Length));
        BinaryPrimitives.WriteUInt32BigEndian(room[length..], (uint)error);
        BinaryPrimitives.WriteUInt16BigEndian(room[(length + sizeof(uint))..], (ushort)text.Length);
        text.CopyTo(room[(length + FixedBytes)..]);
        return length + FixedBytes + text.Length;
    }

    /// <summary>Length in bytes of a reply with extents.</summary>
    public static int ExtentsBytes(NbdReplyStyle style, int count) => style == NbdReplyStyle.Extended
        ? ExtendedBytes + 8 + count * 16 : StructuredBytes + 4 + count * 8;

    /// <summary>The extents of a range in one metadata context; not in simple replies.</summary>
    public static int Extents(
        Span<byte> room, NbdReplyStyle style, in NbdRequest request, uint context,
        ReadOnlySpan<NbdExtent> extents)
    {
        bool isExtended = style == NbdReplyStyle.Extended;
        int total = ExtentsBytes(style, extents.Length);
        int headBytes = isExtended ? ExtendedBytes : StructuredBytes;
        NbdChunk chunk = isExtended ? NbdChunk.BlockStatusExtended : NbdChunk.BlockStatus;
        int at = Head(room, style, request, chunk, (ulong)(total - headBytes));
        BinaryPrimitives.WriteUInt32BigEndian(room[at..], context);
        at += sizeof(uint);
        if (isExtended)
        {
            BinaryPrimitives.WriteUInt32BigEndian(room[at..], (uint)extents.Length);
            at += sizeof(uint);
        }

        foreach (NbdExtent extent in extents)
        {
            at += Extent(room[at..], isExtended, extent);
        }

        return at;
    }

    private static int Extent(Span<byte> room, bool isExtended, in NbdExtent extent)
    {
        if (isExtended)
        {
            BinaryPrimitives.WriteUInt64BigEndian(room, (ulong)extent.LengthBytes);
            BinaryPrimitives.WriteUInt64BigEndian(room[sizeof(ulong)..], (ulong)extent.Flags);
            return 2 * sizeof(ulong);
        }

        BinaryPrimitives.WriteUInt32BigEndian(room, checked((uint)extent.LengthBytes));
        BinaryPrimitives.WriteUInt32BigEndian(room[sizeof(uint)..], (uint)extent.Flags);
        return 2 * sizeof(uint);
    }

    private static int Simple(Span<byte> room, in NbdRequest request, NbdError error)
    {
        BinaryPrimitives.WriteUInt32BigEndian(room, NbdProtocol.SimpleReplyMagic);
        BinaryPrimitives.WriteUInt32BigEndian(room[4..], (uint)error);
        BinaryPrimitives.WriteUInt64BigEndian(room[8..], request.Cookie);
        return SimpleBytes;
    }

    private static int Head(
        Span<byte> room, NbdReplyStyle style, in NbdRequest request, NbdChunk chunk, ulong payloadBytes)
    {
        bool isExtended = style == NbdReplyStyle.Extended;
        BinaryPrimitives.WriteUInt32BigEndian(
            room, isExtended ? NbdProtocol.ExtendedReplyMagic : NbdProtocol.StructuredReplyMagic);
        BinaryPrimitives.WriteUInt16BigEndian(room[4..], DoneFlag);
        BinaryPrimitives.WriteUInt16BigEndian(room[6..], (ushort)chunk);
        BinaryPrimitives.WriteUInt64BigEndian(room[8..], request.Cookie);
        if (!isExtended)
        {
            BinaryPrimitives.WriteUInt32BigEndian(room[16..], (uint)payloadBytes);
            return StructuredBytes;
        }

        // The offset of the request, also where the payload begins with another one.
        BinaryPrimitives.WriteUInt64BigEndian(room[16..], request.OffsetBytes);
        BinaryPrimitives.WriteUInt64BigEndian(room[24..], payloadBytes);
        return ExtendedBytes;
    }
}
