using Ublk.Replication.State;
using Ublk.Replication.Store;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Primary;

/// <content>What joining replicas miss is copied to them.</content>
internal sealed partial class Admissions
{
    private int SourceFor(int target, int unreadable = -1)
    {
        ReplicaMask counting = _volume!.Replicas.Counting.Without(target);
        counting = unreadable < 0 ? counting : counting.Without(unreadable);
        return _options.Local >= 0 && counting.Has(_options.Local)
            ? _options.Local : counting.FirstOutside(default, -1);
    }

    private void AddCopies(int place, Join join, MissingRun run)
    {
        for (long region = run.FirstRegion; region < run.FirstRegion + run.Count; region++)
        {
            join.Left++;
            AddCopy(place, (int)region);
        }
    }

    private void AddCopy(int place, int region, int unreadable = -1, bool isLater = false)
    {
        int source = SourceFor(place, unreadable);
        if (source < 0)
        {
            _effects.Close(place, CloseReason.Overloaded, "there is no replica to copy from now");
            return;
        }

        var copy = new RegionCopy(
            Copies, region, StoreFormat.RangeOfRegion(region, _membership.SizeBytes), source,
            ReplicaMask.Of(place), _joins[place]!.HasFailed ? ReplicaMask.Of(place) : default, [],
            mendsSource: false);
        if (isLater)
        {
            Copies.AddLater(copy);
        }
        else
        {
            Copies.Add(copy);
        }
    }

    private void OnCopied(RegionCopy copy)
    {
        int place = copy.Targets.FirstOutside(default, -1);
        if (place >= 0 && _joins[place] is { Stage: JoinStage.Copying } join)
        {
            RequestId id = _ids.Next();
            join.Closing.Add(id.Value);
            _effects.Send(place, new RegionDone(
                _options.Epoch, id, copy.Region, new Sequence(copy.Issued)));
        }
    }

    private void OnCopyFailed(RegionCopy copy, int place, AnswerStatus status)
    {
        int target = copy.Targets.FirstOutside(default, -1);
        if (target >= 0 && _joins[target] is { Stage: JoinStage.Copying } join)
        {
            // A source that is gone, or has no room: once more, behind the others.
            bool isUnreadable = place == copy.Source && status == AnswerStatus.IoError;
            if (isUnreadable ||
                status is AnswerStatus.NotCurrent or AnswerStatus.Busy or AnswerStatus.Corrupt)
            {
                AddCopy(target, copy.Region, isUnreadable ? place : -1, isLater: status == AnswerStatus.Busy);
            }
            else
            {
                _effects.Close(target, CloseReason.Failed, $"region {copy.Region}: {status} at {place}");
            }
        }
    }
}
