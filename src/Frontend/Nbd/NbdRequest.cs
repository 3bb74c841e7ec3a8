using System.Buffers.Binary;

namespace Ublk.Frontend.Nbd;

/// <summary>
/// One request as the client wrote it; nothing of it has been checked but the magic number.
/// </summary>
/// <param name="Command">What it asks for, maybe unknown.</param>
/// <param name="Flags">How, maybe unknown.</param>
/// <param name="Cookie">The client's name for it, repeated in the reply.</param>
/// <param name="OffsetBytes">Start of its range.</param>
/// <param name="LengthBytes">Length of its range, or of its payload.</param>
internal readonly record struct NbdRequest(
    NbdCommand Command, NbdCommandFlags Flags, ulong Cookie, ulong OffsetBytes, ulong LengthBytes)
{
    /// <summary>Length of the head without extended headers ("Request message").</summary>
    public const int CompactBytes = 4 + 2 + 2 + 8 + 8 + 4;

    /// <summary>Length of the head with extended headers.</summary>
    public const int ExtendedBytes = 4 + 2 + 2 + 8 + 8 + 8;

    /// <summary>Length of the head of a request.</summary>
    /// <param name="style">What was negotiated.</param>
    public static int HeadBytes(NbdReplyStyle style) =>
        style == NbdReplyStyle.Extended ? ExtendedBytes : CompactBytes;

    /// <summary>
    /// Reads a head. False when it begins with another magic number: then nothing more is known.
    /// </summary>
    /// <param name="head">As long as <see cref="HeadBytes"/>.</param>
    /// <param name="style">What was negotiated.</param>
    /// <param name="request">The request.</param>
    public static bool TryParse(ReadOnlySpan<byte> head, NbdReplyStyle style, out NbdRequest request)
    {
        bool isExtended = style == NbdReplyStyle.Extended;
        request = new NbdRequest(
            (NbdCommand)BinaryPrimitives.ReadUInt16BigEndian(head[6..]),
            (NbdCommandFlags)BinaryPrimitives.ReadUInt16BigEndian(head[4..]),
            BinaryPrimitives.ReadUInt64BigEndian(head[8..]),
            BinaryPrimitives.ReadUInt64BigEndian(head[16..]),
            isExtended ? BinaryPrimitives.ReadUInt64BigEndian(head[24..])
                : BinaryPrimitives.ReadUInt32BigEndian(head[24..]));
        uint magic = isExtended ? NbdProtocol.ExtendedRequestMagic : NbdProtocol.RequestMagic;
        return BinaryPrimitives.ReadUInt32BigEndian(head) == magic;
    }

    /// <summary>
    /// Bytes that follow the head, whatever the request is: with extended headers a flag tells, without them
    /// only a write has any.
    /// </summary>
    /// <param name="style">What was negotiated.</param>
    public ulong PayloadBytes(NbdReplyStyle style)
    {
        bool hasPayload = style == NbdReplyStyle.Extended
            ? Has(NbdCommandFlags.PayloadLength) : Command == NbdCommand.Write;
        return hasPayload ? LengthBytes : 0;
    }

    /// <summary>Whether all of the given flags are set.</summary>
    /// <param name="flags">Flags.</param>
    public bool Has(NbdCommandFlags flags) => (Flags & flags) == flags;
}
