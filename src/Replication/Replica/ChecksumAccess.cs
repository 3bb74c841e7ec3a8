using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Uring.Native;

namespace Ublk.Replication.Replica;

/// <summary>
/// An image every block of which has a checksum. What touches the same block happens one after the other; a
/// write changes checksums when the image has it; a read looks at whole blocks and ends with −EILSEQ where
/// one is not what was written. A sync brings image and checksums to stable media, so that D speaks of both;
/// of what is in between, intents are pending (<see cref="ChecksumPages"/>). No allocation per operation once
/// as many have been under way as ever are.
/// </summary>
internal sealed partial class ChecksumAccess : ImageAccess
{
    private const int Block = BlockChecksum.BlockBytes;
    private const int Edges = 2;
    private const int SlotShift = 40;
    private const ulong NameMask = ~(0xfffful << SlotShift);

    private readonly IReplicaEffects _effects;
    private readonly MetadataState _state;
    private readonly ChecksumPages _pages;
    private readonly IoBuffer _scratch;
    private readonly IoBuffer _lost;
    private readonly Queue<int> _losing = new();
    private readonly RangeOrder _order;
    private readonly ChecksumOperation[] _operations;
    private readonly Stack<int> _free;
    private readonly Queue<ChecksumOperation> _waiting = new();
    private bool _isLosing;
    private ulong _arrivals;
    private int _ending = -1;
    private ulong _syncIo;
    private int _syncParts;

    /// <summary>Nothing under way.</summary>
    /// <param name="effects">The surroundings.</param>
    /// <param name="state">What is durable; as of the opening.</param>
    /// <param name="blockBytes">The volume's logical block.</param>
    /// <param name="memory">
    /// Memory for pages of checksums; before them as much as <see cref="ScratchBytes"/> says.
    /// </param>
    /// <param name="operations">Operations with the image at once; others wait.</param>
    public ChecksumAccess(
        IReplicaEffects effects, MetadataState state, int blockBytes, in IoBuffer memory, int operations)
    {
        _effects = effects;
        _state = state;
        int scratch = ScratchBytes(blockBytes, operations);
        _lost = memory.Slice(0, Block);
        _scratch = memory.Slice(Block, scratch - Block);
        IoBuffer pages = memory.Slice(scratch, memory.LengthBytes - scratch);
        _pages = new ChecksumPages(effects, pages, state, operations)
        {
            OnLoaded = OnPage,
            OnFlushed = OnPagesFlushed,
        };
        _operations = new ChecksumOperation[operations];
        _order = new RangeOrder(operations) { OnTurn = Start };
        _free = new Stack<int>(operations);
        for (int slot = operations - 1; slot >= 0; slot--)
        {
            _free.Push(slot);
        }
    }

    public override bool HasChecksums => true;

    /// <summary>
    /// Memory for a block that is lost, and for those that are read because a part of them is touched; none
    /// of these where the volume's blocks are those of checksums.
    /// </summary>
    /// <param name="blockBytes">The volume's logical block.</param>
    /// <param name="operations">Operations at once.</param>
    public static int ScratchBytes(int blockBytes, int operations) =>
        Block + (blockBytes < Block ? operations * Edges * Block : 0);

    /// <summary>
    /// What is kept for a block, if that is not what its page on disk says: for who watches.
    /// </summary>
    /// <param name="block">The block.</param>
    public uint? Peek(long block) => _pages.TryGet(ChecksumPages.PageOf(block), out Span<uint> checksums)
        ? checksums[(int)(block % checksums.Length)]
        : _pages.IsInDoubt(block) ? BlockChecksum.Unknown : null;

    public override void Write(ulong io, long offsetBytes, in IoBuffer bytes) => Add(new ChecksumOperation
    {
        Verb = ChecksumVerb.Write, Io = io, Offset = offsetBytes, Length = bytes.LengthBytes, Bytes = bytes,
    });

    public override void Zero(ulong io, long offsetBytes, long lengthBytes, bool keepsSpace) =>
        Add(new ChecksumOperation
        {
            Verb = ChecksumVerb.Zero, Io = io, Offset = offsetBytes, Length = lengthBytes,
            KeepsSpace = keepsSpace,
        });

