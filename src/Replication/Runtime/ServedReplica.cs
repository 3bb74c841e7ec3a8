using Ublk.Replication.Store;
using Ublk.Uring;

namespace Ublk.Replication.Runtime;

/// <summary>
/// One replica of a node, with the memory of its volume here and the turn of all who speak with it: writers
/// of other nodes, and one of this process. Used on the loop's thread.
/// </summary>
public sealed class ServedReplica : IReplicaKeeper
{
    // A disk that fails as soon as it is used is left alone for longer and longer.
    private const long SoundAfterNs = 10_000_000_000;

    private readonly Loop _loop;
    private ReplicaIdentity? _identity;
    private long _openedAt;
    private bool _isFreed;

    internal ServedReplica(string image, LocalReplicaSettings settings, Loop loop, long incomingBytes)
    {
        _loop = loop;
        Memory = new VolumeMemory(
            new PayloadPool(incomingBytes, loop.Buffers),
            new PayloadPool(VolumeMemory.AnswerBytes, loop.Buffers));
        Replica = new LocalReplica(image, settings, loop, Memory, Turn, this);
    }

    /// <summary>Path of its image.</summary>
    public string Image => Replica.Image;

    /// <summary>Who it is; null before it was opened.</summary>
    public ReplicaIdentity? Identity => _identity;

    /// <summary>Whether it can be spoken with.</summary>
    public bool IsOpen => Replica.IsOpen;

    /// <summary>Why it is not open, or was not before; null when all is well.</summary>
    public string? Problem => Replica.Problem;

    /// <summary>What its disk did to its bytes; null when nothing is known.</summary>
    public string? Damage => Replica.Damage;

    /// <summary>It in numbers, for who looks at a failure.</summary>
    public string Describe() => Replica.Driver?.Describe() ?? $"closed: {Problem}";

    internal EventTurn Turn { get; } = new();

    internal VolumeMemory Memory { get; }

    internal LocalReplica Replica { get; }

    internal void OnTick()
    {
        Turn.Begin();
        Replica.LookAfter();
        if (IsOpen && _loop.NowNs - _openedAt > SoundAfterNs)
        {
            Replica.Recovered();
        }

        Turn.End();
    }

    internal Task Close()
    {
        Turn.Begin();
        Replica.IsHeld = true;
        Task closed = Replica.Closed;
        Replica.Lose(hasFailed: false, "the node ends");
        Turn.End();
        return closed;
    }

    internal void Free()
    {
        if (!_isFreed)
        {
            _isFreed = true;
            Memory.Free();
        }
    }

    string? IReplicaKeeper.RefusalOf(LocalReplica replica, ReplicaFiles files) =>
        _identity is { } known && (known.Volume != files.Identity.Volume ||
            known.Replica != files.Identity.Replica)
            ? $"{files.Path} is replica {files.Identity.Replica} of volume {files.Identity.Volume} now, " +
            $"and was replica {known.Replica} of volume {known.Volume}"
            : null;

    void IReplicaKeeper.OnOpened(LocalReplica replica)
    {
        if (replica.Driver is { } driver)
        {
            _identity = driver.Files.Identity;
            _openedAt = _loop.NowNs;
        }
    }

    void IReplicaKeeper.OnClosed(LocalReplica replica)
    {
    }

    void IReplicaKeeper.OnDamaged(LocalReplica replica)
    {
    }
}
