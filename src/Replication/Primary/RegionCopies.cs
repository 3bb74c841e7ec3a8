using Ublk.Replication.State;
using Ublk.Uring;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Primary;

/// <summary>
/// The copies of regions under way, a few at once: their questions, and who answers which. A piece that is
/// pushed to several replicas is released when the last of them has it.
/// </summary>
internal sealed class RegionCopies
{
    private readonly IPrimaryEffects _effects;
    private readonly Epoch _epoch;
    private readonly Dictionary<uint, Question> _questions = [];
    private readonly Queue<RegionCopy> _waiting = new();
    private readonly Queue<RegionCopy> _later = new();
    private readonly List<RegionCopy> _current = [];
    private readonly int _atOnce;
    private readonly RequestIds _ids;

    /// <summary>None under way.</summary>
    /// <param name="options">The attachment.</param>
    /// <param name="ids">Names questions.</param>
    /// <param name="effects">Sends messages.</param>
    public RegionCopies(PrimaryOptions options, RequestIds ids, IPrimaryEffects effects)
    {
        _epoch = options.Epoch;
        _atOnce = options.RegionsAtOnce;
        _ids = ids;
        _effects = effects;
    }

    private enum QuestionKind : byte
    {
        Digests,
        Blocks,
        Overlay,
        Push,
    }

    /// <summary>Where the stream is; none before there is one.</summary>
    public required Func<Sequence> Position { get; init; }

    /// <summary>Who, besides the targets, may have what a source cannot read.</summary>
    public required Func<ReplicaMask> Others { get; init; }

    /// <summary>Called with every region that is done.</summary>
    public required Action<RegionCopy> OnDone { get; init; }

    /// <summary>Called when a replica could not answer.</summary>
    public required Action<RegionCopy, int, AnswerStatus> OnFailed { get; init; }

    /// <summary>Whether none is under way or waits.</summary>
    public bool IsIdle => _current.Count == 0 && _waiting.Count == 0 && _later.Count == 0;

    /// <summary>Takes up a region, now or when others are done.</summary>
    /// <param name="copy">It.</param>
    public void Add(RegionCopy copy)
    {
        _waiting.Enqueue(copy);
        BeginMore();
    }

    /// <summary>The same, with the next tick: whoever is to answer has no room now.</summary>
    /// <param name="copy">It.</param>
    public void AddLater(RegionCopy copy) => _later.Enqueue(copy);

    /// <summary>Time has passed.</summary>
    public void OnTick()
    {
        while (_later.TryDequeue(out RegionCopy? copy))
        {
            Add(copy);
        }
    }

    /// <summary>A replica is gone: copies to it are forgotten, those from it have failed.</summary>
    /// <param name="place">Its place.</param>
    public void Drop(int place)
    {
        RegionCopy[] all = [.. _current, .. _waiting, .. _later];
        _waiting.Clear();
        _later.Clear();
        foreach (RegionCopy copy in all.Except(_current).Where(copy => !Needs(copy, place)))
        {
            _waiting.Enqueue(copy);
        }

        foreach (RegionCopy copy in all.Where(copy => Needs(copy, place)))
        {
            Fail(copy, place, AnswerStatus.NotCurrent);
        }
    }

    /// <summary>Forgets everything.</summary>
    public void Clear()
    {
        foreach (Question question in _questions.Values)
        {
            question.Piece?.Release(_effects);
        }

        _questions.Clear();
        _waiting.Clear();
        _later.Clear();
        _current.Clear();
    }

    /// <summary>Digests have come.</summary>
    public void OnDigests(int place, in Digests digests, in IoBuffer payload)
    {
        if (TryTake(digests.Id, place, QuestionKind.Digests, out Question question))
        {
            bool isUnreadable =
                digests.Status == AnswerStatus.IoError && !question.Copy.MustBeRead(place);
            if (digests.Status == AnswerStatus.Ok || isUnreadable)
            {
                question.Copy.OnDigests(place, digests.Issued.Value, payload.Span);
            }
            else
            {
                Fail(question.Copy, place, digests.Status);
            }
        }

        if (digests.PayloadBytes > 0)
        {
            _effects.ReleasePayload(payload);
        }
    }

    /// <summary>Blocks have come; more of the same question may follow.</summary>
    public void OnChunk(int place, in CopyChunk chunk, in IoBuffer payload)
    {
        bool isKnown = _questions.TryGetValue(chunk.Id.Value, out Question question) &&
            question.Place == place && question.Kind == QuestionKind.Blocks;
        if (isKnown && chunk.Status == AnswerStatus.Ok)
        {
            question.Copy.OnChunk(chunk, payload);
            return;
        }

        if (chunk.PayloadBytes > 0)
        {
            _effects.ReleasePayload(payload);
        }

        if (isKnown && question.Copy.Rescuer == place)
        {
            question.Copy.OnNotRescued();
        }
        else if (isKnown)
        {
            Fail(question.Copy, place, chunk.Status);
        }
    }

