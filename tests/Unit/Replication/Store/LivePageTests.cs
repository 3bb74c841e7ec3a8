using Ublk.Replication.Store;
using Ublk.Tests.Unit.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Ids;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Store;

public sealed class LivePageTests
{
    private const long Size = 40L << 20;

    private static readonly Incarnation s_incarnation =
        new(new UInt128(0x0011_2233_4455_6677, 0x8899_aabb_ccdd_eeff));

    private static readonly BootEntry s_boot = new(new Guid("a0a1a2a3-a4a5-a6a7-a8a9-aaabacadaeaf"), 7);

    [Fact]
    public void IsOfGoldenBytes()
    {
        var memory = ArrayMemory.Create();
        LivePage<ArrayMemory> page = Made(memory);
        page.LastRecord = 0x0102;
        page.Condition = ReplicaCondition.Voided;
        page.TryAddOutOfOrder(new LiveOperation(0x30, 1, 0x1_0203_0400, 0x1000));
        page.TryAddOutOfOrder(new LiveOperation(0x32, 3, 0x2000, 1 << 30));
        page.SetVersion(1, 0x40);
        string Hex(int offset, int length) => Convert.ToHexString(memory.Bytes(offset, length));
        Assert.Equal(
            "55424C4B4C495631" + "0100000000000000" + // magic, version
            "00112233445566778899AABBCCDDEEFF" + "A0A1A2A3A4A5A6A7A8A9AAABACADAEAF" +
            "0700000000000000" + "2800000000000000" + // backing device, regions
            "0100000000000000" + "0201000000000000" + // ready, last record
            "0100000000000000" + "0100000000000000", // condition, area in use
            Hex(0, 96));
        Assert.Equal(
            "0300000000000000" + "2000000000000000" + // epoch of the history, A
            "3000000000000000" + "0004030201000000" + "0010000001000000" +
            "3200000000000000" + "0020000000000000" + "0000004003000000" +
            "0000000000000000", Hex(204800, 72));
        Assert.Equal("0000000000000000" + "4000000000000000", Hex(405504, 16));
        Assert.Equal(405504 + 4096, LivePageLayout.BytesOf(40));
    }

    [Fact]
    public void IsTrustedOnlyInTheSameStartOfTheMachine()
    {
        var memory = ArrayMemory.Create();
        var page = new LivePage<ArrayMemory>(memory);
        Assert.Equal(LivePageTrust.Absent, page.TrustOf(s_incarnation, s_boot, 40));
        page = Made(memory);
        Assert.Equal(LivePageTrust.Trusted, page.TrustOf(s_incarnation, s_boot, 40));
        Assert.Equal(LivePageTrust.Trusted, page.TrustOf(s_incarnation, s_boot, 39));
        Assert.Equal(LivePageTrust.Foreign, page.TrustOf(s_incarnation, s_boot, 41));
        Assert.Equal(LivePageTrust.Absent, page.TrustOf(s_incarnation, s_boot, 4000));
        Assert.Equal(LivePageTrust.Foreign, page.TrustOf(default, s_boot, 40));
        Assert.Equal(LivePageTrust.OtherBoot,
            page.TrustOf(s_incarnation, s_boot with { Boot = Guid.Empty }, 40));
        Assert.Equal(LivePageTrust.OtherBacking,
            page.TrustOf(s_incarnation, s_boot with { Backing = 8 }, 40));
        memory.Store(8, 2);
        Assert.Equal(LivePageTrust.Foreign, page.TrustOf(s_incarnation, s_boot, 40));
        memory.Store(64, 0);
        Assert.Equal(LivePageTrust.Absent, page.TrustOf(s_incarnation, s_boot, 40));
    }

    // Killed after any store, the page says what it said before the operation or after it.
    [Fact]
    public void AKillAtAnyStoreLeavesWhatWasBeforeOrAfter()
    {
        for (int seed = 0; seed < 12; seed++)
        {
            var random = new Random(seed);
            var memory = ArrayMemory.Create();
            LivePage<ArrayMemory> page = Made(memory);
            ulong applied = 0x20, epoch = 3;
            for (int i = 0; i < 150; i++)
            {
                string before = Text(memory);
                memory.BeginJournal();
                switch (random.Next(12))
                {
                    case 0:
                        applied = (ulong)random.Next(50);
                        page.BeginHistory(new HistoryPoint(++epoch, applied));
                        break;
                    case < 5:
                        applied += (ulong)random.Next(1, 10);
                        page.SetApplied(applied);
                        break;
                    case 6:
                        page.SetVersion(random.Next(40), (ulong)random.Next(1000));
                        break;
                    case 7:
                        page.LastRecord = (ulong)random.Next(1000);
                        break;
                    default:
                        Assert.True(page.TryAddOutOfOrder(new LiveOperation(
                            applied + (ulong)random.Next(2, 30), (byte)random.Next(1, 4),
                            random.Next(1000) * 512L, random.Next(1, 1000) * 512)));
                        break;
                }

                string after = Text(memory);
                foreach (ArrayMemory killed in memory.EveryKill())
                {
                    string left = Text(killed);
                    Assert.True(left == before || left == after, $"{before}\nthen\n{left}\nthen\n{after}");
                }
            }
        }
    }

