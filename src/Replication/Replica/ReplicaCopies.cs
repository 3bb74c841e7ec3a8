using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Replica;

/// <summary>
/// Pieces that a writer pushes while it reconciles, before its epoch has started: each with its intents
/// durable first, then written, then answered (replication design, section 6 step 4 and rule 4).
/// </summary>
internal sealed class ReplicaCopies
{
    private const int Places = 64;

    private readonly ReplicaContext _context;
    private readonly ReplicaIntents _intents;
    private readonly Copy[] _copies = new Copy[Places];
    private readonly Queue<int> _marking = new(Places);

    /// <summary>None under way.</summary>
    /// <param name="context">The replica.</param>
    /// <param name="intents">What must be durable first.</param>
    public ReplicaCopies(ReplicaContext context, ReplicaIntents intents)
    {
        _context = context;
        _intents = intents;
    }

    /// <summary>Pieces under way.</summary>
    public int Count { get; private set; }

    /// <summary>Takes a piece.</summary>
    /// <param name="session">Who pushes it.</param>
    /// <param name="chunk">It.</param>
    /// <param name="payload">Its bytes; ours.</param>
    /// <returns>Null, or why the session has to end.</returns>
    public string? Accept(int session, in CopyChunk chunk, in IoBuffer payload)
    {
        bool hasBytes = chunk.PayloadBytes > 0;
        string? refusal = _context.RefusalOf(chunk, payload);
        int slot = Array.FindIndex(_copies, copy => !copy.IsUsed);
        if (refusal is not null || slot < 0)
        {
            Release(hasBytes, payload);
            if (refusal is null)
            {
                Answer(session, chunk.Epoch, chunk.Id, AnswerStatus.Busy);
            }

            return refusal;
        }

        _copies[slot] = new Copy
        {
            IsUsed = true, Session = session, Epoch = chunk.Epoch, Id = chunk.Id, HasBytes = hasBytes,
            Expected = chunk.Flags == CopyFlags.ChecksumOnly ? chunk.Crc32C : null,
            OffsetBytes = chunk.OffsetBytes, LengthBytes = chunk.LengthBytes, Payload = payload,
        };
        Count++;
        Prepare(slot);
        return null;
    }

    /// <summary>A mark is durable.</summary>
    /// <param name="ticket">Its ticket.</param>
    public void OnMarked(ulong ticket)
    {
        while (_marking.TryPeek(out int slot) && _copies[slot].Ticket <= ticket)
        {
            _ = _marking.Dequeue();
            Issue(slot);
        }
    }

    /// <summary>The image has a piece, or has failed to take it.</summary>
    /// <param name="slot">The piece.</param>
    /// <param name="result">0 or more, or −errno.</param>
    /// <returns>Whether it has; otherwise nobody hears of it before the failure is durable.</returns>
    public bool OnImageEnded(int slot, int result)
    {
        Copy copy = Remove(slot);
        bool isWhole = result >= 0 && (!copy.HasBytes || result == copy.LengthBytes);
        if (isWhole)
        {
            Answer(copy.Session, copy.Epoch, copy.Id, AnswerStatus.Ok);
        }

        return isWhole;
    }

    private void Prepare(int slot)
    {
        ref Copy copy = ref _copies[slot];
        IntentNeed need = _intents.Mark(copy.OffsetBytes, copy.LengthBytes, isForced: true);
        if (need.Step == IntentStep.Full)
        {
            Answer(copy.Session, copy.Epoch, copy.Id, AnswerStatus.Busy);
            _ = Remove(slot);
            return;
        }

        if (need.Step == IntentStep.Ready || Mistakes.Make(Mistake.CopyIntentsNotDurable))
        {
            Issue(slot);
            return;
        }

        copy.Ticket = need.Ticket;
        _marking.Enqueue(slot);
    }

    private void Issue(int slot)
    {
        ref Copy copy = ref _copies[slot];
        ulong io = ReplicaContext.Name(ReplicaIo.Copy, (ulong)slot);
        if (copy.HasBytes)
        {
            _context.Image.Write(io, copy.OffsetBytes, copy.Payload);
        }
        else if (copy.Expected is { } checksum)
        {
            _context.Image.Expect(io, copy.OffsetBytes, checksum);
        }
        else
        {
            _context.Image.Zero(io, copy.OffsetBytes, copy.LengthBytes, keepsSpace: false);
        }
    }

    private Copy Remove(int slot)
    {
        Copy copy = _copies[slot];
        _copies[slot] = default;
        Count--;
        Release(copy.HasBytes, copy.Payload);
        return copy;
    }

    private void Answer(int session, Epoch epoch, RequestId id, AnswerStatus status) =>
        _context.Effects.Send(session, new Copied(epoch, id, status));

    private void Release(bool hasBytes, in IoBuffer payload)
    {
        if (hasBytes)
        {
            _context.Effects.ReleasePayload(payload);
        }
    }

    private struct Copy
    {
        public bool IsUsed;
        public bool HasBytes;
        public int Session;
        public Epoch Epoch;
        public RequestId Id;
        public long OffsetBytes;
        public int LengthBytes;
        public uint? Expected;
        public ulong Ticket;
        public IoBuffer Payload;
    }
}
