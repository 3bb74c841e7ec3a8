using System.Diagnostics;
using Ublk.Replication.Store;
using Ublk.Tests.Unit.Replication.Replica;
using Ublk.Tests.Unit.Replication.Store;
using Ublk.Uring.Native;

namespace Ublk.Tests.Unit.Benchmarks;

/// <summary>
/// How long a replica takes from its files to its claim, against the length of its ring and what is hot or
/// missing: reading and folding the ring, making the live page, telling the claim.
/// </summary>
internal static class RecoveryBench
{
    private const int Hot = 32 * 1024;
    private const int Runs = 4000;

    /// <summary>Measures.</summary>
    /// <param name="directory">Where the files are made.</param>
    public static void Run(string directory)
    {
        Console.WriteLine(
            "\nfrom the files of a replica to its claim, milliseconds (files in the page cache)");
        Console.WriteLine($"{"volume",10} {"ring MiB",9} {"hot grains",11} {"missing runs",13} " +
            $"{"recovery",9} {"opening",9} {"claim",9} {"messages",9}");
        foreach (long sizeBytes in new[] { 10L << 30, 1L << 40, 4L << 40 })
        {
            foreach ((int hot, int runs) in new[] { (0, 0), (Hot, 0), (0, Runs), (Hot, Runs) })
            {
                string files = Path.Combine(directory, "recovery");
                Row(Directory.CreateDirectory(files).FullName, sizeBytes, hot, runs);
            }
        }
    }

    private static void Row(string directory, long sizeBytes, int hot, int runs)
    {
        string image = Path.Combine(directory, "image");
        Superblock made = ReplicaFormat.Create(image, new ReplicaFormatOptions
        {
            Identity = ReplicaBench.Identity,
            Content = ImageContent.New,
            SizeBytes = sizeBytes,
            MaxSizeBytes = sizeBytes,
            LogicalBlockBytes = ReplicaBench.BlockBytes,
        });
        Fill(image, sizeBytes, hot, runs);
        string path = ReplicaFormat.MetadataPath(image);
        using FileHandle file = FileHandle.Open(path, FileAccess.Read);
        var layout = new RingLayout(made.Identity.Incarnation, made.RingRecords);
        double recovery = Median(() => _ = Sound(MetadataRecovery.Run(
            new FileMetadataReader(file), layout, sizeBytes)));
        double opening = 0;
        long messages = 0;
        double claim = Median(() =>
        {
            OpenedReplica opened = ReplicaStore.Load(image, sizeBytes, new BootEntry(Guid.Empty, 0), null);
            long start = Stopwatch.GetTimestamp();
            using var bench = new ReplicaBench(opened);
            opening = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
            start = Stopwatch.GetTimestamp();
            messages = bench.AskForClaim();
            return Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        });
        long ring = (long)made.RingRecords * MetadataRecord.Bytes;
        Console.WriteLine($"{sizeBytes >> 30,6} GiB {ring >> 20,9} " +
            $"{hot,11} {runs,13} {recovery,9:F1} {opening,9:F1} {claim,9:F1} {messages,9}");
        Directory.Delete(directory, recursive: true);
        Directory.CreateDirectory(directory);
    }

    private static RecoveryResult Sound(RecoveryResult found) => found.Damage == MetadataDamage.None
        ? found : throw new InvalidOperationException(found.Text);

    private static double Median(Action run) => Median(() =>
    {
        long start = Stopwatch.GetTimestamp();
        run();
        return Stopwatch.GetElapsedTime(start).TotalMilliseconds;
    });

    private static double Median(Func<double> run)
    {
        double[] took = [run(), run(), run()];
        Array.Sort(took);
        return took[1];
    }

    // Every region was written once; intents and missing regions are scattered, the worst for both.
    private static void Fill(string image, long sizeBytes, int hot, int runs)
    {
        OpenedReplica opened = ReplicaStore.Load(image, sizeBytes, new BootEntry(Guid.Empty, 0), null);
        using var log = new FileLog(ReplicaFormat.MetadataPath(image), opened);
        int regions = opened.State.Versions.Regions, grains = opened.State.Intents.Grains;
        var versions = new ulong[RegionVersionsEntry.MaxRegions];
        for (int first = 0; first < regions; first += versions.Length)
        {
            int count = Math.Min(versions.Length, regions - first);
            for (int i = 0; i < count; i++)
            {
                versions[i] = (ulong)(first + i) * 7 % 1000 + 1;
            }

            log.Append(new RegionVersionsEntry((uint)first, versions.AsSpan(0, count)));
        }

        for (int i = 0; i < hot; i++)
        {
            log.Append(new IntentAddEntry((uint)((long)i * grains / hot), 1));
        }

        for (int i = 0; i < runs; i++)
        {
            log.Append(new MissingAddEntry((uint)((long)i * regions / runs), 1, new HistoryPoint(1, 5)));
        }
    }
}
