using Ublk.Uring;
using Ublk.Wire;
using Ublk.Wire.Blocks;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Primary;

/// <summary>
/// Reads that a replica answers by message: a peer because the local image is stale, or there is none; the
/// local one because it compares what it reads with its checksums.
/// </summary>
internal sealed class PeerReads
{
    private readonly Epoch _epoch;
    private readonly IPrimaryEffects _effects;
    private readonly List<PendingRead> _pending = [];
    private readonly RequestIds _ids;

    /// <summary>None under way.</summary>
    /// <param name="epoch">The epoch.</param>
    /// <param name="ids">Names questions.</param>
    /// <param name="effects">Sends the questions.</param>
    public PeerReads(Epoch epoch, RequestIds ids, IPrimaryEffects effects)
    {
        _ids = ids;
        _epoch = epoch;
        _effects = effects;
    }

    /// <summary>Asks a peer.</summary>
    /// <param name="place">The peer.</param>
    /// <param name="read">Names the read.</param>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="buffer">Where the bytes go.</param>
    /// <param name="acknowledged">The peer must have applied everything up to this.</param>
    public void Ask(int place, ulong read, long offsetBytes, in IoBuffer buffer, ulong acknowledged)
    {
        RequestId id = _ids.Next();
        _pending.Add(new PendingRead(id.Value, place, read, buffer));
        _effects.Send(place, new Read(
            _epoch, id, offsetBytes, buffer.LengthBytes, new Sequence(acknowledged)));
    }

    /// <summary>Takes an answer.</summary>
    /// <param name="place">Who answers.</param>
    /// <param name="reply">The answer.</param>
    /// <param name="payload">The bytes; released here.</param>
    /// <param name="read">The read, as it was named.</param>
    /// <param name="status">How it ended.</param>
    /// <returns>False when nobody asked.</returns>
    public bool TryTake(
        int place, in ReadReply reply, in IoBuffer payload, out ulong read, out BlockStatus status)
    {
        int at = Find(reply.Id, place);
        read = 0;
        status = BlockStatus.IoError;
        if (at >= 0)
        {
            PendingRead pending = _pending[at];
            _pending.RemoveAt(at);
            read = pending.Read;
            if (reply.Status == AnswerStatus.Ok && payload.LengthBytes == pending.Buffer.LengthBytes &&
                Crc32C.Compute(payload.Span) == reply.Crc32C)
            {
                payload.Span.CopyTo(pending.Buffer.Span);
                status = BlockStatus.Ok;
            }
        }

        if (reply.PayloadBytes > 0)
        {
            _effects.ReleasePayload(payload);
        }

        return at >= 0;
    }

    /// <summary>A peer is gone.</summary>
    /// <param name="place">Which.</param>
    /// <param name="ended">Hears of each of its reads.</param>
    public void OnLost(int place, Action<ulong> ended)
    {
        foreach (PendingRead pending in _pending.FindAll(pending => pending.Place == place))
        {
            _ = _pending.Remove(pending);
            ended(pending.Read);
        }
    }

    private int Find(RequestId id, int place)
    {
        for (int at = 0; at < _pending.Count; at++)
        {
            if (_pending[at].Id == id.Value && _pending[at].Place == place)
            {
                return at;
            }
        }

        return -1;
    }

    private readonly record struct PendingRead(uint Id, int Place, ulong Read, IoBuffer Buffer);
}
