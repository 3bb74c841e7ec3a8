namespace Ublk.Replication.Replica;

/// <summary>
/// Which operations are applied here: A, and what was applied above it. The live page hears of each before
/// anybody else does.
/// </summary>
internal sealed class ReplicaProgress
{
    private readonly ReplicaContext _context;
    private readonly bool[] _isApplied;
    private readonly ulong _mask;

    /// <summary>Begins with what the replica was opened with.</summary>
    /// <param name="context">The replica.</param>
    /// <param name="applied">A.</param>
    public ReplicaProgress(ReplicaContext context, ulong applied)
    {
        _context = context;
        _isApplied = new bool[context.Options.MaxOperations];
        _mask = (ulong)_isApplied.Length - 1;
        Applied = applied;
    }

    /// <summary>A: everything up to it is applied here, outside what is missing.</summary>
    public ulong Applied { get; private set; }

    /// <summary>Highest sequence that may be under way.</summary>
    public ulong Highest => Applied + (ulong)_isApplied.Length;

    /// <summary>Whether an operation is applied.</summary>
    /// <param name="sequence">Up to <see cref="Highest"/>.</param>
    public bool Has(ulong sequence) =>
        sequence <= Applied || sequence <= Highest && _isApplied[sequence & _mask];

    /// <summary>What the live page of the process before knew above A.</summary>
    /// <param name="sequence">Above A, up to <see cref="Highest"/>.</param>
    public void Restore(ulong sequence) => _isApplied[sequence & _mask] = true;

    /// <summary>An operation is applied.</summary>
    /// <param name="operation">Above A, and new.</param>
    public void Add(in ReplicaOperation operation)
    {
        if (operation.Sequence != Applied + 1)
        {
            _isApplied[operation.Sequence & _mask] = true;
            bool isNoted = _context.Live.TryAddOutOfOrder(new(
                operation.Sequence, (byte)operation.Operation, operation.OffsetBytes, operation.LengthBytes));
            if (!isNoted)
            {
                throw new InvalidOperationException("more is out of order than may be under way");
            }

            return;
        }

        ulong applied = Applied + 1;
        while (_isApplied[(applied + 1) & _mask])
        {
            applied++;
            _isApplied[applied & _mask] = false;
        }

        Applied = applied;
        _context.Live.SetApplied(applied);
    }

    /// <summary>A new history, or a place in it, begins; the ring has it durably.</summary>
    /// <param name="epoch">Epoch of the history.</param>
    /// <param name="applied">A.</param>
    public void Begin(ulong epoch, ulong applied)
    {
        Array.Clear(_isApplied);
        Applied = applied;
        _context.Live.BeginHistory(new(epoch, applied));
    }
}
