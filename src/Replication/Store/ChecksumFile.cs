using System.Buffers.Binary;
using Ublk.Uring.Native;
using Ublk.Wire;
using Ublk.Wire.Ids;

namespace Ublk.Replication.Store;

/// <summary>
/// The file of a replica's checksums, next to its image: a header, then pages of 4096 bytes. Page p has the
/// checksums of the 1024 blocks of 4 KiB from 4 MiB × p on, 4 bytes each, little endian; the last page is
/// whole, whatever the volume's size. The header is written at format and never again:
/// <code>
/// offset size
///   0  8  magic "UBLKSUM1"
///   8  2  format version
///  10  2  zero
///  12  4  CRC-32C of all 4096 bytes, this field counted as zero (in every version)
///  16 16  incarnation of the replica
///  32  4  block, bytes (4096)
///  36  4  algorithm (1: CRC-32C, exclusive-or that of a block of zeros)
///  40     zero
/// </code>
/// All of its space is taken when it is made or extended, so that a checksum never lacks room that the bytes
/// had; where the filesystem writes nothing in place, a page may find no room all the same, and that is a
/// sync that fails.
/// </summary>
public static class ChecksumFile
{
    /// <summary>Bytes of the header, and of a page.</summary>
    public const int PageBytes = 4096;

    /// <summary>Bytes of the volume whose checksums are in a page: 1024 blocks of 4 KiB.</summary>
    public const long VolumeBytesPerPage = PageBytes / sizeof(uint) * (long)BlockBytes;

    private const int BlockBytes = 4096;
    private const uint Algorithm = 1;
    private const ulong Magic = 0x314D_5553_4B4C_4255; // "UBLKSUM1", little endian
    private const int VersionAt = 8;
    private const int CrcAt = 12;
    private const int IncarnationAt = 16;
    private const int BlockAt = 32;
    private const int AlgorithmAt = 36;
    private const int FillBytes = 1 << 20;
    private const string UnfinishedEnding = ".new";

    /// <summary>Path of the file of an image.</summary>
    /// <param name="image">Path of the image.</param>
    public static string PathOf(string image) => image + StoreFormat.ChecksumEnding;

    /// <summary>Where a page lies.</summary>
    /// <param name="page">The page, from 0.</param>
    public static long OffsetOf(int page) => (1L + page) * PageBytes;

    /// <summary>Length of the file for a volume.</summary>
    /// <param name="sizeBytes">Size of the volume.</param>
    public static long LengthOf(long sizeBytes) => OffsetOf(PagesOf(sizeBytes));

    /// <summary>Writes the header.</summary>
    /// <param name="header">Its 4096 bytes.</param>
    /// <param name="incarnation">The replica.</param>
    public static void EncodeHeader(Span<byte> header, Incarnation incarnation)
    {
        header = header[..PageBytes];
        header.Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(header, Magic);
        BinaryPrimitives.WriteUInt16LittleEndian(header[VersionAt..], StoreFormat.Version);
        BinaryPrimitives.WriteUInt128BigEndian(header[IncarnationAt..], incarnation.Value);
        BinaryPrimitives.WriteUInt32LittleEndian(header[BlockAt..], BlockBytes);
        BinaryPrimitives.WriteUInt32LittleEndian(header[AlgorithmAt..], Algorithm);
        BinaryPrimitives.WriteUInt32LittleEndian(header[CrcAt..], Crc32C.Compute(header));
    }

