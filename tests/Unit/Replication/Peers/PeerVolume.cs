using System.Net.Security;
using Ublk.Replication.Runtime;
using Ublk.Replication.State;
using Ublk.Testing;
using Ublk.Testing.Replicas;
using Ublk.Tests.Unit.Uring;
using Ublk.Uring;
using Ublk.Wire.Blocks;
using Ublk.Wire.Ids;
using Ublk.Wire.Security;
using Ublk.Wire.Sessions;
using Ublk.Wire.Transport;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Peers;

/// <summary>
/// A volume attached over real sockets to replicas of other nodes, with one of its own, all on one loop that
/// the test turns; and a host that knows what it wrote, by stamps in every sector.
/// </summary>
internal sealed class PeerVolume : IDisposable
{
    public const int BlockBytes = 4096;

    private static readonly ClusterId s_cluster = new(77);

    private readonly TempDirectory _directory = new();
    private readonly ulong[] _stamps;
    private readonly bool[] _isBusy;
    private ulong _lastOperation;
    private ulong _epoch;

    public PeerVolume(
        IReadOnlyList<IPeerNet> nets, bool hasLocal = true, bool hasTls = false, long sizeBytes = 16 << 20)
    {
        Authority = hasTls ? new TestAuthority(TimeProvider.System) : null;
        SizeBytes = sizeBytes;
        Loop = new Loop(
            new LoopOptions { MaxOperations = 8192, BufferTableSlots = 64, FileTableSlots = 64 },
            TimeProvider.System);
        Transport = new RingTransport(Loop, new RingTransportOptions());
        Pool = new PayloadPool(32 << 20, Loop.Buffers);
        _stamps = new ulong[sizeBytes / BlockBytes];
        _isBusy = new bool[_stamps.Length];
        HasLocal = hasLocal;
        if (hasLocal)
        {
            Nodes.Add(new PeerNode(this, 1, null, _directory));
        }

        foreach (IPeerNet net in nets)
        {
            Nodes.Add(new PeerNode(this, (uint)Nodes.Count + (hasLocal ? 1u : 2u), net, _directory));
        }
    }

    public Loop Loop { get; }

    public RingTransport Transport { get; }

    public PayloadPool Pool { get; }

    public long SizeBytes { get; }

    public bool HasLocal { get; }

    public List<PeerNode> Nodes { get; } = [];

    /// <summary>Issues certificates to the nodes; null without TLS.</summary>
    public TestAuthority? Authority { get; }

    public AttachedVolume Volume { get; private set; } = null!;

    /// <summary>How often there is no epoch to be had.</summary>
    public int EpochsRefused { get; set; }

    public int OpenCount { get; private set; }

    public long Completed { get; private set; }

    public Random Random { get; } = new(3);

    public SessionOptions SessionOf(uint node, bool isAsked) => new()
    {
        Cluster = s_cluster, Node = new NodeId(node), AllowsUnproved = Authority is null,
        StopsWhenBlocked = isAsked,
    };

    /// <summary>A node's side of TLS.</summary>
    public TlsOptions TlsOf(uint node)
    {
        SslStreamCertificateContext certificate = Authority!.Issue(new NodeId(node));
        return new TlsOptions { Certificate = () => certificate, Trust = Authority };
    }

    /// <summary>Attaches the volume, in an epoch above all before.</summary>
    public void Attach(bool mustServe = true)
    {
        ReplicaMask all = ReplicaMask.First(Nodes.Count);
        Volume = AttachedVolume.Create(new AttachedVolumeOptions
        {
            Volume = PeerNode.Volume,
            Writer = new Writer(new NodeId(1), 100 + _epoch),
            Configuration = new VolumeConfiguration(
                1, new ReplicaGroup(all, QuorumRule.Majority(Nodes.Count))),
            Places = [.. Nodes.Select(node => node.Place)],
            SizeBytes = SizeBytes,
            BlockBytes = BlockBytes,
            NextEpoch = above => EpochsRefused-- > 0
                ? Task.FromException<Epoch>(new IOException("no metadata"))
                : Task.FromResult(new Epoch(_epoch = Math.Max(above.Value, _epoch) + 1)),
            Tick = TimeSpan.FromMilliseconds(10),
        }, Loop, Pool, TimeProvider.System);
        if (mustServe)
        {
            Until(() => Volume.Served.IsCompleted);
        }
    }

    /// <summary>Turns the loop until something is so.</summary>
    public void Until(Func<bool> isSo, int seconds = 30)
    {
        long start = TimeProvider.System.GetTimestamp();
        while (!isSo())
        {
            bool isLate = TimeProvider.System.GetElapsedTime(start) > TimeSpan.FromSeconds(seconds);
            Assert.False(isLate, isLate ? Volume?.Describe() : null);
            _ = Loop.DrainOrWait(TimeSpan.FromMilliseconds(20));
        }
    }

