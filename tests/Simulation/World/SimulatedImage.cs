using Ublk.Uring;
using Ublk.Uring.Native;

namespace Ublk.Tests.Simulation.World;

/// <summary>
/// The raw image of a replica, on a disk with a volatile cache. A write shows in reads when it has ended; it
/// is on stable media when a sync that was begun afterwards has ended. What is under way when its process is
/// killed ends later, or not at all; until then the image stays locked.
/// </summary>
internal sealed partial class SimulatedImage : INodeWatcher
{
    private const int SectorBytes = 512;

    private readonly SimulatedNode _node;
    private readonly SimulationClock _clock;
    private readonly SimulatedMemory _memory;
    private readonly SimulationRandom _random;
    private readonly ImagePages _pages;
    private readonly List<ImageOperation> _underWay = [];
    private readonly List<Action> _waitForLock = [];
    private int _writeCount;

    /// <summary>Makes an image of zeros.</summary>
    /// <param name="node">The host.</param>
    /// <param name="clock">The time of the world.</param>
    /// <param name="pools">Where memory comes from.</param>
    /// <param name="random">Where chance comes from.</param>
    /// <param name="sizeBytes">Size.</param>
    public SimulatedImage(
        SimulatedNode node, SimulationClock clock, WorldPools pools, SimulationRandom random, long sizeBytes)
    {
        _node = node;
        _clock = clock;
        _memory = pools.Memory;
        _random = random;
        _pages = pools.RentImage(sizeBytes);
        SizeBytes = sizeBytes;
        node.Watch(this);
    }

    /// <summary>Hears of every end on the process: the operation, and its result or −errno.</summary>
    public Action<ulong, int> Ended { get; set; } = (_, _) => { };

    /// <summary>What may go wrong.</summary>
    public ImageFaults Faults { get; set; } = ImageFaults.None;

    /// <summary>How long an operation takes.</summary>
    public LatencyModel Latency { get; set; } = LatencyModel.Disk;

    /// <summary>How long a sync takes.</summary>
    public LatencyModel SyncLatency { get; set; } = LatencyModel.Disk;

    /// <summary>What the disk writes as a whole or not at all, in bytes.</summary>
    public int AtomicBytes
    {
        get => _pages.AtomicBytes;
        init => _pages.AtomicBytes = value;
    }

    /// <summary>Called right before a loss of power takes what was not synced.</summary>
    public Action LosesPower { get; set; } = () => { };

    /// <summary>What survives a loss of power of what was not synced; null: chance decides.</summary>
    public Survival? Survives { get; set; }

    /// <summary>Size in bytes.</summary>
    public long SizeBytes { get; private set; }

    /// <summary>Operations under way, also those of a killed process.</summary>
    public int UnderWayCount => _underWay.Count;

    /// <summary>
    /// Calls back, once, as soon as nothing of a killed process is under way: then a new one may have the
    /// lock.
    /// </summary>
    /// <param name="free">What happens then; maybe at once.</param>
    public void WhenUnlocked(Action free)
    {
        if (_underWay.Exists(operation => operation.IsOrphan))
        {
            _waitForLock.Add(free);
        }
        else
        {
            free();
        }
    }

    /// <summary>Writes.</summary>
    /// <param name="io">Names the operation.</param>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="bytes">The bytes, unchanged until the end: they are looked at then.</param>
    public void Write(ulong io, long offsetBytes, in IoBuffer bytes) =>
        Begin(new ImageOperation(ImageVerb.Write, io, offsetBytes, bytes.LengthBytes) { Buffer = bytes });

    /// <summary>Makes a range read as zeros.</summary>
    /// <param name="io">Names the operation.</param>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="lengthBytes">Length.</param>
    public void Zero(ulong io, long offsetBytes, long lengthBytes) =>
        Begin(new ImageOperation(ImageVerb.Zero, io, offsetBytes, lengthBytes));

