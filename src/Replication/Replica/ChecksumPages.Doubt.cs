using Ublk.Replication.Store;

namespace Ublk.Replication.Replica;

/// <content>
/// Checksums that nobody knows: the process that did is gone, or their page could not be read when the image
/// had changed.
/// </content>
internal sealed partial class ChecksumPages
{
    private void NoteHot(GrainMap intents)
    {
        for (int grain = intents.NextIn(0); grain < intents.Grains; grain = intents.NextIn(grain + 1))
        {
            NoteHot(grain);
        }
    }

    private void NoteHot(int grain)
    {
        int page = grain / GrainsPerPage;
        _ = _hot.TryGetValue(page, out ulong grains);
        if (grains == 0)
        {
            _hotPages.Enqueue(page);
        }

        _hot[page] = grains | 1ul << grain % GrainsPerPage;
    }

    /// <summary>
    /// The image has changed, and the page that was to say so could not be read: if it can be once, nothing
    /// is known of what is there, and this is on stable media with the next sync.
    /// </summary>
    /// <param name="first">First block.</param>
    /// <param name="end">Behind the last block.</param>
    public void Doubt(long first, long end)
    {
        for (int grain = (int)(first / BlocksPerGrain); grain * (long)BlocksPerGrain < end; grain++)
        {
            int page = grain / GrainsPerPage;
            if (TryGet(page, out Span<uint> checksums))
            {
                Forget(checksums, grain % GrainsPerPage);
                HasChanged(page);
            }
            else
            {
                NoteHot(grain);
            }
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

        Span<uint> checksums = ChecksumsOf(frame);
        for (int grain = 0; grain < GrainsPerPage; grain++)
        {
            if ((grains >> grain & 1) != 0)
            {
                Forget(checksums, grain);
            }
        }

        _frames[frame].IsDirty = true;
    }

    private static void Forget(Span<uint> checksums, int grain) =>
        checksums.Slice(grain * BlocksPerGrain, BlocksPerGrain).Fill(BlockChecksum.Unknown);

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
