using Ublk.Replication.Store;

namespace Ublk.Replication.Replica;

/// <content>Checksums that nobody knows because the process that did is gone.</content>
internal sealed partial class ChecksumPages
{
    private void NoteHot(GrainMap intents)
    {
        for (int grain = intents.NextIn(0); grain < intents.Grains; grain = intents.NextIn(grain + 1))
        {
            int page = grain / GrainsPerPage;
            _ = _hot.TryGetValue(page, out ulong grains);
            if (grains == 0)
            {
                _hotPages.Enqueue(page);
            }

            _hot[page] = grains | 1ul << grain % GrainsPerPage;
        }
    }

    // When a page is read for the first time. A region that was missing leaves the missing ones only when all
    // of it was compared, so its page was read before.
    private void ApplyDoubt(int frame)
    {
        int page = _frames[frame].Page;
        _ = _hot.Remove(page, out ulong grains);
        if (_read is not null && !WasRead(page))
        {
            for (int region = page * RegionsPerPage; region < (page + 1) * RegionsPerPage; region++)
            {
                const ulong One = (1ul << StoreFormat.GrainsPerRegion) - 1;
                bool isMissing = region < _state.Missing.Regions && _state.Missing.Contains(region);
                grains |= isMissing ? One << region % RegionsPerPage * StoreFormat.GrainsPerRegion : 0;
            }
        }

        if (grains == 0 || Mistakes.Make(Mistake.HotChecksumsTrusted))
        {
            return;
        }

        const int BlocksPerGrain = StoreFormat.GrainBytes / BlockChecksum.BlockBytes;
        Span<uint> checksums = ChecksumsOf(frame);
        for (int grain = 0; grain < GrainsPerPage; grain++)
        {
            if ((grains >> grain & 1) != 0)
            {
                checksums.Slice(grain * BlocksPerGrain, BlocksPerGrain).Fill(BlockChecksum.Unknown);
            }
        }

        _frames[frame].IsDirty = true;
    }

    private bool WasRead(int page)
    {
        if (page / 64 >= _read!.Length)
        {
            Array.Resize(ref _read, page / 64 + 1); // The volume has grown.
        }

        ulong bit = 1ul << page % 64;
        bool wasRead = (_read[page / 64] & bit) != 0;
        _read[page / 64] |= bit;
        return wasRead;
    }
}
