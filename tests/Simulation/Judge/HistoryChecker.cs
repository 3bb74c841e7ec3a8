using System.Runtime.InteropServices;
using Ublk.Wire.Blocks;

namespace Ublk.Tests.Simulation.Judge;

/// <summary>
/// The judge of what the volume promised its host. Every logical block is a register of its own; the host's
/// operations have a beginning and an end, and what overlaps in time may have happened in either order.
/// <list type="bullet">
/// <item>A block holds the whole of one value: that of a write to this block, or zeros.</item>
/// <item>An acknowledged write has happened at one moment between its beginning and its end.</item>
/// <item>A write that failed, or whose host died, has happened before its end, or never will: once a read
/// that began later has not shown it, none may. Never answered: at any time, or never.</item>
/// <item>A read shows what was there at one moment between its beginning and its end. So nothing that was
/// acknowledged is lost, and nothing that was shown is un-read.</item>
/// <item>A value is owed from when it was acknowledged or first shown. It is forgiven once W nodes have lost
/// power after its write began (an acknowledgement on its way outlives its sender), without having been in
/// sync again in between, and no completed flush began after it was owed (nor was it a completed FUA
/// write). A loss counts as of when the volume noted it: until then nobody can tell it from one later.</item>
/// <item>Forgiving takes effect when a new writer has recovered: then a block holds the value owed last, or
/// any that may have come after it. What was found there by the new writer counts as flushed, because
/// recovery syncs what it serves.</item>
/// <item>A read under way across such a recovery is judged by its content only.</item>
/// </list>
/// Zeros cannot be told apart; a read of them is taken for whichever write of zeros fits.
/// </summary>
internal sealed class HistoryChecker
{
    private readonly List<HostOperation> _operations = [];
    private readonly List<BlockRecord> _records = [];
    private readonly List<Outage> _outages = [];
    private readonly List<(int Begin, int End)> _flushes = [];
    private readonly BlockJudge _judge;
    private readonly int _writeQuorum;
    private readonly int[] _lostAt;
    private readonly bool[] _isNoted;
    private int[] _last;
    private int _now;

    /// <summary>Begins a history of a volume of zeros.</summary>
    /// <param name="blocks">Its logical blocks.</param>
    /// <param name="blockBytes">Bytes of one.</param>
    /// <param name="nodes">N.</param>
    /// <param name="writeQuorum">W.</param>
    public HistoryChecker(int blocks, int blockBytes, int nodes, int writeQuorum)
    {
        BlockBytes = blockBytes;
        _writeQuorum = writeQuorum;
        _lostAt = new int[nodes];
        _isNoted = new bool[nodes];
        _last = new int[blocks];
        Array.Fill(_last, -1);
        _judge = new BlockJudge(Describe);
    }

    /// <summary>Bytes of a block.</summary>
    public int BlockBytes { get; }

    /// <summary>Blocks of the volume.</summary>
    public int Blocks => _last.Length;

    /// <summary>Operations of the host so far.</summary>
    public int OperationCount => _operations.Count;

    /// <summary>Operations without an end.</summary>
    public int OpenCount { get; private set; }

    /// <summary>Blocks that were not judged to the end, because too many writes of zeros fit.</summary>
    public int UndecidedCount => _judge.UndecidedCount;

    /// <summary>The host asks for something.</summary>
    /// <param name="time">The time of the world, for messages.</param>
    /// <param name="operation">What.</param>
    /// <param name="isDurable">A write that is to be on stable media when it is answered.</param>
    /// <param name="block">First block; 0 for flush.</param>
    /// <param name="count">Blocks; 0 for flush.</param>
    /// <param name="payload">Of a write: is filled here.</param>
    /// <returns>The operation's number.</returns>
    public int Begin(
        long time, BlockOperation operation, bool isDurable, int block, int count, Span<byte> payload)
    {
        int number = _operations.Count;
        var asked = new HostOperation
        {
            Operation = operation,
            IsDurable = isDurable,
            Block = block,
            Count = count,
            Began = time,
            Begin = ++_now,
        };
        if (operation == BlockOperation.Write)
        {
            Fill(number, block, payload[..(count * BlockBytes)]);
        }

        if (asked.IsChange)
        {
            asked.FirstRecord = AddRecords(number, asked);
        }

        _operations.Add(asked);
        OpenCount++;
        return number;
    }

