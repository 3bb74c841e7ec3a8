using Ublk.Replication.Primary;
using Ublk.Replication.Replica;
using Ublk.Replication.State;
using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Runtime;

/// <content>Replicas that come and go: opened, connected, lost, opened anew with longer and longer pauses.
/// </content>
internal sealed partial class VolumeDriver
{
    private readonly LocalReplicaStage[] _stages;

    /// <summary>Called when a replica has come to another stage; on the loop's thread.</summary>
    public Action? OnChanged { get; set; }

    /// <summary>How far each replica is.</summary>
    public IReadOnlyList<LocalReplicaStatus> Status()
    {
        var status = new LocalReplicaStatus[_replicas.Length];
        for (int place = 0; place < status.Length; place++)
        {
            LocalReplica replica = _replicas[place];
            LocalReplicaStage stage = StageOf(place);
            status[place] = new LocalReplicaStatus(
                replica.Image, stage, replica.IsOpen ? replica.Driver!.Machine.State.Missing.Count : 0,
                stage == LocalReplicaStage.InSync ? null : replica.Problem, replica.Damage);
        }

        return status;
    }

    /// <summary>Writer and replicas in numbers, for who looks at a failure.</summary>
    public string Describe()
    {
        VolumeMachine? volume = Primary.Volume;
        string text = $"epoch {_epoch}, {Primary.Stage}, counting {volume?.Replicas.Counting}, in stream " +
            $"{volume?.Replicas.InStream}, window {volume?.Window.Base} to {volume?.Window.Next}, " +
            $"{volume?.RequestCount} requests, C {volume?.Replicas.Committed}, {SizeBytes} bytes in " +
            $"configuration {Primary.Configuration.Number}, newest {Primary.NewestConfiguration}, " +
            $"{_payloads.Count} payload blocks";
        for (int place = 0; place < _replicas.Length; place++)
        {
            text += _replicas[place].Driver is { } driver
                ? $"\n{place}: {driver.Describe()}, session {_replicas[place].Link.Session}"
                : $"\n{place}: closed, opening {_replicas[place].IsOpening}";
        }

        return text;
    }

    /// <summary>Takes a replica out: its files are closed, and stay so until they are wanted again.</summary>
    /// <param name="place">Its place.</param>
    /// <returns>Ends when they are closed; that takes as long as its disk does.</returns>
    public Task Close(int place)
    {
        BeginEvent();
        LocalReplica replica = _replicas[place];
        replica.IsHeld = true;
        Task closed = replica.Closed;
        Lose(place, hasFailed: false, "it was taken out");
        EndEvent();
        return closed;
    }

    /// <summary>A replica that was taken out, or waits to be opened again, is opened now.</summary>
    /// <param name="place">Its place.</param>
    public void Reopen(int place)
    {
        _replicas[place].IsHeld = false;
        _replicas[place].Hurry();
    }

    /// <summary>
    /// Finishes what the host has asked for, brings it to stable media, gives the volume back and closes all
    /// files; what cannot be finished within the limit of the options stays as it is, for the next writer.
    /// </summary>
    /// <returns>Ends when everything is closed.</returns>
    public Task Stop()
    {
        if (_isStopping)
        {
            return _stopped.Task;
        }

        BeginEvent();
        _isStopping = true;
        _stopAt = Now + (long)_found.Options.StopLimit.TotalNanoseconds;
        if (Primary.Stage == PrimaryStage.Serving)
        {
            Primary.Release(Now);
        }
        else
        {
            CloseAll();
        }

        EndEvent();
        return _stopped.Task;
    }

    void IReplicaHome.OnReplicaQuiet(ReplicaDriver driver)
    {
        driver.Dispose();
        foreach (LocalReplica replica in _replicas)
        {
            if (replica.Driver == driver)
            {
                replica.Driver = null;
                replica.HasClosed();
            }
        }

        EndIfClosed();
    }

    private void OnTimer()
    {
        BeginEvent();
        long now = Now;
        Primary.OnTick(now);
        if (now >= _nextAttemptAt && !_isStopping)
        {
            foreach (LocalReplica replica in _replicas)
            {
                replica.Link.End(byReplica: false);
            }

            _epoch = new Epoch(Math.Max(_epoch.Value, Primary.HigherEpoch.Value) + 1);
            Begin();
        }

        for (int place = 0; place < _replicas.Length; place++)
        {
            LookAfter(place, now);
        }

        FollowAgreement(now);
        ConnectAll();
        if (now >= _stopAt && !_isClosing)
        {
            Primary.Volume?.OnFenced(now); // What was not finished is answered all the same.
            CloseAll();
        }

        EndEvent();
        TellChanges();
        if (!_stopped.Task.IsCompleted)
        {
            _loop.Schedule(_timer, _found.Options.Tick);
        }
    }

    private void LookAfter(int place, long now)
    {
        LocalReplica replica = _replicas[place];
        if (replica.IsOpen)
        {
            replica.Driver!.Machine.OnTick(now);
            if (replica.Driver.IsLost || replica.MustReopen)
            {
                string problem = replica.Driver.IsLost || replica.Problem is null
                    ? "bringing data to its disk failed" : replica.Problem;
                Lose(place, hasFailed: true, problem);
            }
        }
        else if (replica.Driver is null && !replica.IsOpening && !replica.IsHeld &&
            now >= replica.NextAttemptAt)
        {
            Open(place);
        }

        if (StageOf(place) == LocalReplicaStage.InSync)
        {
            replica.Recovered();
        }
    }

