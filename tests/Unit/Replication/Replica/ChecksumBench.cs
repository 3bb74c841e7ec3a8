using Ublk.Replication.Replica;
using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Messages;

namespace Ublk.Tests.Unit.Replication.Replica;

/// <summary>
/// An image with checksums over two files in memory, whose operations end when the test says so, in any
/// order.
/// </summary>
internal sealed class ChecksumBench : IReplicaEffects, IDisposable
{
    public const int Block = 4096;

    private const int Operations = 16;
    private const int Pages = 4;

    private readonly MemoryMapping _memory;
    private readonly List<Step> _steps = new(64);

    /// <summary>A volume of zeros.</summary>
    /// <param name="sizeBytes">Its size.</param>
    /// <param name="blockBytes">Its logical block.</param>
    public ChecksumBench(long sizeBytes, int blockBytes)
    {
        Image = new byte[sizeBytes];
        Checksums = new byte[(sizeBytes + (4 << 20) - 1) / (4 << 20) * Block];
        State = new MetadataState(sizeBytes);
        int bytes = ChecksumAccess.ScratchBytes(blockBytes, Operations) + Pages * Block;
        _memory = MemoryMapping.Allocate(bytes);
        Open(blockBytes);
    }

    public byte[] Image { get; }

    public byte[] Checksums { get; }

    public MetadataState State { get; }

    public ChecksumAccess Access { get; private set; } = null!;

    /// <summary>Ends, in their order.</summary>
    public Queue<(ulong Io, int Result)> Ended { get; } = new(64);

    /// <summary>Blocks that did not match.</summary>
    public SortedSet<long> Corrupt { get; } = [];

    /// <summary>What the next operations end with; null for well.</summary>
    public Func<ReplicaIo, int?> Fails { get; set; } = _ => null;

    public int StepCount => _steps.Count;

    /// <summary>Called with every end, while it is told.</summary>
    public Action<ulong, int> OnEnded { get; set; } = (_, _) => { };

    /// <summary>The next process: what is in memory only is gone.</summary>
    public void Open(int blockBytes)
    {
        _steps.Clear();
        Access = new ChecksumAccess(
            this, State, blockBytes, _memory.Slice(0, (int)_memory.LengthBytes), Operations)
        {
            OnEnded = (io, result) =>
            {
                OnEnded(io, result);
                Ended.Enqueue((io, result));
            },
        };
    }

    /// <summary>Ends one operation of the files.</summary>
    /// <param name="at">Which: 0 to <see cref="StepCount"/> − 1.</param>
    public void End(int at)
    {
        Step step = _steps[at];
        _steps.RemoveAt(at);
        int result = Fails(ReplicaContext.KindOf(step.Io)) ?? Carry(step);
        Access.Complete(step.Io, result);
    }

    /// <summary>Ends everything, the oldest first.</summary>
    public void Run()
    {
        while (_steps.Count > 0)
        {
            End(0);
        }
    }

    public void Dispose() => _memory.Dispose();

    void IReplicaEffects.WriteImage(ulong io, long offsetBytes, in IoBuffer bytes) =>
        _steps.Add(new Step(Image, true, io, offsetBytes, bytes.LengthBytes, bytes));

    void IReplicaEffects.ZeroImage(ulong io, long offsetBytes, long lengthBytes, bool keepsSpace) =>
        _steps.Add(new Step(Image, true, io, offsetBytes, (int)lengthBytes, default));

    void IReplicaEffects.ReadImage(ulong io, long offsetBytes, in IoBuffer buffer) =>
        _steps.Add(new Step(Image, false, io, offsetBytes, buffer.LengthBytes, buffer));

    void IReplicaEffects.SyncImage(ulong io) => _steps.Add(new Step(Image, true, io, 0, 0, default));

    void IReplicaEffects.ReadChecksums(ulong io, int page, in IoBuffer buffer) =>
        _steps.Add(new Step(Checksums, false, io, (long)page * Block, buffer.LengthBytes, buffer));

    void IReplicaEffects.WriteChecksums(ulong io, int page, in IoBuffer buffer) =>
        _steps.Add(new Step(Checksums, true, io, (long)page * Block, buffer.LengthBytes, buffer));

    void IReplicaEffects.SyncChecksums(ulong io) => _steps.Add(new Step(Checksums, true, io, 0, 0, default));

    void IReplicaEffects.FoundCorrupt(long offsetBytes) => Corrupt.Add(offsetBytes);

    void IReplicaEffects.WriteMetadata(long offsetBytes, in IoBuffer record) =>
        throw new NotSupportedException();

    void IReplicaEffects.GrowImage(ulong io, long sizeBytes) => throw new NotSupportedException();

    bool IReplicaEffects.TryRent(int lengthBytes, out IoBuffer buffer) => throw new NotSupportedException();

    void IReplicaEffects.Return(in IoBuffer buffer) => throw new NotSupportedException();

    void IReplicaEffects.ReleasePayload(in IoBuffer payload) => throw new NotSupportedException();

    void IReplicaEffects.Send<T>(int session, in T message) => throw new NotSupportedException();

    void IReplicaEffects.Send<T>(int session, in T message, in IoBuffer payload) =>
        throw new NotSupportedException();

    void IReplicaEffects.Close(int session, CloseReason reason, string text) =>
        throw new NotSupportedException();

    private static int Carry(in Step step)
    {
        Span<byte> there = step.File.AsSpan((int)step.Offset, step.Length);
        if (!step.IsWrite)
        {
            there.CopyTo(step.Bytes.Span);
        }
        else if (step.Bytes.LengthBytes > 0)
        {
            step.Bytes.Span.CopyTo(there);
        }
        else
        {
            there.Clear();
        }

        return step.Bytes.LengthBytes;
    }

    private readonly record struct Step(
        byte[] File, bool IsWrite, ulong Io, long Offset, int Length, IoBuffer Bytes);
}
