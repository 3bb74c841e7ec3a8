using Ublk.Uring;
using Ublk.Wire.Blocks;

namespace Ublk.Frontend.Nbd;

/// <summary>
/// The requests of all clients of one export on their way to its target, which takes only so many at once:
/// what is more waits in line. On the target's loop; no allocation per request once the line was as long
/// before.
/// </summary>
/// <param name="target">The target.</param>
/// <param name="maxRequests">Requests that it is given at once.</param>
internal sealed class NbdTargetQueue(IBlockTarget target, int maxRequests) : IBlockCompletion
{
    private readonly SlotTable<Asked> _submitted = new(maxRequests, "requests of NBD clients");
    private readonly Queue<(BlockRequest Request, IBlockCompletion Completion)> _waiting = new();
    private bool _isSubmitting;

    /// <summary>Requests with the target.</summary>
    public int SubmittedCount => _submitted.RentedCount;

    /// <summary>Requests in line.</summary>
    public int WaitingCount => _waiting.Count;

    /// <summary>Asks the target, now or as soon as it may be asked.</summary>
    /// <param name="request">In range and aligned; its token is what the completion is told.</param>
    /// <param name="completion">Hears of the end, maybe before this returns.</param>
    public void Submit(in BlockRequest request, IBlockCompletion completion)
    {
        _waiting.Enqueue((request, completion));
        SubmitWaiting();
    }

    /// <inheritdoc/>
    void IBlockCompletion.OnBlockCompleted(ulong token, BlockStatus status)
    {
        if (!_submitted.TryFind(token, out int slot))
        {
            throw new InvalidOperationException($"request {token:x} was completed twice");
        }

        Asked asked = _submitted[slot];
        _submitted.Return(slot);
        asked.Completion.OnBlockCompleted(asked.Token, status);
        SubmitWaiting();
    }

    // A target may complete inside of Submit: the loop, not recursion, goes on from there.
    private void SubmitWaiting()
    {
        if (_isSubmitting)
        {
            return;
        }

        _isSubmitting = true;
        while (_submitted.RentedCount < _submitted.Capacity && _waiting.TryDequeue(out var next))
        {
            ref Asked asked = ref _submitted.Rent(out int slot);
            asked.Completion = next.Completion;
            asked.Token = next.Request.Token;
            target.Submit(next.Request with { Token = _submitted.IdOf(slot) }, this);
        }

        _isSubmitting = false;
    }

    private struct Asked
    {
        public IBlockCompletion Completion;
        public ulong Token;
    }
}
