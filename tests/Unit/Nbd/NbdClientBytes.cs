using System.Buffers.Binary;
using System.Text;
using Ublk.Frontend.Nbd;

namespace Ublk.Tests.Unit.Nbd;

/// <summary>What a client says, as bytes.</summary>
internal static class NbdClientBytes
{
    public const uint FixedNoZeroes = 3;

    public static byte[] Flags(uint flags) => U32(flags);

    public static byte[] Option(NbdOption option, params byte[][] data) => Option((uint)option, data);

    public static byte[] Option(uint option, params byte[][] data)
    {
        byte[] joined = Join(data);
        return Join("IHAVEOPT"u8.ToArray(), U32(option), U32((uint)joined.Length), joined);
    }

    public static byte[] Info(NbdOption option, string name, params NbdInfo[] wanted) => Option(option,
        Text(name), U16((ushort)wanted.Length), Join([.. wanted.Select(info => U16((ushort)info))]));

    public static byte[] Contexts(NbdOption option, string name, params string[] queries) => Option(option,
        Text(name), U32((uint)queries.Length), Join([.. queries.Select(Text)]));

    public static byte[] Request(
        NbdReplyStyle style, NbdCommand command, ulong cookie, long offset, long length, int flags = 0,
        byte[]? payload = null)
    {
        bool isExtended = style == NbdReplyStyle.Extended;
        int flag = isExtended && payload is not null ? (int)NbdCommandFlags.PayloadLength : 0;
        return Join(
            U32(isExtended ? 0x21e41c71u : 0x25609513u), U16((ushort)(flags | flag)), U16((ushort)command),
            U64(cookie), U64((ulong)offset), isExtended ? U64((ulong)length) : U32((uint)length),
            payload ?? []);
    }

    public static byte[] Text(string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        return Join(U32((uint)bytes.Length), bytes);
    }

    public static byte[] Join(params byte[][] parts) => [.. parts.SelectMany(part => part)];

    public static byte[] U16(ushort value)
    {
        byte[] bytes = new byte[2];
        BinaryPrimitives.WriteUInt16BigEndian(bytes, value);
        return bytes;
    }

    public static byte[] U32(uint value)
    {
        byte[] bytes = new byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, value);
        return bytes;
    }

    public static byte[] U64(ulong value)
    {
        byte[] bytes = new byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, value);
        return bytes;
    }
}

/// <summary>A reply to an option.</summary>
internal sealed record NbdOptionAnswer(NbdOption Option, NbdOptionReply Reply, byte[] Data)
{
    /// <summary>Reads replies until the bytes end.</summary>
    public static List<NbdOptionAnswer> ReadAll(ReadOnlySpan<byte> bytes)
    {
        var answers = new List<NbdOptionAnswer>();
        while (!bytes.IsEmpty)
        {
            if (BinaryPrimitives.ReadUInt64BigEndian(bytes) != 0x3e889045565a9)
            {
                throw new InvalidDataException("no reply to an option");
            }

            int length = (int)BinaryPrimitives.ReadUInt32BigEndian(bytes[16..]);
            answers.Add(new NbdOptionAnswer(
                (NbdOption)BinaryPrimitives.ReadUInt32BigEndian(bytes[8..]),
                (NbdOptionReply)BinaryPrimitives.ReadUInt32BigEndian(bytes[12..]),
                bytes.Slice(20, length).ToArray()));
            bytes = bytes[(20 + length)..];
        }

        return answers;
    }

    /// <summary>The kind of the information in it.</summary>
    public NbdInfo Info => (NbdInfo)BinaryPrimitives.ReadUInt16BigEndian(Data);
}