    private LocalReplicaStage StageOf(int place)
    {
        if (!_replicas[place].IsOpen)
        {
            return LocalReplicaStage.Closed;
        }

        ReplicaTable? table = Primary.Volume?.Replicas;
        return table is null || !table.InStream.Has(place) ? LocalReplicaStage.Behind
            : table.Counting.Has(place) ? LocalReplicaStage.InSync : LocalReplicaStage.Resyncing;
    }

    private void TellChanges()
    {
        bool hasChanged = false;
        for (int place = 0; place < _stages.Length; place++)
        {
            LocalReplicaStage stage = StageOf(place);
            hasChanged |= stage != _stages[place];
            _stages[place] = stage;
        }

        if (hasChanged)
        {
            OnChanged?.Invoke();
        }
    }

    private void ConnectAll()
    {
        bool isServing = Primary.Stage == PrimaryStage.Serving;
        if (_isClosing || Primary.Stage is PrimaryStage.Failed or PrimaryStage.Ended)
        {
            return;
        }

        for (int place = 0; place < _replicas.Length; place++)
        {
            LocalReplica replica = _replicas[place];
            bool mayCome = replica.IsOpen && !replica.Link.IsOpen && replica.Link.Ended < 0;
            if (mayCome && (isServing ? !IsAhead(replica) : !replica.IsNewcomer) &&
                Now >= replica.NextAttemptAt)
            {
                replica.Link.Open();
                Primary.OnSession(place, Now);
            }
        }
    }

    private void Lose(int place, bool hasFailed, string problem)
    {
        LocalReplica replica = _replicas[place];
        if (replica.IsOpen)
        {
            replica.Problem = problem;
            replica.Pause(Now);
            replica.Link.End(byReplica: true);
            replica.Driver!.Stop(hasFailed);
        }
    }

    // Disks take their time, and one that has failed more than that: never on the loop's thread.
    private void Open(int place)
    {
        LocalReplica replica = _replicas[place];
        replica.IsOpening = true;
        LocalVolumeOptions options = _found.Options;
        _ = Task.Run(() =>
        {
            ReplicaFiles? files = null;
            string problem = "";
            try
            {
                files = ReplicaFiles.Open(replica.Image, options.Direct, options.LiveDirectory);
            }
            catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
            {
                problem = failure.Message;
            }

            if (!_loop.Post(() => OnOpened(place, files, problem)))
            {
                files?.Dispose();
            }
        });
    }

    private void OnOpened(int place, ReplicaFiles? files, string problem)
    {
        BeginEvent();
        LocalReplica replica = _replicas[place];
        replica.IsOpening = false;
        string? refusal = files is null ? problem : _found.RefusalOf(files, place);
        if (refusal is not null || replica.IsHeld || _isClosing)
        {
            files?.Dispose();
            replica.Problem = refusal ?? replica.Problem;
            replica.Pause(Now);
            EndIfClosed();
        }
        else
        {
            replica.IsNewcomer |= _found.Replace(files!, place);
            Attach(place, files!);
            ConnectAll();
        }

        EndEvent();
    }

    private void Attach(int place, ReplicaFiles files)
    {
        LocalReplica replica = _replicas[place];
        ReplicaIdentity identity = files.Identity;
        var member = new ReplicaMember(identity.Replica, identity.Incarnation);
        Name(place, member);
        try
        {
            replica.MustReopen = false;
            replica.Damage = null;
            replica.Driver = new ReplicaDriver(files, new ReplicaOptions
            {
                Volume = identity.Volume,
                BlockBytes = files.Opened.Superblock.LogicalBlockBytes,
                // Who granted was of a process like this one, and its lock on the image is gone.
                FormerGrantsAreVoid =
                    files.Opened.State.Promise.Writer.Node == _found.Options.Writer.Node,
            }, _loop, _memory, replica.Link, this);
        }
        catch (Exception failure) when (failure is LoopFullException or IOException)
        {
            files.Dispose();
            replica.Problem = failure.Message;
            replica.Pause(Now);
        }
    }

    // Who was named by what others have recorded may turn out to be in another place.
    private void Name(int place, ReplicaMember member)
    {
        int former = Array.FindIndex(_members, other => other?.Replica == member.Replica);
        if (former >= 0 && former != place && _members[place] is { } other)
        {
            _members[former] = other;
            _writer?.Add(former, other);
        }

        _members[place] = member;
        _writer?.Add(place, member);
    }

    private void CloseAll()
    {
        _isClosing = true;
        EndGrowth(new VolumeGrowthException(VolumeGrowthError.NotServed, "the volume is closed"));
        for (int place = 0; place < _replicas.Length; place++)
        {
            _replicas[place].IsHeld = true;
            Lose(place, hasFailed: false, "the volume is closed");
        }

        EndIfClosed();
    }

    private void EndIfClosed()
    {
        if (!_isClosing || _stopped.Task.IsCompleted ||
            Array.Exists(_replicas, replica => replica.Driver is not null || replica.IsOpening))
        {
            return;
        }

        _timer.Cancel();
        _payloads.ReturnAll();
        _memory.Free();
        _stopped.TrySetResult();
    }
}
