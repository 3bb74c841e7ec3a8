using Ublk.Replication.Primary;

namespace Ublk.Replication.Runtime;

/// <content>Comparing the replicas, and what is found.</content>
internal sealed partial class VolumeDriver
{
    private TaskCompletionSource<ScrubReport>? _scrub;
    private Action<ScrubDifference>? _onDifference;

    /// <summary>Compares all replicas that are in sync and repairs what differs.</summary>
    /// <param name="options">How fast.</param>
    /// <param name="onDifference">Hears of each difference, on the loop's thread.</param>
    /// <returns>Ends with the scrub; broken off when the volume is not served any more.</returns>
    /// <exception cref="InvalidOperationException">One is under way, or the volume is not served.</exception>
    public Task<ScrubReport> Scrub(ScrubOptions options, Action<ScrubDifference> onDifference)
    {
        if (_scrub is not null)
        {
            throw new InvalidOperationException("a scrub is under way");
        }

        _turn.Begin();
        try
        {
            // It may have ended before the call returns.
            var scrub = new TaskCompletionSource<ScrubReport>(
                TaskCreationOptions.RunContinuationsAsynchronously);
            _scrub = Primary.Volume is null ? null : scrub;
            _onDifference = onDifference;
            Primary.BeginScrub(options, Now);
            return scrub.Task;
        }
        finally
        {
            _turn.End();
        }
    }

    void IWriterHome.OnDamaged(int place, string damage)
    {
        _replicas[place].Damage = damage;
        OnChanged?.Invoke();
    }

    void IWriterHome.OnDifference(in ScrubDifference difference) => _onDifference?.Invoke(difference);

    void IWriterHome.OnScrubbed(ScrubReport report)
    {
        if (report is { IsBrokenOff: false, BlocksNotRepaired: 0, RegionsNotCompared: 0 })
        {
            foreach (LocalReplica replica in _replicas)
            {
                replica.Damage = null;
            }

            OnChanged?.Invoke();
        }

        _scrub?.SetResult(report);
        _scrub = null;
    }
}
