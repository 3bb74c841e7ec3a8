using System.Buffers.Binary;

namespace Ublk.Replication.Store;

/// <summary>How a live page is to be taken.</summary>
public enum LivePageTrust : byte
{
    /// <summary>It is this replica's, of this start of the machine: it holds exactly.</summary>
    Trusted,
    /// <summary>There is none, or it was never completed.</summary>
    Absent,
    /// <summary>It belongs to another format of the replica, or to another version of the program.</summary>
    Foreign,
    /// <summary>The machine was started anew since: what it says may never have reached the disk.</summary>
    OtherBoot,
    /// <summary>The device behind the image is another one since: unsynced data may be gone.</summary>
    OtherBacking,
}

/// <summary>What a live page says of the operations that were applied.</summary>
/// <param name="Applied">A: everything up to it was applied.</param>
/// <param name="OutOfOrder">What was applied above it, ascending.</param>
public readonly record struct LiveProgress(HistoryPoint Applied, IReadOnlyList<ulong> OutOfOrder);

/// <summary>
/// What a replica knows while the machine runs: exact after a process was killed at any instruction, and
/// worth nothing after a power cut. All values are 8 bytes, little endian.
/// <code>
/// offset size
///      0  8  magic "UBLKLIV1"
///      8  8  format version
///     16 16  incarnation     (ids: most significant byte first)
///     32 16  boot id
///     48  8  instance of the backing device
///     56  8  regions
///     64  8  ready: 1 when the page is complete
///     72  8  number of the last durable record of the ring
///     80  8  condition (1 voided, 2 failed), a mirror of the ring's
///     88  8  progress area in use, 0 or 1
///   4096     progress area 0
/// 139264     progress area 1
/// 274432 8n  version of each region
///
/// A progress area (135168 bytes):
///      0  8  epoch of the history
///      8  8  A
///     16 8n  operations applied out of order, 16384 places; 0 or up to A: free
/// </code>
/// Why a kill cannot tear it: everything on the way of an operation is one store. A place of the list is
/// filled by one store; A goes up by one store, which at the same moment makes the places up to A free.
/// Only a new history changes several values that belong together; they are written to the area not in use,
/// and one store puts it into use. A new page is ready by its last store.
/// </summary>
/// <typeparam name="TMemory">Its memory.</typeparam>
public sealed class LivePage<TMemory> where TMemory : struct, ILiveMemory
{
    private readonly TMemory _memory;
    private long _area;
    private int _nextPlace;

    /// <summary>Takes memory as a live page; it need not be one yet.</summary>
    /// <param name="memory">At least as long as <see cref="LivePageLayout.BytesOf"/> says.</param>
    public LivePage(TMemory memory)
    {
        _memory = memory;
        _area = AreaInUse();
    }

    /// <summary>Regions that it has versions of.</summary>
    public int Regions => (int)_memory.Load(LivePageLayout.RegionsAt);

    /// <summary>The last durable record of the ring. Set before anybody hears of it.</summary>
    public ulong LastRecord
    {
        get => _memory.Load(LivePageLayout.LastRecordAt);
        set => _memory.Store(LivePageLayout.LastRecordAt, value);
    }

    /// <summary>The replica's condition, for those that only look at the page.</summary>
    public ReplicaCondition Condition
    {
        get => (ReplicaCondition)_memory.Load(LivePageLayout.ConditionAt);
        set => _memory.Store(LivePageLayout.ConditionAt, (ulong)value);
    }

    /// <summary>A, and the epoch of its history.</summary>
    public HistoryPoint Applied => new(_memory.Load(_area), _memory.Load(_area + LivePageLayout.AppliedAt));

