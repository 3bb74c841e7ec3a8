using System.Globalization;
using System.Text;
using Ublk.Replication.State;
using Ublk.Tests.Simulation.Judge;
using Ublk.Tests.Simulation.Network;
using Ublk.Tests.Simulation.World;
using Ublk.Uring.Native;
using Ublk.Wire.Ids;

namespace Ublk.Tests.Simulation.Cluster;

/// <summary>What all parts of a simulated cluster share.</summary>
internal sealed class ClusterWorld
{
    private const int NotesKept = 400;

    private readonly Queue<(long Time, string Text)> _notes = new();

    /// <summary>A world without hosts.</summary>
    /// <param name="options">What may happen in it.</param>
    /// <param name="pools">Memory.</param>
    public ClusterWorld(SimulationOptions options, WorldPools pools)
    {
        Options = options;
        Pools = pools;
        Random = new SimulationRandom(~options.Seed);
        int blocks = (int)(options.VolumeBytes / options.BlockBytes);
        Checker = new HistoryChecker(blocks, options.BlockBytes, ReplicaMask.Places, options.WriteQuorum);
        MaxHotGrains = Random.Chance(300) ? 32 : 4096;
        TickNs = (long)Random.Between(2, 20) * LatencyModel.Millisecond;
        RetryNs = Random.Between(1, 50) * LatencyModel.Millisecond;
    }

    public SimulationOptions Options { get; }

    public WorldPools Pools { get; }

    public SimulationRandom Random { get; }

    public SimulationClock Clock => Pools.Clock;

    public SimulatedMemory Memory => Pools.Memory;

    public SimulatedNetwork Network { get; set; } = null!;

    public HistoryChecker Checker { get; }

    /// <summary>How often something that was not synced was lost.</summary>
    public int LostCount { get; private set; }

    public ClusterWatch Watch { get; set; } = null!;

    /// <summary>A disk changes by itself: that replicas differ is what is to be found.</summary>
    public bool IsDecaying { get; set; }

    /// <summary>Whether a disk may have changed by itself.</summary>
    public bool HasRot => IsDecaying || Options.WeightOf(FaultKind.Rot) > 0;

    /// <summary>Offsets of blocks of 4 KiB that nobody had any more, at some time.</summary>
    public HashSet<long> LostBlocks { get; } = [];

    public VolumeId Volume { get; } = new(7);

    public int MaxHotGrains { get; init; }

    public long TickNs { get; }

    public long RetryNs { get; }

    /// <summary>Hears that a primary has come to another stage.</summary>
    public Action<PrimaryHost> OnStageChanged { get; set; } = _ => { };

    /// <summary>Hears of everything that happens to a primary.</summary>
    public Action<PrimaryHost> OnPrimaryEvent { get; set; } = _ => { };

    /// <summary>Hears that a configuration has come into force.</summary>
    public Action<PrimaryHost> OnConfigurationChanged { get; set; } = _ => { };

    /// <summary>4096 bytes for records.</summary>
    public MemoryMapping RentRecord() => Pools.RentRecord();

    /// <summary>A replica has lost what it had not synced.</summary>
    public void Lost(int place)
    {
        LostCount++;
        Checker.Lost(place);
    }

    /// <summary>Keeps a line for who looks at a failure.</summary>
    public void Note(string text)
    {
        if (_notes.Count == NotesKept)
        {
            _ = _notes.Dequeue();
        }

        _notes.Enqueue((Clock.Now, text));
    }

    /// <summary>What happened last.</summary>
    public string Story()
    {
        var story = new StringBuilder();
        foreach ((long time, string text) in _notes)
        {
            story.AppendLine(CultureInfo.InvariantCulture, $"{time / 1e6:F3} ms {text}");
        }

        return story.ToString();
    }
}