    public override void Read(ulong io, long offsetBytes, in IoBuffer buffer) => Add(new ChecksumOperation
    {
        Verb = ChecksumVerb.Read, Io = io, Offset = offsetBytes, Length = buffer.LengthBytes, Bytes = buffer,
    });

    public override void Expect(ulong io, long offsetBytes, uint checksum) => Add(new ChecksumOperation
    {
        Verb = ChecksumVerb.Expect, Io = io, Offset = offsetBytes, Length = 1, Expected = checksum,
    });

    public override void Sync(ulong io)
    {
        const int Parts = 2;
        _syncIo = io;
        _syncParts = Parts;
        _effects.SyncImage(io);
        _pages.Flush();
    }

    public override bool IsBad(long offsetBytes, out uint kept)
    {
        kept = BlockChecksum.Unknown;
        return _operations[_ending].Bad is { } bad && bad.TryGetValue(offsetBytes / Block, out kept);
    }

    public override void Complete(ulong io, int result)
    {
        int slot = (int)(io >> SlotShift & 0xffff) - 1;
        switch (ReplicaContext.KindOf(io))
        {
            case ReplicaIo.ChecksumRead:
                _pages.OnRead((int)ReplicaContext.ValueOf(io), result);
                break;
            case ReplicaIo.ChecksumWrite:
                _pages.OnWritten((int)ReplicaContext.ValueOf(io), result);
                break;
            case ReplicaIo.Sync or ReplicaIo.Start or ReplicaIo.ChecksumSync:
                OnSyncPart(result);
                break;
            case ReplicaIo.Edge:
                OnPart(slot, ResultOf(result, ReplicaContext.ValueOf(io & NameMask) == 0
                    ? _operations[slot].FirstEdgeBytes : _operations[slot].LastEdgeBytes));
                break;
            default:
                OnPart(slot, ResultOf(result, _operations[slot].MainBytes));
                break;
        }
    }

    private static int ResultOf(int result, int wanted) =>
        result < 0 ? result : result == wanted ? 0 : -Errno.EIO;

    private void Add(in ChecksumOperation operation)
    {
        if (!_free.TryPop(out int slot))
        {
            _waiting.Enqueue(operation);
            return;
        }

        _operations[slot] = operation;
        ref ChecksumOperation added = ref _operations[slot];
        added.Place = ++_arrivals;
        _order.Add(slot, added.Place, added.FirstBlock * Block, (added.EndBlock - added.FirstBlock) * Block);
        Start(slot);
    }

    // Nothing earlier touches its blocks: it begins, unless something does.
    private void Start(int slot)
    {
        ref ChecksumOperation operation = ref _operations[slot];
        long blocks = operation.EndBlock - operation.FirstBlock;
        if (_order.TryWait(slot, operation.Place, operation.FirstBlock * Block, blocks * Block))
        {
            return;
        }

        operation.At = operation.FirstBlock;
        operation.SizeBytes = _state.SizeBytes;
        if (operation.Verb == ChecksumVerb.Expect)
        {
            _losing.Enqueue(slot);
            LoseNext();
            return;
        }

        operation.Parts = 1; // Held until all parts are out.
        if (operation.Verb == ChecksumVerb.Read)
        {
            ReadEdges(slot);
            IssueRead(slot);
        }
        else
        {
            ReadEdges(slot);
            operation.IsBefore = operation.Parts > 1;
            if (!operation.IsBefore)
            {
                IssueChange(slot);
            }
        }

        OnPart(slot, 0);
    }

    // One at a time: it is rare.
    private void LoseNext()
    {
        if (_isLosing || !_losing.TryDequeue(out int slot))
        {
            return;
        }

        _isLosing = true;
        ref ChecksumOperation operation = ref _operations[slot];
        long offset = operation.FirstBlock * Block;
        operation.MainBytes = (int)Math.Min(Block, operation.SizeBytes - offset);
        operation.Parts = 1;
        IoBuffer lost = _lost.Slice(0, operation.MainBytes);
        if (!Mistakes.Make(Mistake.LostBlockNotMarked))
        {
            LostBlock.Fill(lost.Span, offset, operation.Expected);
        }

        _effects.WriteImage(NameOf(slot, operation.Io), offset, lost);
    }

