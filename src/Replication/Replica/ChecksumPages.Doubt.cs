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

    /// <summary>Whether nothing will be known of a block when its page is read.</summary>
    /// <param name="block">A block whose page is not in memory.</param>
    public bool IsInDoubt(long block)
    {
        int grain = (int)(block / BlocksPerGrain), region = grain / StoreFormat.GrainsPerRegion;
        bool isHot = _hot.TryGetValue(grain / GrainsPerPage, out ulong grains) &&
            (grains >> grain % GrainsPerPage & 1) != 0;
        return isHot || (region < (_missing?.Grains ?? 0) && _missing!.Contains(region));
    }

    // When a page is read for the first time. A region that was missing leaves the missing ones only when all
    // of it was compared, so its page was read before; what becomes missing later keeps what this process
    // knows.
    private void ApplyDoubt(int frame)
    {
        int page = _frames[frame].Page;
        _ = _hot.Remove(page, out ulong grains);
        int end = Math.Min((page + 1) * RegionsPerPage, _missing?.Grains ?? 0);
        for (int region = page * RegionsPerPage; region < end; region++)
        {
            if (_missing!.Contains(region))
            {
                const ulong One = (1ul << StoreFormat.GrainsPerRegion) - 1;
                grains |= One << region % RegionsPerPage * StoreFormat.GrainsPerRegion;
                _missing.Remove(region, 1);
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

    // As of the opening.
    private static GrainMap MissingOf(MissingMap missing)
    {
        var regions = new GrainMap(missing.Regions);
        for (int first = missing.NextMissing(0); first < missing.Regions;)
        {
            int end = missing.EndOfRun(first);
            regions.Add(first, end - first);
            first = missing.NextMissing(end);
        }

        return regions;
    }
}
