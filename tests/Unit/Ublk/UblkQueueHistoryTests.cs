using Ublk.Frontend.Ublk;
using Ublk.Testing;
using Ublk.Uring.Native;
using Ublk.Wire.Blocks;
using Xunit;

namespace Ublk.Tests.Unit.Ublk;

/// <summary>
/// Seeded random histories: client requests, completions in any order, errors, refused commits, a
/// full table, requests that are given up, and a stop at some time.
/// </summary>
public sealed class UblkQueueHistoryTests
{
    private const int HistoriesPerBatch = 60;

    public static TheoryData<int> Batches => [.. Enumerable.Range(0, 8)];

    [Theory]
    [MemberData(nameof(Batches))]
    public void EveryRequestIsAnsweredOnceWithTheRightBytes(int batch)
    {
        for (int i = 0; i < HistoriesPerBatch; i++)
        {
            int seed = batch * HistoriesPerBatch + i;
            try
            {
                using var history = new History(seed);
                history.Run();
            }
            catch (Exception exception)
            {
                throw new InvalidOperationException($"history of seed {seed} failed", exception);
            }
        }
    }

    private sealed class History : IDisposable
    {
        private const int RegionBytes = 1 << 16;
        private const int RegionCount = 32;
        private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(10);

        private readonly Random _random;
        private readonly QueueBench _bench;
        private readonly byte[] _expected = new byte[RegionBytes * RegionCount];
        private readonly bool[] _isTaken = new bool[RegionCount];
        private readonly List<(FakeBlockRequest Request, int Region, byte[] Before)> _open = [];
        private readonly List<FakeBlockRequest> _all = [];
        private readonly bool _hasLimit;
        private int _givenUp;
        private int _refusals;
        private byte _fill;

        public History(int seed)
        {
            _random = new Random(seed);
            _hasLimit = _random.Next(2) == 0;
            _bench = new QueueBench(new BenchOptions
            {
                Profile = KernelProfile.Usable[_random.Next(KernelProfile.Usable.Count)],
                Depth = _random.Next(1, 25),
                SizeBytes = RegionBytes * RegionCount,
                TableSlots = _random.Next(1, 60),
                CopiesWrites = _random.Next(3) > 0,
                IsDirect = _random.Next(4) > 0,
                Timeout = _hasLimit ? s_limit : TimeSpan.Zero,
            });
            _bench.Target.IsManual = true;
        }

        public void Dispose() => _bench.Dispose();

        public void Run()
        {
            QueueBench bench = _bench;
            int steps = _random.Next(20, 300);
            for (int step = 0; step < steps; step++)
            {
                Step();
                Collect();
            }

            bench.Driver.BlockTable(bench.Loop, isBlocked: false);
            bench.Driver.BeginStop(0);
            while (bench.Driver.Pump() > 0 || bench.Target.InFlightCount > 0)
            {
                bench.Target.CompleteAll();
            }

            Collect();
            Check();
            bench.AssertEndsClean();
        }

        private void Step()
        {
            switch (_random.Next(12))
            {
                case < 5:
                    Submit();
                    break;
                case < 7:
                    _bench.Driver.Pump(_random.Next(1, 4));
                    break;
                case < 10 when _bench.Target.InFlightCount > 0:
                    BlockStatus status = _random.Next(10) switch
                    {
                        0 => BlockStatus.IoError,
                        1 => BlockStatus.NoSpace,
                        _ => BlockStatus.Ok,
                    };
                    _bench.Target.Complete(_random.Next(_bench.Target.InFlightCount), status);
                    break;
                case 10 when _hasLimit && _random.Next(4) == 0:
                    _bench.Time.Advance(s_limit * _random.NextDouble());
                    _givenUp += _bench.Queue.GiveUpOverdue();
                    break;
                case 11:
                    Disturb();
                    break;
            }
        }

        private void Disturb()
        {
            if (_random.Next(3) == 0)
            {
                _bench.Driver.BlockTable(_bench.Loop, _random.Next(2) == 0);
            }
            else if (_bench.Count(UblkCounter.RefusedCommits) == _refusals)
            {
                _refusals++;
                _bench.Driver.Inject(FakeCommand.Commit, -Errno.EINVAL);
            }
        }

