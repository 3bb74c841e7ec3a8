using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Wire;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Testing.Replicas;

/// <summary>
/// A writer of one replica: starts an epoch, writes and zeroes with several operations under way, flushes,
/// lets intents become cold, changes the configuration and grows the volume, starts a second epoch in which
/// regions are missing, and brings one back. The same seed does the same.
/// </summary>
public sealed class CrashWorkload
{
    /// <summary>Requests from this number on are pieces; the others are regions.</summary>
    public const uint FirstPieceId = 1 << 20;

    private const long NsPerMs = 1_000_000;
    private const int Window = 12;
    private const int PieceBytes = 256 * 1024;
    private const int MissingRegion = 1;
    private const int MissingRegions = 2;

    private readonly FileReplica _replica;
    private readonly Random _random;
    private readonly Action<string> _report;
    private readonly ReplicaIdentity _identity;
    private ulong[] _model;
    private ulong _epoch;
    private ulong _next;
    private ulong _configuration;

    /// <summary>Begins behind everything that the replica knows, and tells what its image holds.</summary>
    /// <param name="replica">The replica.</param>
    /// <param name="highest">Highest sequence that was ever sent to it.</param>
    /// <param name="random">Decides.</param>
    /// <param name="report">Gets what the replica cannot say itself.</param>
    public CrashWorkload(FileReplica replica, ulong highest, Random random, Action<string> report)
    {
        _replica = replica;
        _random = random;
        _report = report;
        _identity = replica.Opened.Superblock.Identity;
        _epoch = State.Promise.Epoch;
        _configuration = State.Configuration?.Number ?? 0;
        _next = Math.Max(highest, replica.Machine.Applied) + 100;
        _model = SectorStamps.ReadAll(replica.Path, State.SizeBytes);
        foreach (string line in CrashFacts.LinesOf(_model))
        {
            report(line);
        }

        report("based");
    }

    /// <summary>Highest sequence that was sent.</summary>
    public ulong Highest => _next - 1;

    private MetadataState State => _replica.Machine.State;

    private Writer Writer => new(new NodeId(7), _epoch);

    private Sequence Committed => new(_replica.Machine.Durable);

    /// <summary>What the sectors of a piece hold where no operation of the epoch was.</summary>
    public static ulong StampOfPiece(ulong epoch, int region) => 1ul << 62 | epoch << 32 | (uint)region;

    /// <summary>Formats a replica for it.</summary>
    /// <param name="image">Path of the image.</param>
    /// <param name="sizeBytes">Size of the volume.</param>
    /// <param name="hasChecksums">Whether it keeps checksums.</param>
    public static void Format(string image, long sizeBytes, bool hasChecksums = false)
    {
        var identity = new ReplicaIdentity(
            new ClusterId(1), new VolumeId(2), new ReplicaId(3), new Incarnation(4));
        _ = ReplicaFormat.Create(image, new ReplicaFormatOptions
        {
            Identity = identity,
            Content = ImageContent.New,
            SizeBytes = sizeBytes,
            LogicalBlockBytes = FileReplica.BlockBytes,
            Options = hasChecksums ? StoreOptions.Checksums : StoreOptions.None,
        });
    }

    /// <summary>All of it, once.</summary>
    /// <param name="operations">Operations in each part, three or four of them.</param>
    /// <param name="mayGrow">Whether the volume may become longer.</param>
    public void Run(int operations, bool mayGrow = true)
    {
        _replica.Run();
        Begin(joins: false);
        Play(operations);
        if (mayGrow)
        {
            Configure();
            Play(operations / 2);
        }

        _replica.Run();
        Begin(joins: true);
        Play(operations / 2);
        PushBack(MissingRegion);
        Play(operations / 2);
        Flush();
        _replica.Run();
        ThrowIfUnheard();
    }

    /// <summary>Starts an epoch.</summary>
    /// <param name="joins">Whether regions become missing; otherwise the replica is reconciled.</param>
    public void Begin(bool joins)
    {
        if (joins)
        {
            _replica.EndSession();
        }

        _replica.Now += 60_000 * NsPerMs;
        _epoch++;
        _next += 100;
        var epoch = new Epoch(_epoch);
        var configuration = new ConfigurationNumber(_configuration);
        _replica.Tell(new OpenSession(
            epoch, SessionRole.Writer, _identity.Volume, _identity.Replica, _identity.Incarnation,
            configuration, Writer, State.SizeBytes, FileReplica.BlockBytes, StoreFormat.RegionBytes,
            StoreFormat.GrainBytes));
        _replica.Tell(new Promise(epoch, Writer, configuration));
        _replica.Run();
        ulong common = _next - 1;
        if (joins)
        {
            MissingRun[] missing = [new MissingRun(MissingRegion, MissingRegions, default, default)];
            _replica.Tell(new ClaimEntries
            {
                Epoch = epoch,
                List = ClaimList.Missing,
                Missing = new MessageList<MissingRun>(missing),
            });
            _report($"joins {_epoch} {_next - 1}");
            common = _replica.Machine.Applied;
        }

        _replica.Tell(new EpochStart(
            epoch, Writer, configuration, new Sequence(_next), new Sequence(_next - 1), new Sequence(common),
            new Epoch(State.History.Last.Epoch)));
        _replica.Run();
        ThrowIfUnheard();
        for (int region = 0; joins && region < State.Missing.Regions; region++)
        {
            if (State.Missing.Contains(region))
            {
                long offset = (long)region * StoreFormat.RegionBytes;
                Stamp(offset, StoreFormat.RegionBytes, StampOfPiece(_epoch, region));
            }
        }
    }

