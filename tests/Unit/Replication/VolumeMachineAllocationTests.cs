using Ublk.Replication.State;
using Ublk.Testing;
using Ublk.Uring;
using Ublk.Wire.Blocks;
using Xunit;

namespace Ublk.Tests.Unit.Replication;

/// <summary>Once warm, writes, answers, flushes and reads allocate nothing.</summary>
public sealed class VolumeMachineAllocationTests
{
    private const int Rounds = 2000;

    [Fact]
    public void SteadyStateAllocatesNothing()
    {
        var effects = new Silent();
        var group = new ReplicaGroup(ReplicaMask.First(3), QuorumRule.Majority(3));
        var machine = new VolumeMachine(
            new VolumeOptions(), new VolumeConfiguration(1, group), 1, local: 0, effects);
        for (int replica = 0; replica < 3; replica++)
        {
            Assert.True(machine.OnReplicaReady(replica, 0, 0, isReconciled: true, isCurrent: true, 0));
            machine.OnGrant(replica, 0, long.MaxValue, 0);
        }

        void Run()
        {
            for (int i = 0; i < Rounds; i++)
            {
                Round(machine, effects, i);
            }
        }

        Run();
        int before = effects.CompletedCount;
        Assert.Equal(0, Allocation.Steady(Run));
        Assert.True(effects.CompletedCount >= before + 3 * Rounds);
        Assert.Equal(0, machine.RequestCount);
    }

    private static void Round(VolumeMachine machine, Silent effects, int i)
    {
        long offset = i % 1000 * 4096L;
        ulong sequence = machine.Window.Next;
        machine.Submit(
            new BlockRequest(BlockOperation.Write, BlockRequestFlags.None, offset, 4096, default, 1),
            0, effects, i);
        for (int replica = 0; replica < 3; replica++)
        {
            machine.OnApplied(replica, sequence, ApplyStatus.Applied, sequence, sequence - 1, i);
        }

        machine.Submit(
            new BlockRequest(BlockOperation.Read, BlockRequestFlags.None, offset, 4096, default, 2),
            0, effects, i);
        machine.OnReadEnded(effects.LastRead, 0, BlockStatus.Ok, i);
        machine.Submit(
            new BlockRequest(BlockOperation.Flush, BlockRequestFlags.None, 0, 0, default, 3), 0, effects, i);
        for (int replica = 0; replica < 3; replica++)
        {
            machine.OnReport(replica, sequence, sequence, i);
        }

        machine.OnTick(i);
    }

    private sealed class Silent : IVolumeEffects, IBlockCompletion
    {
        public int CompletedCount { get; private set; }

        public ulong LastRead { get; private set; }

        public void SendOperation(int replica, in WindowOperation operation, ulong committed)
        {
        }

        public void SendFlush(int replica, ulong through)
        {
        }

        public void SendHeartbeat(int replica, long sentAt, ulong acknowledged, ulong committed)
        {
        }

        public bool CanReadLocally(long offsetBytes, long lengthBytes) => true;

        public void ReadLocally(ulong read, long offsetBytes, in IoBuffer buffer) => LastRead = read;

        public void ReadFromPeer(
            int replica, ulong read, long offsetBytes, in IoBuffer buffer, ulong acknowledged)
        {
        }

        public void LeaveStream(int replica, LeaveReason reason)
        {
        }

        public void ReleasePayload(in IoBuffer payload)
        {
        }

        public void Ended(VolumeStage stage)
        {
        }

        public void OnBlockCompleted(ulong token, BlockStatus status)
        {
            CompletedCount += status == BlockStatus.Ok ? 1 : 0; // An assertion would allocate.
        }
    }
}
