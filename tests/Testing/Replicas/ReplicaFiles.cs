using Ublk.Replication.Store;
using Ublk.Uring.Native;

namespace Ublk.Testing.Replicas;

/// <summary>What is done with the files of a replica.</summary>
public enum FileStep
{
    /// <summary>A record of the metadata is written durably.</summary>
    Metadata,
    /// <summary>Bytes of the image are written.</summary>
    Image,
    /// <summary>The image is synced.</summary>
    Sync,
    /// <summary>The image, its checksums and the live page are extended.</summary>
    Grow,
    /// <summary>A page of checksums is written.</summary>
    Checksums,
    /// <summary>The checksums are synced.</summary>
    ChecksumSync,
}

/// <summary>Where in a step something happens.</summary>
public enum StepPlace
{
    /// <summary>Nothing of it is done.</summary>
    Before,
    /// <summary>Some sectors of a write are done; with other steps nothing is.</summary>
    Middle,
    /// <summary>All of it is done, but nobody has heard.</summary>
    After,
}

/// <summary>
/// Image, metadata and checksums of a replica, written at once on the caller's thread. Every write is made in
/// two parts, and whoever wants to is told before, between and after them.
/// </summary>
public class ReplicaFiles : IDisposable
{
    private const int SectorBytes = 512;

    private readonly FileHandle _image;
    private readonly FileHandle _metadata;
    private readonly FileHandle? _checksums;
    private int _stepCount;

    /// <summary>Opens the files of a formatted replica.</summary>
    /// <param name="image">Path of the image.</param>
    public ReplicaFiles(string image)
    {
        Path = image;
        _image = FileHandle.Open(image, FileAccess.ReadWrite);
        _metadata = FileHandle.Open(ReplicaFormat.MetadataPath(image), FileAccess.ReadWrite);
        _ = FileHandle.TryOpen(
            ChecksumFile.PathOf(image), FileAccess.ReadWrite, OpenOptions.None, out _checksums);
    }

    /// <summary>Path of the image.</summary>
    public string Path { get; }

    /// <summary>Whether there is a file of checksums.</summary>
    protected bool HasChecksums => _checksums is not null;

    /// <summary>Hears of every place of every step.</summary>
    public Action<FileStep, StepPlace> At { get; set; } = (_, _) => { };

    /// <summary>Writes a record durably; answers 0 or −errno.</summary>
    public virtual int WriteMetadata(long offsetBytes, ReadOnlySpan<byte> record)
    {
        int result = Write(FileStep.Metadata, _metadata, offsetBytes, record, isDurable: true);
        return Math.Min(result, 0);
    }

    /// <summary>Writes to the image; answers bytes or −errno.</summary>
    public virtual int WriteImage(long offsetBytes, ReadOnlySpan<byte> bytes) =>
        Write(FileStep.Image, _image, offsetBytes, bytes, isDurable: false);

    /// <summary>Makes a range of the image read as zeros; answers 0 or −errno.</summary>
    public virtual int ZeroImage(long offsetBytes, long lengthBytes) =>
        Math.Min(0, Write(FileStep.Image, _image, offsetBytes, new byte[lengthBytes], isDurable: false));

    /// <summary>Reads from the image; answers bytes or −errno.</summary>
    public int ReadImage(long offsetBytes, Span<byte> bytes) => _image.ReadAt(bytes, offsetBytes);

    /// <summary>Brings the image to stable media; answers 0 or −errno.</summary>
    public virtual int SyncImage()
    {
        Step(FileStep.Sync, StepPlace.Before);
        Step(FileStep.Sync, StepPlace.Middle);
        int result = _image.Sync();
        Step(FileStep.Sync, StepPlace.After);
        return result;
    }

    /// <summary>Writes a page of checksums; answers bytes or −errno.</summary>
    public virtual int WriteChecksums(long offsetBytes, ReadOnlySpan<byte> page) =>
        Write(FileStep.Checksums, _checksums!, offsetBytes, page, isDurable: false);

    /// <summary>Reads a page of checksums; answers bytes or −errno.</summary>
    public int ReadChecksums(long offsetBytes, Span<byte> page) => _checksums!.ReadAt(page, offsetBytes);

    /// <summary>Brings the checksums to stable media; answers 0 or −errno.</summary>
    public virtual int SyncChecksums()
    {
        Step(FileStep.ChecksumSync, StepPlace.Before);
        Step(FileStep.ChecksumSync, StepPlace.Middle);
        int result = _checksums!.Sync();
        Step(FileStep.ChecksumSync, StepPlace.After);
        return result;
    }

    /// <summary>Extends the image, its checksums and its live page; answers 0 or −errno.</summary>
    /// <param name="live">The live page.</param>
    /// <param name="sizeBytes">New size of the volume.</param>
    public virtual int Grow(ReplicaLiveFile live, long sizeBytes)
    {
        Step(FileStep.Grow, StepPlace.Before);
        long before = new FileInfo(Path).Length;
        try
        {
            using FileStream file = new(Path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
            file.SetLength(sizeBytes);
            file.Flush(flushToDisk: true);
            Step(FileStep.Grow, StepPlace.Middle);
            int result = HasChecksums ? ChecksumFile.Extend(Path, before, sizeBytes) : 0;
            if (result < 0)
            {
                return result;
            }

            live.Grow(MetadataState.RegionsOf(sizeBytes));
        }
        catch (IOException)
        {
            return -Errno.ENOSPC;
        }

        Step(FileStep.Grow, StepPlace.After);
        return 0;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Closes the files.</summary>
    protected virtual void Dispose(bool isDisposing)
    {
        _image.Dispose();
        _metadata.Dispose();
        _checksums?.Dispose();
    }

    private void Step(FileStep step, StepPlace place) => At(step, place);

    private int Write(
        FileStep step, FileHandle file, long offsetBytes, ReadOnlySpan<byte> bytes, bool isDurable)
    {
        Step(step, StepPlace.Before);
        int sectors = Math.Max(1, bytes.Length / SectorBytes);
        int cut = Math.Min(bytes.Length, (1 + _stepCount++ % sectors) * SectorBytes);
        int first = file.WriteAt(bytes[..cut], offsetBytes);
        Step(step, StepPlace.Middle);
        if (first != cut)
        {
            return first;
        }

        int second = cut < bytes.Length ? file.WriteAt(bytes[cut..], offsetBytes + cut) : 0;
        int synced = isDurable ? file.Sync() : 0;
        Step(step, StepPlace.After);
        return second < 0 ? second : synced < 0 ? synced : first + second;
    }
}