    /// <summary>Operations, some of them under way when it ends.</summary>
    /// <param name="operations">How many.</param>
    public void Play(int operations)
    {
        for (int i = 0; i < operations; i++)
        {
            _replica.Now += 5 * NsPerMs;
            Change();
            if (_replica.UnderWay >= Window || _random.Next(4) == 0)
            {
                _replica.Run(leave: _random.Next(Window / 2));
            }

            switch (_random.Next(12))
            {
                case 0:
                    Flush();
                    break;
                case 1:
                    int leaseMs = 1000 + 10 * _random.Next(100);
                    _replica.Tell(new Heartbeat(
                        new Epoch(_epoch), _replica.Now, leaseMs, Committed, Committed));
                    break;
                case 2:
                    Flush();
                    _replica.Run();
                    _replica.Now += 3000 * NsPerMs;
                    _replica.Tick();
                    break;
                default:
                    break;
            }
        }

        _replica.Run(leave: _random.Next(3));
        ThrowIfUnheard();
    }

    private void Change()
    {
        int kind = _random.Next(10);
        int blocks = kind < 8 ? 1 + _random.Next(4) : 1 + _random.Next(24);
        int length = blocks * FileReplica.BlockBytes;
        long places = (State.SizeBytes - length) / FileReplica.BlockBytes;
        long offset = _random.NextInt64(places + 1) * FileReplica.BlockBytes;
        ulong sequence = _next++;
        Mutation mutation = kind < 8 ? Mutation.Write : kind == 8 ? Mutation.Discard : Mutation.WriteZeroes;
        IoBuffer payload = mutation == Mutation.Write ? _replica.Rent(length) : default;
        if (mutation == Mutation.Write)
        {
            SectorStamps.Fill(payload.Span, sequence);
        }

        Stamp(offset, length, mutation == Mutation.Write ? sequence : 0);
        _replica.Tell(new Write(
            new Epoch(_epoch), new Sequence(sequence), mutation, MutationFlags.None, offset, length,
            mutation == Mutation.Write ? Crc32C.Compute(payload.Span) : 0, Committed, new View(1)), payload);
    }

    private void Flush() =>
        _replica.Tell(new Flush(new Epoch(_epoch), new Sequence(_next - 1), Committed));

    private void Configure()
    {
        _replica.Run();
        long sizeBytes = State.SizeBytes + StoreFormat.RegionBytes;
        ReplicaMember[] members = [new ReplicaMember(_identity.Replica, _identity.Incarnation)];
        _replica.Tell(new Configure
        {
            Epoch = new Epoch(_epoch),
            Number = new ConfigurationNumber(++_configuration),
            Stage = ConfigurationKind.New,
            SizeBytes = sizeBytes,
            NewWriteQuorum = 1,
            NewReplicas = new MessageList<ReplicaMember>(members),
        });
        _replica.Run();
        Array.Resize(ref _model, (int)(State.SizeBytes / SectorStamps.SectorBytes));
    }

    // The source has everything that was sent here, so a piece holds what the model says.
    private void PushBack(int region)
    {
        _replica.Run();
        var epoch = new Epoch(_epoch);
        long offset = (long)region * StoreFormat.RegionBytes;
        var issued = new Sequence(_next - 1);
        _replica.Tell(new DigestsRequest(
            epoch, new RequestId(FirstPieceId), offset, StoreFormat.RegionBytes, StoreFormat.RegionBytes,
            issued));
        _replica.Run();
        for (long at = offset; at < offset + StoreFormat.RegionBytes; at += PieceBytes)
        {
            IoBuffer payload = _replica.Rent(PieceBytes);
            for (int i = 0; i < PieceBytes; i += SectorStamps.SectorBytes)
            {
                SectorStamps.Fill(payload.Span.Slice(i, SectorStamps.SectorBytes),
                    _model[(at + i) / SectorStamps.SectorBytes]);
            }

            _replica.Tell(new CopyChunk(
                epoch, new RequestId(FirstPieceId + 1), AnswerStatus.Ok, at, PieceBytes, issued,
                Crc32C.Compute(payload.Span), CopyFlags.None), payload);
        }

        _replica.Run(leave: 1);
        _replica.Run();
        _replica.Tell(new RegionDone(epoch, new RequestId((uint)region), region, issued));
        _replica.Run();
    }

    private void Stamp(long offsetBytes, long lengthBytes, ulong stamp) => Array.Fill(_model, stamp,
        (int)(offsetBytes / SectorStamps.SectorBytes), (int)(lengthBytes / SectorStamps.SectorBytes));

    private void ThrowIfUnheard()
    {
        if (_replica.Closed is not null || _replica.Complaints.Count > 0)
        {
            throw new InvalidOperationException(
                $"the replica does not go along: {_replica.Closed} {string.Join(", ", _replica.Complaints)}");
        }
    }
}
