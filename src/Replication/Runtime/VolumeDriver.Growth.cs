using Ublk.Replication.Primary;
using Ublk.Replication.State;
using Ublk.Replication.Store;

namespace Ublk.Replication.Runtime;

/// <content>
/// Growth: first every open replica makes room, which changes nothing that counts and can be undone; then the
/// next configuration is told, and counts when enough have it. Also where a replica comes back that knows of
/// a growth which was cut short: sizes never fall, so the others follow it.
/// </content>
internal sealed partial class VolumeDriver
{
    /// <summary>Pause after a growth that an operator did not ask for and that could not be.</summary>
    private const long GrowthPauseNs = 5_000_000_000;

    private Growth? _growth;
    private long _nextGrowthAt;
    private long _sizeBytes;

    /// <summary>Size in bytes that counts; on any thread.</summary>
    public long SizeBytes => Volatile.Read(ref _sizeBytes);

    /// <summary>Makes the volume larger.</summary>
    /// <param name="sizeBytes">New size; the size it has changes nothing.</param>
    /// <returns>
    /// Ends when the size is in force, or fails with <see cref="VolumeGrowthException"/>. Once all replicas
    /// have room it waits, as requests do, for as long as fewer than a write quorum are there.
    /// </returns>
    /// <exception cref="VolumeGrowthException">It cannot be.</exception>
    public Task Grow(long sizeBytes)
    {
        if (sizeBytes == SizeBytes && _growth is null)
        {
            return Task.CompletedTask;
        }

        if (RefusalOf(sizeBytes) is { } refusal)
        {
            throw refusal;
        }

        _turn.Begin();
        ulong number = Math.Max(_found.Agreement.Number, Primary.NewestConfiguration.Value) + 1;
        var growth = new Growth(number, sizeBytes, isAsked: true);
        MakeRoom(growth);
        _turn.End();
        return growth.Done.Task;
    }

    void IWriterHome.OnConfigured()
    {
        Volatile.Write(ref _sizeBytes, Primary.SizeBytes);
        if (_growth is { IsTold: true } growth)
        {
            _growth = null;
            _ = growth.Done.TrySetResult();
        }
    }

    private VolumeGrowthException? RefusalOf(long sizeBytes)
    {
        int block = _found.Any.Opened.Superblock.LogicalBlockBytes;
        if (sizeBytes % block != 0 || sizeBytes < SizeBytes || sizeBytes > StoreFormat.MaxVolumeBytes)
        {
            return new VolumeGrowthException(VolumeGrowthError.WrongSize,
                sizeBytes < SizeBytes
                    ? $"{sizeBytes} bytes are less than the {SizeBytes} of the volume; it cannot shrink"
                    : $"a volume of {sizeBytes} bytes cannot be: it has whole blocks of {block} bytes, " +
                    $"and at most {StoreFormat.MaxVolumeBytes} bytes");
        }

        if (_isStopping || Primary.Stage != PrimaryStage.Serving)
        {
            return new VolumeGrowthException(VolumeGrowthError.NotServed, "the volume is not served now");
        }

        return _growth is not null || Primary.IsReconfiguring
            ? new VolumeGrowthException(VolumeGrowthError.Busy, "the volume is growing already")
            : ShortageOf() ?? ShortRingOf(sizeBytes);
    }

    private VolumeGrowthException? ShortageOf()
    {
        int unknown = Array.IndexOf(_members, null);
        if (unknown >= 0)
        {
            return new VolumeGrowthException(VolumeGrowthError.TooFew,
                $"{_replicas[unknown].Image} was never open since the volume was made, so the others " +
                "cannot be told of it; bring it back first");
        }

        ReplicaMask there = Primary.Volume!.Replicas.InStream;
        return Group.HasWriteQuorum(there) ? null : new VolumeGrowthException(VolumeGrowthError.TooFew,
            $"{there.Count} of {_replicas.Length} replicas are there, and {_found.Rule.WriteQuorum} must " +
            "have recorded a size before it counts");
    }

    private VolumeGrowthException? ShortRingOf(long sizeBytes)
    {
        foreach (LocalReplica replica in _replicas)
        {
            if (replica.IsOpen &&
                !RingSpace.IsEnough(replica.Driver!.Files.Opened.Superblock.RingRecords, sizeBytes))
            {
                return new VolumeGrowthException(VolumeGrowthError.NoSpace,
                    $"{ReplicaFormat.MetadataPath(replica.Image)} is too short for a volume of " +
                    $"{sizeBytes} bytes; make each replica anew, one after the other, with " +
                    $"qublk replica format {replica.Image} --replacement --overwrite --max-size {sizeBytes}");
            }
        }

        return null;
    }