    /// <summary>The host has its answer.</summary>
    /// <param name="time">The time of the world.</param>
    /// <param name="number">The operation.</param>
    /// <param name="status">The answer.</param>
    /// <param name="bytes">Of a read with success: what it shows.</param>
    public void Complete(long time, int number, BlockStatus status, ReadOnlySpan<byte> bytes)
    {
        ref HostOperation operation = ref End(time, number, status.ToString());
        bool isOk = status == BlockStatus.Ok;
        if (operation.IsChange)
        {
            EndRecords(operation, isOk);
        }
        else if (operation.Operation == BlockOperation.Flush && isOk)
        {
            _flushes.Add((operation.Begin, _now));
        }
        else if (isOk)
        {
            Show(number, operation, bytes);
        }
    }

    /// <summary>The host is gone and will never be answered.</summary>
    /// <param name="time">The time of the world.</param>
    /// <param name="number">The operation.</param>
    public void Abandon(long time, int number)
    {
        ref HostOperation operation = ref End(time, number, "abandoned");
        if (operation.IsChange)
        {
            EndRecords(operation, isOk: false);
        }
    }

    /// <summary>Whether a block holds what an operation wrote.</summary>
    public static bool IsOf(int number, int block, ReadOnlySpan<byte> bytes) =>
        MemoryMarshal.Cast<byte, ulong>(bytes).IndexOfAnyExcept(TagOf(number, block)) < 0;

    /// <summary>
    /// The driver of the device asks again for what it was not answered; if it is a write, it may have
    /// happened until now, and will happen again.
    /// </summary>
    /// <param name="number">The operation.</param>
    public void Reissue(int number)
    {
        _now++;
        ref HostOperation operation = ref CollectionsMarshal.AsSpan(_operations)[number];
        if (operation.IsChange)
        {
            EndRecords(operation, isOk: false);
            operation.FirstRecord = AddRecords(number, operation with { Begin = _now });
        }
    }

    /// <summary>A node has lost power, or its disk: what it had not synced may be gone.</summary>
    /// <param name="node">Its number.</param>
    public void Lost(int node)
    {
        _lostAt[node] = ++_now;
        _isNoted[node] = false;
    }

    /// <summary>
    /// The volume goes on without a node, and says so to the others: what it answers from now on does not
    /// rest on that node any more. Until then its loss counts as one of this moment, since nobody can tell.
    /// </summary>
    /// <param name="node">Its number.</param>
    public void Noted(int node)
    {
        if (_lostAt[node] > 0 && !_isNoted[node])
        {
            _lostAt[node] = ++_now;
            _isNoted[node] = true;
        }
    }

    /// <summary>A node's replica has everything again, durably.</summary>
    /// <param name="node">Its number.</param>
    public void InSync(int node) => _lostAt[node] = 0;

    /// <summary>A new writer has reconciled the replicas, and begins to serve.</summary>
    public void Recovered() => Recovered([([.. Enumerable.Range(0, _lostAt.Length)], _writeQuorum)]);

    /// <summary>The same, where not all nodes decide, or two groups must agree.</summary>
    /// <param name="groups">Who decides, and W of each.</param>
    public void Recovered(IReadOnlyList<(int[] Nodes, int WriteQuorum)> groups)
    {
        _now++;
        for (int node = 0; node < _lostAt.Length; node++)
        {
            Noted(node);
        }

        int through = 0;
        foreach ((int[] nodes, int writeQuorum) in groups)
        {
            int[] lost = [.. nodes.Select(node => _lostAt[node]).Where(at => at > 0).OrderDescending()];
            through = lost.Length >= writeQuorum ? Math.Max(through, lost[writeQuorum - 1]) : through;
        }

        if (through > 0)
        {
            int flushed = 0;
            foreach ((int begin, _) in _flushes)
            {
                flushed = Math.Max(flushed, begin);
            }

            _outages.Add(new Outage(_now, through, flushed));
            Array.Clear(_lostAt);
        }
    }

    /// <summary>The volume has grown; what was added is zeros.</summary>
    /// <param name="blocks">Blocks now.</param>
    public void Grow(int blocks)
    {
        int before = _last.Length;
        Array.Resize(ref _last, blocks);
        Array.Fill(_last, -1, before, blocks - before);
    }

    /// <summary>Judges the order of everything that happened so far.</summary>
    /// <exception cref="HistoryException">A promise was broken.</exception>
    public void Judge()
    {
        for (int block = 0; block < _last.Length; block++)
        {
            if (_last[block] >= 0)
            {
                _judge.Judge(block, CollectionsMarshal.AsSpan(_records), _last[block], _outages);
            }
        }
    }

