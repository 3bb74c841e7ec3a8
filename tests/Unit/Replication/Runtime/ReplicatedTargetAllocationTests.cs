using Ublk.Testing;
using Ublk.Tests.Unit.Replication.Peers;
using Ublk.Uring;
using Ublk.Wire.Blocks;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Runtime;

/// <summary>
/// Once warm, a write on three replicas, from the host's request through messages, rings and images to the
/// answer, allocates nothing; neither do reads and flushes. So too where two of the replicas are behind
/// sockets.
/// </summary>
public sealed class ReplicatedTargetAllocationTests
{
    private const int Rounds = 400;

    // With checksums a read is looked at on its way, and its page of checksums is in memory.
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void WritesReadsAndFlushesAllocateNothing(bool hasChecksums)
    {
        using LocalVolume volume = new LocalVolume(hasChecksums: hasChecksums).Start();
        volume.UntilInSync();
        AssertNothingIsAllocated(new Host(volume.Loop, volume.Pool, volume.Target));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void NeitherDoTheyOverSockets(bool hasTls)
    {
        using var world = new PeerVolume([new LoopbackNet(), new LoopbackNet()], hasTls: hasTls);
        world.Attach();
        world.UntilInSync();
        // SslStream makes something now and then, more where the machine is busy: less than one object each.
        AssertNothingIsAllocated(
            new Host(world.Loop, world.Pool, world.Volume), mostBytes: hasTls ? 16 * 2 * Rounds : 0);
    }

    private static void AssertNothingIsAllocated(Host host, long mostBytes = 0)
    {
        void Run()
        {
            for (int i = 0; i < Rounds; i++)
            {
                host.Round(i);
            }
        }

        Run();
        Run();
        Assert.InRange(Allocation.Steady(Run), 0, mostBytes);
        Assert.Equal(0, host.FailureCount);
        Assert.True(host.EndedCount >= 3 * 2 * Rounds);
    }

    private sealed class Host(Loop loop, PayloadPool pool, IBlockTarget target) : IBlockCompletion
    {
        private IoBuffer _written;
        private IoBuffer _read;

        public int EndedCount { get; private set; }

        public int FailureCount { get; private set; }

        public void Round(int i)
        {
            long offset = i % 1000 * 4096L;
            while (!pool.TryRent(4096, out _written) || !pool.TryRent(4096, out _read))
            {
                loop.DrainOrWait();
            }

            _written.Span.Fill((byte)i);
            Ask(BlockOperation.Write, offset, _written);
            pool.Return(_written);
            Ask(BlockOperation.Read, offset, _read);
            FailureCount += _read.Span.IndexOfAnyExcept((byte)i) < 0 ? 0 : 1;
            pool.Return(_read);
            if (i % 8 == 0)
            {
                Ask(BlockOperation.Flush, 0, default);
            }
        }

        public void OnBlockCompleted(ulong token, BlockStatus status)
        {
            EndedCount++;
            FailureCount += status == BlockStatus.Ok ? 0 : 1; // An assertion would allocate.
        }

        private void Ask(BlockOperation operation, long offset, in IoBuffer buffer)
        {
            int before = EndedCount;
            target.Submit(new BlockRequest(
                operation, BlockRequestFlags.None, offset, buffer.LengthBytes, buffer, 1), this);
            while (EndedCount == before)
            {
                loop.DrainOrWait();
            }
        }
    }
}