        private void Submit()
        {
            int region = _random.Next(RegionCount);
            byte operation = new byte[] { 0, 0, 0, 1, 1, 1, 2, 3, 5 }[_random.Next(9)];
            if (operation == QueueBench.Flush)
            {
                Track(_bench.Submit(operation, 0, 0), -1, []);
                return;
            }

            if (_isTaken[region])
            {
                return;
            }

            _isTaken[region] = true;
            int sectors = _random.Next(1, RegionBytes / 512 + 1);
            int start = _random.Next(0, RegionBytes / 512 - sectors + 1);
            long offset = (long)region * RegionBytes + start * 512;
            byte[]? data = null;
            if (operation == QueueBench.Write)
            {
                data = new byte[sectors * 512];
                _random.NextBytes(data);
                data[0] = ++_fill;
            }

            byte[] before = data is null ? [] : [.. data];
            Track(_bench.Submit(operation, offset, sectors * 512, 0, data), region, before);
        }

        private void Track(FakeBlockRequest request, int region, byte[] before)
        {
            _open.Add((request, region, before));
            _all.Add(request);
        }

        private void Collect()
        {
            for (int i = _open.Count - 1; i >= 0; i--)
            {
                (FakeBlockRequest request, int region, byte[] before) = _open[i];
                if (!request.IsDone)
                {
                    continue;
                }

                _open.RemoveAt(i);
                if (region >= 0)
                {
                    Apply(request, region, before);
                }
            }
        }

        private void Apply(FakeBlockRequest request, int region, byte[] before)
        {
            Span<byte> range = _expected.AsSpan((int)request.OffsetBytes, (int)request.LengthBytes);
            if (request.Result == 0)
            {
                switch (request.Operation)
                {
                    case QueueBench.Read:
                        Assert.True(range.SequenceEqual(request.Data), "wrong bytes read");
                        break;
                    case QueueBench.Write:
                        before.CopyTo(range);
                        break;
                    default:
                        range.Clear();
                        break;
                }
            }

            // A request that was given up may still change its range, at any time: it is out of
            // the game.
            _isTaken[region] = request.Result == QueueBench.ETIMEDOUT;
        }

        private void Check()
        {
            Assert.Empty(_open);
            FakeBlockRequest[] served =
                [.. _all.Where(static request => request.DeliveryCount > 0)];
            Assert.All(served, static request => Assert.Equal(1, request.DeliveryCount));
            long ends = _bench.Count(UblkCounter.Reads) + _bench.Count(UblkCounter.Writes) +
                _bench.Count(UblkCounter.Flushes) + _bench.Count(UblkCounter.Discards) +
                _bench.Count(UblkCounter.WriteZeroes);
            Assert.Equal(served.Length, ends);
            Assert.Equal(served.Count(static request => request.Result < 0),
                _bench.Count(UblkCounter.Errors));
            Assert.Equal(_givenUp, _bench.Count(UblkCounter.Timeouts));
            Assert.Equal(_givenUp,
                served.Count(static request => request.Result == QueueBench.ETIMEDOUT));
            Assert.Equal(BytesOf(served, QueueBench.Read), _bench.Count(UblkCounter.ReadBytes));
            Assert.Equal(BytesOf(served, QueueBench.Write), _bench.Count(UblkCounter.WriteBytes));
            Assert.Equal(_bench.Count(UblkCounter.Reads),
                _bench.Count(UblkCounter.ReadsIntoRequest) +
                _bench.Count(UblkCounter.ReadsThroughMemory));
            Assert.True(_bench.Count(UblkCounter.RefusedCommits) <= _refusals);
            Assert.Equal(0, _bench.Target.RefusedPinCount);
            Assert.DoesNotContain(_bench.Events, static name => name.StartsWith('f'));
        }

        private static long BytesOf(FakeBlockRequest[] served, byte operation) => served
            .Where(request => request.Operation == operation && request.Result == 0)
            .Sum(static request => request.LengthBytes);
    }
}