    public void UntilInSync() => Until(
        () => Volume.Status().All(place => place.Stage == LocalReplicaStage.InSync));

    /// <summary>Begins a write of some free blocks, of fresh stamps; false when there is no room.</summary>
    public bool TryWrite(int maxBlocks = 16)
    {
        int count = Random.Next(1, maxBlocks + 1), first = Random.Next(_stamps.Length - count + 1);
        if (Array.IndexOf(_isBusy, true, first, count) >= 0 ||
            !Pool.TryRent(count * BlockBytes, out IoBuffer buffer))
        {
            return false;
        }

        ulong stamp = ++_lastOperation;
        SectorStamps.Fill(buffer.Span, stamp);
        Begin(BlockOperation.Write, first, count, buffer, _ => _stamps.AsSpan(first, count).Fill(stamp));
        return true;
    }

    /// <summary>Begins a read of some free blocks, which must show what was written last.</summary>
    public bool TryRead(int first, int count)
    {
        if (Array.IndexOf(_isBusy, true, first, count) >= 0 ||
            !Pool.TryRent(count * BlockBytes, out IoBuffer buffer))
        {
            return false;
        }

        Begin(BlockOperation.Read, first, count, buffer, bytes =>
        {
            for (int sector = 0; sector < count * 8; sector++)
            {
                ulong found = SectorStamps.Read(bytes.Span.Slice(sector * 512, 512));
                if (found != _stamps[first + sector / 8])
                {
                    Assert.Fail($"block {first + sector / 8}: {found} for {_stamps[first + sector / 8]}");
                }
            }
        });
        return true;
    }

    public void Flush() => Begin(BlockOperation.Flush, 0, 0, default, _ => { });

    /// <summary>Waits until nothing is under way.</summary>
    public void Settle(int seconds = 30) => Until(() => OpenCount == 0, seconds);

    /// <summary>Reads everything.</summary>
    public void CheckAll()
    {
        Settle();
        for (int first = 0; first < _stamps.Length; first += 64)
        {
            int begin = first;
            Until(() => TryRead(begin, 64));
        }

        Settle();
    }

    /// <summary>Stops everything in order: nothing is left.</summary>
    public void Stop()
    {
        Run(Volume.StopAsync());
        Assert.Equal(Pool.CapacityBytes, Pool.FreeBytes);
        foreach (PeerNode node in Nodes)
        {
            Assert.Empty(node.Failures);
            node.Stop();
        }
    }

    /// <summary>All images have what the host knows.</summary>
    public void AssertIdentical()
    {
        foreach (PeerNode node in Nodes)
        {
            ulong[] found = SectorStamps.ReadAll(node.Image, SizeBytes);
            for (int sector = 0; sector < found.Length; sector++)
            {
                Assert.True(
                    found[sector] == _stamps[sector / 8],
                    $"{node.Image}, sector {sector}: {found[sector]} for {_stamps[sector / 8]}");
            }
        }
    }

#pragma warning disable VSTHRD002 // The tasks have ended; the loop was turned for it.
    public void Run(Task task)
    {
        Until(() => task.IsCompleted);
        task.GetAwaiter().GetResult();
    }
#pragma warning restore VSTHRD002

    public void Dispose()
    {
        if (Volume is not null)
        {
            Run(Volume.StopAsync());
        }

        foreach (PeerNode node in Nodes)
        {
            node.Stop();
        }

        Run(Transport.StopAsync());
        Transport.Dispose();
        Pool.Dispose();
        Loop.Dispose();
        Authority?.Dispose();
        _directory.Dispose();
    }

    private void Begin(
        BlockOperation operation, int first, int count, IoBuffer buffer, Action<IoBuffer> onDone)
    {
        _isBusy.AsSpan(first, count).Fill(true);
        OpenCount++;
        Volume.Submit(
            new BlockRequest(
                operation, BlockRequestFlags.None, (long)first * BlockBytes, (long)count * BlockBytes, buffer,
                _lastOperation),
            new Ending(this, first, count, buffer, onDone));
    }

    // As a frontend does: its own share of the payload goes back at the end.
    private sealed class Ending(
        PeerVolume volume, int first, int count, IoBuffer buffer, Action<IoBuffer> onDone) : IBlockCompletion
    {
        public void OnBlockCompleted(ulong token, BlockStatus status)
        {
            volume.OpenCount--;
            volume.Completed++;
            volume._isBusy.AsSpan(first, count).Clear();
            Assert.Equal(BlockStatus.Ok, status);
            onDone(buffer);
            if (buffer.LengthBytes > 0)
            {
                volume.Pool.Return(buffer);
            }
        }
    }
}