    /// <summary>Reads; the result is the number of bytes.</summary>
    /// <param name="io">Names the operation.</param>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="buffer">Where the bytes go.</param>
    public void Read(ulong io, long offsetBytes, in IoBuffer buffer) =>
        Begin(new ImageOperation(ImageVerb.Read, io, offsetBytes, buffer.LengthBytes) { Buffer = buffer });

    /// <summary>Brings every write that has ended by now to stable media.</summary>
    /// <param name="io">Names the operation.</param>
    public void Sync(ulong io) =>
        Begin(new ImageOperation(ImageVerb.Sync, io, 0, 0) { Covers = _pages.LastChange });

    /// <summary>Extends the image, durably.</summary>
    /// <param name="io">Names the operation.</param>
    /// <param name="sizeBytes">New size.</param>
    public void Grow(ulong io, long sizeBytes) =>
        Begin(new ImageOperation(ImageVerb.Grow, io, 0, 0) { Covers = sizeBytes });

    /// <summary>Extends a file next to an image, before the image.</summary>
    /// <param name="sizeBytes">New size.</param>
    public void Extend(long sizeBytes)
    {
        SizeBytes = Math.Max(SizeBytes, sizeBytes);
        _pages.Grow(SizeBytes);
    }

    /// <summary>What a read would show now, for the judge.</summary>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="bytes">Where the bytes go.</param>
    public void Peek(long offsetBytes, Span<byte> bytes) => _pages.Read(offsetBytes, bytes);

    /// <summary>Whether another image shows the same in a range of whole pages.</summary>
    public bool IsSame(SimulatedImage other, long offsetBytes, long lengthBytes) =>
        _pages.IsSame(other._pages, offsetBytes, lengthBytes);

    /// <summary>The disk is lost: another one, all zeros, is in its place.</summary>
    public void Replace()
    {
        _decayed.Clear();
        _suspect.Clear();
        _pages.Reset(SizeBytes);
    }

    /// <inheritdoc/>
    public void OnProcessKilled()
    {
        for (int i = _underWay.Count - 1; i >= 0; i--)
        {
            ImageOperation operation = _underWay[i];
            if (operation.IsOrphan)
            {
                continue;
            }

            // Only what the device was told already still happens; the process's memory is gone by then.
            if (operation.ChangesContent && _random.Chance(600))
            {
                operation.IsOrphan = true;
                operation.IsTorn = _random.Chance(200);
                if (operation.Verb == ImageVerb.Write)
                {
                    operation.Buffer = _memory.Copy(operation.Buffer.Span);
                }
            }
            else
            {
                operation.IsDropped = true;
                _underWay.RemoveAt(i);
            }
        }
    }

    /// <inheritdoc/>
    public void OnPowerLost()
    {
        LosesPower();
        foreach (ImageOperation operation in _underWay)
        {
            operation.IsDropped = true;
            if (operation.ChangesContent)
            {
                Land(operation, operation.OffsetBytes);
            }
        }

        _underWay.Clear();
        _waitForLock.Clear();
        _pages.LosePower(Survives ?? (Survival)_random.Below(4), _random);
    }

    private void Begin(ImageOperation operation)
    {
        bool isInside = operation.OffsetBytes >= 0 &&
            operation.OffsetBytes + operation.LengthBytes <= SizeBytes &&
            (operation.OffsetBytes | operation.LengthBytes) % SectorBytes == 0;
        if (!isInside || _underWay.Exists(other => other.IsOrphan || other.Collides(operation)))
        {
            throw new InvalidOperationException(isInside
                ? $"{operation} overlaps a write under way, or the image is still locked"
                : $"{operation} is not inside the image");
        }

        _underWay.Add(operation);
        bool isSync = operation.Verb is ImageVerb.Sync or ImageVerb.Grow;
        long time = isSync ? SyncLatency.Draw(_random) : Latency.Draw(_random);
        int process = _node.Process;
        _clock.After(time, () => End(operation, process));
    }

