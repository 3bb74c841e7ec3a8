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

        BeginEvent();
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
            EndEvent();
        }
    }

    void IPrimaryEffects.StillDiffers(int replica, int region)
    {
        _replicas[replica].Damage =
            $"what was copied to region {region} reads back as something else: its disk or memory is bad";
        OnChanged?.Invoke();
    }

    // Every read of it finds it again: what is told stays, and so does what is worse.
    void IReplicaHome.OnCorrupt(ReplicaDriver driver, long offsetBytes)
    {
        LocalReplica? replica = Array.Find(_replicas, one => one.Driver == driver);
        if (replica is { Damage: null })
        {
            replica.Damage = $"the 4 KiB at {offsetBytes} are not what was written; a scrub mends them";
            OnChanged?.Invoke();
        }
    }

    void IPrimaryEffects.BlockLost(int replica, long offsetBytes)
    {
        _replicas[replica].Damage =
            $"the 4 KiB at {offsetBytes} are not what was written, and no other replica has them: they " +
            "cannot be read until they are written again";
        OnChanged?.Invoke();
    }

    void IPrimaryEffects.Differs(in ScrubDifference difference) => _onDifference?.Invoke(difference);

    void IPrimaryEffects.ScrubEnded(ScrubReport report)
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
