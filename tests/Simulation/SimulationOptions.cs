using Ublk.Tests.Simulation.Network;
using Ublk.Tests.Simulation.World;

namespace Ublk.Tests.Simulation;

/// <summary>Something that happens to the nodes, from time to time.</summary>
internal enum FaultKind
{
    /// <summary>A process is killed, and started again.</summary>
    KillProcess,
    /// <summary>A host loses power, and comes back.</summary>
    LosePower,
    /// <summary>All hosts lose power at once.</summary>
    LosePowerEverywhere,
    /// <summary>All processes are killed at once.</summary>
    KillEverywhere,
    /// <summary>A process is frozen for a while.</summary>
    Freeze,
    /// <summary>The way from one host to another is cut, in one direction, for a while.</summary>
    Cut,
    /// <summary>A host is cut off from all others for a while.</summary>
    Isolate,
    /// <summary>A session is reset.</summary>
    ResetSession,
    /// <summary>A disk is lost and replaced.</summary>
    ReplaceDisk,
    /// <summary>Another node wants to be the writer.</summary>
    SwitchWriter,
    /// <summary>Two nodes want to be the writer at once, maybe with the same epoch.</summary>
    TwoCandidates,
    /// <summary>The cluster metadata forgets its last command.</summary>
    ForgetCommand,
    /// <summary>The set of replicas is changed.</summary>
    ChangeMembers,
    /// <summary>The volume is made larger.</summary>
    Grow,
    /// <summary>The replicas are compared; no fault, but what is found would be one.</summary>
    Scrub,
    /// <summary>
    /// A host misses the last writes; then one that has them loses its memory, another one is out of reach,
    /// and somebody wants the volume with what is left.
    /// </summary>
    Corner,
    /// <summary>
    /// Bits of one replica's disk turn, or one of its next writes is dropped or goes elsewhere; only where
    /// replicas keep checksums. Drawn apart from the others.
    /// </summary>
    Rot,
}

/// <summary>
/// What world a history happens in, all drawn from its seed. Every fault is there or not, and more or less
/// often (swarm testing: what would hide another one is absent in half of the histories).
/// </summary>
internal sealed record SimulationOptions
{
    private static readonly int s_kinds = Enum.GetValues<FaultKind>().Length;

    private int[] _weights = new int[s_kinds];

    /// <summary>The seed.</summary>
    public required ulong Seed { get; init; }

    /// <summary>N.</summary>
    public int Replicas { get; init; } = 3;

    /// <summary>W.</summary>
    public int WriteQuorum { get; init; } = 2;

    /// <summary>Hosts: those of the replicas, and maybe one without.</summary>
    public int Nodes { get; init; } = 3;

    /// <summary>Logical block in bytes.</summary>
    public int BlockBytes { get; init; } = 4096;

    /// <summary>What a disk writes as a whole or not at all, in bytes; 0: a logical block.</summary>
    public int AtomicBytes { get; init; }

    /// <summary>Longest time that a request waits in milliseconds; 0 for ever.</summary>
    public int RequestLimitMs { get; init; }

    /// <summary>Size of the volume in bytes, whole regions.</summary>
    public long VolumeBytes { get; init; } = 4 << 20;

    /// <summary>Every write is acknowledged only when it is durable.</summary>
    public bool AcknowledgesDurable { get; init; }

    /// <summary>Whether the window keeps what an absent replica misses.</summary>
    public bool KeepsForAbsent { get; init; }

    /// <summary>Operations of the write window.</summary>
    public int WindowOperations { get; init; } = 256;

    /// <summary>Bytes of the write window.</summary>
    public long WindowBytes { get; init; } = 4 << 20;

    /// <summary>Records of the metadata ring.</summary>
    public int RingRecords { get; init; } = 256;

    /// <summary>Lease in milliseconds.</summary>
    public int LeaseMs { get; init; } = 2000;

    /// <summary>Clocks differ by at most so many millionths.</summary>
    public int MaxDriftPerMillion { get; init; } = 200;

    /// <summary>The host.</summary>
    public WorkloadOptions Workload { get; init; } = new();

    /// <summary>What may go wrong with a disk.</summary>
    public ImageFaults Image { get; init; } = ImageFaults.None;

    /// <summary>Whether replicas keep checksums.</summary>
    public bool HasChecksums { get; init; }

    /// <summary>Pages of checksums that a replica has in memory.</summary>
    public int ChecksumPages { get; init; } = 4;

    /// <summary>How often a write of metadata fails, in a thousand.</summary>
    public int MetadataErrorPermille { get; init; }

    /// <summary>How fast disks are.</summary>
    public LatencyModel Disk { get; init; } = LatencyModel.Disk;

    /// <summary>How fast syncs are.</summary>
    public LatencyModel Sync { get; init; } = LatencyModel.Disk;

    /// <summary>One replica's disk that is slower; −1 for none.</summary>
    public int SlowReplica { get; init; } = -1;

    /// <summary>How fast the network is.</summary>
    public LatencyModel Link { get; init; } = LatencyModel.Network;

    /// <summary>How the network behaves.</summary>
    public NetworkFaults Network { get; init; } = NetworkFaults.None;

    /// <summary>Longest time between two faults in nanoseconds.</summary>
    public long MaxFaultPauseNs { get; init; } = LatencyModel.Second;

