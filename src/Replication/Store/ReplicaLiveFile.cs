using Ublk.Uring.Native;

namespace Ublk.Replication.Store;

/// <summary>The live page of a replica in its file, mapped shared. Used on one thread once made.</summary>
public sealed class ReplicaLiveFile : IDisposable
{
    private readonly string _path;
    private MemoryMapping _mapping;

    private ReplicaLiveFile(string path, MemoryMapping mapping)
    {
        _path = path;
        _mapping = mapping;
        Page = new LivePage<MappedLiveMemory>(new MappedLiveMemory(mapping));
    }

    /// <summary>The page; another one after <see cref="Grow"/>.</summary>
    public LivePage<MappedLiveMemory> Page { get; private set; }

    /// <summary>Opens the live page of an image for writing; makes the file, or extends it.</summary>
    /// <param name="image">Path of the image; the caller holds its exclusive lock.</param>
    /// <param name="regions">Regions of the volume.</param>
    /// <exception cref="IOException">There is no space for it.</exception>
    public static ReplicaLiveFile Open(string image, int regions)
    {
        string path = ReplicaFormat.LivePath(image);
        return new ReplicaLiveFile(path, Map(path, LivePageLayout.BytesOf(regions)));
    }

    /// <summary>Opens the live page of an image for reading; null when there is none.</summary>
    /// <param name="image">Path of the image.</param>
    public static ReplicaLiveFile? OpenExisting(string image)
    {
        string path = ReplicaFormat.LivePath(image);
        if (!File.Exists(path) || LengthOf(path) is var length &&
            (length < LivePageLayout.BytesOf(1) || length > LivePageLayout.BytesOf(MaxRegions)))
        {
            return null;
        }

        using FileHandle file = FileHandle.Open(path, FileAccess.Read);
        return new ReplicaLiveFile(path, MemoryMapping.Open(file, 0, length, writable: false));
    }

    /// <summary>
    /// Makes room for a volume that is about to grow: after the image was extended, before the ring has the
    /// new size.
    /// </summary>
    /// <param name="regions">Regions then.</param>
    /// <exception cref="IOException">There is no space for it; then nothing changed.</exception>
    public void Grow(int regions)
    {
        MemoryMapping larger = Map(_path, LivePageLayout.BytesOf(regions));
        _mapping.Dispose();
        _mapping = larger;
        Page = new LivePage<MappedLiveMemory>(new MappedLiveMemory(larger));
        Page.Grow(regions);
    }

    /// <inheritdoc/>
    public void Dispose() => _mapping.Dispose();

    // The name may be a link, whose own length says nothing, and which may lead nowhere after a restart.
    private static long LengthOf(string path)
    {
        var target = (FileInfo?)File.ResolveLinkTarget(path, returnFinalTarget: true);
        FileInfo file = target ?? new FileInfo(path);
        return file.Exists ? file.Length : 0;
    }

    private static int MaxRegions => MetadataState.RegionsOf(StoreFormat.MaxVolumeBytes);

    // All of its space is there from the beginning: a store into a hole of a full filesystem would kill the
    // process.
    private static MemoryMapping Map(string path, long lengthBytes)
    {
        using FileStream file = new(
            path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);
        long before = file.Length;
        using FileHandle handle = FileHandle.Open(path, FileAccess.ReadWrite);
        int result = handle.Reserve(0, lengthBytes);
        if (result >= 0)
        {
            return MemoryMapping.Open(handle, 0, lengthBytes, writable: true);
        }

        file.SetLength(before);
        if (before == 0)
        {
            File.Delete(path);
        }

        throw new IOException($"no space for {path} ({lengthBytes} bytes): {Errno.Describe(result)}");
    }
}
