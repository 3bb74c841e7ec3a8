using Ublk.Replication.Store;
using Ublk.Testing.Replicas;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Ids;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Store;

/// <summary>
/// A log on a disk in memory, and what it was given: units of entries, each with the token of its number.
/// After a crash the recovered state must be that of the first units, at least of all that completed.
/// </summary>
internal sealed class LogBench : IMetadataLogEffects, IDisposable
{
    private readonly MemoryMapping _memory = MemoryMapping.Allocate(MetadataRecord.Bytes);
    private readonly List<byte[][]> _units = [];
    private readonly long _sizeBytes;

    public LogBench(int ringRecords, long sizeBytes)
    {
        _sizeBytes = sizeBytes;
        Disk = new StoreDisk(new RingLayout(new Incarnation(new UInt128(1, 2)), ringRecords));
        Log = Opened(new MetadataState(sizeBytes), LogPosition.Empty);
        Log.Issue();
        Run();
    }

    public StoreDisk Disk { get; }

    public MetadataLog Log { get; private set; }

    /// <summary>Tokens in the order of completion.</summary>
    public List<ulong> Completed { get; } = [];

    /// <summary>What was told: records by number, completions as "=token".</summary>
    public List<string> Told { get; } = [];

    public ulong LastDurable { get; private set; }

    public int Failure { get; private set; }

    /// <summary>Entries ever appended; never goes back.</summary>
    public ulong AppendedCount { get; private set; }

    public Action<ulong> OnCompleted { get; set; } = _ => { };

    void IMetadataLogEffects.WriteDurably(long offsetBytes, in IoBuffer record) =>
        Disk.Begin(offsetBytes, record);

    void IMetadataLogEffects.RecordDurable(ulong number)
    {
        Assert.Equal(LastDurable + 1, number);
        LastDurable = number;
        Told.Add($"{number}");
    }

    void IMetadataLogEffects.Completed(ulong token)
    {
        Assert.Equal(0, Failure);
        Completed.Add(token);
        Told.Add($"={token}");
        OnCompleted(token);
    }

    void IMetadataLogEffects.MetadataFailed(int result) => Failure = result;

    /// <summary>Appends an entry with the next token.</summary>
    public AppendResult Append<T>(in T entry) where T : IMetadataEntry, allows ref struct
    {
        AppendResult result = Log.Append(entry, (ulong)_units.Count + 1);
        if (result == AppendResult.Queued)
        {
            _units.Add([EntryMaker.Bytes(entry)]);
        }

        return result;
    }

    /// <summary>Appends entries that were made before; as a batch when there are several.</summary>
    public AppendResult Append(params byte[][] entries)
    {
        ulong token = (ulong)_units.Count + 1;
        AppendResult result;
        if (entries.Length == 1)
        {
            result = Log.Append(new MadeEntry(entries[0]), token);
        }
        else
        {
            result = Log.BeginBatch(entries.Sum(entry => entry.Length), entries.Length);
            if (result == AppendResult.Queued)
            {
                Array.ForEach(entries, entry => Log.AddToBatch(new MadeEntry(entry)));
                Log.EndBatch(token);
            }
        }

        if (result == AppendResult.Queued)
        {
            _units.Add(entries);
            AppendedCount += (ulong)entries.Length;
        }

        return result;
    }

    /// <summary>Ends the write under way.</summary>
    public void Step(int result = 0)
    {
        Assert.True(Disk.IsBusy);
        Disk.Finish();
        Log.WriteCompleted(result);
    }

    /// <summary>Ends writes until there are no more.</summary>
    public void Run()
    {
        Log.Issue();
        while (Disk.IsBusy)
        {
            Step();
        }
    }

    public RecoveryResult Recover(ulong liveRecord = 0) =>
        MetadataRecovery.Run(Disk, Disk.Layout, _sizeBytes, liveRecord);

    /// <summary>Crashes, recovers, checks what came back and opens the log anew.</summary>
    public void CrashAndRecover(Tear tear, Random random, bool isSameBoot = true)
    {
        Disk.Crash(tear, random);
        RecoveryResult found = Recover(isSameBoot ? LastDurable : 0);
        Assert.Equal("", found.Text);
        Assert.Empty(found.Findings);
        int completed = Completed.Count == 0 ? 0 : (int)Completed[^1];
        string recovered = StateText.Of(found.State!);
        var model = new MetadataState(_sizeBytes);
        int units = 0;
        while (units < completed || StateText.Of(model) != recovered)
        {
            Assert.True(units < _units.Count, $"no prefix of {_units.Count} units is\n{recovered}");
            Array.ForEach(_units[units++],
                entry => Assert.Equal(FoldVerdict.Folded, EntryMaker.Fold(model, entry)));
        }

        _units.RemoveRange(units, _units.Count - units);
        Completed.Clear();
        LastDurable = found.Position.LastRecord;
        Log = Opened(found.State!, found.Position);
    }

    public void Dispose() => _memory.Dispose();

    private MetadataLog Opened(MetadataState state, LogPosition position) =>
        new(state, Disk.Layout, position, _memory.Slice(0, MetadataRecord.Bytes), this);

    private readonly struct MadeEntry(byte[] made) : IMetadataEntry
    {
        public EntryRoom Room => EntryRoom.Reserved;

        public int EncodedBytes => made.Length;

        public void Encode(Span<byte> bytes) => made.CopyTo(bytes);
    }
}
