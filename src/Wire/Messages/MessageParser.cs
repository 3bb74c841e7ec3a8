using System.Buffers;

namespace Ublk.Wire.Messages;

/// <summary>
/// Finds messages at the beginning of a stream. Knows no sockets, keeps nothing between calls, never throws
/// at what a peer sent and never looks at a payload. Its only memory is a buffer of
/// <see cref="MessageLimits.MaxListMessageBytes"/>, for heads that lie across segments: at most
/// <see cref="MessageLimits.MaxHeadBytes"/> of a data message are copied there. One per thread is enough.
/// </summary>
public sealed class MessageParser
{
    private readonly byte[] _gathered = new byte[MessageLimits.MaxListMessageBytes];

    /// <summary>Looks at the first message of a stream.</summary>
    /// <param name="input">What has come, from the first byte of a message on.</param>
    /// <returns>The head; valid until the next call.</returns>
    public MessageHead Parse(scoped in ReadOnlySequence<byte> input)
    {
        MessageHead head = Parse(input.FirstSpan);
        long seen = input.FirstSpan.Length;

        // The kind says how much to gather; until it is known, a data message is assumed.
        while (head.Outcome == ParseOutcome.NeedMore && seen < Math.Min(input.Length, head.LimitBytes))
        {
            seen = Math.Min(input.Length, head.LimitBytes);
            Span<byte> gathered = _gathered.AsSpan(0, (int)seen);
            input.Slice(0, seen).CopyTo(gathered);
            head = Parse(gathered);
        }

        return head;
    }

    /// <summary>Looks at the first message of contiguous bytes.</summary>
    /// <param name="input">What has come, from the first byte of a message on.</param>
    /// <returns>The head; valid as long as the bytes are.</returns>
    public static MessageHead Parse(ReadOnlySpan<byte> input)
    {
        var fields = new FieldReader(input);
        int count = fields.Begin();
        int firstField = fields.Position;
        if (fields.Reason == ProtocolErrorReason.None && fields.NeededBytes == 0)
        {
            ReadFields(ref fields, count);
        }

        if (fields.IsComplete)
        {
            return MessageHead.Complete(
                fields.Kind, input[..fields.Position], firstField, fields.PayloadBytes);
        }

        return fields.Reason == ProtocolErrorReason.None
            ? MessageHead.NeedMore(fields.Kind, fields.NeededBytes, fields.LimitBytes)
            : MessageHead.Refused(
                new ProtocolError(fields.Reason, fields.Kind, fields.ErrorPosition));
    }

    private static void ReadFields(ref FieldReader fields, int count)
    {
        switch (fields.Kind)
        {
            // The most frequent first.
            case MessageKind.Write: Read<Write>(ref fields, count); break;
            case MessageKind.Applied: Read<Applied>(ref fields, count); break;
            case MessageKind.Read: Read<Read>(ref fields, count); break;
            case MessageKind.ReadReply: Read<ReadReply>(ref fields, count); break;
            case MessageKind.Flush: Read<Flush>(ref fields, count); break;
            case MessageKind.Flushed: Read<Flushed>(ref fields, count); break;
            case MessageKind.DigestsRequest: Read<DigestsRequest>(ref fields, count); break;
            case MessageKind.Digests: Read<Digests>(ref fields, count); break;
            case MessageKind.CopyRequest: Read<CopyRequest>(ref fields, count); break;
            case MessageKind.CopyChunk: Read<CopyChunk>(ref fields, count); break;
            case MessageKind.Copied: Read<Copied>(ref fields, count); break;
            case MessageKind.RegionDone: Read<RegionDone>(ref fields, count); break;
            case MessageKind.Heartbeat: Read<Heartbeat>(ref fields, count); break;
            case MessageKind.Grant: Read<Grant>(ref fields, count); break;
            case MessageKind.Release: Read<Release>(ref fields, count); break;
            case MessageKind.Handshake: Read<Handshake>(ref fields, count); break;
            case MessageKind.OpenSession: Read<OpenSession>(ref fields, count); break;
            case MessageKind.SessionState: Read<SessionState>(ref fields, count); break;
            case MessageKind.Close: Read<Close>(ref fields, count); break;
            case MessageKind.Promise: Read<Promise>(ref fields, count); break;
            case MessageKind.Claim: Read<Claim>(ref fields, count); break;
            case MessageKind.ClaimEntries: Read<ClaimEntries>(ref fields, count); break;
            case MessageKind.VersionsRequest: Read<VersionsRequest>(ref fields, count); break;
            case MessageKind.Versions: Read<Versions>(ref fields, count); break;
            case MessageKind.EpochStart: Read<EpochStart>(ref fields, count); break;
            case MessageKind.EpochStarted: Read<EpochStarted>(ref fields, count); break;
            case MessageKind.Configure: Read<Configure>(ref fields, count); break;
            case MessageKind.Configured: Read<Configured>(ref fields, count); break;
            default: fields.Fail(ProtocolErrorReason.UnknownKind, fields.KindPosition); break;
        }
    }

    private static void Read<T>(ref FieldReader fields, int count)
        where T : struct, IMessage<T>, allows ref struct
    {
        if (count != T.FieldCount)
        {
            fields.Fail(ProtocolErrorReason.WrongFieldCount, 0);
            return;
        }

        fields.Expect(count, T.MaxBytes);
        _ = T.Decode(ref fields);
    }
}
