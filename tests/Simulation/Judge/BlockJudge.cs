using System.Runtime.InteropServices;

namespace Ublk.Tests.Simulation.Judge;

/// <summary>
/// Judges one block after the other; the rules are those of <see cref="HistoryChecker"/>. The time between
/// two outages is judged by itself, with any of the values that may have survived the first of them to
/// begin with.
/// </summary>
/// <param name="describe">Text of an operation.</param>
internal sealed class BlockJudge(Func<int, string> describe)
{
    private const int MostSteps = 20_000;

    private readonly List<BlockRecord> _records = [];
    private readonly List<BlockRecord> _ambiguous = [];
    private List<ValueCluster> _clusters = [];
    private List<ValueCluster> _survivors = [];
    private int _block;
    private int _steps;
    private bool _mayBeWrong;

    /// <summary>Blocks that were not judged to the end.</summary>
    public int UndecidedCount { get; private set; }

    /// <summary>Judges a block.</summary>
    /// <param name="block">Its number.</param>
    /// <param name="records">Records of all blocks.</param>
    /// <param name="last">Index of its last record.</param>
    /// <param name="outages">In order of time.</param>
    /// <exception cref="HistoryException">A promise was broken.</exception>
    public void Judge(int block, ReadOnlySpan<BlockRecord> records, int last, List<Outage> outages)
    {
        _block = block;
        _mayBeWrong = false;
        _records.Clear();
        for (int at = last; at >= 0; at = records[at].Previous)
        {
            _records.Add(records[at]);
        }

        _records.Reverse();
        _clusters.Clear();
        _clusters.Add(Initial(0, -1, 0));
        int from = 0;
        foreach (Outage outage in outages)
        {
            if (!JudgeEra(from, outage.At))
            {
                return;
            }

            FindSurvivors(outage);
            from = outage.At;
        }

        _ = JudgeEra(from, BlockRecord.Never);
    }

    // False when it cannot be said.
    private bool JudgeEra(int from, int until)
    {
        AddWrites(from, until);
        _ambiguous.Clear();
        foreach (BlockRecord read in _records)
        {
            if (read.IsRead && read.Begin > from && read.End < until && !TryShow(read))
            {
                return false;
            }
        }

        if (!FindContradiction(out int one, out int other))
        {
            _steps = 0;
            if (_ambiguous.Count == 0 || Assign(0))
            {
                _mayBeWrong |= _ambiguous.Count > 0;
                return true;
            }

            if (_steps < MostSteps)
            {
                return Complain($"no order of its writes of zeros explains {Describe(_ambiguous[^1])}");
            }

            UndecidedCount++;
            return false;
        }

        return Complain($"{Text(one)} and {Text(other)} must each have come before the other");
    }

    private void AddWrites(int from, int until)
    {
        foreach (BlockRecord write in _records)
        {
            if (write.IsRead || write.Begin >= until || write.End < from)
            {
                continue;
            }

            // Under way across a recovery it may happen after it as well, and need not before it.
            bool isEnded = write.End < until;
            int begin = Math.Max(from, write.Begin);
            int end = isEnded ? write.End : BlockRecord.Never;
            bool isOk = isEnded && write.IsOk;
            _clusters.Add(new ValueCluster
            {
                Operation = write.Operation,
                Value = write.Value,
                WriteBegin = begin,
                WriteEnd = end,
                IsAcknowledged = isOk,
                IsDurable = isOk && write.IsDurable,
                FirstEnd = end,
                LastBegin = begin,
                OwedSince = isOk ? end : BlockRecord.Never,
            });
        }
    }

    // False when it cannot be said, or nothing explains the read.
    private bool TryShow(in BlockRecord read)
    {
        int found = -1, count = 0;
        for (int i = 0; i < _clusters.Count; i++)
        {
            if (_clusters[i].Value == read.Value && _clusters[i].WriteBegin < read.End)
            {
                found = i;
                count++;
            }
        }

        if (count > 1)
        {
            _ambiguous.Add(read);
        }
        else if (count == 1)
        {
            CollectionsMarshal.AsSpan(_clusters)[found].Show(read.Begin, read.End);
        }

        return count > 0 || Complain($"{Describe(read)} shows a value that cannot have been there: " +
            (read.Value == 0 ? "zeros" : describe((int)(read.Value >> 32) - 1)));
    }