    /// <summary>An operation, for a message.</summary>
    public string Describe(int number)
    {
        if (number < 0)
        {
            return "what was there before";
        }

        HostOperation operation = _operations[number];
        string durable = operation.IsDurable ? ", durable" : "";
        string end = operation.HasEnded ? $"{operation.Outcome} at {operation.Ended}" : "not answered";
        return $"{operation.Operation} {number} of {operation.Count} blocks from {operation.Block}" +
            $"{durable}, asked at {operation.Began}, {end}";
    }

    private ref HostOperation End(long time, int number, string outcome)
    {
        _now++;
        ref HostOperation operation = ref CollectionsMarshal.AsSpan(_operations)[number];
        if (operation.HasEnded)
        {
            throw new HistoryException($"answered twice, now with {outcome} at {time}: {Describe(number)}");
        }

        operation.HasEnded = true;
        operation.Ended = time;
        operation.Outcome = outcome;
        OpenCount--;
        return ref operation;
    }

    private int AddRecords(int number, in HostOperation operation)
    {
        int first = _records.Count;
        for (int block = operation.Block; block < operation.Block + operation.Count; block++)
        {
            AddRecord(block, new BlockRecord
            {
                Operation = number,
                Begin = operation.Begin,
                End = BlockRecord.Never,
                Value = operation.Operation == BlockOperation.Write ? TagOf(number, block) : 0,
                IsDurable = operation.IsDurable,
            });
        }

        return first;
    }

    private void EndRecords(in HostOperation operation, bool isOk)
    {
        foreach (ref BlockRecord record in
            CollectionsMarshal.AsSpan(_records).Slice(operation.FirstRecord, operation.Count))
        {
            record.End = _now;
            record.IsOk = isOk;
        }
    }

    private void AddRecord(int block, BlockRecord record)
    {
        record.Previous = _last[block];
        _last[block] = _records.Count;
        _records.Add(record);
    }

    // A read is filed when it has ended, because only then is it known what it has shown.
    private void Show(int number, in HostOperation operation, ReadOnlySpan<byte> bytes)
    {
        for (int i = 0; i < operation.Count; i++)
        {
            int block = operation.Block + i;
            ulong value = ValueOf(number, block, bytes.Slice(i * BlockBytes, BlockBytes));
            AddRecord(block, new BlockRecord
            {
                Operation = number,
                Begin = operation.Begin,
                End = _now,
                Value = value,
                IsRead = true,
                IsOk = true,
            });
        }
    }

    private ulong ValueOf(int number, int block, ReadOnlySpan<byte> bytes)
    {
        ReadOnlySpan<ulong> words = MemoryMarshal.Cast<byte, ulong>(bytes);
        int other = words.IndexOfAnyExcept(words[0]);
        if (other >= 0)
        {
            throw new HistoryException($"block {block} is torn: it begins with {DescribeValue(words[0])}, " +
                $"and has at byte {other * 8} {DescribeValue(words[other])}; seen by {Describe(number)}");
        }

        if (words[0] != 0 && !WasWritten(words[0], block))
        {
            throw new HistoryException(
                $"block {block} holds {DescribeValue(words[0])}, which was never written there; seen by " +
                Describe(number));
        }

        return words[0];
    }

    private bool WasWritten(ulong value, int block)
    {
        ulong number = (value >> 32) - 1;
        return number < (ulong)_operations.Count && value == TagOf((int)number, block) &&
            _operations[(int)number] is { Operation: BlockOperation.Write } write &&
            block >= write.Block && block < write.Block + write.Count;
    }

    private string DescribeValue(ulong value)
    {
        ulong number = (value >> 32) - 1;
        return value == 0 ? "zeros" : number < (ulong)_operations.Count
            ? $"block {(uint)value} of {Describe((int)number)}" : $"{value:x16}, which is nothing of ours";
    }

    private void Fill(int number, int block, Span<byte> payload)
    {
        for (int at = 0; at < payload.Length; at += BlockBytes)
        {
            MemoryMarshal.Cast<byte, ulong>(payload.Slice(at, BlockBytes)).Fill(TagOf(number, block++));
        }
    }

    private static ulong TagOf(int number, int block) => ((ulong)number + 1) << 32 | (uint)block;

    private record struct HostOperation
    {
        public BlockOperation Operation;
        public bool IsDurable;
        public int Block;
        public int Count;
        public int Begin;
        public long Began;
        public long Ended;
        public bool HasEnded;
        public string? Outcome;
        public int FirstRecord;

        public readonly bool IsChange =>
            Operation is BlockOperation.Write or BlockOperation.WriteZeroes or BlockOperation.Discard;
    }
}
