using System.Runtime.InteropServices;
using Ublk.Replication.Replica;
using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Uring.Native;

namespace Ublk.Replication.Runtime;

/// <summary>What a scan has found; all in blocks of 4 KiB, the last of which may be shorter.</summary>
public sealed record ChecksumReport
{
    /// <summary>Blocks that are what their checksums say.</summary>
    public long Sound { get; init; }

    /// <summary>Blocks of which nothing is known yet.</summary>
    public long Unknown { get; init; }

    /// <summary>Blocks that were being written when the replica was closed, or that it misses.</summary>
    public long InDoubt { get; init; }

    /// <summary>Blocks that are not what was written, or cannot be read.</summary>
    public long Damaged { get; init; }

    /// <summary>Where the damaged ones are: the first ranges, ascending.</summary>
    public IReadOnlyList<(long OffsetBytes, long LengthBytes)> Ranges { get; init; } = [];
}

/// <summary>
/// Reads the whole image of a replica that nobody uses, and holds it against its checksums. Changes nothing.
/// </summary>
public static class ChecksumScan
{
    /// <summary>Most ranges that are told.</summary>
    public const int MaxRanges = 100;

    private const int ChunkBytes = 1 << 20;
    private const int Block = BlockChecksum.BlockBytes;
    private const int BlocksPerPage = ChecksumFile.PageBytes / sizeof(uint);

    /// <summary>Scans a replica on the caller's thread.</summary>
    /// <param name="image">Path of the image.</param>
    /// <param name="boot">Boot id and backing device of now.</param>
    /// <param name="onProgress">Hears now and then of the bytes done, and of all.</param>
    /// <exception cref="ReplicaStoreException">The replica cannot be used, or keeps no checksums.</exception>
    /// <exception cref="BlockImageException">The replica is in use, or cannot be read.</exception>
    public static ChecksumReport Run(string image, BootEntry boot, Action<long, long> onProgress)
    {
        using var locks = new Locks(image);
        OpenedReplica replica = ReplicaStore.Inspect(image, boot);
        if (!replica.Superblock.Options.HasFlag(StoreOptions.Checksums))
        {
            throw new ReplicaStoreException(ReplicaStoreError.WrongReplica,
                $"{image} keeps no checksums; they are chosen at format: qublk replica format --checksums");
        }

        using FileHandle bytes = Opened(image);
        using FileHandle checksums = FileHandle.Open(ChecksumFile.PathOf(image), FileAccess.Read);
        using var scan = new Scan(replica.State, bytes, checksums);
        return scan.Run(onProgress);
    }

    // Past the page cache where that is possible: what counts is what the disk has.
    private static FileHandle Opened(string image)
    {
        _ = FileHandle.TryOpen(image, FileAccess.Read, OpenOptions.Direct, out FileHandle? direct);
        return direct ?? FileHandle.Open(image, FileAccess.Read);
    }

    /// <summary>Nobody else uses the replica as long as this is held.</summary>
    private sealed class Locks : IDisposable
    {
        private readonly List<BlockImage> _held = [];

        public Locks(string image)
        {
            try
            {
                string[] paths = [image, ReplicaFormat.MetadataPath(image), ChecksumFile.PathOf(image)];
                foreach (string path in paths)
                {
                    // What is missing is told by who reads it.
                    if (File.Exists(path))
                    {
                        _held.Add(BlockImage.Open(path, readOnly: true, DirectMode.Off));
                    }
                }
            }
            catch
            {
                Dispose();
                throw;
            }
        }

        public void Dispose() => _held.ForEach(held => held.Dispose());
    }

    private sealed class Scan(MetadataState state, FileHandle image, FileHandle checksums) : IDisposable
    {
        private readonly MemoryMapping _memory = MemoryMapping.Allocate(ChunkBytes);
        private readonly byte[] _page = new byte[ChecksumFile.PageBytes];
        private readonly List<(long OffsetBytes, long LengthBytes)> _ranges = [];
        private long _sound;
        private long _unknown;
        private long _inDoubt;
        private long _damaged;

        public void Dispose() => _memory.Dispose();

        public ChecksumReport Run(Action<long, long> onProgress)
        {
            for (long at = 0; at < state.SizeBytes; at += ChunkBytes)
            {
                int length = (int)Math.Min(ChunkBytes, state.SizeBytes - at);
                Span<byte> bytes = _memory.Slice(0, ChunkBytes).Span;
                ReadPage(at);
                if (IsMissing(at) || TryRead(bytes, at, length))
                {
                    Compare(bytes, at, length, isRead: true);
                }
                else
                {
                    OneByOne(bytes[..Block], at, length);
                }

                onProgress(at + length, state.SizeBytes);
            }

            return new ChecksumReport
            {
                Sound = _sound, Unknown = _unknown, InDoubt = _inDoubt, Damaged = _damaged, Ranges = _ranges,
            };
        }

        private bool IsMissing(long offset) =>
            state.Missing.Contains((int)(offset / StoreFormat.RegionBytes));

        // A file that nobody can read any more is no answer about the image.
        private void ReadPage(long offset)
        {
            if (offset % ChecksumFile.VolumeBytesPerPage == 0 && !new FileMetadataReader(checksums).TryRead(
                ChecksumFile.OffsetOf((int)(offset / ChecksumFile.VolumeBytesPerPage)), _page))
            {
                throw new ReplicaStoreException(ReplicaStoreError.Damaged,
                    $"the checksums of the 4 MiB at {offset} cannot be read");
            }
        }

        // The end of a file comes before the end of what was asked for.
        private bool TryRead(Span<byte> bytes, long offset, int length)
        {
            int done = 0;
            while (done < length)
            {
                int count = image.ReadAt(bytes[done..], offset + done);
                if (count <= 0)
                {
                    return false;
                }

                done += count;
            }

            return true;
        }

        private void OneByOne(Span<byte> bytes, long offset, int length)
        {
            for (int at = 0; at < length; at += Block)
            {
                int part = Math.Min(Block, length - at);
                Compare(bytes, offset + at, part, TryRead(bytes, offset + at, part));
            }
        }

        private void Compare(ReadOnlySpan<byte> bytes, long offset, int length, bool isRead)
        {
            ReadOnlySpan<uint> kept = MemoryMarshal.Cast<byte, uint>(_page);
            for (int at = 0; at < length; at += Block)
            {
                long block = (offset + at) / Block;
                uint checksum = kept[(int)(block % BlocksPerPage)];
                int part = Math.Min(Block, length - at);
                if (IsMissing(offset + at) ||
                    state.Intents.Contains((int)((offset + at) / StoreFormat.GrainBytes)))
                {
                    _inDoubt++;
                }
                else if (checksum == BlockChecksum.Unknown && isRead)
                {
                    _unknown++;
                }
                else if (isRead && BlockChecksum.Matches(checksum, bytes.Slice(at, part)))
                {
                    _sound++;
                }
                else
                {
                    _damaged++;
                    Note(offset + at, part);
                }
            }
        }

        private void Note(long offset, int length)
        {
            if (_ranges.Count > 0 && _ranges[^1] is var last && last.OffsetBytes + last.LengthBytes == offset)
            {
                _ranges[^1] = (last.OffsetBytes, last.LengthBytes + length);
            }
            else if (_ranges.Count < MaxRanges)
            {
                _ranges.Add((offset, length));
            }
        }
    }
}
