using System.Diagnostics;
using System.IO.Hashing;
using Ublk.Replication.Store;
using Ublk.Tests.Unit.Replication.Replica;
using Ublk.Wire;
using Ublk.Wire.Blocks;

namespace Ublk.Tests.Unit.Benchmarks;

/// <summary>
/// What replication costs without a network and, where it says so, without disks: a table for people, run by
/// eng/bench core. Nothing here is a test.
/// </summary>
internal static class CoreBench
{
    private const long Size = 64L << 30;

    /// <summary>Runs all of it.</summary>
    /// <param name="directory">Where files are made, on the disk that is to be measured.</param>
    public static int Run(string directory)
    {
        Console.WriteLine($"{Environment.ProcessorCount} processors, files under {directory}");
        Machines();
        Digests();
        AppendBench.Run(directory);
        RecoveryBench.Run(directory);
        return 0;
    }

    /// <summary>Median nanoseconds of one of many.</summary>
    /// <param name="count">How many one run does.</param>
    /// <param name="run">The run.</param>
    /// <param name="rounds">Runs after the first two, which do not count.</param>
    public static double NsOf(int count, Action run, int rounds = 7)
    {
        var took = new List<double>();
        for (int round = -2; round < rounds; round++)
        {
            long start = Stopwatch.GetTimestamp();
            run();
            double ns = Stopwatch.GetElapsedTime(start).TotalNanoseconds / count;
            if (round >= 0)
            {
                took.Add(ns);
            }
        }

        took.Sort();
        return took[took.Count / 2];
    }

    private static void Machines()
    {
        const int Count = 40_000, Depth = 32;
        Console.WriteLine("\nmachines, one thread, 4 KiB, nothing is written anywhere");
        Console.WriteLine($"{"",-44} {"ns/op",8} {"op/s",9} {"bytes/op",9} {"messages",9}");
        using var three = new CoreCluster(3, Size);
        using var one = new CoreCluster(1, Size);
        var random = new Random(1);
        long Anywhere(int _) => random.NextInt64(Size / CoreCluster.BlockBytes) * CoreCluster.BlockBytes;
        static long Hot(int i) => i % 4096 * (long)CoreCluster.BlockBytes;
        Row("write, writer and 3 replicas, hot", three, BlockOperation.Write, Count, Depth, Hot);
        Row("write, writer and 1 replica, hot", one, BlockOperation.Write, Count, Depth, Hot);
        Row("read, writer and local replica", three, BlockOperation.Read, Count, Depth, Hot);
        Row("write and flush, 3 replicas", three, BlockOperation.Flush, Count / 8, 1, Hot);
        Row("write, 3 replicas, anywhere in 64 GiB", three, BlockOperation.Write, Count / 4, Depth, Anywhere);
        using var replica = new ReplicaBench(Size);
        replica.Start();
        void Writes()
        {
            for (int i = 0; i < Count; i++)
            {
                replica.Write(Hot(i));
            }
        }

        double ns = NsOf(Count, Writes);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Writes();
        Print("write, one replica alone, hot", ns, GC.GetAllocatedBytesForCurrentThread() - before, Count, 0);
        byte[] block = new byte[CoreCluster.BlockBytes];
        uint sum = 0;
        double crc = NsOf(Count, () =>
        {
            for (int i = 0; i < Count; i++)
            {
                sum ^= Crc32C.Compute(block);
            }
        });
        Print("of these, CRC-32C of 4 KiB (4 times a write)", crc, sum == 1 ? 1 : 0, Count, 0);
    }

    private static void Row(
        string name, CoreCluster cluster, BlockOperation operation, int count, int depth,
        Func<int, long> offsetOf)
    {
        void Play()
        {
            if (operation == BlockOperation.Flush)
            {
                for (int i = 0; i < count; i++)
                {
                    cluster.Play(BlockOperation.Write, 1, 1, offsetOf);
                    cluster.Play(BlockOperation.Flush, 1, 1, offsetOf);
                }

                return;
            }

            cluster.Play(operation, count, depth, offsetOf);
        }

        double ns = NsOf(count, Play);
        long done = cluster.CompletedCount, messages = cluster.MessageCount;
        long before = GC.GetAllocatedBytesForCurrentThread();
        Play();
        long bytes = GC.GetAllocatedBytesForCurrentThread() - before;
        int wanted = operation == BlockOperation.Flush ? 2 * count : count;
        if (cluster.CompletedCount - done != wanted)
        {
            throw new InvalidOperationException($"{name}: {cluster.CompletedCount - done} of {wanted}");
        }

        Print(name, ns, bytes, count, (double)(cluster.MessageCount - messages) / count);
    }

    private static void Print(string name, double ns, long bytes, int count, double messages) =>
        Console.WriteLine(
            $"{name,-44} {ns,8:F0} {1e9 / ns,9:F0} {(double)bytes / count,9:F1} {messages,9:F1}");

    private static void Digests()
    {
        byte[] region = new byte[StoreFormat.RegionBytes], other = new byte[StoreFormat.RegionBytes];
        new Random(1).NextBytes(region);
        const int Count = 64;
        Console.WriteLine("\na region of 1 MiB, in the caches");
        Console.WriteLine($"{"",-44} {"us",8} {"GB/s",9} {"to copy",9}");
        UInt128 digest = default;
        uint sum = 0;
        double copy = NsOf(Count, () => Repeat(Count, () => region.CopyTo(other, 0)));
        double hash = NsOf(Count, () => Repeat(Count, () => digest ^= XxHash128.HashToUInt128(region)));
        double crc = NsOf(Count, () => Repeat(Count, () => sum ^= Crc32C.Compute(region)));
        GC.KeepAlive((digest, sum));
        foreach ((string name, double ns) in new[] { ("copy", copy), ("XxHash128", hash), ("CRC-32C", crc) })
        {
            Console.WriteLine($"{name,-44} {ns / 1000,8:F1} {region.Length / ns,9:F2} {ns / copy,9:F2}");
        }
    }

    private static void Repeat(int count, Action action)
    {
        for (int i = 0; i < count; i++)
        {
            action();
        }
    }
}
