using Ublk.Replication.Replica;
using Ublk.Uring;
using Ublk.Wire.Ids;

namespace Ublk.Replication.Runtime;

/// <summary>Where replicas of a process lie, and how they are opened.</summary>
/// <param name="Direct">Whether images go past the page cache.</param>
/// <param name="LiveDirectory">Where live pages lie: a directory of a memory filesystem.</param>
/// <param name="Node">This node.</param>
internal readonly record struct LocalReplicaSettings(DirectMode Direct, string LiveDirectory, NodeId Node);

/// <summary>Keeps replicas of this process. Called within their turn.</summary>
internal interface IReplicaKeeper
{
    /// <summary>Why opened files will not do; null when they do.</summary>
    string? RefusalOf(LocalReplica replica, ReplicaFiles files);

    /// <summary>It was opened anew.</summary>
    void OnOpened(LocalReplica replica);

    /// <summary>Its files are closed, or could not be opened.</summary>
    void OnClosed(LocalReplica replica);

    /// <summary>Its disk has changed a block.</summary>
    void OnDamaged(LocalReplica replica);
}

/// <summary>Reads replicas for the host.</summary>
internal interface IHostReader
{
    /// <summary>A read has ended.</summary>
    /// <param name="read">As it was named.</param>
    /// <param name="lengthBytes">What was asked for.</param>
    /// <param name="result">Bytes, or −errno; an error also where the bytes are no longer current.</param>
    void OnHostReadEnded(ulong read, int lengthBytes, int result);
}

/// <summary>
/// A replica of this process through all its lives: opened by another thread, because disks take their time,
/// closed when its disk failed, and opened anew after longer and longer pauses. Used on the loop's thread.
/// </summary>
internal sealed class LocalReplica : IReplicaHome
{
    private const long FirstPauseNs = 50_000_000;
    private const int MaxDoublings = 8; // 12.8 seconds.

    private readonly LocalReplicaSettings _settings;
    private readonly Loop _loop;
    private readonly VolumeMemory _memory;
    private readonly EventTurn _turn;
    private readonly IReplicaKeeper _keeper;
    private TaskCompletionSource? _closed;
    private int _failures;

    /// <summary>Closed, until it is attached or looked after.</summary>
    /// <param name="image">Path of the image.</param>
    /// <param name="settings">How it is opened.</param>
    /// <param name="loop">The loop.</param>
    /// <param name="memory">Memory for payload.</param>
    /// <param name="turn">The turn of those who share it.</param>
    /// <param name="keeper">Hears of its lives.</param>
    public LocalReplica(
        string image, LocalReplicaSettings settings, Loop loop, VolumeMemory memory, EventTurn turn,
        IReplicaKeeper keeper)
    {
        Image = image;
        _settings = settings;
        _loop = loop;
        _memory = memory;
        _turn = turn;
        _keeper = keeper;
    }

    /// <summary>Path of the image.</summary>
    public string Image { get; }

    /// <summary>Its life now; null while its files are not open.</summary>
    public ReplicaDriver? Driver { get; private set; }

    /// <summary>Who reads it for the host; null for nobody.</summary>
    public IHostReader? Reader { get; set; }

    /// <summary>Why it was closed or could not be opened.</summary>
    public string? Problem { get; set; }

    /// <summary>What its disk did to its bytes; null when nothing is known.</summary>
    public string? Damage { get; set; }

    /// <summary>Whether it stays closed until somebody wants it open.</summary>
    public bool IsHeld { get; set; }

    /// <summary>Whether its files are being opened by another thread.</summary>
    public bool IsOpening { get; private set; }

    /// <summary>
    /// Whether it could not do what it was asked: its files are closed and opened anew, because what the open
    /// ones answer may never be different.
    /// </summary>
    public bool MustReopen { get; set; }

    /// <summary>When the next attempt to open it, or a session to it, is due; by the loop's clock.</summary>
    public long NextAttemptAt { get; private set; }

    /// <summary>Whether messages can be given to it.</summary>
    public bool IsOpen => Driver is { IsStopped: false };

    /// <summary>Ends when its files are closed; at once where they are.</summary>
    public Task Closed => Driver is null ? Task.CompletedTask
        : (_closed ??= new(TaskCreationOptions.RunContinuationsAsynchronously)).Task;

