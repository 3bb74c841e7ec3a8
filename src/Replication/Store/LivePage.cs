using System.Buffers.Binary;
using Ublk.Wire.Ids;

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
/// <param name="OutOfOrder">What was applied above it, ascending by sequence.</param>
public readonly record struct LiveProgress(HistoryPoint Applied, IReadOnlyList<LiveOperation> OutOfOrder);

/// <summary>An operation that was applied above A, as the live page names it.</summary>
/// <param name="Sequence">Its sequence.</param>
/// <param name="Operation">What it did: 1 write, 2 discard, 3 zeroes, as in messages.</param>
/// <param name="OffsetBytes">Start in the volume, in bytes.</param>
/// <param name="LengthBytes">Length in bytes, above 0, at most 1 GiB.</param>
public readonly record struct LiveOperation(
    ulong Sequence, byte Operation, long OffsetBytes, int LengthBytes);

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
/// 204800     progress area 1
/// 405504 8n  version of each region
///
/// A progress area (200704 bytes):
///      0  8  epoch of the history
///      8  8  A
///     16     operations applied out of order, 8192 places of 24 bytes
///
/// A place:
///      0  8  sequence; 0 or up to A: the place is free, and the rest of it means nothing
///      8  8  offset in bytes
///     16  8  length in bytes (the low 32 bits) and operation (1 write, 2 discard, 3 zeroes) above
/// </code>
/// Why a kill cannot tear it: everything on the way of an operation becomes so by one store. A place of the
/// list gets its offset and length while it is free, and the store of its sequence makes it valid; A goes
/// up by one store, which at the same moment makes the places up to A free. Places are taken from the first
/// one on and emptied from the last one on: behind one whose sequence is 0 there is nothing, ever.
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
    /// <param name="memory">
    /// At least as long as <see cref="LivePageLayout.BytesOf"/> says; all zeros, or a page of any version.
    /// </param>
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
    public LivePageTrust TrustOf(Incarnation incarnation, BootEntry boot, int regions)
    {
        if (_memory.LengthBytes < LivePageLayout.BytesOf(regions) || _memory.Load(0) == 0 ||
            _memory.Load(LivePageLayout.ReadyAt) != 1)
        {
            return LivePageTrust.Absent;
        }

        bool isOurs = _memory.Load(0) == LivePageLayout.Magic &&
            _memory.Load(LivePageLayout.VersionAt) == StoreFormat.Version &&
            LoadBits(LivePageLayout.IncarnationAt) == incarnation.Value &&
            _memory.Load(LivePageLayout.RegionsAt) >= (ulong)regions;
        if (!isOurs)
        {
            return LivePageTrust.Foreign;
        }

        if (LoadBits(LivePageLayout.BootAt) != BitsOf(boot.Boot) &&
            !Mistakes.Make(Mistake.PageOfAnotherBoot))
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
        Incarnation incarnation, BootEntry boot, MetadataState state, ulong lastRecord,
        HistoryPoint applied)
    {
        _memory.Store(LivePageLayout.ReadyAt, 0);
        ulong magic = _memory.Load(0);
        bool isOfVersion = magic == LivePageLayout.Magic &&
            _memory.Load(LivePageLayout.VersionAt) == StoreFormat.Version;
        if (magic != 0 && !isOfVersion)
        {
            // Nobody knows where another version begins its list.
            Empty(LivePageLayout.FirstAreaAt, StoreFormat.MaxOutOfOrder);
            Empty(LivePageLayout.SecondAreaAt, StoreFormat.MaxOutOfOrder);
        }

        _memory.Store(0, LivePageLayout.Magic);
        _memory.Store(LivePageLayout.VersionAt, StoreFormat.Version);
        StoreBits(LivePageLayout.IncarnationAt, incarnation.Value);
        StoreBits(LivePageLayout.BootAt, BitsOf(boot.Boot));
        _memory.Store(LivePageLayout.BackingAt, boot.Backing);
        _memory.Store(LivePageLayout.RegionsAt, (ulong)state.Versions.Regions);
        LastRecord = lastRecord;
        Condition = state.Condition;
        BeginHistory(applied);
        for (int region = 0; region < state.Versions.Regions; region++)
        {
            (int first, int count) = state.Intents.OfRegion(region);
            bool isHot = state.Intents.ContainsAny(first, count);
            SetVersion(region, isHot ? RegionVersions.Unknown : state.Versions[region]);
        }

        _memory.Store(LivePageLayout.ReadyAt, 1);
    }

    /// <summary>Everything up to a sequence is applied.</summary>
    /// <param name="sequence">A, not below what it was.</param>
    public void SetApplied(ulong sequence) =>
        _memory.Store(_area + LivePageLayout.AppliedAt, sequence);

    /// <summary>An operation above A + 1 was applied.</summary>
    /// <param name="operation">The operation.</param>
    /// <returns>False when the list is full: then its application must not be claimed.</returns>
    public bool TryAddOutOfOrder(in LiveOperation operation)
    {
        ulong applied = _memory.Load(_area + LivePageLayout.AppliedAt);
        for (int i = 0; i < StoreFormat.MaxOutOfOrder; i++)
        {
            int place = _nextPlace;
            _nextPlace = (place + 1) % StoreFormat.MaxOutOfOrder;
            long at = _area + LivePageLayout.OffsetOfPlace(place);
            if (_memory.Load(at) <= applied)
            {
                // The sequence last: until then the place is free.
                _memory.Store(at + LivePageLayout.OffsetAt, (ulong)operation.OffsetBytes);
                _memory.Store(at + LivePageLayout.LengthAt,
                    (uint)operation.LengthBytes | (ulong)operation.Operation << 32);
                _memory.Store(at, operation.Sequence);
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
        Empty(other, UsedPlaces(other));
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
        var list = new List<LiveOperation>();
        for (int place = UsedPlaces(area) - 1; place >= 0; place--)
        {
            long at = area + LivePageLayout.OffsetOfPlace(place);
            ulong sequence = _memory.Load(at);
            if (sequence > applied)
            {
                ulong length = _memory.Load(at + LivePageLayout.LengthAt);
                long offset = (long)_memory.Load(at + LivePageLayout.OffsetAt);
                list.Add(new LiveOperation(sequence, (byte)(length >> 32), offset, (int)(uint)length));
            }
        }

        list.Sort(static (left, right) => left.Sequence.CompareTo(right.Sequence));
        return new LiveProgress(new HistoryPoint(_memory.Load(area), applied), list);
    }

    private long AreaInUse() => _memory.Load(LivePageLayout.AreaAt) == 0
        ? LivePageLayout.FirstAreaAt : LivePageLayout.SecondAreaAt;

    // Places that ever held something in this history.
    private int UsedPlaces(long area)
    {
        int used = 0;
        while (used < StoreFormat.MaxOutOfOrder &&
            _memory.Load(area + LivePageLayout.OffsetOfPlace(used)) != 0)
        {
            used++;
        }

        return used;
    }

    private void Empty(long area, int places)
    {
        for (int place = places - 1; place >= 0; place--)
        {
            _memory.Store(area + LivePageLayout.OffsetOfPlace(place), 0);
        }
    }

    private static UInt128 BitsOf(Guid id)
    {
        Span<byte> bytes = stackalloc byte[16];
        id.TryWriteBytes(bytes, bigEndian: true, out _);
        return BinaryPrimitives.ReadUInt128BigEndian(bytes);
    }

    private UInt128 LoadBits(long offset) => new(
        BinaryPrimitives.ReverseEndianness(_memory.Load(offset)),
        BinaryPrimitives.ReverseEndianness(_memory.Load(offset + 8)));

    private void StoreBits(long offset, UInt128 bits)
    {
        _memory.Store(offset, BinaryPrimitives.ReverseEndianness((ulong)(bits >> 64)));
        _memory.Store(offset + 8, BinaryPrimitives.ReverseEndianness((ulong)bits));
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
    internal const long OffsetAt = 8;
    internal const long LengthAt = 16;

    private const int PlaceBytes = 24;
    private const long AreaBytes = 4096 + (long)PlaceBytes * StoreFormat.MaxOutOfOrder;

    /// <summary>Offset of a place of the list in its progress area, in bytes.</summary>
    internal static long OffsetOfPlace(int place) => PlacesAt + (long)PlaceBytes * place;

    /// <summary>Length of the live page of a volume: a multiple of 4096.</summary>
    /// <param name="regions">Its regions.</param>
    public static long BytesOf(int regions) => VersionsAt + (8L * regions + 4095) / 4096 * 4096;
}
