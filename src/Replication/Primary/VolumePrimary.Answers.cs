using Ublk.Uring;
using Ublk.Wire.Blocks;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Primary;

/// <content>What replicas answer, and who takes it.</content>
public sealed partial class VolumePrimary
{
    private void Take(int place, in Applied applied)
    {
        // Before its start it speaks of what it was sent before, which the start makes uncertain.
        bool isOfBefore = _admissions.IsJoining(place) && !Mistakes.Make(Mistake.AnswersBeforeStartCount);
        if (applied.Epoch == _options.Epoch && !isOfBefore)
        {
            _volume?.OnApplied(
                place, applied.Sequence.Value, StreamMessages.StatusOf(applied.Status),
                applied.AppliedThrough.Value, applied.Durable.Value, _now);
        }
    }

    private void Take(int place, in Flushed flushed)
    {
        if (flushed.Epoch == _options.Epoch && flushed.Status == AnswerStatus.Ok)
        {
            _volume?.OnReport(place, flushed.Applied.Value, flushed.Durable.Value, _now);
        }
    }

    private void Take(int place, in Grant grant)
    {
        if (grant.Epoch == _options.Epoch && _volume is not null)
        {
            const long NsPerMs = 1_000_000;
            _volume.OnReport(place, grant.Applied.Value, grant.Durable.Value, _now);
            if (grant.GrantedMs > 0)
            {
                _volume.OnGrant(place, grant.SentAtNs, grant.GrantedMs * NsPerMs, _now);
            }
        }
    }

    private void Take(int place, scoped in SessionState state)
    {
        _isOpen[place] = true;
        if (state.PromisedEpoch > _options.Epoch)
        {
            Fence(state.PromisedEpoch);
        }
        else if (_volume is null)
        {
            _promotion.OnSession(place);
        }
        else
        {
            _admissions.OnState(place, state, _volume);
        }
    }

    private void Take(int place, scoped in Claim claim)
    {
        if (claim.PromisedEpoch > _options.Epoch || claim.Answer == ClaimAnswer.OtherWriter)
        {
            Fence(claim.PromisedEpoch);
        }

        Answers.OnClaim(place, claim);
    }

    private void Take(int place, in EpochStarted started)
    {
        if (_admissions.IsJoining(place))
        {
            _admissions.OnStarted(place, started);
            return;
        }

        _promotion.OnStarted(place, started);
        if (_volume is not null && _promotion.Started.Has(place))
        {
            Admit(place); // Later than those that serving began with.
        }
    }

    private void Take(int place, in Configured configured)
    {
        if (configured.Status != AnswerStatus.Ok)
        {
            _effects.Close(
                place, CloseReason.Failed, $"the configuration was not taken: {configured.Status}");
        }
        else if (configured.Number != _membership.Newest)
        {
            _membership.Tell(place); // There is a newer one meanwhile.
        }
        else
        {
            _membership.Confirm(place);
            _promotion.OnConfigured(place);
            _admissions.OnConfigured(place);
        }
    }

    private void Take(int place, in Copied copied)
    {
        if (!_admissions.TryTakeDone(place, copied))
        {
            Answers.Copies.OnCopied(place, copied);
        }
    }

    private void Take(int place, in Digests digests, in IoBuffer payload)
    {
        if (!_scrub.TryTake(place, digests, payload))
        {
            Answers.Copies.OnDigests(place, digests, payload);
        }
    }

    private void Take(int place, in CopyChunk chunk, in IoBuffer payload)
    {
        if (!_scrub.TryTake(place, chunk, payload))
        {
            Answers.Copies.OnChunk(place, chunk, payload);
        }
    }

    private void Take(int place, in ReadReply reply, in IoBuffer payload)
    {
        if (_volume is null)
        {
            _promotion.Copies.OnRead(place, reply, payload);
        }
        else if (_reads.TryTake(place, reply, payload, out ulong read, out BlockStatus status))
        {
            _volume.OnReadEnded(read, place, status, _now);
        }
    }
}
