using System.Buffers;
using System.Buffers.Binary;

namespace Ublk.Frontend.Nbd;

/// <summary>
/// Writes what options are answered with ("Fixed newstyle negotiation", "Option reply types").
/// </summary>
internal static class NbdOptionReplies
{
    /// <summary>Longest part of a reply with two texts in it.</summary>
    private const int FixedBytes = NbdProtocol.OptionReplyHeadBytes + 16;

    /// <summary>The first bytes of a connection.</summary>
    public static void Greeting(IBufferWriter<byte> output, NbdHandshakeFlags flags)
    {
        Span<byte> room = output.GetSpan(NbdProtocol.GreetingBytes);
        BinaryPrimitives.WriteUInt64BigEndian(room, NbdProtocol.GreetingMagic);
        BinaryPrimitives.WriteUInt64BigEndian(room[8..], NbdProtocol.OptionMagic);
        BinaryPrimitives.WriteUInt16BigEndian(room[16..], (ushort)flags);
        output.Advance(NbdProtocol.GreetingBytes);
    }

    /// <summary>A reply that ends an option; an error may have words for people.</summary>
    public static void End(
        IBufferWriter<byte> output, NbdOption option, NbdOptionReply reply, ReadOnlySpan<byte> text = default)
    {
        Span<byte> room = output.GetSpan(FixedBytes + text.Length);
        int at = Head(room, option, reply, text.Length);
        text.CopyTo(room[at..]);
        output.Advance(at + text.Length);
    }

    /// <summary>One line of the list of exports.</summary>
    public static void Server(IBufferWriter<byte> output, NbdExport export)
    {
        int length = sizeof(uint) + export.NameBytes.Length + export.DescriptionBytes.Length;
        Span<byte> room = output.GetSpan(FixedBytes + length);
        int at = Head(room, NbdOption.List, NbdOptionReply.Server, length);
        BinaryPrimitives.WriteUInt32BigEndian(room[at..], (uint)export.NameBytes.Length);
        at += sizeof(uint);
        export.NameBytes.CopyTo(room[at..]);
        export.DescriptionBytes.CopyTo(room[(at + export.NameBytes.Length)..]);
        output.Advance(at + export.NameBytes.Length + export.DescriptionBytes.Length);
    }

    /// <summary>Size and flags of an export.</summary>
    public static void InfoExport(
        IBufferWriter<byte> output, NbdOption option, long sizeBytes, NbdTransmissionFlags flags)
    {
        const int Length = sizeof(ushort) + sizeof(ulong) + sizeof(ushort);
        Span<byte> room = output.GetSpan(FixedBytes);
        int at = Info(room, option, NbdInfo.Export, Length);
        BinaryPrimitives.WriteUInt64BigEndian(room[at..], (ulong)sizeBytes);
        BinaryPrimitives.WriteUInt16BigEndian(room[(at + 8)..], (ushort)flags);
        output.Advance(NbdProtocol.OptionReplyHeadBytes + Length);
    }

    /// <summary>Minimum and preferred block, and maximum payload, of an export.</summary>
    public static void InfoBlockSize(
        IBufferWriter<byte> output, NbdOption option, NbdExport export, int maxPayloadBytes)
    {
        const int Length = sizeof(ushort) + 3 * sizeof(uint);
        Span<byte> room = output.GetSpan(FixedBytes);
        int at = Info(room, option, NbdInfo.BlockSize, Length);
        BinaryPrimitives.WriteUInt32BigEndian(room[at..], (uint)export.Limits.LogicalBlockBytes);
        BinaryPrimitives.WriteUInt32BigEndian(room[(at + 4)..], (uint)export.PreferredBytes);
        BinaryPrimitives.WriteUInt32BigEndian(room[(at + 8)..], (uint)maxPayloadBytes);
        output.Advance(NbdProtocol.OptionReplyHeadBytes + Length);
    }

    /// <summary>A text about an export.</summary>
    public static void InfoText(
        IBufferWriter<byte> output, NbdOption option, NbdInfo info, ReadOnlySpan<byte> text)
    {
        int length = sizeof(ushort) + text.Length;
        Span<byte> room = output.GetSpan(FixedBytes + text.Length);
        text.CopyTo(room[Info(room, option, info, length)..]);
        output.Advance(NbdProtocol.OptionReplyHeadBytes + length);
    }

    /// <summary>A metadata context.</summary>
    public static void MetaContext(
        IBufferWriter<byte> output, NbdOption option, uint context, ReadOnlySpan<byte> name)
    {
        Span<byte> room = output.GetSpan(FixedBytes + name.Length);
        int at = Head(room, option, NbdOptionReply.MetaContext, sizeof(uint) + name.Length);
        BinaryPrimitives.WriteUInt32BigEndian(room[at..], context);
        name.CopyTo(room[(at + sizeof(uint))..]);
        output.Advance(at + sizeof(uint) + name.Length);
    }

    /// <summary>The answer to EXPORT_NAME, which has no head.</summary>
    public static void ExportName(
        IBufferWriter<byte> output, long sizeBytes, NbdTransmissionFlags flags, bool withPadding)
    {
        int length = sizeof(ulong) + sizeof(ushort) + (withPadding ? NbdProtocol.ExportNamePaddingBytes : 0);
        Span<byte> room = output.GetSpan(length)[..length];
        room.Clear();
        BinaryPrimitives.WriteUInt64BigEndian(room, (ulong)sizeBytes);
        BinaryPrimitives.WriteUInt16BigEndian(room[8..], (ushort)flags);
        output.Advance(length);
    }

    private static int Info(Span<byte> room, NbdOption option, NbdInfo info, int lengthBytes)
    {
        int at = Head(room, option, NbdOptionReply.Info, lengthBytes);
        BinaryPrimitives.WriteUInt16BigEndian(room[at..], (ushort)info);
        return at + sizeof(ushort);
    }

    private static int Head(Span<byte> room, NbdOption option, NbdOptionReply reply, int lengthBytes)
    {
        BinaryPrimitives.WriteUInt64BigEndian(room, NbdProtocol.OptionReplyMagic);
        BinaryPrimitives.WriteUInt32BigEndian(room[8..], (uint)option);
        BinaryPrimitives.WriteUInt32BigEndian(room[12..], (uint)reply);
        BinaryPrimitives.WriteUInt32BigEndian(room[16..], (uint)lengthBytes);
        return NbdProtocol.OptionReplyHeadBytes;
    }
}
