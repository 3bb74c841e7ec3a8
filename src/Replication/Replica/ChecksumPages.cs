using System.Runtime.InteropServices;
using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Uring.Native;

namespace Ublk.Replication.Replica;

/// <summary>
/// Pages of the file of checksums in memory, a few of them: read when they are needed, written when their
/// place is, and all that have changed with a sync. A page has the checksums of 4 MiB of the volume. What is
/// in memory only dies with the process; all of it belongs to blocks whose intents are pending, or that are
/// missing, and of those nothing is taken for known by the next process: their checksums are set to unknown
/// when their page is first read, and this is on stable media before the intents are cleared. No allocation
/// after construction.
/// </summary>
internal sealed partial class ChecksumPages
{
    /// <summary>Bytes of a page.</summary>
    public const int PageBytes = ChecksumFile.PageBytes;

    /// <summary>Fewest pages in memory: what an operation needs at once, and room for another one.</summary>
    public const int MinPages = 4;

    private const int BlocksPerPage = PageBytes / sizeof(uint);
    private const int None = -1;

    private const int BlocksPerGrain = StoreFormat.GrainBytes / BlockChecksum.BlockBytes;
    private const int GrainsPerPage = (int)(ChecksumFile.VolumeBytesPerPage / StoreFormat.GrainBytes);
    private const int RegionsPerPage = (int)(ChecksumFile.VolumeBytesPerPage / StoreFormat.RegionBytes);

    private readonly IReplicaEffects _effects;
    private readonly IoBuffer _memory;
    private readonly Frame[] _frames;
    private readonly Dictionary<int, int> _frameOf;
    private readonly Dictionary<int, ulong> _hot = [];
    private readonly Queue<int> _hotPages = new();
    private readonly int[] _nextWaiter;
    private readonly Queue<(int Page, int Waiter)> _wanting = new();
    private readonly int _syncWaiter;
    private readonly GrainMap? _missing;
    private int _hand;
    private int _error;
    private int _syncLeft;
    private bool _isSyncing;

    /// <summary>Nothing in memory.</summary>
    /// <param name="effects">Reads and writes pages.</param>
    /// <param name="memory">Memory for pages: at least <see cref="MinPages"/>.</param>
    /// <param name="state">The replica's state at its opening.</param>
    /// <param name="waiters">Who may wait for a page: 0 to this − 1.</param>
    public ChecksumPages(IReplicaEffects effects, in IoBuffer memory, MetadataState state, int waiters)
    {
        int frames = memory.LengthBytes / PageBytes;
        ArgumentOutOfRangeException.ThrowIfLessThan(frames, MinPages, nameof(memory));
        _effects = effects;
        _memory = memory;
        _frames = new Frame[frames];
        Array.Fill(_frames, new Frame { Page = None, FirstWaiter = None });
        _frameOf = new Dictionary<int, int>(frames);
        _syncWaiter = waiters;
        _nextWaiter = new int[waiters + 1];
        NoteHot(state.Intents);
        _missing = state.Missing.Count > 0 ? MissingOf(state.Missing) : null;
    }

    /// <summary>
    /// Called with whoever waited for a page: 0, or −errno. The page is there then, maybe not for long.
    /// </summary>
    public required Action<int, int> OnLoaded { get; init; }

    /// <summary>Called when all pages that had changed are written, or could not be: 0, or −errno.</summary>
    public required Action<int> OnFlushed { get; init; }

    /// <summary>The page that has a block's checksum.</summary>
    /// <param name="block">The block.</param>
    public static int PageOf(long block) => (int)(block / BlocksPerPage);

    /// <summary>The checksums of a page that is in memory.</summary>
    /// <param name="page">The page.</param>
    /// <param name="checksums">One for each block; to be changed with <see cref="HasChanged"/> only.</param>
    public bool TryGet(int page, out Span<uint> checksums)
    {
        bool isThere = _frameOf.TryGetValue(page, out int frame) && _frames[frame].Use != FrameUse.Loading;
        checksums = isThere ? ChecksumsOf(frame) : default;
        if (isThere)
        {
            _frames[frame].WasUsed = true;
        }

        return isThere;
    }

    /// <summary>A page in memory was changed.</summary>
    /// <param name="page">The page.</param>
    public void HasChanged(int page) => _frames[_frameOf[page]].IsDirty = true;

    /// <summary>Brings a page that is not there into memory; ends with <see cref="OnLoaded"/>.</summary>
    /// <param name="page">The page.</param>
    /// <param name="waiter">Who waits; for one page at a time.</param>
    /// <returns>0, or −errno at once: there is no place any more.</returns>
    public int Load(int page, int waiter)
    {
        if (!_frameOf.TryGetValue(page, out int frame))
        {
            if (_error != 0)
            {
                return _error;
            }

            frame = TakeFrame();
            if (frame == None)
            {
                _wanting.Enqueue((page, waiter));
                return 0;
            }

            _frames[frame] = new Frame { Page = page, Use = FrameUse.Loading, FirstWaiter = None };
            _frameOf.Add(page, frame);
            _effects.ReadChecksums(ReplicaContext.Name(ReplicaIo.ChecksumRead, (ulong)frame), page,
                MemoryOf(frame));
        }

        _nextWaiter[waiter] = _frames[frame].FirstWaiter;
        _frames[frame].FirstWaiter = waiter;
        return 0;
    }