    /// <summary>How the page is to be taken.</summary>
    /// <param name="incarnation">The replica's.</param>
    /// <param name="boot">Boot id and backing device of now.</param>
    /// <param name="regions">Regions of the volume.</param>
    public LivePageTrust TrustOf(Guid incarnation, BootEntry boot, int regions)
    {
        if (_memory.LengthBytes < LivePageLayout.BytesOf(regions) || _memory.Load(0) == 0 ||
            _memory.Load(LivePageLayout.ReadyAt) != 1)
        {
            return LivePageTrust.Absent;
        }

        bool isOurs = _memory.Load(0) == LivePageLayout.Magic &&
            _memory.Load(LivePageLayout.VersionAt) == StoreFormat.Version &&
            LoadId(LivePageLayout.IncarnationAt) == incarnation &&
            _memory.Load(LivePageLayout.RegionsAt) >= (ulong)regions;
        if (!isOurs)
        {
            return LivePageTrust.Foreign;
        }

        if (LoadId(LivePageLayout.BootAt) != boot.Boot)
        {
            return LivePageTrust.OtherBoot;
        }

        return _memory.Load(LivePageLayout.BackingAt) == boot.Backing
            ? LivePageTrust.Trusted : LivePageTrust.OtherBacking;
    }

    /// <summary>Makes a new page, with what is known from the ring.</summary>
    /// <param name="incarnation">The replica's.</param>
    /// <param name="boot">Boot id and backing device of now.</param>
    /// <param name="state">The state of the ring.</param>
    /// <param name="lastRecord">Its last record.</param>
    /// <param name="applied">A to begin with.</param>
    public void Initialize(
        Guid incarnation, BootEntry boot, MetadataState state, ulong lastRecord, HistoryPoint applied)
    {
        _memory.Store(LivePageLayout.ReadyAt, 0);
        _memory.Store(0, LivePageLayout.Magic);
        _memory.Store(LivePageLayout.VersionAt, StoreFormat.Version);
        StoreId(LivePageLayout.IncarnationAt, incarnation);
        StoreId(LivePageLayout.BootAt, boot.Boot);
        _memory.Store(LivePageLayout.BackingAt, boot.Backing);
        _memory.Store(LivePageLayout.RegionsAt, (ulong)state.Versions.Regions);
        LastRecord = lastRecord;
        Condition = state.Condition;
        BeginHistory(applied);
        for (int region = 0; region < state.Versions.Regions; region++)
        {
            bool isHot = state.Intents.ContainsAny(
                region * StoreFormat.GrainsPerRegion, GrainsIn(region, state.Intents.Grains));
            SetVersion(region, isHot ? RegionVersions.Unknown : state.Versions[region]);
        }

        _memory.Store(LivePageLayout.ReadyAt, 1);
    }

    /// <summary>Everything up to a sequence is applied.</summary>
    /// <param name="sequence">A, not below what it was.</param>
    public void SetApplied(ulong sequence) =>
        _memory.Store(_area + LivePageLayout.AppliedAt, sequence);

    /// <summary>An operation above A + 1 was applied.</summary>
    /// <param name="sequence">Its sequence.</param>
    /// <returns>False when the list is full: then its application must not be claimed.</returns>
    public bool TryAddOutOfOrder(ulong sequence)
    {
        ulong applied = _memory.Load(_area + LivePageLayout.AppliedAt);
        for (int i = 0; i < StoreFormat.MaxOutOfOrder; i++)
        {
            int place = _nextPlace;
            _nextPlace = (place + 1) % StoreFormat.MaxOutOfOrder;
            long at = _area + LivePageLayout.PlacesAt + 8L * place;
            if (_memory.Load(at) <= applied)
            {
                _memory.Store(at, sequence);
                return true;
            }
        }

        return false;
    }

    /// <summary>
    /// A new history: A begins anew, nothing is out of order. After the ring has the history, durably.
    /// </summary>
    /// <param name="applied">A, with the epoch of the history.</param>
    public void BeginHistory(HistoryPoint applied)
    {
        long other = _area == LivePageLayout.FirstAreaAt
            ? LivePageLayout.SecondAreaAt : LivePageLayout.FirstAreaAt;
        for (int place = 0; place < StoreFormat.MaxOutOfOrder; place++)
        {
            long at = other + LivePageLayout.PlacesAt + 8L * place;
            if (_memory.Load(at) != 0)
            {
                _memory.Store(at, 0);
            }
        }

        _memory.Store(other, applied.Epoch);
        _memory.Store(other + LivePageLayout.AppliedAt, applied.Sequence);
        _memory.Store(LivePageLayout.AreaAt, other == LivePageLayout.FirstAreaAt ? 0ul : 1ul);
        _area = other;
        _nextPlace = 0;
    }

