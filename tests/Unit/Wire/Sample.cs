using Ublk.Wire.Messages;

namespace Ublk.Tests.Unit.Wire;

/// <summary>One message as bytes: its head, and behind it a payload of the length the head says.</summary>
internal sealed record Sample(string Name, MessageKind Kind, byte[] Head, int PayloadBytes)
{
    /// <summary>Head and payload; the payload is made of bytes that would be misread as anything.</summary>
    public byte[] Whole()
    {
        byte[] whole = new byte[Head.Length + PayloadBytes];
        whole.AsSpan(Head.Length).Fill(0xc1);
        Head.CopyTo(whole, 0);
        return whole;
    }

    public static Sample Of<T>(string name, in T message, int payloadBytes = 0)
        where T : struct, IMessage<T>, allows ref struct
    {
        byte[] buffer = new byte[MessageLimits.MaxListMessageBytes];
        int length = MessageWriter.Write(message, buffer);
        return new Sample(name, T.Kind, buffer[..length], payloadBytes);
    }

    public override string ToString() => Name;
}

/// <summary>Reads a message of any kind and writes it anew.</summary>
internal static class Rewriting
{
    public static int Rewrite(in MessageHead head, Span<byte> destination) => head.Kind switch
    {
        MessageKind.Handshake => MessageWriter.Write(head.Read<Handshake>(), destination),
        MessageKind.OpenSession => MessageWriter.Write(head.Read<OpenSession>(), destination),
        MessageKind.SessionState => MessageWriter.Write(head.Read<SessionState>(), destination),
        MessageKind.Close => MessageWriter.Write(head.Read<Close>(), destination),
        MessageKind.Write => MessageWriter.Write(head.Read<Write>(), destination),
        MessageKind.Applied => MessageWriter.Write(head.Read<Applied>(), destination),
        MessageKind.Flush => MessageWriter.Write(head.Read<Flush>(), destination),
        MessageKind.Flushed => MessageWriter.Write(head.Read<Flushed>(), destination),
        MessageKind.Heartbeat => MessageWriter.Write(head.Read<Heartbeat>(), destination),
        MessageKind.Grant => MessageWriter.Write(head.Read<Grant>(), destination),
        MessageKind.Release => MessageWriter.Write(head.Read<Release>(), destination),
        MessageKind.Promise => MessageWriter.Write(head.Read<Promise>(), destination),
        MessageKind.Claim => MessageWriter.Write(head.Read<Claim>(), destination),
        MessageKind.ClaimEntries => MessageWriter.Write(head.Read<ClaimEntries>(), destination),
        MessageKind.VersionsRequest => MessageWriter.Write(head.Read<VersionsRequest>(), destination),
        MessageKind.Versions => MessageWriter.Write(head.Read<Versions>(), destination),
        MessageKind.EpochStart => MessageWriter.Write(head.Read<EpochStart>(), destination),
        MessageKind.EpochStarted => MessageWriter.Write(head.Read<EpochStarted>(), destination),
        MessageKind.Read => MessageWriter.Write(head.Read<Read>(), destination),
        MessageKind.ReadReply => MessageWriter.Write(head.Read<ReadReply>(), destination),
        MessageKind.DigestsRequest => MessageWriter.Write(head.Read<DigestsRequest>(), destination),
        MessageKind.Digests => MessageWriter.Write(head.Read<Digests>(), destination),
        MessageKind.CopyRequest => MessageWriter.Write(head.Read<CopyRequest>(), destination),
        MessageKind.CopyChunk => MessageWriter.Write(head.Read<CopyChunk>(), destination),
        MessageKind.Copied => MessageWriter.Write(head.Read<Copied>(), destination),
        MessageKind.RegionDone => MessageWriter.Write(head.Read<RegionDone>(), destination),
        MessageKind.Configure => MessageWriter.Write(head.Read<Configure>(), destination),
        MessageKind.Configured => MessageWriter.Write(head.Read<Configured>(), destination),
        _ => throw new ArgumentException($"{head.Kind}", nameof(head)),
    };
}