    // A replica that has more, or a newer number, than the volume is not asked for anything before the others
    // have followed.
    private bool IsAhead(LocalReplica replica)
    {
        MetadataState state = replica.Driver!.Machine.State;
        ulong number = Math.Max(state.Promise.Configuration, state.Configuration?.Number ?? 0);
        return number > Primary.NewestConfiguration.Value ||
            state.SizeBytes > SizeBytes && !Primary.IsReconfiguring;
    }

    private void FollowAgreement(long now)
    {
        if (_growth is not null && Primary.Stage == PrimaryStage.Ended)
        {
            EndGrowth(new VolumeGrowthException(VolumeGrowthError.NotServed, "the volume was given up"));
        }

        if (_growth is not null || now < _nextGrowthAt || _isStopping || Primary.IsReconfiguring ||
            Primary.Stage != PrimaryStage.Serving || !Primary.IsNamed)
        {
            return;
        }

        LocalAgreement agreement = _found.Agreement;
        if (agreement.Number > Primary.Configuration.Number)
        {
            long size = Math.Max(agreement.SizeBytes, SizeBytes);
            MakeRoom(new Growth(agreement.Number, size, isAsked: false));
        }
    }

    // Whoever has another size than the volume grows when it joins, and its files are left alone until then.
    private void MakeRoom(Growth growth)
    {
        _growth = growth;
        growth.Waiting = 1;
        for (int place = 0; place < _replicas.Length; place++)
        {
            if (_replicas[place] is { IsOpen: true, Driver: { } driver } &&
                driver.Machine.State.SizeBytes == SizeBytes)
            {
                growth.Waiting++;
                driver.WorkElsewhere(() => ReplicaGrowth.MakeRoom(driver.Files, growth.SizeBytes), room =>
                {
                    growth.Rooms.Add((driver, room));
                    TellWhenAllHaveRoom(growth);
                });
            }
        }

        TellWhenAllHaveRoom(growth);
    }

    private void TellWhenAllHaveRoom(Growth growth)
    {
        if (--growth.Waiting > 0 || growth != _growth)
        {
            return;
        }

        string? problem = null;
        foreach ((ReplicaDriver driver, ReplicaRoom room) in growth.Rooms)
        {
            problem ??= driver.IsStopped ? null : room.Problem;
        }

        VolumeGrowthException? refusal = problem is not null
            ? new VolumeGrowthException(VolumeGrowthError.NoSpace, problem)
            : Primary.Stage != PrimaryStage.Serving
            ? new VolumeGrowthException(VolumeGrowthError.NotServed, "the volume is not served now")
            : growth.IsAsked ? ShortageOf() : null;
        if (refusal is null)
        {
            growth.IsTold = true;
            Primary.Reconfigure(new VolumeConfiguration(growth.Number, Group), growth.SizeBytes, Now);
        }
        else
        {
            GiveBack(growth, refusal);
        }
    }

    private void GiveBack(Growth growth, VolumeGrowthException refusal)
    {
        growth.Waiting = 1;
        foreach ((ReplicaDriver driver, ReplicaRoom room) in growth.Rooms)
        {
            if (!driver.IsStopped && room.IsMade)
            {
                growth.Waiting++;
                driver.WorkElsewhere(
                    () => ReplicaGrowth.GiveBack(driver.Files, room), _ => EndGivenBack(growth, refusal));
            }
        }

        EndGivenBack(growth, refusal);
    }

    private void EndGivenBack(Growth growth, VolumeGrowthException refusal)
    {
        if (--growth.Waiting > 0 || growth != _growth)
        {
            return;
        }

        EndGrowth(refusal);
        _nextGrowthAt = Now + GrowthPauseNs;
        foreach (LocalReplica replica in _replicas)
        {
            if (!growth.IsAsked && replica.IsOpen && IsAhead(replica))
            {
                replica.Problem = "it has grown, and the others cannot follow: " + refusal.Message;
            }
        }
    }

    private void EndGrowth(VolumeGrowthException refusal)
    {
        _ = _growth?.Done.TrySetException(refusal);
        _ = _growth?.Done.Task.Exception; // Not everybody waits for one.
        _growth = null;
    }

    /// <summary>A growth under way.</summary>
    /// <param name="number">Number of the configuration that brings it.</param>
    /// <param name="sizeBytes">The size.</param>
    /// <param name="isAsked">Whether an operator asked for it.</param>
    private sealed class Growth(ulong number, long sizeBytes, bool isAsked)
    {
        public ulong Number => number;

        public long SizeBytes => sizeBytes;

        public bool IsAsked => isAsked;

        /// <summary>Work of other threads that has not ended, and one for who begins it.</summary>
        public int Waiting { get; set; }

        /// <summary>Who has made room.</summary>
        public List<(ReplicaDriver Driver, ReplicaRoom Room)> Rooms { get; } = [];

        /// <summary>Whether the replicas are being told the configuration: from then on it comes.</summary>
        public bool IsTold { get; set; }

        public TaskCompletionSource Done { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
