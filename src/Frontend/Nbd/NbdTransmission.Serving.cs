using Ublk.Uring;
using Ublk.Wire.Blocks;

namespace Ublk.Frontend.Nbd;

/// <content>Requests on their way through the target.</content>
internal sealed partial class NbdTransmission
{
    private const int NoPart = -1;

    /// <summary>Extents in one reply: so many look-ups hold the loop up for so long.</summary>
    private const int MaxExtents = 256;

    private readonly SlotTable<Operation> _operations;
    private readonly SlotTable<Part> _parts;

    private enum Step : byte
    {
        /// <summary>A read, a write or a flush: all of it at once.</summary>
        Whole,
        /// <summary>A range, as much at a time as the target takes.</summary>
        Range,
        /// <summary>Zeros, written as data because the target has no other way.</summary>
        Zeros,
        /// <summary>A flush behind what was done, in place of FUA.</summary>
        Sync,
    }

    /// <inheritdoc/>
    void IBlockCompletion.OnBlockCompleted(ulong token, BlockStatus status)
    {
        if (!_operations.TryFind(token, out int slot))
        {
            throw new InvalidOperationException($"NBD request {token:x} was completed twice");
        }

        ref Operation operation = ref _operations[slot];
        bool isRefusedStep = status == BlockStatus.NotSupported && operation.Step == Step.Range;
        if (operation.Outcome == NbdOutcome.Done && !isRefusedStep)
        {
            operation.Outcome = NbdOutcomes.Of(status);
        }

        if (--operation.PartsLeft > 0)
        {
            return;
        }

        if (isRefusedStep)
        {
            GoWithoutTarget(slot);
        }
        else if (operation.Outcome == NbdOutcome.Done && operation.LeftBytes > 0)
        {
            TakeStep(slot);
        }
        else if (operation.Outcome == NbdOutcome.Done && operation.NeedsSync)
        {
            operation.NeedsSync = false;
            operation.Step = Step.Sync;
            Submit(slot, BlockOperation.Flush, BlockRequestFlags.None, 0, 0);
        }
        else
        {
            Finish(slot);
        }
    }

    private void Serve(int slot)
    {
        ref Operation operation = ref _operations[slot];
        NbdRequest request = operation.Request;
        bool isForced = request.Has(NbdCommandFlags.Fua) && _export.Limits.HasVolatileCache;
        bool isForcedWrite = isForced && _export.Limits.CanForceUnitAccess;
        switch (request.Command)
        {
            case NbdCommand.Read:
                Transfer(slot, BlockOperation.Read, BlockRequestFlags.None);
                break;
            case NbdCommand.Write:
                operation.NeedsSync = isForced && !isForcedWrite;
                Transfer(slot, BlockOperation.Write,
                    isForcedWrite ? BlockRequestFlags.ForceUnitAccess : BlockRequestFlags.None);
                break;
            case NbdCommand.Flush:
                Submit(slot, BlockOperation.Flush, BlockRequestFlags.None, 0, 0);
                break;
            case NbdCommand.Trim or NbdCommand.WriteZeroes:
                operation.NeedsSync = isForced;
                operation.Step = Step.Range;
                operation.AtBytes = (long)request.OffsetBytes;
                operation.LeftBytes = (long)request.LengthBytes;
                TakeStep(slot);
                break;
            case NbdCommand.BlockStatus:
                TellExtents(slot);
                break;
            default:
                Finish(slot); // Nothing of an export is kept in memory, so there is nothing to cache.
                break;
        }
    }

    private void Transfer(int slot, BlockOperation kind, BlockRequestFlags flags)
    {
        ref Operation operation = ref _operations[slot];
        ulong token = _operations.IdOf(slot);
        long offset = (long)operation.Request.OffsetBytes;
        for (int part = operation.FirstPart; part != NoPart; part = _parts[part].Next)
        {
            operation.PartsLeft++;
        }

        // The last one may end the request inside of the call.
        for (int part = operation.FirstPart; part != NoPart;)
        {
            IoBuffer memory = _parts[part].Memory;
            part = _parts[part].Next;
            _export.Requests.Submit(
                new BlockRequest(kind, flags, offset, memory.LengthBytes, memory, token), this);
            offset += memory.LengthBytes;
        }
    }

    private void Submit(
        int slot, BlockOperation kind, BlockRequestFlags flags, long offsetBytes, long lengthBytes,
        IoBuffer memory = default)
    {
        _operations[slot].PartsLeft = 1;
        _export.Requests.Submit(new BlockRequest(
            kind, flags, offsetBytes, lengthBytes, memory, _operations.IdOf(slot)), this);
    }

