using System.Diagnostics;
using Ublk.Replication.Store;
using Ublk.Tests.Unit.Uring;
using Ublk.Uring;
using Ublk.Uring.Abi;
using Ublk.Uring.Native;
using Ublk.Wire.Ids;

namespace Ublk.Tests.Unit.Benchmarks;

/// <summary>
/// Appends to a metadata ring on a real disk, as production makes them (one durable write through io_uring at
/// a time), and what intents add to writes of an image next to it.
/// </summary>
internal sealed class AppendBench : IMetadataLogEffects, IRingCompletion, IDisposable
{
    private const long Size = 1L << 30;
    private const int BlockBytes = 4096;

    private readonly Loop _loop = TestLoop.Create();
    private readonly MemoryMapping _memory = MemoryMapping.Allocate(MetadataRecord.Bytes + BlockBytes);
    private readonly BlockFile<Told> _metadata;
    private readonly BlockFile<Told> _image;
    private readonly MetadataLog _log;
    private readonly IntentPolicy _policy;
    private readonly ulong[] _versions = new ulong[MetadataState.RegionsOf(Size)];
    private bool _isWriting;
    private bool _isImageDone;

    private AppendBench(string directory)
    {
        string image = Path.Combine(directory, "image");
        ReplicaFormat.Create(image, new ReplicaFormatOptions
        {
            Identity = new ReplicaIdentity(
                new ClusterId(1), new VolumeId(2), new ReplicaId(3), new Incarnation(4)),
            Content = ImageContent.New,
            SizeBytes = Size,
        });
        using (FileHandle file = FileHandle.Open(image, FileAccess.ReadWrite))
        {
            _ = file.Reserve(0, Size); // No write pays for its space.
        }

        OpenedReplica opened = ReplicaStore.Load(image, Size, new BootEntry(Guid.Empty, 0), null);
        _metadata = new BlockFile<Told>(
            BlockImage.Open(ReplicaFormat.MetadataPath(image), readOnly: false, DirectMode.Auto), _loop, 4);
        _image = new BlockFile<Told>(BlockImage.Open(image, readOnly: false, DirectMode.Auto), _loop, 4);
        _log = new MetadataLog(
            opened.State, opened.Layout, opened.Position, _memory.Slice(0, MetadataRecord.Bytes), this);
        _policy = new IntentPolicy(opened.State, region => _versions[region], new IntentPolicyOptions());
    }

    public static void Run(string directory)
    {
        string ring = Directory.CreateDirectory(Path.Combine(directory, "ring")).FullName;
        using var bench = new AppendBench(ring);
        bench.Appends();
        bench.Intents();
    }

    public void Dispose()
    {
        _metadata.Dispose();
        _image.Dispose();
        _loop.Dispose();
        _memory.Dispose();
    }

    void IMetadataLogEffects.WriteDurably(long offsetBytes, in IoBuffer record)
    {
        _isWriting = true;
        _metadata.Write(record, offsetBytes, dataSync: true, new Told(this, 1));
    }

    void IMetadataLogEffects.RecordDurable(ulong number)
    {
    }

    void IMetadataLogEffects.Completed(ulong token) => _policy.MarkDurable(token);

    void IMetadataLogEffects.MetadataFailed(int result) => throw new IOException(Errno.Describe(result));

    void IRingCompletion.OnCompletion(ulong token, int result, CompletionFlags flags)
    {
        if (token == 1)
        {
            _isWriting = false;
            _log.WriteCompleted(Math.Min(0, result));
            return;
        }

        _isImageDone = true;
    }

    private void Settle()
    {
        _log.Issue();
        _loop.Until(() => !_isWriting && _log.IsIdle);
    }