    /// <summary>
    /// Makes the file under another name, on stable media: the one that is there stays as it is. Where there
    /// is no room nothing is left behind.
    /// </summary>
    /// <param name="image">Path of the image; the caller has its metadata for itself.</param>
    /// <param name="superblock">The replica that is being made.</param>
    /// <param name="isKnown">Whether every block of the image is known to be zeros.</param>
    /// <exception cref="ReplicaStoreException">There is no room, or it cannot be written.</exception>
    internal static void Prepare(string image, Superblock superblock, bool isKnown)
    {
        string path = PathOf(image) + UnfinishedEnding;
        try
        {
            using FileStream made = new(
                path, FileMode.Create, FileAccess.ReadWrite, FileShare.None, bufferSize: 0);
            long length = LengthOf(superblock.SizeBytes);
            using FileHandle file = FileHandle.Open(path, FileAccess.ReadWrite);
            StoreFiles.ThrowIfNoSpace(path, length, file.Reserve(0, length));
            byte[] header = new byte[PageBytes];
            EncodeHeader(header, superblock.Identity.Incarnation);
            int result = Write(file, header, 0);
            result = result < 0 ? result : Fill(file, PageBytes, length, isKnown);
            StoreFiles.ThrowIfNoSpace(path, length, result < 0 ? result : file.Sync());
        }
        catch (Exception failure) when (failure is IOException or SystemCallException)
        {
            File.Delete(path);
            throw failure as ReplicaStoreException ?? new ReplicaStoreException(
                ReplicaStoreError.Failed, $"cannot write {path}: {failure.Message}; nothing was changed");
        }
    }

    /// <summary>Gives the prepared file its name, durably; there is no replica meanwhile.</summary>
    /// <param name="image">Path of the image.</param>
    internal static void Install(string image)
    {
        string path = PathOf(image);
        File.Move(path + UnfinishedEnding, path, overwrite: true);
        StoreFiles.SyncDirectoryOf(path);
    }

    /// <summary>Removes what an earlier replica of the image left, also unfinished.</summary>
    /// <param name="image">Path of the image; it is a replica without checksums.</param>
    internal static void Remove(string image)
    {
        File.Delete(PathOf(image));
        File.Delete(PathOf(image) + UnfinishedEnding);
    }

    /// <summary>Refuses a file that is not the one of a replica that keeps checksums.</summary>
    /// <param name="image">Path of the image.</param>
    /// <param name="incarnation">The replica.</param>
    /// <param name="sizeBytes">Size of its volume: a growth that was cut short leaves a longer file.</param>
    /// <exception cref="ReplicaStoreException">With what is wrong, and what mends it.</exception>
    internal static void Verify(string image, Incarnation incarnation, long sizeBytes)
    {
        string path = PathOf(image);
        string replace = StoreFiles.Replace(image);
        ReplicaStoreException Wrong(ReplicaStoreError error, string what) => new(error, $"{path} {what}");
        int opened = FileHandle.TryOpen(path, FileAccess.Read, OpenOptions.None, out FileHandle? file);
        using FileHandle found = file ?? throw Wrong(ReplicaStoreError.Damaged, opened == -Errno.ENOENT
            ? $"is not there, and the replica keeps checksums: {replace}"
            : $"cannot be opened: {Errno.Describe(opened)}");
        Span<byte> header = stackalloc byte[PageBytes];
        bool isRead = new FileMetadataReader(found).TryRead(0, header);
        if (!isRead || BinaryPrimitives.ReadUInt64LittleEndian(header) != Magic)
        {
            throw Wrong(ReplicaStoreError.Damaged,
                $"does not begin like a file of checksums, or cannot be read: {replace}");
        }

        uint crc = BinaryPrimitives.ReadUInt32LittleEndian(header[CrcAt..]);
        header.Slice(CrcAt, sizeof(uint)).Clear();
        if (crc != Crc32C.Compute(header))
        {
            throw Wrong(ReplicaStoreError.Damaged, $"has a damaged header: {replace}");
        }

        if (BinaryPrimitives.ReadUInt16LittleEndian(header[VersionAt..]) > StoreFormat.Version ||
            BinaryPrimitives.ReadUInt32LittleEndian(header[BlockAt..]) != BlockBytes ||
            BinaryPrimitives.ReadUInt32LittleEndian(header[AlgorithmAt..]) != Algorithm)
        {
            throw Wrong(ReplicaStoreError.Newer, "is of a later version of this program; use that version");
        }

        if (BinaryPrimitives.ReadUInt128BigEndian(header[IncarnationAt..]) != incarnation.Value)
        {
            throw Wrong(ReplicaStoreError.WrongReplica,
                $"belongs to another replica, or to another format of this one: {replace}");
        }

        long length = new FileInfo(path).Length;
        if (length < LengthOf(sizeBytes) || length % PageBytes != 0)
        {
            throw Wrong(ReplicaStoreError.WrongSize,
                $"has {length} bytes, and needs {LengthOf(sizeBytes)}: it was cut; {replace}");
        }
    }

