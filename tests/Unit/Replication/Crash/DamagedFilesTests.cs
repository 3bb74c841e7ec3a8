using System.Buffers.Binary;
using Ublk.Replication.Store;
using Ublk.Testing.Replicas;
using Ublk.Tests.Unit.Replication.Store;
using Ublk.Wire.Ids;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Crash;

/// <summary>
/// Files of a replica that no crash leaves behind: flipped bits, lost and misplaced sectors, cut files, what
/// belongs to others. Each is the state as it was, or refused with a place and a remedy; never another one.
/// </summary>
public sealed class DamagedFilesTests : IDisposable
{
    private const long Size = 4L << 20;
    private const int SectorBytes = 512;
    private const int RingRecords = 256;

    private static readonly BootEntry s_otherBoot =
        CrashChild.Boot with { Boot = new Guid(9, 9, 9, new byte[8]) };

    private readonly string _directory = CrashFiles.NewDirectory();
    private readonly string _image;
    private readonly string _metadata;
    private readonly byte[] _sound;
    private readonly Dictionary<ulong, string> _digests = [];
    private readonly OpenedReplica _opened;

    public DamagedFilesTests()
    {
        _image = Path.Combine(_directory, "image");
        _metadata = ReplicaFormat.MetadataPath(_image);
        CrashWorkload.Format(_image, Size);
        var random = new Random(5);
        using (var replica = new FileReplica(
            new ReplicaFiles(_image), CrashChild.Boot, random, line => Note(line.Split(' '))))
        {
            // More than once round the ring, and some way behind a checkpoint.
            var work = new CrashWorkload(replica, 0, random, _ => { });
            replica.Run();
            work.Begin(joins: false);
            while (replica.LastRecord < RingRecords + 160)
            {
                work.Play(4);
                replica.Run();
            }
        }

        _sound = File.ReadAllBytes(_metadata);
        _opened = ReplicaStore.Load(_image, Size, CrashChild.Boot, null);
        Assert.InRange(Last - Begin, 20ul, 200ul);
        Assert.Equal(LivePageTrust.Trusted, _opened.Trust);
    }

    private ulong Last => _opened.Position.LastRecord;

    private ulong Begin => _opened.Position.CheckpointBegin;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void OneRecordAnywhere()
    {
        var random = new Random(6);
        int refused = 0, taken = 0;
        for (ulong back = 0; back < RingRecords; back++)
        {
            ulong number = Last - back;
            foreach (Action<Span<byte>> harm in Harms(random))
            {
                byte[] bytes = (byte[])_sound.Clone();
                harm(Slot(bytes, number));
                bool isNeeded = number >= Begin && !bytes.AsSpan().SequenceEqual(_sound);
                refused += Expect(bytes, CrashChild.Boot, isNeeded, Last) ? 0 : 1;

                // Nobody can tell a last record that was lost from one that was never durable, unless the
                // live page, or the vault, names it.
                bool isHole = isNeeded && number < Last;
                taken += Expect(bytes, s_otherBoot, isHole, isNeeded ? Last - 1 : Last) ? 1 : 0;
            }
        }

        Assert.True(refused > 60 && taken > 200, $"{refused} refused, {taken} taken");
    }

    [Fact]
    public void ManyPlacesAtOnce()
    {
        int taken = 0;
        for (int seed = 0; seed < 300; seed++)
        {
            var random = new Random(seed);
            byte[] bytes = (byte[])_sound.Clone();
            for (int i = random.Next(1, 6); i > 0; i--)
            {
                int at = random.Next(bytes.Length / SectorBytes) * SectorBytes;
                int from = random.Next(bytes.Length / SectorBytes) * SectorBytes;
                Span<byte> sector = bytes.AsSpan(at, SectorBytes);
                switch (random.Next(4))
                {
                    case 0:
                        sector[random.Next(SectorBytes)] ^= (byte)(1 << random.Next(8));
                        break;
                    case 1:
                        sector.Clear();
                        break;
                    case 2:
                        random.NextBytes(sector);
                        break;
                    default:
                        _sound.AsSpan(from, SectorBytes).CopyTo(sector);
                        break;
                }
            }

            taken += Expect(bytes, CrashChild.Boot, null, Last) ? 1 : 0;
            _ = Expect(bytes, s_otherBoot, null, Last - 1);
        }

        Assert.InRange(taken, 30, 290);
    }

    [Fact]
    public void ACutOrLongerFileIsRefused()
    {
        var random = new Random(7);
        for (int i = 0; i < 60; i++)
        {
            byte[] bytes = _sound[..random.Next(_sound.Length)];
            Assert.False(Expect(bytes, CrashChild.Boot, mustRefuse: true, Last));
        }

        Assert.False(Expect([.. _sound, .. new byte[4096]], CrashChild.Boot, mustRefuse: true, Last));
    }

