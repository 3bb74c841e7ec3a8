namespace Ublk.Wire.Messages;

/// <summary>The fields of a message of any kind, for who does not know which one it is.</summary>
public static class MessageFields
{
    /// <summary>Puts every field behind the kind into a sink, in the order of the wire.</summary>
    /// <typeparam name="TSink">The sink.</typeparam>
    /// <param name="head">A complete head.</param>
    /// <param name="fields">Where the fields go.</param>
    /// <exception cref="InvalidOperationException">The head is not complete.</exception>
    public static void Describe<TSink>(this scoped in MessageHead head, ref TSink fields)
        where TSink : struct, IFieldSink, allows ref struct
    {
        switch (head.Kind)
        {
            case MessageKind.Handshake: Put<Handshake, TSink>(head, ref fields); break;
            case MessageKind.OpenSession: Put<OpenSession, TSink>(head, ref fields); break;
            case MessageKind.SessionState: Put<SessionState, TSink>(head, ref fields); break;
            case MessageKind.Close: Put<Close, TSink>(head, ref fields); break;
            case MessageKind.Write: Put<Write, TSink>(head, ref fields); break;
            case MessageKind.Applied: Put<Applied, TSink>(head, ref fields); break;
            case MessageKind.Flush: Put<Flush, TSink>(head, ref fields); break;
            case MessageKind.Flushed: Put<Flushed, TSink>(head, ref fields); break;
            case MessageKind.Heartbeat: Put<Heartbeat, TSink>(head, ref fields); break;
            case MessageKind.Grant: Put<Grant, TSink>(head, ref fields); break;
            case MessageKind.Release: Put<Release, TSink>(head, ref fields); break;
            case MessageKind.Promise: Put<Promise, TSink>(head, ref fields); break;
            case MessageKind.Claim: Put<Claim, TSink>(head, ref fields); break;
            case MessageKind.ClaimEntries: Put<ClaimEntries, TSink>(head, ref fields); break;
            case MessageKind.VersionsRequest: Put<VersionsRequest, TSink>(head, ref fields); break;
            case MessageKind.Versions: Put<Versions, TSink>(head, ref fields); break;
            case MessageKind.EpochStart: Put<EpochStart, TSink>(head, ref fields); break;
            case MessageKind.EpochStarted: Put<EpochStarted, TSink>(head, ref fields); break;
            case MessageKind.Read: Put<Read, TSink>(head, ref fields); break;
            case MessageKind.ReadReply: Put<ReadReply, TSink>(head, ref fields); break;
            case MessageKind.DigestsRequest: Put<DigestsRequest, TSink>(head, ref fields); break;
            case MessageKind.Digests: Put<Digests, TSink>(head, ref fields); break;
            case MessageKind.CopyRequest: Put<CopyRequest, TSink>(head, ref fields); break;
            case MessageKind.CopyChunk: Put<CopyChunk, TSink>(head, ref fields); break;
            case MessageKind.Copied: Put<Copied, TSink>(head, ref fields); break;
            case MessageKind.RegionDone: Put<RegionDone, TSink>(head, ref fields); break;
            case MessageKind.Configure: Put<Configure, TSink>(head, ref fields); break;
            case MessageKind.Configured: Put<Configured, TSink>(head, ref fields); break;
            default: throw new InvalidOperationException($"{head.Kind} has no fields");
        }
    }

    private static void Put<T, TSink>(scoped in MessageHead head, ref TSink fields)
        where T : struct, IMessage<T>, allows ref struct
        where TSink : struct, IFieldSink, allows ref struct =>
        T.Encode(head.Read<T>(), ref fields);
}
