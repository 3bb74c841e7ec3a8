using Ublk.Tests.Simulation.Judge;

namespace Ublk.Tests.Simulation.Tests;

/// <summary>
/// The rules of <see cref="HistoryChecker"/> once more, for one block and few operations: tries every order
/// of what may have happened.
/// </summary>
internal sealed class SlowJudge
{
    private readonly List<BlockRecord> _records;
    private readonly List<Outage> _outages;

    public SlowJudge(List<BlockRecord> records, List<Outage> outages)
    {
        _records = records;
        _outages = outages;
    }

    public bool Accepts()
    {
        var beginnings = new HashSet<ulong> { 0 };
        int from = 0;
        foreach (Outage outage in _outages)
        {
            var survivors = new HashSet<ulong>();
            foreach (ulong value in beginnings)
            {
                var era = new Era(this, from, outage.At, value);
                era.Try(order => Survive(order, value, outage, survivors));
            }

            beginnings = survivors;
            from = outage.At;
        }

        bool isAccepted = false;
        foreach (ulong value in beginnings)
        {
            new Era(this, from, BlockRecord.Never, value).Try(_ => isAccepted = true);
        }

        return isAccepted;
    }

    // What was owed last, and everything after it in this order.
    private static void Survive(
        List<BlockRecord> order, ulong initial, in Outage outage, HashSet<ulong> survivors)
    {
        int owed = -1;
        for (int i = 0; i < order.Count; i++)
        {
            if (!order[i].IsRead && IsOwed(order, i, outage))
            {
                owed = i;
            }
        }

        if (owed < 0)
        {
            survivors.Add(initial);
        }

        for (int i = Math.Max(owed, 0); i < order.Count; i++)
        {
            if (!order[i].IsRead)
            {
                survivors.Add(order[i].Value);
            }
        }
    }

    private static bool IsOwed(List<BlockRecord> order, int index, in Outage outage)
    {
        BlockRecord write = order[index];
        int since = write.IsOk ? write.End : BlockRecord.Never;
        for (int i = index + 1; i < order.Count && order[i].IsRead; i++)
        {
            since = Math.Min(since, order[i].End);
        }

        bool isKnown = since != BlockRecord.Never;
        return isKnown && ((write.IsOk && write.IsDurable) || write.Begin > outage.ForgivenThrough ||
            since < outage.FlushedThrough);
    }

    /// <summary>The time between two outages, beginning with a value.</summary>
    private sealed class Era
    {
        private readonly List<BlockRecord> _open = [];
        private readonly List<BlockRecord> _order = [];
        private readonly ulong _initial;

        public Era(SlowJudge judge, int from, int until, ulong initial)
        {
            _initial = initial;
            foreach (BlockRecord record in judge._records)
            {
                bool isInside = record.Begin > from && record.End < until;
                bool isOfEra = record.IsRead ? isInside : record.Begin < until && record.End >= from;
                if (isOfEra)
                {
                    bool isEnded = record.End < until;
                    _open.Add(record with
                    {
                        Begin = Math.Max(from, record.Begin),
                        End = isEnded ? record.End : BlockRecord.Never,
                        IsOk = isEnded && record.IsOk,
                    });
                }
            }
        }

        public void Try(Action<List<BlockRecord>> found) => Try(_initial, found);

        private void Try(ulong value, Action<List<BlockRecord>> found)
        {
            if (_open.TrueForAll(record => !record.IsRead && !record.IsOk))
            {
                found(_order);
            }

            for (int i = 0; i < _open.Count; i++)
            {
                BlockRecord next = _open[i];
                bool isLate = _open.Exists(other => other.IsOk && other.End < next.Begin);
                if (isLate || (next.IsRead && next.Value != value) || HasEndedBefore(next))
                {
                    continue;
                }

                _open.RemoveAt(i);
                _order.Add(next);
                Try(next.IsRead ? value : next.Value, found);
                _order.RemoveAt(_order.Count - 1);
                _open.Insert(i, next);
            }
        }

        // A failed write does not happen after something that began after it had failed.
        private bool HasEndedBefore(BlockRecord next) =>
            _order.Exists(before => before.Begin > next.End);
    }
}