    // Blocks of which only a part is touched: for a read all of them, for a change the bytes that go.
    private void ReadEdges(int slot)
    {
        ref ChecksumOperation operation = ref _operations[slot];
        for (int edge = 0; edge < Edges; edge++)
        {
            if (!operation.TryEdge(edge, out long start, out int length))
            {
                continue;
            }

            long block = start - start % Block;
            if (operation.Verb == ChecksumVerb.Read)
            {
                start = block;
                length = (int)(Math.Min(block + Block, operation.SizeBytes) - block);
            }

            operation.Parts++;
            operation.FirstEdgeBytes = edge == 0 ? length : operation.FirstEdgeBytes;
            operation.LastEdgeBytes = edge == 0 ? operation.LastEdgeBytes : length;
            _effects.ReadImage(
                NameOf(slot, ReplicaContext.Name(ReplicaIo.Edge, (ulong)edge)), start,
                ScratchOf(slot, edge).Slice((int)(start - block), length));
        }
    }

    private void IssueRead(int slot)
    {
        ref ChecksumOperation operation = ref _operations[slot];
        (long offset, int length) = operation.Middle();
        if (length > 0)
        {
            operation.Parts++;
            operation.MainBytes = length;
            _effects.ReadImage(
                NameOf(slot, operation.Io), offset,
                operation.Bytes.Slice((int)(offset - operation.Offset), length));
        }
    }

    private void IssueChange(int slot)
    {
        ref ChecksumOperation operation = ref _operations[slot];
        operation.Parts++;
        operation.MainBytes = operation.Bytes.LengthBytes; // 0 of zeros, and so is their result.
        ulong io = NameOf(slot, operation.Io);
        if (operation.Verb == ChecksumVerb.Write)
        {
            _effects.WriteImage(io, operation.Offset, operation.Bytes);
        }
        else
        {
            _effects.ZeroImage(io, operation.Offset, operation.Length, operation.KeepsSpace);
        }
    }

    private void OnPart(int slot, int result)
    {
        ref ChecksumOperation operation = ref _operations[slot];
        operation.Result = operation.Result < 0 ? operation.Result : result;
        if (--operation.Parts > 0)
        {
            return;
        }

        if (operation.IsBefore && operation.Result >= 0)
        {
            operation.IsBefore = false;
            operation.Parts = 1;
            IssueChange(slot);
            _ = --operation.Parts;
        }
        else if (operation.Result < 0 && (operation.IsBefore || operation.Verb == ChecksumVerb.Read))
        {
            End(slot); // The image is as it was.
        }
        else
        {
            GoOn(slot);
        }
    }

    private void OnPage(int slot, int result)
    {
        if (result < 0)
        {
            EndWithoutPage(slot, result);
        }
        else
        {
            GoOn(slot);
        }
    }

    private void End(int slot)
    {
        ref ChecksumOperation operation = ref _operations[slot];
        int result = operation.Result < 0 ? operation.Result
            : operation.Bad is not null ? -Errno.EILSEQ : operation.Bytes.LengthBytes;
        int before = _ending;
        _ending = slot;
        OnEnded(operation.Io, result);
        _ending = before;
        _isLosing &= operation.Verb != ChecksumVerb.Expect;
        operation = default;
        _order.Remove(slot);
        _free.Push(slot);
        if (_waiting.TryDequeue(out ChecksumOperation next))
        {
            Add(next);
        }

        LoseNext();
    }

    private void OnPagesFlushed(int result)
    {
        if (result < 0 || Mistakes.Make(Mistake.ChecksumsNotSynced))
        {
            OnSyncPart(result);
        }
        else
        {
            _effects.SyncChecksums(ReplicaContext.Name(ReplicaIo.ChecksumSync));
        }
    }

    // With the first failure it has failed: what is read may be anything from now on.
    private void OnSyncPart(int result)
    {
        if (_syncParts == 0)
        {
            return;
        }

        _syncParts = result < 0 ? 0 : _syncParts - 1;
        if (_syncParts == 0)
        {
            OnEnded(_syncIo, Math.Min(result, 0));
        }
    }

    private static ulong NameOf(int slot, ulong io) => io & NameMask | (ulong)(slot + 1) << SlotShift;

    private IoBuffer ScratchOf(int slot, int edge) => _scratch.Slice((slot * Edges + edge) * Block, Block);
}
