using Ublk.Replication.Store;
using Ublk.Tests.Unit.Uring;
using Ublk.Uring;
using Ublk.Wire.Blocks;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Runtime;

/// <summary>
/// Disks that fail under a volume: behind the descriptor of a file another one is put that refuses what is
/// asked of it, as the kernel would for a disk that is gone.
/// </summary>
public sealed class ReplicaFaultTests
{
    private const string NullDevice = "/dev/null";

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public void AReplicaWhoseDiskRefusesEverythingIsLostAndOpenedAnew(int place)
    {
        using LocalVolume volume = new LocalVolume().Start();
        var random = new Random(place);
        volume.Work(random, 50);
        volume.UntilInSync();
        Break(volume, place, isMetadata: false);
        Break(volume, place, isMetadata: true);
        volume.Work(random, 60);
        volume.CheckAll();

        // Opened again, it has its own files: the fault is over.
        volume.UntilInSync();
        volume.Work(random, 20);
        volume.Stop();
        volume.AssertIdentical();
    }

    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    public void AReplicaThatCannotSyncIsOpenedAnewAndTheSyncNotRepeated(int place)
    {
        using LocalVolume volume = new LocalVolume().Start();
        var random = new Random(20 + place);
        volume.Work(random, 20);
        volume.UntilInSync();

        // Writes are lost and said to be done; a sync is refused. Only the sync tells.
        Break(volume, place, isMetadata: false, NullDevice);
        volume.Write(0, 64 << 10, random);
        volume.Flush();
        volume.Loop.Until(() => volume.Target.Status()[place].Problem is not null);
        volume.CheckAll();
        volume.UntilInSync();
        volume.CheckAll();
        volume.Stop();
        volume.AssertIdentical();
    }

    [Fact]
    public void AReplicaWhoseRingCannotBeWrittenIsLost()
    {
        using LocalVolume volume = new LocalVolume().Start();
        var random = new Random(30);
        volume.UntilInSync();
        Break(volume, 1, isMetadata: true);
        volume.Work(random, 40);
        volume.UntilInSync();
        volume.Stop();
        volume.AssertIdentical();
    }

    [Fact]
    public void AReadThatNeedsAPeerIsAskedAgainWithMemory()
    {
        using LocalVolume volume = new LocalVolume().Start();
        var random = new Random(40);
        volume.Write(0, 8192, random);
        volume.Close(0);
        volume.Target.Submit(new BlockRequest(
            BlockOperation.Read, BlockRequestFlags.None, 0, 8192,
            IoBuffer.Registered(3, 8192), 1_000_000), volume);
        Assert.Equal(BlockStatus.NeedsMemory, volume.Await(1_000_000));
        volume.Check(0, 8192);
    }

    [Fact]
    public void SeededLossesUnderLoad()
    {
        using LocalVolume volume = new LocalVolume().Start();
        var random = new Random(50);
        for (int round = 0; round < 12; round++)
        {
            int place = random.Next(3);
            switch (random.Next(3))
            {
                case 0:
                    volume.Close(place);
                    volume.Work(random, random.Next(30));
                    volume.Target.ReopenReplica(place);
                    break;
                case 1:
                    Break(volume, place, isMetadata: random.Next(2) == 0);
                    break;
                default:
                    Break(volume, place, isMetadata: false, NullDevice);
                    break;
            }

            // The next fault comes when all are well again: more than one at a time is the simulator's job.
            volume.Work(random, random.Next(60));
            volume.Write(0, 4096, random, isDurable: true);
            volume.UntilInSync();
        }

        volume.CheckAll();
        volume.Stop();
        volume.AssertIdentical();
    }

    private static void Break(LocalVolume volume, int place, bool isMetadata, string with = "")
    {
        string image = volume.Images[place];
        OpenDescriptors.Break(
            isMetadata ? ReplicaFormat.MetadataPath(image) : image, volume.LiveDirectory, with);
    }
}