    private void End(ImageOperation operation, int process)
    {
        if (operation.IsDropped)
        {
            return;
        }

        _ = _underWay.Remove(operation);
        if (operation.IsOrphan)
        {
            EndOrphan(operation);
            return;
        }

        int result = Carry(operation);
        _node.Tell(process, () => Ended(operation.Io, result));
    }

    private void EndOrphan(ImageOperation operation)
    {
        if (operation.IsTorn)
        {
            LandTorn(operation);
        }
        else
        {
            Land(operation, operation.OffsetBytes);
        }

        _memory.Return(operation.Buffer);
        if (!_underWay.Exists(other => other.IsOrphan))
        {
            Action[] waiting = [.. _waitForLock];
            _waitForLock.Clear();
            Array.ForEach(waiting, free => free());
        }
    }

    private int Carry(ImageOperation operation)
    {
        switch (operation.Verb)
        {
            case ImageVerb.Read:
                return CarryRead(operation);
            case ImageVerb.Sync when _random.Chance(Faults.SyncErrorPermille):
                _pages.FailSync(operation.Covers, _random);
                return -Errno.EIO;
            case ImageVerb.Sync:
                _pages.Sync(operation.Covers);
                return 0;
            case ImageVerb.Grow when _random.Chance(Faults.NoSpacePermille):
                return -Errno.ENOSPC;
            case ImageVerb.Grow:
                SizeBytes = Math.Max(SizeBytes, operation.Covers);
                _pages.Grow(SizeBytes);
                return 0;
            default:
                return CarryChange(operation);
        }
    }

    private int CarryRead(ImageOperation operation)
    {
        Span<byte> bytes = operation.Buffer.Span;
        _pages.Read(operation.OffsetBytes, bytes);
        if (_random.Chance(Faults.ReadErrorPermille))
        {
            return -Errno.EIO;
        }

        foreach (ImageOperation other in _underWay)
        {
            if (Faults.ReadsRace && other.ChangesContent && other.Overlaps(operation))
            {
                ShowSome(other, operation, bytes);
            }
        }

        return bytes.Length;
    }

    private int CarryChange(ImageOperation operation)
    {
        _writeCount++;
        if (_random.Chance(Faults.WriteErrorPermille))
        {
            LandTorn(operation);
            if (_random.Chance(500))
            {
                _pages.Forget(operation.OffsetBytes, operation.LengthBytes);
            }

            return -Errno.EIO;
        }

        if (_random.Chance(Faults.NoSpacePermille))
        {
            return -Errno.ENOSPC;
        }

        if (_writeCount == Faults.StrayWrite)
        {
            GoAstray(operation);
        }
        else
        {
            Land(operation, operation.OffsetBytes);
        }

        return operation.Verb == ImageVerb.Write ? (int)operation.LengthBytes : 0;
    }

    private void Land(ImageOperation operation, long offsetBytes) =>
        Put(offsetBytes, operation.LengthBytes, operation.Bytes);

    private void LandTorn(ImageOperation operation)
    {
        for (long at = 0; at < operation.LengthBytes; at += AtomicBytes)
        {
            if (_random.Chance(500))
            {
                ReadOnlySpan<byte> bytes = operation.Bytes;
                Put(operation.OffsetBytes + at, AtomicBytes,
                    bytes.IsEmpty ? bytes : bytes.Slice((int)at, AtomicBytes));
            }
        }
    }

    private void ShowSome(ImageOperation change, ImageOperation read, Span<byte> bytes)
    {
        long begin = Math.Max(change.OffsetBytes, read.OffsetBytes);
        long end = Math.Min(
            change.OffsetBytes + change.LengthBytes, read.OffsetBytes + read.LengthBytes);
        for (long at = begin; at < end; at += SectorBytes)
        {
            Span<byte> sector = bytes.Slice((int)(at - read.OffsetBytes), SectorBytes);
            if (!_random.Chance(500))
            {
                continue;
            }

            if (change.Verb == ImageVerb.Zero)
            {
                sector.Clear();
            }
            else
            {
                change.Bytes.Slice((int)(at - change.OffsetBytes), SectorBytes).CopyTo(sector);
            }
        }
    }
}