    /// <summary>What one replica alone has has come.</summary>
    public void OnRead(int place, in ReadReply reply, in IoBuffer payload)
    {
        bool isKnown = TryTake(reply.Id, place, QuestionKind.Overlay, out Question question);
        if (isKnown && reply.Status == AnswerStatus.Ok)
        {
            question.Copy.OnOverlay(reply, payload);
            return;
        }

        if (reply.PayloadBytes > 0)
        {
            _effects.ReleasePayload(payload);
        }

        if (isKnown && reply.Status == AnswerStatus.Corrupt)
        {
            question.Copy.OnCorruptOverlay();
        }
        else if (isKnown)
        {
            Fail(question.Copy, place, reply.Status);
        }
    }

    /// <summary>A replica has a piece that was pushed, or could not take it.</summary>
    public void OnCopied(int place, in Copied copied)
    {
        if (TryTake(copied.Id, place, QuestionKind.Push, out Question question))
        {
            question.Piece?.Release(_effects);
            if (copied.Status == AnswerStatus.Ok)
            {
                question.Copy.OnCopied();
            }
            else
            {
                Fail(question.Copy, place, copied.Status);
            }
        }
    }

    internal void AskDigests(RegionCopy copy, int place, Sequence position) => _effects.Send(
        place, new DigestsRequest(
            _epoch, Ask(copy, place, QuestionKind.Digests), copy.OffsetBytes, copy.LengthBytes,
            MessageLimits.CopyBlockBytes, position));

    internal void NoteDifference(RegionCopy copy, int place) => _effects.StillDiffers(place, copy.Region);

    internal void NoteLost(RegionCopy copy, long offsetBytes) =>
        _effects.BlockLost(copy.Source, offsetBytes);

    internal void AskBlocks(RegionCopy copy, int place, ulong[] wanted)
    {
        copy.BlocksQuestion = Ask(copy, place, QuestionKind.Blocks);
        StreamMessages.AskBlocks(
            _effects, place,
            new CopyRequest(_epoch, copy.BlocksQuestion, copy.OffsetBytes, copy.LengthBytes), wanted);
    }

    internal void AskOverlay(RegionCopy copy, Overlay overlay, int source) => _effects.Send(source, new Read(
        _epoch, Ask(copy, source, QuestionKind.Overlay), overlay.OffsetBytes, overlay.LengthBytes,
        Sequence.None));

    /// <summary>Pushes a piece.</summary>
    /// <returns>To how many.</returns>
    internal int Push(RegionCopy copy, in CopyChunk chunk, in IoBuffer payload, ReplicaMask to)
    {
        bool hasBytes = chunk.PayloadBytes > 0;
        if (to.IsEmpty)
        {
            if (hasBytes)
            {
                _effects.ReleasePayload(payload);
            }

            return 0;
        }

        var piece = hasBytes ? new Piece(payload, to.Count) : null;
        foreach (int place in to)
        {
            RequestId id = Ask(copy, place, QuestionKind.Push, piece);
            if (hasBytes)
            {
                _effects.Send(place, chunk with { Epoch = _epoch, Id = id }, payload);
            }
            else
            {
                _effects.Send(place, chunk with { Epoch = _epoch, Id = id });
            }
        }

        return to.Count;
    }

    internal void EndBlocks(RegionCopy copy) => _ = _questions.Remove(copy.BlocksQuestion.Value);

    internal void Finish(RegionCopy copy)
    {
        _ = _current.Remove(copy);
        OnDone(copy);
        BeginMore();
    }

    internal void Fail(RegionCopy copy, int place, AnswerStatus status)
    {
        var asked = _questions.Where(one => one.Value.Copy == copy).ToArray();
        foreach ((uint id, Question question) in asked)
        {
            question.Piece?.Release(_effects);
            _ = _questions.Remove(id);
        }

        _ = _current.Remove(copy);
        OnFailed(copy, place, status);
        BeginMore();
    }

    private static bool Needs(RegionCopy copy, int place) =>
        copy.Source == place || copy.Targets.Has(place) || copy.Rescuer == place;

    private void BeginMore()
    {
        while (_current.Count < _atOnce && _waiting.TryDequeue(out RegionCopy? copy))
        {
            _current.Add(copy);
            copy.Continue();
        }
    }

    private RequestId Ask(RegionCopy copy, int place, QuestionKind kind, Piece? piece = null)
    {
        RequestId id = _ids.Next();
        _questions.Add(id.Value, new Question(copy, place, kind, piece));
        return id;
    }

    private bool TryTake(RequestId id, int place, QuestionKind kind, out Question question)
    {
        bool isKnown = _questions.TryGetValue(id.Value, out question) && question.Place == place &&
            question.Kind == kind;
        return isKnown && _questions.Remove(id.Value);
    }

    private readonly record struct Question(RegionCopy Copy, int Place, QuestionKind Kind, Piece? Piece);

    // The bytes of one push.
    private sealed class Piece(IoBuffer payload, int holders)
    {
        private int _holders = holders;

        public void Release(IPrimaryEffects effects)
        {
            if (--_holders == 0)
            {
                effects.ReleasePayload(payload);
            }
        }
    }
}