    private void TakeStep(int slot)
    {
        ref Operation operation = ref _operations[slot];
        bool isTrim = operation.Request.Command == NbdCommand.Trim;
        long mostBytes = operation.Step == Step.Zeros ? _zeros.LengthBytes
            : isTrim ? _export.Limits.MaxDiscardBytes : _export.Limits.MaxWriteZeroesBytes;
        if (mostBytes == 0)
        {
            GoWithoutTarget(slot);
            return;
        }

        long at = operation.AtBytes;
        long length = Math.Min(operation.LeftBytes, mostBytes);
        operation.AtBytes += length;
        operation.LeftBytes -= length;
        operation.StepBytes = length;
        if (operation.Step == Step.Zeros)
        {
            Submit(slot, BlockOperation.Write, BlockRequestFlags.None, at, length,
                _zeros.Slice(0, (int)length));
            return;
        }

        bool keepsSpace = operation.Request.Has(NbdCommandFlags.NoHole);
        Submit(slot, isTrim ? BlockOperation.Discard : BlockOperation.WriteZeroes,
            keepsSpace ? BlockRequestFlags.NoUnmap : BlockRequestFlags.None, at, length);
    }

    // A trim is a hint, which need not be followed. Zeros are written as data, unless that is too slow.
    private void GoWithoutTarget(int slot)
    {
        ref Operation operation = ref _operations[slot];
        if (operation.Request.Command == NbdCommand.Trim)
        {
            Finish(slot);
            return;
        }

        if (operation.Request.Has(NbdCommandFlags.FastZero))
        {
            operation.Outcome = NbdOutcome.NotFast;
            Finish(slot);
            return;
        }

        operation.Step = Step.Zeros;
        operation.AtBytes -= operation.StepBytes;
        operation.LeftBytes += operation.StepBytes;
        TakeStep(slot);
    }

    private void TellExtents(int slot)
    {
        NbdRequest request = _operations[slot].Request;
        _operations.Return(slot);
        Span<NbdExtent> extents = stackalloc NbdExtent[MaxExtents];
        int most = request.Has(NbdCommandFlags.RequestOne) ? 1 : MaxExtents;
        int count = FindExtents(
            (long)request.OffsetBytes, (long)request.LengthBytes, extents[..most]);
        AnswerExtents(request, extents[..count]);
    }

    private int FindExtents(long offsetBytes, long lengthBytes, Span<NbdExtent> extents)
    {
        var source = _export.Target as IBlockExtents;
        int count = 0;
        while (lengthBytes > 0)
        {
            BlockExtent found = source?.ExtentAt(offsetBytes) ?? new BlockExtent(lengthBytes, IsHole: false);
            long length = Math.Min(found.LengthBytes, lengthBytes);
            NbdExtentFlags flags =
                found.IsHole ? NbdExtentFlags.Hole | NbdExtentFlags.Zero : NbdExtentFlags.None;
            if (count > 0 && extents[count - 1].Flags == flags)
            {
                extents[count - 1] = new NbdExtent(extents[count - 1].LengthBytes + length, flags);
            }
            else if (count == extents.Length)
            {
                break;
            }
            else
            {
                extents[count++] = new NbdExtent(length, flags);
            }

            offsetBytes += length;
            lengthBytes -= length;
        }

        return count;
    }

    private bool TryRentAll(int slot)
    {
        ref Operation operation = ref _operations[slot];
        while (operation.RentedBytes < (int)operation.Request.LengthBytes)
        {
            int length = Math.Min(
                (int)operation.Request.LengthBytes - operation.RentedBytes, PayloadPool.MaxBlockBytes);
            if (!_pool.TryRent(length, out IoBuffer memory))
            {
                return false;
            }

            _parts.Rent(out int part) = new Part { Memory = memory, Next = NoPart };
            if (operation.FirstPart == NoPart)
            {
                operation.FirstPart = part;
            }
            else
            {
                _parts[operation.LastPart].Next = part;
            }

            operation.LastPart = part;
            operation.RentedBytes += length;
            HeldBytes += length;
        }

        return true;
    }

    private void ReturnParts(int slot)
    {
        ref Operation operation = ref _operations[slot];
        int part = operation.FirstPart;
        operation.FirstPart = NoPart;
        operation.RentedBytes = 0;
        while (part != NoPart)
        {
            Part returned = _parts[part];
            _parts.Return(part);
            part = returned.Next;
            ReturnMemory(returned.Memory);
        }
    }

    private void ReturnMemory(in IoBuffer memory)
    {
        HeldBytes -= memory.LengthBytes;
        _pool.Return(memory); // Last: who waits for memory goes on inside.
    }

    private struct Operation
    {
        public NbdRequest Request;
        public Step Step;
        public NbdOutcome Outcome;
        public bool NeedsSync;

        /// <summary>Calls of the target that have not ended.</summary>
        public int PartsLeft;

        /// <summary>Memory of its payload, in order.</summary>
        public int FirstPart;
        public int LastPart;
        public int RentedBytes;

        /// <summary>Where the next step begins, what is left, and the length of the last one.</summary>
        public long AtBytes;
        public long LeftBytes;
        public long StepBytes;
    }

    private struct Part
    {
        public IoBuffer Memory;
        public int Next;
    }
}
