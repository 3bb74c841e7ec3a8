using Ublk.Uring;
using Ublk.Wire.Blocks;

namespace Ublk.Testing;

/// <summary>What a matching rule does to a request.</summary>
public enum FaultAction
{
    /// <summary>Answers the rule's status at once; the target below sees nothing.</summary>
    Fail,
    /// <summary>Carries the request out, then answers the rule's status.</summary>
    FailAfter,
    /// <summary>Passes the request on after the rule's delay.</summary>
    Delay,
    /// <summary>
    /// Keeps the request from the target until <see cref="FaultTarget.Release"/>.
    /// </summary>
    HoldRequest,
    /// <summary>
    /// Carries the request out, but keeps its completion until <see cref="FaultTarget.Release"/>.
    /// </summary>
    HoldCompletion,
    /// <summary>Swallows the request: there is never a completion.</summary>
    Never,
}

/// <summary>Which requests meet what fault.</summary>
public sealed record FaultRule
{
    /// <summary>What happens.</summary>
    public required FaultAction Action { get; init; }

    /// <summary>Only this operation; null for any.</summary>
    public BlockOperation? Operation { get; init; }

    /// <summary>Start of the range that must be touched.</summary>
    public long OffsetBytes { get; init; }

    /// <summary>
    /// Length of the range that must be touched; requests without a range match, too.
    /// </summary>
    public long LengthBytes { get; init; } = long.MaxValue;

    /// <summary>Matches that pass unharmed before the rule begins.</summary>
    public int Skip { get; init; }

    /// <summary>Matches that meet the fault.</summary>
    public int Count { get; init; } = int.MaxValue;

    /// <summary>
    /// Outcome of <see cref="FaultAction.Fail"/> and <see cref="FaultAction.FailAfter"/>.
    /// </summary>
    public BlockStatus Status { get; init; } = BlockStatus.IoError;

    /// <summary>Wait of <see cref="FaultAction.Delay"/>.</summary>
    public TimeSpan Delay { get; init; }

    internal bool Matches(in BlockRequest request)
    {
        if (Operation is { } operation && operation != request.Operation)
        {
            return false;
        }

        long end = LengthBytes > long.MaxValue - OffsetBytes
            ? long.MaxValue : OffsetBytes + LengthBytes;
        return request.Operation == BlockOperation.Flush ||
            (request.OffsetBytes < end && request.OffsetBytes + request.LengthBytes > OffsetBytes);
    }
}

/// <summary>
/// Puts faults between a frontend and its target: errors, delays, completions that come late or
/// never. Without a matching rule it is transparent. Everything happens on the target's loop;
/// requests that pass allocate nothing.
/// </summary>
public sealed class FaultTarget : IBlockTarget, IBlockCompletion
{
    private readonly IBlockTarget _inner;
    private readonly Loop? _loop;
    private readonly List<ActiveRule> _rules = [];
    private readonly List<int> _held = [];
    private readonly SlotTable<Slot> _slots;

    /// <summary>Wraps a target.</summary>
    /// <param name="inner">The target; owned from now on.</param>
    /// <param name="loop">Its loop, for delays; null when no rule delays.</param>
    public FaultTarget(IBlockTarget inner, Loop? loop = null)
    {
        _inner = inner;
        _loop = loop;
        _slots = new SlotTable<Slot>(inner.Limits.MaxRequests, "requests to the target");
    }

    /// <inheritdoc/>
    public BlockLimits Limits => _inner.Limits;

    /// <inheritdoc/>
    public long SizeBytes => _inner.SizeBytes;

    /// <summary>Requests that met a fault.</summary>
    public long FaultCount { get; private set; }

    /// <summary>Requests and completions that wait for <see cref="Release"/>.</summary>
    public int HeldCount => _held.Count;

    /// <summary>Requests that will never be completed.</summary>
    public int SwallowedCount { get; private set; }

    /// <summary>Adds a rule; the first that matches a request decides.</summary>
    /// <param name="rule">The rule.</param>
    public void Add(FaultRule rule) => _rules.Add(new ActiveRule(rule));

    /// <summary>Drops all rules; what is held stays held.</summary>
    public void Clear() => _rules.Clear();

    /// <summary>Lets held requests and completions go, oldest first.</summary>
    /// <param name="count">How many.</param>
    /// <returns>How many went.</returns>
    public int Release(int count = int.MaxValue)
    {
        int released = 0;
        while (released < count && _held.Count > 0)
        {
            int slot = _held[0];
            _held.RemoveAt(0);
            released++;
            Continue(slot);
        }

        return released;
    }

    /// <inheritdoc/>
    public long RefreshSize() => _inner.RefreshSize();

    /// <inheritdoc/>
    public void Submit(in BlockRequest request, IBlockCompletion completion)
    {
        FaultRule? rule = Find(request);
        if (rule is { Action: FaultAction.Fail })
        {
            completion.OnBlockCompleted(request.Token, rule.Status);
            return;
        }

        int slot = Rent(request, completion, rule);
        switch (rule?.Action)
        {
            case FaultAction.Never:
                SwallowedCount++;
                break;
            case FaultAction.HoldRequest:
                _held.Add(slot);
                break;
            case FaultAction.Delay:
                Loop loop = _loop ?? throw new InvalidOperationException("a delay needs a loop");
                loop.Schedule(new LoopTimer(() => Pass(slot)), rule.Delay);
                break;
            default:
                Pass(slot);
                break;
        }
    }

    /// <inheritdoc/>
    void IBlockCompletion.OnBlockCompleted(ulong token, BlockStatus status)
    {
        int slot = (int)token;
        ref Slot entry = ref _slots[slot];
        entry.Status = status;
        entry.IsCarriedOut = true;
        switch (entry.Rule?.Action)
        {
            case FaultAction.HoldCompletion:
                _held.Add(slot);
                break;
            case FaultAction.FailAfter:
                entry.Status = entry.Rule.Status;
                Complete(slot);
                break;
            default:
                Complete(slot);
                break;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _inner.Dispose();

    private FaultRule? Find(in BlockRequest request)
    {
        foreach (ActiveRule active in _rules)
        {
            if (!active.Rule.Matches(request))
            {
                continue;
            }

            active.MatchCount++;
            int past = active.MatchCount - active.Rule.Skip;
            if (past > 0 && past <= active.Rule.Count)
            {
                FaultCount++;
                return active.Rule;
            }
        }

        return null;
    }

    private void Pass(int slot)
    {
        BlockRequest request = _slots[slot].Request;
        _inner.Submit(request with { Token = (ulong)slot }, this);
    }

    private void Continue(int slot)
    {
        if (_slots[slot].IsCarriedOut)
        {
            Complete(slot);
        }
        else
        {
            Pass(slot);
        }
    }

    private void Complete(int slot)
    {
        ref Slot entry = ref _slots[slot];
        IBlockCompletion completion = entry.Completion!;
        ulong token = entry.Request.Token;
        BlockStatus status = entry.Status;
        _slots.Return(slot);
        completion.OnBlockCompleted(token, status);
    }

    private int Rent(in BlockRequest request, IBlockCompletion completion, FaultRule? rule)
    {
        _slots.Rent(out int slot) =
            new Slot { Request = request, Completion = completion, Rule = rule };
        return slot;
    }

    private sealed class ActiveRule(FaultRule rule)
    {
        public FaultRule Rule { get; } = rule;
        public int MatchCount { get; set; }
    }

    private struct Slot
    {
        public BlockRequest Request;
        public IBlockCompletion? Completion;
        public FaultRule? Rule;
        public BlockStatus Status;
        public bool IsCarriedOut;
    }
}