    /// <summary>The version of a region, as of now.</summary>
    /// <param name="region">The region.</param>
    public ulong Version(int region) => _memory.Load(LivePageLayout.VersionsAt + 8L * region);

    /// <summary>
    /// Sets the version of a region: when an operation is issued, before its first byte can arrive.
    /// </summary>
    /// <param name="region">The region.</param>
    /// <param name="version">Sequence of the operation.</param>
    public void SetVersion(int region, ulong version) =>
        _memory.Store(LivePageLayout.VersionsAt + 8L * region, version);

    /// <summary>
    /// The volume is about to grow; the memory is long enough, and what was added to it is zero. Before the
    /// ring has the new size, so that a page is never too short for its ring.
    /// </summary>
    /// <param name="regions">Regions then.</param>
    public void Grow(int regions)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(
            _memory.LengthBytes, LivePageLayout.BytesOf(regions), nameof(regions));
        _memory.Store(LivePageLayout.RegionsAt, (ulong)regions);
    }

    /// <summary>What the page says of the operations that were applied.</summary>
    public LiveProgress Progress()
    {
        long area = AreaInUse();
        ulong applied = _memory.Load(area + LivePageLayout.AppliedAt);
        var list = new List<ulong>();
        for (int place = 0; place < StoreFormat.MaxOutOfOrder; place++)
        {
            ulong sequence = _memory.Load(area + LivePageLayout.PlacesAt + 8L * place);
            if (sequence > applied)
            {
                list.Add(sequence);
            }
        }

        list.Sort();
        return new LiveProgress(new HistoryPoint(_memory.Load(area), applied), list);
    }

    private static int GrainsIn(int region, int grains) =>
        Math.Min(StoreFormat.GrainsPerRegion, grains - region * StoreFormat.GrainsPerRegion);

    private long AreaInUse() => _memory.Load(LivePageLayout.AreaAt) == 0
        ? LivePageLayout.FirstAreaAt : LivePageLayout.SecondAreaAt;

    private Guid LoadId(long offset)
    {
        Span<byte> bytes = stackalloc byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, _memory.Load(offset));
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[8..], _memory.Load(offset + 8));
        return new Guid(bytes, bigEndian: true);
    }

    private void StoreId(long offset, Guid id)
    {
        Span<byte> bytes = stackalloc byte[16];
        id.TryWriteBytes(bytes, bigEndian: true, out _);
        _memory.Store(offset, BinaryPrimitives.ReadUInt64LittleEndian(bytes));
        _memory.Store(offset + 8, BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]));
    }
}

/// <summary>Offsets of a live page; see <see cref="LivePage{TMemory}"/>.</summary>
public static class LivePageLayout
{
    internal const ulong Magic = 0x3156_494C_4B4C_4255; // "UBLKLIV1"
    internal const long VersionAt = 8;
    internal const long IncarnationAt = 16;
    internal const long BootAt = 32;
    internal const long BackingAt = 48;
    internal const long RegionsAt = 56;
    internal const long ReadyAt = 64;
    internal const long LastRecordAt = 72;
    internal const long ConditionAt = 80;
    internal const long AreaAt = 88;
    internal const long FirstAreaAt = 4096;
    internal const long SecondAreaAt = FirstAreaAt + AreaBytes;
    internal const long VersionsAt = SecondAreaAt + AreaBytes;
    internal const long AppliedAt = 8;
    internal const long PlacesAt = 16;

    private const long AreaBytes = 4096 + 8L * StoreFormat.MaxOutOfOrder;

    /// <summary>Length of the live page of a volume: a multiple of 4096.</summary>
    /// <param name="regions">Its regions.</param>
    public static long BytesOf(int regions) => VersionsAt + (8L * regions + 4095) / 4096 * 4096;
}
