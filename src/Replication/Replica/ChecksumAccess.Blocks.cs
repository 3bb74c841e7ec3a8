namespace Ublk.Replication.Replica;

/// <content>What an operation that the image has done means to the checksums of its blocks.</content>
internal sealed partial class ChecksumAccess
{
    // Page by page, as they are in memory.
    private void GoOn(int slot)
    {
        ref ChecksumOperation operation = ref _operations[slot];
        while (operation.At < operation.EndBlock)
        {
            int page = ChecksumPages.PageOf(operation.At);
            if (!_pages.TryGet(page, out Span<uint> checksums))
            {
                int result = _pages.Load(page, slot);
                if (result < 0)
                {
                    EndWithoutPage(slot, result);
                }

                return;
            }

            long firstOfPage = (long)page * checksums.Length;
            long end = Math.Min(operation.EndBlock, firstOfPage + checksums.Length);
            bool hasChanged = operation.Verb != ChecksumVerb.Read;
            for (long block = operation.At; block < end; block++)
            {
                ref uint kept = ref checksums[(int)(block - firstOfPage)];
                uint before = kept;
                Take(slot, block, ref kept);
                hasChanged |= kept != before;
            }

            operation.At = end;
            if (hasChanged)
            {
                _pages.HasChanged(page);
            }
        }

        End(slot);
    }

    private void EndWithoutPage(int slot, int result)
    {
        ref ChecksumOperation operation = ref _operations[slot];
        operation.Result = result;
        if (operation.Verb != ChecksumVerb.Read)
        {
            _pages.Doubt(operation.At, operation.EndBlock);
        }

        End(slot);
    }

    private void Take(int slot, long block, ref uint kept)
    {
        ref ChecksumOperation operation = ref _operations[slot];
        if (operation.Verb == ChecksumVerb.Expect)
        {
            kept = operation.Expected;
        }
        else if (operation.Verb == ChecksumVerb.Read)
        {
            ReadOnlySpan<byte> bytes = BytesRead(slot, block);
            bool isBad;
            if (kept == BlockChecksum.Unknown)
            {
                isBad = LostBlock.Is(bytes, block * Block, out uint lost);
                kept = isBad ? lost : BlockChecksum.Of(bytes); // From now on it is known.
            }
            else
            {
                isBad = !BlockChecksum.Matches(kept, bytes);
            }

            if (isBad && !Mistakes.Make(Mistake.ChecksumsNotCompared))
            {
                (operation.Bad ??= []).Add(block, kept);
                _effects.FoundCorrupt(block * Block);
            }
        }
        else if (operation.Result < 0)
        {
            kept = BlockChecksum.Unknown; // Some of it may be there.
        }
        else
        {
            Change(slot, block, ref kept);
        }
    }

    private void Change(int slot, long block, ref uint kept)
    {
        ref ChecksumOperation operation = ref _operations[slot];
        long start = Math.Max(operation.Offset, block * Block);
        long end = Math.Min(operation.Offset + operation.Length, (block + 1) * Block);
        bool isWrite = operation.Verb == ChecksumVerb.Write;
        ReadOnlySpan<byte> bytes = isWrite
            ? operation.Bytes.Span.Slice((int)(start - operation.Offset), (int)(end - start)) : [];
        if (operation.EdgeOf(block) is not (>= 0 and var edge))
        {
            kept = isWrite ? BlockChecksum.Of(bytes) : 0;
        }
        else if (kept != BlockChecksum.Unknown)
        {
            int at = (int)(start - block * Block);
            ReadOnlySpan<byte> old = ScratchOf(slot, edge).Span.Slice(at, (int)(end - start));
            kept ^= BlockChecksum.OfChange(old, bytes, at);
        }
    }

    // The bytes of a whole block, those of an edge also where they were asked for.
    private ReadOnlySpan<byte> BytesRead(int slot, long block)
    {
        ref ChecksumOperation operation = ref _operations[slot];
        long start = block * Block;
        int length = (int)(Math.Min(start + Block, operation.SizeBytes) - start);
        if (operation.EdgeOf(block) is not (>= 0 and var edge))
        {
            return operation.Bytes.Span.Slice((int)(start - operation.Offset), length);
        }

        ReadOnlySpan<byte> whole = ScratchOf(slot, edge).Span[..length];
        long from = Math.Max(operation.Offset, start);
        long end = Math.Min(operation.Offset + operation.Length, start + length);
        whole.Slice((int)(from - start), (int)(end - from)).CopyTo(
            operation.Bytes.Span[(int)(from - operation.Offset)..]);
        return whole;
    }
}