    [Fact]
    public void WhatBelongsToAnotherReplicaIsRefused()
    {
        string other = Path.Combine(CrashFiles.Fresh(_directory, "other"), "image");
        ReplicaFormat.Create(other, new ReplicaFormatOptions
        {
            Identity = _opened.Superblock.Identity with { Incarnation = new Incarnation(99) },
            Content = ImageContent.New,
            SizeBytes = Size,
            LogicalBlockBytes = FileReplica.BlockBytes,
        });
        byte[] foreign = File.ReadAllBytes(ReplicaFormat.MetadataPath(other));
        byte[] bytes = (byte[])_sound.Clone();
        Slot(foreign, 1).CopyTo(Slot(bytes, Last - 5));
        Assert.False(Expect(bytes, s_otherBoot, mustRefuse: true, Last));
        foreign.AsSpan(0, 4096).CopyTo(bytes);
        Assert.False(Expect(bytes, s_otherBoot, mustRefuse: true, Last));
        File.WriteAllBytes(_metadata, foreign);
        OpenedReplica found = ReplicaStore.Load(_image, Size, CrashChild.Boot, null);
        Assert.Equal(LivePageTrust.Foreign, found.Trust);
        ReplicaIdentity expected = _opened.Superblock.Identity with { Replica = new ReplicaId(77) };
        Assert.Equal(ReplicaStoreError.WrongReplica, Assert.Throws<ReplicaStoreException>(
            () => ReplicaStore.Load(_image, Size, CrashChild.Boot, expected)).Error);
    }

    [Fact]
    public void WhatALaterVersionWroteIsRefusedAsSuch()
    {
        (int At, int CrcAt)[] versions =
        [
            (8, 12), // The superblock's version, and its features.
            (16, 12),
            ((int)RingLayout.OffsetOfSlot(_opened.Layout.SlotOf(Last)) + 8, 44),
            ((int)_opened.Layout.OffsetOfVaultSlot(3) + 8, 44),
        ];
        foreach ((int at, int crcAt) in versions)
        {
            byte[] bytes = (byte[])_sound.Clone();
            BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(at), 2);
            StoreBytes.SetCrc(bytes.AsSpan(at / 4096 * 4096, 4096), crcAt);
            File.WriteAllBytes(_metadata, bytes);
            Assert.Equal(ReplicaStoreError.Newer, Assert.Throws<ReplicaStoreException>(
                () => ReplicaStore.Load(_image, Size, s_otherBoot, null)).Error);
        }
    }

    [Fact]
    public void ADamagedLivePageIsNeverHalfTaken()
    {
        string path = ReplicaFormat.LivePath(_image);
        byte[] live = File.ReadAllBytes(path);
        foreach (int length in new[] { 0, 8, 4096, 405_504, live.Length - 4096 })
        {
            File.WriteAllBytes(path, live[..length]);
            OpenedReplica found = ReplicaStore.Load(_image, Size, CrashChild.Boot, null);
            Assert.Equal(LivePageTrust.Absent, found.Trust);
            Assert.Equal(found.State.Durable, found.Applied);
            Assert.Equal(found.State.Intents.Count > 0, found.MustBeVoided);
        }
    }

    private static Span<byte> Slot(byte[] bytes, ulong number) => bytes.AsSpan(
        (int)StoreFormat.RingOffsetBytes + (int)(number % RingRecords) * MetadataRecord.Bytes,
        MetadataRecord.Bytes);

    private static Action<Span<byte>>[] Harms(Random random) =>
    [
        slot => slot[random.Next(slot.Length)] ^= (byte)(1 << random.Next(8)),
        slot => slot.Slice(random.Next(8) * SectorBytes, SectorBytes).Clear(),
        random.NextBytes,
    ];

    // Loads damaged metadata; answers whether it was taken, which must be rightly so.
    private bool Expect(byte[] bytes, BootEntry boot, bool? mustRefuse, ulong earliest)
    {
        File.WriteAllBytes(_metadata, bytes);
        try
        {
            OpenedReplica found = ReplicaStore.Load(_image, Size, boot, null);
            Assert.NotEqual(true, mustRefuse);
            ulong last = found.Position.LastRecord;
            Assert.InRange(last, earliest, Last);
            Assert.Equal(_digests[last], $"{CrashFacts.DigestOf(found.State)}");
            return true;
        }
        catch (ReplicaStoreException refused)
        {
            Assert.NotEqual(false, mustRefuse is null ? null : mustRefuse | earliest < Last);
            Assert.Contains(_metadata, refused.Message, StringComparison.Ordinal);
            Assert.Contains(refused.Error, (ReplicaStoreError[])[
                ReplicaStoreError.Damaged, ReplicaStoreError.WrongSize, ReplicaStoreError.NotOurs,
                ReplicaStoreError.NotFormatted]);
            return false;
        }
    }

    private void Note(string[] words)
    {
        if (words[0] == "record")
        {
            _digests[ulong.Parse(words[1])] = words[2];
        }
    }
}
