using Ublk.Replication.Primary;
using Ublk.Replication.State;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Runtime;

/// <content>Replicas that come and go, and the end of it all.</content>
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
            $"{_writer.PayloadCount} payload blocks";
        for (int place = 0; place < _replicas.Length; place++)
        {
            text += _replicas[place].Driver is { } driver
                ? $"\n{place}: {driver.Describe()}, connected {_links[place].IsOpen}"
                : $"\n{place}: closed, opening {_replicas[place].IsOpening}";
        }

        return text;
    }

    /// <summary>Takes a replica out: its files are closed, and stay so until they are wanted again.</summary>
    /// <param name="place">Its place.</param>
    /// <returns>Ends when they are closed; that takes as long as its disk does.</returns>
    public Task Close(int place)
    {
        _turn.Begin();
        LocalReplica replica = _replicas[place];
        replica.IsHeld = true;
        Task closed = replica.Closed;
        replica.Lose(hasFailed: false, "it was taken out");
        _turn.End();
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

        _turn.Begin();
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

        _turn.End();
        return _stopped.Task;
    }

    void IReplicaKeeper.OnDamaged(LocalReplica replica) => OnChanged?.Invoke();

    void IReplicaKeeper.OnClosed(LocalReplica replica) => EndIfClosed();

    string? IReplicaKeeper.RefusalOf(LocalReplica replica, ReplicaFiles files) =>
        _found.RefusalOf(files, PlaceOf(replica));

    void IReplicaKeeper.OnOpened(LocalReplica replica)
    {
        if (replica.Driver is { } driver)
        {
            int place = PlaceOf(replica);
            _isNewcomer[place] |= _found.Replace(driver.Files, place);
            Name(place, driver.Files);
            ConnectAll();
        }
    }

    private void OnTimer()
    {
        _turn.Begin();
        long now = Now;
        Primary.OnTick(now);
        if (now >= _nextAttemptAt && !_isStopping)
        {
            _writer.CloseAll(CloseReason.Done, "another attempt");
            _epoch = new Epoch(Math.Max(_epoch.Value, Primary.HigherEpoch.Value) + 1);
            Begin();
        }

        for (int place = 0; place < _replicas.Length; place++)
        {
            _replicas[place].LookAfter();
            if (StageOf(place) == LocalReplicaStage.InSync)
            {
                _replicas[place].Recovered();
            }
        }

        FollowAgreement(now);
        ConnectAll();
        if (now >= _stopAt && !_isClosing)
        {
            Primary.Volume?.OnFenced(now); // What was not finished is answered all the same.
            CloseAll();
        }

        _turn.End();
        TellChanges();
        if (!_stopped.Task.IsCompleted)
        {
            _loop.Schedule(_timer, _found.Options.Tick);
        }
    }

    private LocalReplicaStage StageOf(int place) =>
        _replicas[place].IsOpen ? _writer.StageOf(place) : LocalReplicaStage.Closed;

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
            if (_links[place].CanOpen && Now >= _replicas[place].NextAttemptAt &&
                (isServing ? !IsAhead(_replicas[place]) : !_isNewcomer[place]))
            {
                _writer.Connect(place);
            }
        }
    }

    private int PlaceOf(LocalReplica replica) => Array.IndexOf(_replicas, replica);

    // Who was named by what others have recorded may turn out to be in another place.
    private void Name(int place, ReplicaFiles files)
    {
        var member = new ReplicaMember(files.Identity.Replica, files.Identity.Incarnation);
        int former = Array.FindIndex(_members, other => other?.Replica == member.Replica);
        if (former >= 0 && former != place && _members[place] is { } other)
        {
            _members[former] = other;
            Tell(former, other);
        }

        _members[place] = member;
        Tell(place, member);
    }

    // Before the first attempt there is nobody to be told.
    private void Tell(int place, ReplicaMember member)
    {
        if (_writer is { HasBegun: true })
        {
            Primary.Add(place, member);
        }
    }

    private void CloseAll()
    {
        _isClosing = true;
        EndGrowth(new VolumeGrowthException(VolumeGrowthError.NotServed, "the volume is closed"));
        for (int place = 0; place < _replicas.Length; place++)
        {
            _replicas[place].IsHeld = true;
            _replicas[place].Lose(hasFailed: false, "the volume is closed");
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
        _writer.Free();
        _memory.Free();
        _stopped.TrySetResult();
    }
}