    /// <summary>A page was read, or could not be.</summary>
    /// <param name="frame">As its reading was named.</param>
    /// <param name="result">Bytes, or −errno.</param>
    public void OnRead(int frame, int result)
    {
        int page = _frames[frame].Page, waiter = _frames[frame].FirstWaiter;
        int ended = result == PageBytes ? 0 : result < 0 ? result : -Errno.EIO;
        if (ended == 0)
        {
            _frames[frame] = new Frame { Page = page, FirstWaiter = None, WasUsed = true };
            ApplyDoubt(frame);
        }
        else
        {
            _ = _frameOf.Remove(page);
            _frames[frame] = new Frame { Page = None, FirstWaiter = None };
        }

        while (waiter != None)
        {
            int next = _nextWaiter[waiter];
            Tell(waiter, ended);
            waiter = next;
        }

        ServeWanting();
    }

    /// <summary>A page was written, or could not be: then no more pages come, and no sync succeeds.</summary>
    /// <param name="frame">As its writing was named.</param>
    /// <param name="result">Bytes, or −errno.</param>
    public void OnWritten(int frame, int result)
    {
        ref Frame written = ref _frames[frame];
        written.IsWriting = false;
        if (result != PageBytes)
        {
            written.IsDirty = true;
            _error = result < 0 ? result : -Errno.EIO;
        }

        if (written.IsForSync)
        {
            written.IsForSync = false;
            _syncLeft--;
        }

        if (written.MustWrite)
        {
            Write(frame);
        }

        ServeWanting();
        EndSync();
    }

    /// <summary>Writes every page that has changed, also by what is not known any more.</summary>
    public void Flush()
    {
        _isSyncing = true;
        MarkForSync();
        FlushHot();
        EndSync();
    }

    private void FlushHot()
    {
        while (_error == 0 && _hotPages.TryDequeue(out int page))
        {
            if (_hot.ContainsKey(page))
            {
                _syncLeft++;
                _ = Load(page, _syncWaiter);
                return;
            }
        }
    }

    private void Tell(int waiter, int result)
    {
        if (waiter != _syncWaiter)
        {
            OnLoaded(waiter, result);
            return;
        }

        _error = result < 0 ? result : _error;
        MarkForSync();
        _syncLeft--;
        FlushHot();
        EndSync();
    }

    private void MarkForSync()
    {
        for (int frame = 0; frame < _frames.Length; frame++)
        {
            MarkForSync(frame);
        }
    }

    private void MarkForSync(int frame)
    {
        ref Frame marked = ref _frames[frame];
        if (marked.IsDirty && !marked.MustWrite)
        {
            marked.MustWrite = true;
            _syncLeft++;
            if (!marked.IsWriting)
            {
                Write(frame);
            }
        }
        else if (marked.IsWriting && !marked.IsForSync && !marked.MustWrite)
        {
            marked.IsForSync = true;
            _syncLeft++;
        }
    }

    private void EndSync()
    {
        if (_isSyncing && _syncLeft == 0)
        {
            _isSyncing = false;
            OnFlushed(_error);
        }
    }

    private void Write(int frame)
    {
        ref Frame written = ref _frames[frame];
        written.IsForSync = written.MustWrite;
        written.MustWrite = false;
        written.IsDirty = false;
        written.IsWriting = true;
        _effects.WriteChecksums(ReplicaContext.Name(ReplicaIo.ChecksumWrite, (ulong)frame), written.Page,
            MemoryOf(frame));
    }

    private void ServeWanting()
    {
        for (int count = _wanting.Count; count > 0 && _wanting.TryDequeue(out var wanting); count--)
        {
            (int page, int waiter) = wanting;
            if (_error != 0 && !_frameOf.ContainsKey(page))
            {
                Tell(waiter, _error);
            }
            else if (TryGet(page, out _))
            {
                Tell(waiter, 0);
            }
            else
            {
                _ = Load(page, waiter);
            }
        }
    }

    // One that was not used since the hand came by last; one that has changed is written first.
    private int TakeFrame()
    {
        for (int steps = 2 * _frames.Length; steps > 0; steps--)
        {
            _hand = (_hand + 1) % _frames.Length;
            ref Frame frame = ref _frames[_hand];
            if (frame.Page == None)
            {
                return _hand;
            }

            if (frame.WasUsed || frame.Use == FrameUse.Loading || frame.IsWriting)
            {
                frame.WasUsed = false;
            }
            else if (frame.IsDirty)
            {
                Write(_hand);
            }
            else
            {
                _ = _frameOf.Remove(frame.Page);
                frame = new Frame { Page = None, FirstWaiter = None };
                return _hand;
            }
        }

        return None;
    }

    private IoBuffer MemoryOf(int frame) => _memory.Slice(frame * PageBytes, PageBytes);

    private Span<uint> ChecksumsOf(int frame) => MemoryMarshal.Cast<byte, uint>(MemoryOf(frame).Span);

    private enum FrameUse : byte
    {
        Present,
        Loading,
    }

    private struct Frame
    {
        public int Page;
        public int FirstWaiter;
        public FrameUse Use;
        public bool WasUsed;
        public bool IsDirty;
        public bool IsWriting;
        public bool IsForSync;
        public bool MustWrite;
    }
}
