namespace Ublk.Tests.Simulation.World;

/// <summary>How much of what was not synced survives a loss of power.</summary>
internal enum Survival
{
    /// <summary>Nothing.</summary>
    Nothing,
    /// <summary>Everything.</summary>
    Everything,
    /// <summary>Of every page, one of its versions.</summary>
    AnyOfEachPage,
    /// <summary>Of every unit that is written whole, one of its versions.</summary>
    AnyOfEachSector,
}

/// <summary>
/// The content of a disk with a volatile cache. A page that was written since it was last synced keeps all
/// of its versions: the one on stable media, which comes first, and each that came after it. Pages without
/// content are not stored.
/// </summary>
/// <param name="pool">Where pages come from.</param>
internal sealed partial class ImagePages(PagePool pool)
{
    private const int SectorBytes = 512;

    private static readonly byte[] s_zeros = new byte[PagePool.PageBytes];

    private readonly List<int> _dirty = [];
    private readonly Stack<Versions> _freeVersions = new();
    private byte[]?[] _visible = [];
    private Versions?[] _versions = [];

    /// <summary>What is written as a whole or not at all, in bytes; a sector unless it is known.</summary>
    public int AtomicBytes { get; set; } = SectorBytes;

    /// <summary>The number of the last change.</summary>
    public long LastChange { get; private set; }

    /// <summary>Pages with versions that may be lost.</summary>
    public int DirtyCount => _dirty.Count;

    /// <summary>An empty disk.</summary>
    /// <param name="sizeBytes">Its size.</param>
    public void Reset(long sizeBytes)
    {
        foreach (int page in _dirty)
        {
            Clean(page, _versions[page]!.List.Count - 1);
        }

        _dirty.Clear();
        foreach (byte[]? page in _visible)
        {
            pool.Return(page);
        }

        Array.Clear(_visible);
        AtomicBytes = SectorBytes;
        LastChange = 0;
        Grow(sizeBytes);
    }

    /// <summary>Makes room; what is added is zeros.</summary>
    /// <param name="sizeBytes">Size of the disk.</param>
    public void Grow(long sizeBytes)
    {
        int pages = (int)((sizeBytes + PagePool.PageBytes - 1) / PagePool.PageBytes);
        if (pages > _visible.Length)
        {
            Array.Resize(ref _visible, pages);
            Array.Resize(ref _versions, pages);
        }
    }

    /// <summary>What a read sees now of a page; until it is changed.</summary>
    /// <param name="offsetBytes">Its start.</param>
    public ReadOnlySpan<byte> Page(long offsetBytes) =>
        _visible[offsetBytes / PagePool.PageBytes] ?? s_zeros;

    /// <summary>Copies what a read sees now.</summary>
    public void Read(long offsetBytes, Span<byte> bytes)
    {
        for (int done = 0; done < bytes.Length;)
        {
            (int page, int at, int length) = Part(offsetBytes + done, bytes.Length - done);
            Span<byte> part = bytes.Slice(done, length);
            if (_visible[page] is { } content)
            {
                content.AsSpan(at, length).CopyTo(part);
            }
            else
            {
                part.Clear();
            }

            done += length;
        }
    }

    /// <summary>Changes content, in the cache.</summary>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="lengthBytes">Length.</param>
    /// <param name="bytes">What is there then; empty for zeros.</param>
    public void Write(long offsetBytes, long lengthBytes, ReadOnlySpan<byte> bytes)
    {
        LastChange++;
        for (long done = 0; done < lengthBytes;)
        {
            (int page, int at, int length) = Part(offsetBytes + done, lengthBytes - done);
            byte[]? fresh = null;
            if (!bytes.IsEmpty || length < PagePool.PageBytes)
            {
                fresh = pool.Rent();
                CopyOutside(_visible[page], fresh, at, length);
                Span<byte> part = fresh.AsSpan(at, length);
                if (bytes.IsEmpty)
                {
                    part.Clear();
                }
                else
                {
                    bytes.Slice((int)done, length).CopyTo(part);
                }
            }

            Add(page, fresh);
            done += length;
        }
    }

    /// <summary>Changes content on stable media at once.</summary>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="bytes">What is there then: of one page, of which nothing is in the cache.</param>
    public void WriteThrough(long offsetBytes, ReadOnlySpan<byte> bytes)
    {
        (int page, int at, int length) = Part(offsetBytes, bytes.Length);
        if (_versions[page] is not null || length != bytes.Length)
        {
            throw new ArgumentException("not of one page that is clean", nameof(bytes));
        }

        byte[] content = _visible[page] ??= CopyOf(s_zeros);
        bytes.CopyTo(content.AsSpan(at));
    }