    /// <summary>Something failed: the next attempt waits.</summary>
    public void Pause()
    {
        NextAttemptAt = _loop.NowNs + (FirstPauseNs << Math.Min(_failures, MaxDoublings));
        _failures++;
    }

    /// <summary>All is well: the next failure is the first.</summary>
    public void Recovered()
    {
        _failures = 0;
        Problem = null;
    }

    /// <summary>Somebody wants it now.</summary>
    public void Hurry()
    {
        _failures = 0;
        NextAttemptAt = 0;
    }

    /// <summary>Takes opened files: its life begins.</summary>
    /// <param name="files">The files; owned from now on.</param>
    public void Attach(ReplicaFiles files)
    {
        try
        {
            MustReopen = false;
            Damage = null;
            Driver = new ReplicaDriver(files, new ReplicaOptions
            {
                Volume = files.Identity.Volume,
                BlockBytes = files.Opened.Superblock.LogicalBlockBytes,
                // Who granted was of a process like this one, and its lock on the image is gone.
                FormerGrantsAreVoid = files.Opened.State.Promise.Writer.Node == _settings.Node,
            }, _loop, _memory, _turn, this);
        }
        catch (Exception failure) when (failure is LoopFullException or IOException)
        {
            files.Dispose();
            Problem = failure.Message;
            Pause();
        }
    }

    /// <summary>Its life ends; its files are closed when the kernel has nothing of it.</summary>
    /// <param name="hasFailed">Whether its disk failed.</param>
    /// <param name="problem">Why.</param>
    public void Lose(bool hasFailed, string problem)
    {
        if (IsOpen)
        {
            Problem = problem;
            Pause();
            Driver!.Stop(hasFailed, problem);
        }
    }

    /// <summary>Time passes: it may have failed, or be due to be opened.</summary>
    public void LookAfter()
    {
        if (IsOpen)
        {
            Driver!.Machine.OnTick(_loop.NowNs);
            if (Driver.IsLost || MustReopen)
            {
                string problem = Driver.IsLost || Problem is null
                    ? "bringing data to its disk failed" : Problem;
                Lose(hasFailed: true, problem);
            }
        }
        else if (Driver is null && !IsOpening && !IsHeld && _loop.NowNs >= NextAttemptAt)
        {
            Open();
        }
    }

    void IReplicaHome.OnHostReadEnded(ReplicaDriver driver, in ImageOperation read, int result)
    {
        bool isCurrent = !driver.IsStopped && driver.Machine.IsCurrent(read.OffsetBytes, read.LengthBytes);
        Reader?.OnHostReadEnded(
            read.Name, (int)read.LengthBytes, isCurrent ? result : -Uring.Native.Errno.EIO);
    }

    // Every read of it finds it again: what is told stays, and so does what is worse.
    void IReplicaHome.OnCorrupt(long offsetBytes)
    {
        if (Damage is null)
        {
            Damage = $"the 4 KiB at {offsetBytes} are not what was written; a scrub mends them";
            _keeper.OnDamaged(this);
        }
    }

    void IReplicaHome.OnReplicaQuiet(ReplicaDriver driver)
    {
        driver.Dispose();
        Driver = null;
        _closed?.TrySetResult();
        _closed = null;
        _keeper.OnClosed(this);
    }

    private void Open()
    {
        IsOpening = true;
        LocalReplicaSettings settings = _settings;
        _ = Task.Run(() =>
        {
            ReplicaFiles? files = null;
            string problem = "";
            try
            {
                files = ReplicaFiles.Open(Image, settings.Direct, settings.LiveDirectory);
            }
            catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
            {
                problem = failure.Message;
            }

            if (!_loop.Post(() => OnOpened(files, problem)))
            {
                files?.Dispose();
            }
        });
    }

    private void OnOpened(ReplicaFiles? files, string problem)
    {
        _turn.Begin();
        IsOpening = false;
        string? refusal = files is null ? problem : _keeper.RefusalOf(this, files);
        if (refusal is not null || IsHeld)
        {
            files?.Dispose();
            Problem = refusal ?? Problem;
            Pause();
            _keeper.OnClosed(this);
        }
        else
        {
            Attach(files!);
            _keeper.OnOpened(this);
        }

        _turn.End();
    }
}