    /// <summary>Whether any fault happens to nodes.</summary>
    public bool HasFaults => Array.Exists(_weights, weight => weight > 0);

    /// <summary>The faults that happen to nodes, for a message.</summary>
    public string Faults => string.Join(", ", Enum.GetValues<FaultKind>()
        .Where(kind => WeightOf(kind) > 0).Select(kind => $"{kind} {WeightOf(kind)}"));

    /// <summary>How often a fault happens, compared to the others.</summary>
    /// <param name="kind">The fault.</param>
    public int WeightOf(FaultKind kind) => _weights[(int)kind];

    /// <summary>The same with some faults only.</summary>
    /// <param name="kinds">Which; those that are off stay off.</param>
    public SimulationOptions WithOnly(params FaultKind[] kinds)
    {
        int[] weights = new int[s_kinds];
        foreach (FaultKind kind in kinds)
        {
            weights[(int)kind] = _weights[(int)kind];
        }

        return this with { _weights = weights };
    }

    /// <summary>The fault that happens next.</summary>
    /// <param name="random">Where chance comes from.</param>
    public FaultKind NextFault(SimulationRandom random)
    {
        int sum = 0;
        foreach (int weight in _weights)
        {
            sum += weight;
        }

        int choice = random.Below(sum);
        int kind = 0;
        while ((choice -= _weights[kind]) >= 0)
        {
            kind++;
        }

        return (FaultKind)kind;
    }

    /// <summary>The world of a seed.</summary>
    /// <param name="seed">The seed.</param>
    public static SimulationOptions Draw(ulong seed)
    {
        var random = new SimulationRandom(seed);
        int replicas = random.Chance(500) ? 3 : random.Between(1, 7);
        bool isMajority = random.Chance(600);
        int quorum = isMajority ? replicas / 2 + 1 : random.Between(1, replicas);
        int[] weights = new int[s_kinds];
        for (int kind = 0; kind < (int)FaultKind.Rot; kind++)
        {
            weights[kind] = random.Chance(400) ? 1 << random.Below(5) : 0;
        }

        // What else is drawn of a seed is the same with and without.
        var checksums = new SimulationRandom(~seed);
        bool hasChecksums = checksums.Chance(400);
        weights[(int)FaultKind.Rot] =
            hasChecksums && replicas > 1 && checksums.Chance(700) ? 1 << checksums.Below(5) : 0;

        long pause = (20 * LatencyModel.Millisecond) << random.Below(8);
        WorkloadOptions workload = Stretched(WorkloadOptions.Draw(random), pause, random);
        return new SimulationOptions
        {
            Seed = seed,
            Replicas = replicas,
            WriteQuorum = quorum,
            Nodes = replicas == 1 || random.Chance(200) ? replicas + 1 : replicas,
            BlockBytes = random.Chance(500) ? 512 : 4096,
            VolumeBytes = (long)random.Between(2, 8) << 20,
            AcknowledgesDurable = random.Chance(100),
            KeepsForAbsent = seed % 2 == 0,
            WindowOperations = 16 << random.Below(5),
            WindowBytes = 256L << 10 << random.Below(6),
            HasChecksums = hasChecksums,
            ChecksumPages = checksums.Between(4, 8),
            RingRecords = 256,
            LeaseMs = random.Chance(500) ? 2000 : random.Between(100, 4000),
            MaxDriftPerMillion = random.Chance(300) ? random.Between(1000, 7000) : random.Below(500),
            Workload = workload,
            Image = DrawImage(random),
            MetadataErrorPermille = Rarely(random, 2),
            Disk = DrawLatency(random, LatencyModel.Disk),
            Sync = DrawLatency(random, LatencyModel.Disk),
            SlowReplica = random.Chance(300) ? random.Below(replicas) : -1,
            Link = DrawLatency(random, LatencyModel.Network),
            Network = new NetworkFaults
            {
                ResetPerHundredThousand = Rarely(random, 500),
                LatestNewsNs = LatencyModel.Microsecond << random.Below(22),
                TimeoutNs = (LatencyModel.Second / 4) << random.Below(6),
            },
            MaxFaultPauseNs = pause,
            _weights = weights,
        };
    }

    // A host that is done before the first fault has seen nothing: mostly it works while there are faults.
    private static WorkloadOptions Stretched(WorkloadOptions workload, long pause, SimulationRandom random)
    {
        long faults = random.Between(5, 40);
        long stretched = pause * faults * workload.QueueDepth / workload.Operations;
        return random.Chance(800)
            ? workload with { MaxPauseNs = Math.Max(workload.MaxPauseNs, stretched) } : workload;
    }

    private static ImageFaults DrawImage(SimulationRandom random) => new()
    {
        ReadErrorPermille = Rarely(random, 10),
        WriteErrorPermille = Rarely(random, 5),
        NoSpacePermille = Rarely(random, 5),
        SyncErrorPermille = Rarely(random, 5),
        ReadsRace = random.Chance(500),
    };

    private static LatencyModel DrawLatency(SimulationRandom random, LatencyModel usual) => usual with
    {
        UsualNs = usual.UsualNs << random.Below(6),
        SlowPermille = Rarely(random, 30),
        SlowestNs = (20 * LatencyModel.Millisecond) << random.Below(9),
    };

    private static int Rarely(SimulationRandom random, int most) =>
        random.Chance(300) ? random.Between(1, most) : 0;
}