    /// <summary>Whether another disk shows the same.</summary>
    /// <param name="other">The other one.</param>
    /// <param name="offsetBytes">Start, on a page.</param>
    /// <param name="lengthBytes">Length, in pages.</param>
    public bool IsSame(ImagePages other, long offsetBytes, long lengthBytes)
    {
        int first = (int)(offsetBytes / PagePool.PageBytes);
        int end = Math.Min(_visible.Length, first + (int)(lengthBytes / PagePool.PageBytes));
        for (int page = first; page < end; page++)
        {
            byte[]? mine = _visible[page], theirs = other._visible[page];
            bool isSame = mine is null || theirs is null
                ? (mine ?? theirs ?? []).AsSpan().IndexOfAnyExcept((byte)0) < 0
                : mine.AsSpan().SequenceEqual(theirs);
            if (!isSame)
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Everything up to a change is on stable media.</summary>
    /// <param name="change">Number of the change.</param>
    public void Sync(long change)
    {
        int kept = 0;
        for (int i = 0; i < _dirty.Count; i++)
        {
            int page = _dirty[i];
            Versions versions = _versions[page]!;
            int last = versions.LastUpTo(change);
            if (last > 0 && versions.List[last].Change > versions.LostThrough)
            {
                Clean(page, last);
            }

            if (_versions[page] is not null)
            {
                _dirty[kept++] = page;
            }
        }

        _dirty.RemoveRange(kept, _dirty.Count - kept);
    }

    /// <summary>
    /// A sync has failed: some pages count as clean from now on although they never reached stable media,
    /// and of these some show what is there.
    /// </summary>
    /// <param name="change">Number of the last change that it was to cover.</param>
    /// <param name="random">Which ones.</param>
    public void FailSync(long change, SimulationRandom random)
    {
        foreach (int page in _dirty)
        {
            Versions versions = _versions[page]!;
            int last = versions.LastUpTo(change);
            if (last == 0 || random.Chance(500))
            {
                continue;
            }

            versions.LostThrough = versions.List[last].Change;
            if (last == versions.List.Count - 1 && random.Chance(250))
            {
                byte[]? shown = versions.List[0].Content;
                Add(page, shown is null ? null : CopyOf(shown));
                versions.LostThrough = versions.List[^1].Change;
            }
        }
    }

    /// <summary>
    /// Writing pages back has failed: they show what was written and count as clean, and no sync brings them
    /// to stable media.
    /// </summary>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="lengthBytes">Length.</param>
    public void Forget(long offsetBytes, long lengthBytes)
    {
        int last = (int)((offsetBytes + lengthBytes - 1) / PagePool.PageBytes);
        for (int page = (int)(offsetBytes / PagePool.PageBytes); page <= last; page++)
        {
            if (_versions[page] is { } versions)
            {
                versions.LostThrough = versions.List[^1].Change;
            }
        }
    }

    /// <summary>Power is lost: what was not synced is kept or not.</summary>
    /// <param name="survival">How much of it.</param>
    /// <param name="random">Which of it.</param>
    public void LosePower(Survival survival, SimulationRandom random)
    {
        foreach (int page in _dirty)
        {
            List<Version> list = _versions[page]!.List;
            int last = list.Count - 1;
            int chosen = survival switch
            {
                Survival.Nothing => 0,
                Survival.Everything => last,
                _ => random.Below(list.Count),
            };
            byte[]? survivor = list[chosen].Content;
            if (survival == Survival.AnyOfEachSector)
            {
                survivor = Mix(list, random);
            }
            else if (survivor is not null)
            {
                survivor = CopyOf(survivor);
            }

            Clean(page, last);
            pool.Return(_visible[page]);
            _visible[page] = survivor;
        }

        _dirty.Clear();
    }

    // A version of a page; the last one is what reads see.
    private void Add(int page, byte[]? content)
    {
        Versions? versions = _versions[page];
        if (versions is null)
        {
            versions = _freeVersions.TryPop(out Versions? free) ? free : new Versions();
            versions.LostThrough = 0;
            versions.List.Add(new Version(0, _visible[page]));
            _versions[page] = versions;
            _dirty.Add(page);
        }

        versions.List.Add(new Version(LastChange, content));
        _visible[page] = content;
    }

    // Version `stable` is on stable media; those before it are gone.
    private void Clean(int page, int stable)
    {
        Versions versions = _versions[page]!;
        for (int i = 0; i < stable; i++)
        {
            pool.Return(versions.List[i].Content);
        }

        versions.List.RemoveRange(0, stable);
        if (versions.List.Count == 1)
        {
            versions.List.Clear();
            _freeVersions.Push(versions);
            _versions[page] = null;
        }
    }

    private byte[] Mix(List<Version> list, SimulationRandom random)
    {
        byte[] mixed = pool.Rent();
        for (int at = 0; at < PagePool.PageBytes; at += AtomicBytes)
        {
            Span<byte> sector = mixed.AsSpan(at, AtomicBytes);
            if (list[random.Below(list.Count)].Content is { } content)
            {
                content.AsSpan(at, AtomicBytes).CopyTo(sector);
            }
            else
            {
                sector.Clear();
            }
        }

        return mixed;
    }

    private byte[] CopyOf(byte[] page)
    {
        byte[] copy = pool.Rent();
        page.CopyTo(copy, 0);
        return copy;
    }

    private static void CopyOutside(byte[]? from, byte[] to, int at, int length)
    {
        if (length == PagePool.PageBytes)
        {
            return;
        }

        if (from is null)
        {
            Array.Clear(to);
        }
        else
        {
            from.CopyTo(to, 0);
        }
    }

    private static (int Page, int At, int Length) Part(long offsetBytes, long lengthBytes)
    {
        int at = (int)(offsetBytes % PagePool.PageBytes);
        int length = (int)Math.Min(PagePool.PageBytes - at, lengthBytes);
        return ((int)(offsetBytes / PagePool.PageBytes), at, length);
    }

    private readonly record struct Version(long Change, byte[]? Content);

    private sealed class Versions
    {
        /// <summary>The first is on stable media.</summary>
        public List<Version> List { get; } = new(4);

        /// <summary>Changes up to this one will never reach stable media by themselves.</summary>
        public long LostThrough { get; set; }

        public int LastUpTo(long change)
        {
            int last = List.Count - 1;
            while (last > 0 && List[last].Change > change)
            {
                last--;
            }

            return last;
        }
    }
}
