using System.Diagnostics;
using Ublk.Replication.Runtime;
using Ublk.Replication.Store;
using Ublk.Tests.Unit.Uring;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Blocks;
using Ublk.Wire.Ids;

namespace Ublk.Tests.Unit.Benchmarks;

/// <summary>
/// What checksums cost: the same operations on two volumes of three replicas in real files, one with
/// checksums and one without, in turn; medians and their ratio. The frontend is not there, so the copy from
/// memory to the request's pages, which reads with checksums pay as well, is not in these figures.
/// </summary>
internal static class ChecksumCostBench
{
    private const long Size = 256 << 20;
    private const int Small = 4096;
    private const int Large = 1 << 20;
    private const int Rounds = 7;

    /// <summary>Runs all of it.</summary>
    /// <param name="directory">Where files are made, on the disk that is to be measured.</param>
    public static int Run(string directory)
    {
        Console.WriteLine($"{Environment.ProcessorCount} processors, files under {directory}");
        Console.WriteLine(
            $"{"three replicas, depth in brackets",-36} {"without us",11} {"with us",9} {"ratio",7}");
        using var without = new BenchVolume(Directory.CreateDirectory(
            Path.Combine(directory, "without")).FullName, StoreOptions.None);
        using var with = new BenchVolume(Directory.CreateDirectory(
            Path.Combine(directory, "with")).FullName, StoreOptions.Checksums);
        var random = new Random(1);
        long[] anywhere = [.. Enumerable.Range(0, 4096).Select(_ => random.NextInt64(Size / Small) * Small)];
        long Anywhere(int i) => anywhere[i % anywhere.Length];
        static long OneAfterTheOther(int i) => i * (long)Large % Size;
        foreach ((string name, BlockOperation operation, int length, int depth, int count) in Rows())
        {
            Func<int, long> offsetOf = length == Small ? Anywhere : OneAfterTheOther;
            var took = new List<double>[] { [], [] };
            for (int round = -1; round < Rounds; round++)
            {
                foreach (BenchVolume volume in new[] { without, with })
                {
                    double us = volume.Play(operation, length, depth, count, offsetOf);
                    if (round >= 0)
                    {
                        took[volume == with ? 1 : 0].Add(us);
                    }
                }
            }

            took[0].Sort();
            took[1].Sort();
            double plain = took[0][Rounds / 2], kept = took[1][Rounds / 2];
            Console.WriteLine($"{$"{name} ({depth})",-36} {plain,11:F1} {kept,9:F1} {kept / plain,7:F2}");
        }

        return 0;
    }

    private static IEnumerable<(string, BlockOperation, int, int, int)> Rows() =>
    [
        ("1 MiB write, sequential", BlockOperation.Write, Large, 4, 256),
        ("1 MiB read, sequential", BlockOperation.Read, Large, 4, 256),
        ("4 KiB write, random", BlockOperation.Write, Small, 1, 2000),
        ("4 KiB write, random", BlockOperation.Write, Small, 32, 8000),
        ("4 KiB read, random", BlockOperation.Read, Small, 1, 2000),
        ("4 KiB read, random", BlockOperation.Read, Small, 32, 8000),
    ];

    /// <summary>One of the volumes, on a loop of its own that the caller turns.</summary>
    private sealed class BenchVolume : IBlockCompletion, IDisposable
    {
        private const int MaxDepth = 32;
        private const long PoolBytes = 128 << 20;

        private readonly Loop _loop = new(
            new LoopOptions { MaxOperations = 4096, BufferTableSlots = 16, FileTableSlots = 32 },
            TimeProvider.System);

        private readonly PayloadPool _pool;
        private readonly ReplicatedTarget _target;
        private readonly IoBuffer[] _buffers = new IoBuffer[MaxDepth];
        private readonly Stack<int> _free = new();

        public BenchVolume(string directory, StoreOptions options)
        {
            string[] images = [.. Enumerable.Range(1, 3).Select(n => Path.Combine(directory, $"image{n}"))];
            for (int place = 0; place < images.Length; place++)
            {
                Format(images[place], (uint)place + 1, options);
            }

            _pool = new PayloadPool(PoolBytes, _loop.Buffers);
            LocalVolumeFiles files = LocalVolumeFiles.Open(new LocalVolumeOptions
            {
                Images = images,
                LiveDirectory = Path.Combine(directory, "live"),
                Writer = new Writer(new NodeId(1), 7),
            });
            _target = ReplicatedTarget.Create(files, _loop, _pool);
            _loop.Until(() => _target.Status().All(status => status.Stage == LocalReplicaStage.InSync));
            var random = new Random(2);
            for (int slot = 0; slot < MaxDepth; slot++)
            {
                // Never changed, so that replicas may still have them while they are written again.
                if (!_pool.TryRent(Large, out _buffers[slot]))
                {
                    throw new InvalidOperationException("the pool is too small");
                }

                random.NextBytes(_buffers[slot].Span);
                _free.Push(slot);
            }
        }

        // Microseconds of one operation; what was written is on stable media and everywhere afterwards.
        public double Play(
            BlockOperation operation, int length, int depth, int count, Func<int, long> offsetOf)
        {
            long start = Stopwatch.GetTimestamp();
            for (int i = 0; i < count; i++)
            {
                while (MaxDepth - _free.Count >= depth)
                {
                    _loop.DrainOrWait();
                }

                Ask(operation, offsetOf(i), length);
            }

            End();
            double us = Stopwatch.GetElapsedTime(start).TotalMicroseconds / count;
            Ask(BlockOperation.Flush, 0, 0);
            End();
            return us;
        }

        public void OnBlockCompleted(ulong token, BlockStatus status)
        {
            if (status != BlockStatus.Ok)
            {
                throw new InvalidOperationException($"an operation ended with {status}");
            }

            _free.Push((int)token);
        }

        public void Dispose()
        {
            foreach (IoBuffer buffer in _buffers)
            {
                _pool.Return(buffer);
            }

            Task stopped = _target.StopAsync();
            _loop.Until(() => stopped.IsCompleted);
            _pool.Dispose();
            _loop.Dispose();
        }

        private static void Format(string image, uint replica, StoreOptions options)
        {
            _ = ReplicaFormat.Create(image, new ReplicaFormatOptions
            {
                Identity = new ReplicaIdentity(
                    new ClusterId(1), new VolumeId(2), new ReplicaId(replica), new Incarnation(replica)),
                Content = ImageContent.New,
                SizeBytes = Size,
                LogicalBlockBytes = Small,
                Options = options,
            });
            using FileHandle file = FileHandle.Open(image, FileAccess.ReadWrite);
            _ = file.Reserve(0, Size); // No write pays for its space.
        }

        private void Ask(BlockOperation operation, long offset, int length)
        {
            int slot = _free.Pop();
            IoBuffer buffer = length == 0 ? default : _buffers[slot].Slice(0, length);
            _target.Submit(new BlockRequest(
                operation, BlockRequestFlags.None, offset, length, buffer, (ulong)slot), this);
        }

        private void End()
        {
            while (_free.Count < MaxDepth)
            {
                _loop.DrainOrWait();
            }
        }
    }
}