    /// <summary>
    /// Makes the file long enough for a volume that is about to grow, on stable media: after the image was
    /// extended by zeros, before the ring has the new size. Blocks. Pages that are in use are not touched.
    /// </summary>
    /// <param name="image">Path of the image.</param>
    /// <param name="beforeBytes">Size of the volume.</param>
    /// <param name="sizeBytes">Size of the volume then.</param>
    /// <returns>0, or −errno; nothing has changed then.</returns>
    internal static int Extend(string image, long beforeBytes, long sizeBytes)
    {
        string path = PathOf(image);
        int result = FileHandle.TryOpen(path, FileAccess.ReadWrite, OpenOptions.None, out FileHandle? file);
        if (file is null)
        {
            return result;
        }

        using FileHandle extended = file;
        long first = LengthOf(beforeBytes), length = LengthOf(sizeBytes);
        if (length == first)
        {
            return 0;
        }

        result = extended.Reserve(first, length - first);
        result = result is 0 or -Errno.EOPNOTSUPP ? Fill(extended, first, length, isKnown: true) : result;
        result = result < 0 ? result : extended.Sync();
        if (result < 0)
        {
            _ = extended.Truncate(first); // A longer file would do no harm; the space may be needed.
        }

        return result;
    }

    /// <summary>Takes the space that a larger volume needs, where it is not there yet. Blocks.</summary>
    /// <param name="image">Path of the image.</param>
    /// <param name="sizeBytes">Size of the volume then.</param>
    /// <param name="formerBytes">Length of the file before, where it was made longer; else 0.</param>
    /// <returns>0, or −errno.</returns>
    internal static int MakeRoom(string image, long sizeBytes, out long formerBytes)
    {
        string path = PathOf(image);
        long former = new FileInfo(path).Length, length = LengthOf(sizeBytes);
        formerBytes = length > former ? former : 0;
        if (formerBytes == 0)
        {
            return 0;
        }

        using FileHandle file = FileHandle.Open(path, FileAccess.ReadWrite);
        int result = file.Reserve(former, length - former);
        return result == -Errno.EOPNOTSUPP ? file.Truncate(length) : result;
    }

    /// <summary>The volume does not grow after all. Blocks.</summary>
    /// <param name="image">Path of the image.</param>
    /// <param name="formerBytes">Length of the file before.</param>
    /// <returns>0, or −errno.</returns>
    internal static int GiveBack(string image, long formerBytes)
    {
        using FileHandle file = FileHandle.Open(PathOf(image), FileAccess.ReadWrite);
        return file.Truncate(formerBytes);
    }

    private static int PagesOf(long sizeBytes) =>
        checked((int)((sizeBytes + VolumeBytesPerPage - 1) / VolumeBytesPerPage));

    // Of a block of zeros the checksum is 0; with all bits set nothing is known of it.
    private static int Fill(FileHandle file, long from, long end, bool isKnown)
    {
        byte[] bytes = new byte[Math.Min(FillBytes, end - from)];
        Array.Fill(bytes, isKnown ? (byte)0 : byte.MaxValue);
        for (long at = from; at < end; at += bytes.Length)
        {
            int result = Write(file, bytes.AsSpan(0, (int)Math.Min(bytes.Length, end - at)), at);
            if (result < 0)
            {
                return result;
            }
        }

        return 0;
    }

    private static int Write(FileHandle file, ReadOnlySpan<byte> bytes, long offset)
    {
        int done = 0;
        while (done < bytes.Length)
        {
            int result = file.WriteAt(bytes[done..], offset + done);
            if (result <= 0)
            {
                return result < 0 ? result : -Errno.EIO;
            }

            done += result;
        }

        return 0;
    }
}
