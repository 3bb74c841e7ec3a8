using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Ids;

namespace Ublk.Tests.Simulation.World;

/// <summary>
/// The metadata file of a replica: one durable write at a time. A write that is under way when the process
/// is killed or the power is lost arrives, or not, or in some of its sectors of 512 bytes.
/// </summary>
internal sealed class SimulatedMetadata : IMetadataReader, INodeWatcher
{
    private const int SectorBytes = 512;

    private readonly SimulatedNode _node;
    private readonly SimulationClock _clock;
    private readonly SimulationRandom _random;
    private readonly ImagePages _pages;
    private readonly Known?[] _known;
    private readonly byte[] _underWay = new byte[MetadataRecord.Bytes];
    private long _underWayAt;
    private int _writeNumber;

    /// <summary>Makes an empty file.</summary>
    /// <param name="node">The host.</param>
    /// <param name="clock">The time of the world.</param>
    /// <param name="pools">Where memory comes from.</param>
    /// <param name="random">Where chance comes from.</param>
    /// <param name="layout">Where records lie.</param>
    public SimulatedMetadata(
        SimulatedNode node, SimulationClock clock, WorldPools pools, SimulationRandom random,
        RingLayout layout)
    {
        _node = node;
        _clock = clock;
        _random = random;
        long length = layout.OffsetOfVaultSlot(0) + StoreFormat.TrailerBytes;
        _pages = pools.RentImage(length);
        _known = new Known?[length / PagePool.PageBytes];
        Layout = layout;
        node.Watch(this);
    }

    /// <summary>Hears on the process when a write has ended: 0 or −errno.</summary>
    public Action<int> Ended { get; set; } = _ => { };

    /// <summary>Where records lie.</summary>
    public RingLayout Layout { get; private set; }

    /// <summary>How long a write takes.</summary>
    public LatencyModel Latency { get; set; } = LatencyModel.Disk;

    /// <summary>How often a write fails, in a thousand.</summary>
    public int WriteErrorPermille { get; set; }

    /// <summary>How often a block cannot be read, in a thousand.</summary>
    public int ReadErrorPermille { get; set; }

    /// <summary>Whether a write is under way.</summary>
    public bool IsBusy { get; private set; }

    /// <summary>Writes 4096 bytes durably.</summary>
    /// <param name="offsetBytes">Offset in the file.</param>
    /// <param name="record">The bytes, unchanged until the end.</param>
    public void Write(long offsetBytes, in IoBuffer record)
    {
        if (IsBusy)
        {
            throw new InvalidOperationException("two writes of the metadata at once");
        }

        IsBusy = true;
        _underWayAt = offsetBytes;
        record.Span.CopyTo(_underWay);
        int number = ++_writeNumber;
        int process = _node.Process;
        IoBuffer source = record;
        _clock.After(Latency.Draw(_random), () => End(number, process, source));
    }

    /// <summary>Writes at once, for the format of the replica.</summary>
    /// <param name="offsetBytes">Offset in the file.</param>
    /// <param name="bytes">The bytes.</param>
    public void Put(long offsetBytes, ReadOnlySpan<byte> bytes)
    {
        _known[offsetBytes / PagePool.PageBytes] = null;
        _pages.WriteThrough(offsetBytes, bytes);
    }

    /// <inheritdoc/>
    public RecordVerdict Open(long offsetBytes, Incarnation identity, out OpenRecord record)
    {
        ReadOnlySpan<byte> page = _pages.Page(offsetBytes);
        ref Known? known = ref _known[offsetBytes / PagePool.PageBytes];
        if (known is not { } same || same.Identity != identity)
        {
            RecordVerdict verdict = MetadataRecord.Open(page, identity, out record);
            known = new Known(identity, verdict, record.Header, record.Crc);
        }
        else
        {
            record = same.Verdict == RecordVerdict.Valid
                ? new OpenRecord(same.Header, same.Crc, MetadataRecord.Payload(page, same.Header)) : default;
        }

        return _random.Chance(ReadErrorPermille) ? RecordVerdict.Damaged : known.Value.Verdict;
    }

    /// <summary>The file is lost, with the disk: another one, empty, is in its place.</summary>
    /// <param name="layout">Where its records lie; as long as before.</param>
    public void Replace(RingLayout layout)
    {
        if (layout.Records != Layout.Records)
        {
            throw new ArgumentException("another length", nameof(layout));
        }

        Layout = layout;
        Array.Clear(_known);
        _pages.Reset(layout.OffsetOfVaultSlot(0) + StoreFormat.TrailerBytes);
    }

    /// <inheritdoc/>
    public void OnProcessKilled() => Tear();

    /// <inheritdoc/>
    public void OnPowerLost() => Tear();

    private void End(int number, int process, IoBuffer source)
    {
        if (!IsBusy || number != _writeNumber)
        {
            return; // Torn meanwhile.
        }

        bool isSame = source.Span.SequenceEqual(_underWay);
        if (!isSame && _node.IsRunning && process == _node.Process)
        {
            throw new InvalidOperationException("a record was changed while it was being written");
        }

        bool isFailed = _random.Chance(WriteErrorPermille);
        if (isFailed)
        {
            Tear();
        }
        else
        {
            IsBusy = false;
            Put(_underWayAt, _underWay);
        }

        int result = isFailed ? -Errno.EIO : 0;
        _node.Tell(process, () => Ended(result));
    }

    private void Tear()
    {
        if (!IsBusy)
        {
            return;
        }

        IsBusy = false;
        int kept = _random.Below(3) * 500;
        for (int at = 0; at < _underWay.Length; at += SectorBytes)
        {
            if (_random.Chance(kept))
            {
                Put(_underWayAt + at, _underWay.AsSpan(at, SectorBytes));
            }
        }
    }

    // What a page was found to be the last time; forgotten when it is written. A ring is opened time and
    // again, and only a few of its records are others then.
    private readonly record struct Known(
        Incarnation Identity, RecordVerdict Verdict, RecordHeader Header, uint Crc);
}