    private void Appends()
    {
        Console.WriteLine("\nring appends on the disk (O_DSYNC, one record at a time)");
        Console.WriteLine(
            $"{"entries appended together",-44} {"us/append",10} {"us/entry",9} {"entries/s",10}");
        foreach (int together in new[] { 1, 8, 64 })
        {
            const int Appends = 150;
            ulong sequence = 0;
            double ns = CoreBench.NsOf(Appends, () =>
            {
                for (int i = 0; i < Appends; i++)
                {
                    for (int entry = 0; entry < together; entry++)
                    {
                        var point = new HistoryPoint(0, ++sequence);
                        _ = _log.Append(new DurableEntry(point), MetadataLog.NoToken);
                    }

                    Settle();
                }
            }, rounds: 3);
            Console.WriteLine(
                $"{together,-44} {ns / 1000,10:F1} {ns / 1000 / together,9:F2} {1e9 / ns * together,10:F0}");
        }
    }

    private void Intents()
    {
        Console.WriteLine("\nwrites of 4 KiB to the image on the disk, one at a time (not synced)");
        Console.WriteLine($"{"",-44} {"us/write",9} {"appends",9} {"to none",9}");
        const int Blocks = (int)(Size / BlockBytes);
        var random = new Random(1);
        int[] anywhere = [.. Enumerable.Range(0, 2000).Select(_ => random.Next(Blocks))];
        double none = Writes("random, without intents", i => anywhere[i], false, 2000, 0);
        _ = Writes("random, cold: all grains marked anew", i => anywhere[i], true, 400, none);
        foreach (int block in anywhere)
        {
            Prepare(block);
        }

        _ = Writes("random, hot", i => anywhere[i], true, 2000, none);
        Clear();
        double sequential = Writes("sequential, without intents", i => i, false, 16_000, 0);
        _ = Writes("sequential, cold", i => i, true, 16_000, sequential);
        _ = Writes("sequential, hot", i => i, true, 16_000, sequential);
        long before = _policy.Counters.Hits;
        double hit = CoreBench.NsOf(16_000, () =>
        {
            for (int i = 0; i < 16_000; i++)
            {
                _ = _policy.Prepare((long)i * BlockBytes, BlockBytes);
            }
        });
        Console.WriteLine($"the policy's answer for a hot write: {hit:F0} ns, " +
            $"{_policy.Counters.Hits - before} of them");
    }

    private double Writes(string name, Func<int, int> blockOf, bool hasIntents, int count, double none)
    {
        long records = _log.Counters.Records;
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < count; i++)
        {
            if (hasIntents)
            {
                Prepare(blockOf(i));
            }

            _isImageDone = false;
            IoBuffer bytes = _memory.Slice(MetadataRecord.Bytes, BlockBytes);
            _image.Write(bytes, (long)blockOf(i) * BlockBytes, dataSync: false, new Told(this, 2));
            _loop.Until(() => _isImageDone);
        }

        double us = Stopwatch.GetElapsedTime(start).TotalMicroseconds / count;
        Console.WriteLine($"{name,-44} {us,9:F1} {(double)(_log.Counters.Records - records) / count,9:F3} " +
            $"{(none > 0 ? us / none : 1),9:F2}");
        return us;
    }

    private void Prepare(int block)
    {
        IntentNeed need = _policy.Prepare((long)block * BlockBytes, BlockBytes);
        if (need.Step == IntentStep.Mark)
        {
            if (_log.Append(new IntentAddEntry((uint)need.First, (uint)need.Count), need.Ticket) !=
                AppendResult.Queued)
            {
                throw new InvalidOperationException("the ring has no room");
            }

            _policy.Confirm(need);
            Settle();
        }
        else if (need.Step != IntentStep.Ready)
        {
            throw new InvalidOperationException($"{need.Step}");
        }
    }

    private void Clear()
    {
        int budget = int.MaxValue;
        while (_policy.TryFindClearable(0, isIdle: true, ref budget, out IntentClearing clearing))
        {
            _ = _log.Append(
                new IntentClearEntry((uint)clearing.First, (uint)clearing.Count), MetadataLog.NoToken);
            _policy.Cleared(clearing);
            Settle();
        }
    }
}