    private bool FindContradiction(out int one, out int other)
    {
        ReadOnlySpan<ValueCluster> clusters = CollectionsMarshal.AsSpan(_clusters);
        for (one = 0; one < clusters.Length; one++)
        {
            for (other = 0; clusters[one].Happened && other < one; other++)
            {
                if (clusters[other].Happened && clusters[one].Contradicts(clusters[other]))
                {
                    return true;
                }
            }
        }

        other = 0;
        return false;
    }

    // Finds a write for every read that several would explain; the latest is tried first.
    private bool Assign(int place)
    {
        if (place == _ambiguous.Count)
        {
            return true;
        }

        BlockRecord read = _ambiguous[place];
        for (int i = _clusters.Count - 1; i >= 0; i--)
        {
            ValueCluster before = _clusters[i];
            if (before.Value != read.Value || before.WriteBegin >= read.End)
            {
                continue;
            }

            if (++_steps >= MostSteps)
            {
                return false;
            }

            CollectionsMarshal.AsSpan(_clusters)[i].Show(read.Begin, read.End);
            if (IsPossible(i) && Assign(place + 1))
            {
                return true;
            }

            _clusters[i] = before;
        }

        return false;
    }

    private bool IsPossible(int one)
    {
        ReadOnlySpan<ValueCluster> clusters = CollectionsMarshal.AsSpan(_clusters);
        for (int other = 0; other < clusters.Length; other++)
        {
            if (other != one && clusters[other].Happened && clusters[one].Contradicts(clusters[other]))
            {
                return false;
            }
        }

        return true;
    }

    // Everything that need not have come before a value that is still owed.
    private void FindSurvivors(in Outage outage)
    {
        _survivors.Clear();
        for (int i = 0; i < _clusters.Count; i++)
        {
            ValueCluster one = _clusters[i];
            bool isKnown = _survivors.Exists(survivor => survivor.Value == one.Value);
            if (!isKnown && IsPossible(i) && !IsBeforeOwed(i, outage))
            {
                _survivors.Add(Initial(one.Value, one.Operation, outage.At - 1));
            }
        }

        (_clusters, _survivors) = (_survivors, _clusters);
    }

    // Through any others between them, each of which happened.
    private bool IsBeforeOwed(int start, in Outage outage)
    {
        ReadOnlySpan<ValueCluster> clusters = CollectionsMarshal.AsSpan(_clusters);
        Span<bool> isReached = clusters.Length <= 256 ? stackalloc bool[256] : new bool[clusters.Length];
        Span<int> waiting = clusters.Length <= 256 ? stackalloc int[256] : new int[clusters.Length];
        isReached[..clusters.Length].Clear();
        int count = 1;
        waiting[0] = start;
        isReached[start] = true;
        while (count > 0)
        {
            int from = waiting[--count];
            for (int to = 0; to < clusters.Length; to++)
            {
                if (isReached[to] || !clusters[to].Happened || !clusters[from].IsBefore(clusters[to]))
                {
                    continue;
                }

                if (IsOwed(clusters[to], outage))
                {
                    return true;
                }

                isReached[to] = true;
                waiting[count++] = to;
            }
        }

        return false;
    }

    private static bool IsOwed(in ValueCluster value, in Outage outage) => value.Happened &&
        (value.IsDurable || value.WriteBegin > outage.ForgivenThrough ||
            value.OwedSince < outage.FlushedThrough);

    private static ValueCluster Initial(ulong value, int operation, int at) => new()
    {
        Operation = operation,
        Value = value,
        WriteBegin = at,
        WriteEnd = at,
        FirstEnd = at,
        LastBegin = at,
        OwedSince = at,
        IsDurable = true,
    };

    // A complaint that rests on which of several writes of zeros was taken before an outage is none.
    private bool Complain(string complaint)
    {
        if (_mayBeWrong)
        {
            UndecidedCount++;
            return false;
        }

        throw new HistoryException($"block {_block}: {complaint}");
    }

    private string Text(int index)
    {
        ValueCluster cluster = _clusters[index];
        string text = describe(cluster.Operation);
        foreach (BlockRecord read in _records)
        {
            bool isOfEra = read.Begin >= cluster.WriteBegin;
            if (read.IsRead && read.Value == cluster.Value && isOfEra)
            {
                text += $" (seen by {describe(read.Operation)})";
            }
        }

        return text;
    }

    private string Describe(in BlockRecord read) => describe(read.Operation);
}