    // The list ends at the first empty place: whatever a kill leaves, nothing lies behind that.
    [Fact]
    public void AKillWhileAHistoryBeginsLeavesNothingBehind()
    {
        var memory = ArrayMemory.Create();
        LivePage<ArrayMemory> page = Made(memory);
        Assert.All(Enumerable.Range(0, 9), i => Assert.True(page.TryAddOutOfOrder(Operation(90 + (ulong)i))));
        page.BeginHistory(new HistoryPoint(4, 1));
        memory.BeginJournal();
        page.BeginHistory(new HistoryPoint(5, 1));
        foreach (ArrayMemory killed in memory.EveryKill())
        {
            var next = new LivePage<ArrayMemory>(killed);
            next.BeginHistory(new HistoryPoint(6, 1));
            next.BeginHistory(new HistoryPoint(7, 1));
            for (ulong sequence = 10; sequence < 20; sequence++)
            {
                Assert.True(next.TryAddOutOfOrder(Operation(sequence)));
                Assert.Equal(sequence, next.Progress().OutOfOrder[^1].Sequence);
            }
        }
    }

    [Fact]
    public void NothingOfAnotherVersionsListIsLeft()
    {
        var memory = ArrayMemory.Create();
        for (int word = 0; word < memory.LengthBytes / 8; word++)
        {
            memory.Store(8L * word, word is 1 or 20_000 ? 0u : 99u);
        }

        LivePage<ArrayMemory> page = Made(memory);
        page.BeginHistory(new HistoryPoint(4, 1));
        Assert.True(page.TryAddOutOfOrder(Operation(5)));
        Assert.Equal([5ul], page.Progress().OutOfOrder.Select(operation => operation.Sequence));
    }

    // Of an old page, of whatever boot, nothing can be mistaken for the new one before it is complete.
    [Fact]
    public void AKillWhileAPageIsMadeLeavesNoneOrTheOldOne()
    {
        var memory = ArrayMemory.Create();
        var old = s_boot with { Boot = Guid.Empty };
        new LivePage<ArrayMemory>(memory).Initialize(
            s_incarnation, old, new MetadataState(Size), 5, new HistoryPoint(1, 1));
        memory.BeginJournal();
        Made(memory);
        List<ArrayMemory> kills = [.. memory.EveryKill()];
        Assert.True(kills.Count > 50);
        for (int i = 0; i < kills.Count; i++)
        {
            LivePageTrust trust = new LivePage<ArrayMemory>(kills[i]).TrustOf(s_incarnation, s_boot, 40);
            LivePageTrust expected = i == 0 ? LivePageTrust.OtherBoot
                : i == kills.Count - 1 ? LivePageTrust.Trusted : LivePageTrust.Absent;
            Assert.Equal(expected, trust);
        }
    }

    [Fact]
    public void TheListIsBoundedAndItsPlacesComeBack()
    {
        var memory = ArrayMemory.Create();
        LivePage<ArrayMemory> page = Made(memory);
        for (ulong i = 0; i < StoreFormat.MaxOutOfOrder; i++)
        {
            Assert.True(page.TryAddOutOfOrder(Operation(100 + i)));
        }

        Assert.False(page.TryAddOutOfOrder(Operation(99_999)));
        page.SetApplied(100);
        Assert.True(page.TryAddOutOfOrder(Operation(99_999)));
        Assert.False(page.TryAddOutOfOrder(Operation(100_000)));
        LiveProgress progress = page.Progress();
        Assert.Equal(StoreFormat.MaxOutOfOrder, progress.OutOfOrder.Count);
        Assert.Equal(Operation(101), progress.OutOfOrder[0]);
        Assert.Equal(Operation(99_999), progress.OutOfOrder[^1]);
    }

