using Ublk.Replication.Replica;
using Ublk.Testing;
using Ublk.Uring.Native;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Replica;

/// <summary>One replica, message by message.</summary>
public sealed class ReplicaMachineTests : IDisposable
{
    private const long Size = 64L << 20;

    private readonly ReplicaBench _bench = new(Size);

    public void Dispose() => _bench.Dispose();

    [Fact]
    public void NothingIsAllocatedForWritesFlushesAndHeartbeats()
    {
        _bench.Start();
        Play(2000); // Warm: queues and lists have their size.
        Assert.Equal(0, Allocation.Steady(() => Play(2000)));
        Assert.True(_bench.AppliedCount >= 4000);
        Assert.Empty(_bench.Complaints);
    }

    // One append for a cold area, not one for each write.
    [Fact]
    public void HotWritesNeedNoMetadata()
    {
        _bench.Start();
        _bench.Write(0);
        int before = _bench.RecordCount;
        for (int i = 0; i < 200; i++)
        {
            _bench.Write(ReplicaBench.BlockBytes * (i % 256));
        }

        Assert.Equal(before, _bench.RecordCount);
        Assert.Equal(201, _bench.AppliedCount);
    }

    [Fact]
    public void AWriteBeforeTheEpochHasStartedEndsTheSession()
    {
        _bench.Write(0);
        Assert.Single(_bench.Complaints);
        Assert.Equal(0ul, _bench.Machine.Applied);
    }

    [Fact]
    public void OverlappingOperationsWaitForOneAnother()
    {
        _bench.Start();
        _bench.Write(0);
        _bench.IsHeld = true;
        _bench.Write(4096);
        _bench.Write(4096);
        _bench.EndOne();
        Assert.Equal(2, _bench.AppliedCount); // The second is only asked for now.
        _bench.EndOne();
        Assert.Equal(3, _bench.AppliedCount);
    }

    [Fact]
    public void AFailedWriteMakesItsRegionMissingAndVoidsTheReplica()
    {
        _bench.Start();
        _bench.Write(0);
        _bench.IsHeld = true;
        _bench.Write(4096);
        _bench.EndOne(-Errno.EIO);
        _bench.Run();
        Assert.Equal(["Applied IoError"], _bench.Complaints);
        Assert.True(_bench.Machine.State.Missing.Contains(0));
        Assert.False(_bench.Machine.IsCurrent(0, 4096));
        Assert.True(_bench.Machine.IsCurrent(1 << 20, 4096));
    }

    [Fact]
    public void AFailedSyncIsNeverTriedAgain()
    {
        _bench.Start();
        _bench.Write(0);
        _bench.IsHeld = true;
        _bench.Flush();
        _bench.EndOne(-Errno.EIO);
        _bench.Run();
        Assert.True(_bench.Machine.HasFailed);
        Assert.Equal(0, _bench.FlushedCount);
        Assert.Equal(0ul, _bench.Machine.Durable);
        Assert.False(_bench.Machine.IsCurrent(0, 4096));
    }

    [Fact]
    public void AnOperationOutOfOrderOrOutsideEndsTheSession()
    {
        _bench.Start();
        _bench.Write(Size);
        Assert.Contains("ProtocolError", Assert.Single(_bench.Complaints), StringComparison.Ordinal);
    }

    [Fact]
    public void ALowerEpochIsRefusedAfterAPromise()
    {
        _bench.Start();
        var writer = new Writer(new NodeId(2), 9);
        _bench.Send(new Promise(new Epoch(0), writer, new ConfigurationNumber(1)));
        Assert.Contains("another writer", Assert.Single(_bench.Complaints), StringComparison.Ordinal);
        Assert.Equal(1ul, _bench.Machine.Promise.Epoch);
    }

    // The image is slow; the replica fell behind meanwhile, and follows anew as many operations further.
    [Fact]
    public void AnOperationIsNotTakenForOneOfBefore()
    {
        _bench.Start();
        _bench.Write(0);
        _bench.IsHeld = true;
        _bench.Write(ReplicaBench.BlockBytes);
        ulong places = (ulong)new ReplicaOptions { Volume = default, BlockBytes = 512 }.MaxOperations;
        _bench.StartAt(places + 1);
        _bench.Write(0);
        Assert.Contains("has its place still", Assert.Single(_bench.Complaints), StringComparison.Ordinal);
    }

    // A longer image could not be undone: nothing is made longer before it is known that the ring can follow.
    [Fact]
    public void AVolumeThatTheRingCannotHoldIsRefusedBeforeItGrows()
    {
        _bench.Start();
        ReplicaMember[] members = [new ReplicaMember(new ReplicaId(1), new Incarnation(100))];
        _bench.Send(new Configure
        {
            Epoch = new Epoch(1),
            Number = new ConfigurationNumber(2),
            Stage = ConfigurationKind.New,
            SizeBytes = 64L << 40,
            NewWriteQuorum = 1,
            NewReplicas = new MessageList<ReplicaMember>(members),
        });
        Assert.Equal("Configured NoSpace", Assert.Single(_bench.Complaints));
        Assert.Equal(Size, _bench.Machine.State.SizeBytes);
        Assert.Null(_bench.Machine.State.Configuration);
    }

    private void Play(int writes)
    {
        for (int i = 0; i < writes; i++)
        {
            _bench.Now += 1_000_000;
            _bench.Write(ReplicaBench.BlockBytes * (i * 37L % 4096));
            if (i % 16 == 0)
            {
                _bench.Flush();
                _bench.Heartbeat();
                _bench.Machine.OnTick(_bench.Now);
                _bench.Run();
            }
        }
    }
}