    [Fact]
    public void RegionsWithIntentsAreUnknownInANewPage()
    {
        var state = new MetadataState(Size);
        state.Versions[3] = 30;
        state.Versions[4] = 40;
        state.Intents.Add(4 * StoreFormat.GrainsPerRegion + 15, 1);
        var page = new LivePage<ArrayMemory>(ArrayMemory.Create());
        page.Initialize(s_incarnation, s_boot, state, 9, new HistoryPoint(2, 5));
        Assert.Equal(30ul, page.Version(3));
        Assert.Equal(RegionVersions.Unknown, page.Version(4));
        Assert.Equal(new HistoryPoint(2, 5), page.Applied);
        Assert.Equal(9ul, page.LastRecord);
    }

    [Fact]
    public void LivesInAFile()
    {
        using var directory = new TempDirectory();
        string path = directory.File("image.qlive", LivePageLayout.BytesOf(40));
        using FileHandle file = FileHandle.Open(path, FileAccess.ReadWrite);
        using (MemoryMapping mapping = MemoryMapping.Open(
            file, 0, LivePageLayout.BytesOf(40), writable: true))
        {
            var page = new LivePage<MappedLiveMemory>(new MappedLiveMemory(mapping));
            page.Initialize(s_incarnation, s_boot, new MetadataState(Size), 1, new HistoryPoint(3, 4));
            page.SetApplied(9);
            page.TryAddOutOfOrder(Operation(11));
        }

        using MemoryMapping again = MemoryMapping.Open(
            file, 0, LivePageLayout.BytesOf(40), writable: false);
        var reopened = new LivePage<MappedLiveMemory>(new MappedLiveMemory(again));
        Assert.Equal(LivePageTrust.Trusted, reopened.TrustOf(s_incarnation, s_boot, 40));
        LiveProgress progress = reopened.Progress();
        Assert.Equal(new HistoryPoint(3, 9), progress.Applied);
        Assert.Equal([Operation(11)], progress.OutOfOrder);
    }

    private static LiveOperation Operation(ulong sequence) =>
        new(sequence, (byte)(sequence % 3 + 1), (long)sequence * 512, 512);

    private static LivePage<ArrayMemory> Made(ArrayMemory memory)
    {
        var page = new LivePage<ArrayMemory>(memory);
        page.Initialize(s_incarnation, s_boot, new MetadataState(Size), 1, new HistoryPoint(3, 0x20));
        return page;
    }

    // As another process finds it.
    private static string Text(ArrayMemory memory)
    {
        var page = new LivePage<ArrayMemory>(memory);
        LiveProgress progress = page.Progress();
        string versions = string.Join(' ', Enumerable.Range(0, 40).Select(page.Version));
        return $"{page.TrustOf(s_incarnation, s_boot, 40)} {page.LastRecord} {page.Condition} " +
            $"{progress.Applied} [{string.Join(' ', progress.OutOfOrder)}] {versions}";
    }

    /// <summary>Memory that can show what it was after each of its stores.</summary>
    private readonly struct ArrayMemory : ILiveMemory
    {
        private readonly ulong[] _words;
        private readonly List<(long Offset, ulong Value)> _journal;
        private readonly ulong[] _start;

        private ArrayMemory(ulong[] words)
        {
            _words = words;
            _journal = [];
            _start = new ulong[words.Length];
        }

        public long LengthBytes => 8L * _words.Length;

        public static ArrayMemory Create() => new(new ulong[LivePageLayout.BytesOf(40) / 8]);

        public ulong Load(long offsetBytes) => _words[offsetBytes / 8];

        public void Store(long offsetBytes, ulong value)
        {
            Assert.Equal(0, offsetBytes % 8);
            _words[offsetBytes / 8] = value;
            _journal.Add((offsetBytes, value));
        }

        public byte[] Bytes(int offset, int length) =>
            System.Runtime.InteropServices.MemoryMarshal.AsBytes(_words.AsSpan())
                .Slice(offset, length).ToArray();

        public void BeginJournal()
        {
            _journal.Clear();
            _words.CopyTo(_start, 0);
        }

        public IEnumerable<ArrayMemory> EveryKill()
        {
            for (int count = 0; count <= _journal.Count; count++)
            {
                ulong[] words = (ulong[])_start.Clone();
                for (int i = 0; i < count; i++)
                {
                    words[_journal[i].Offset / 8] = _journal[i].Value;
                }

                yield return new ArrayMemory(words);
            }
        }
    }
}
